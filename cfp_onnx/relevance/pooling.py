"""How a field goes back through pools, reductions and choices between tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import TensorProto, helper

from cfp_onnx.graph import effects as fx
from cfp_onnx.model import Node
from cfp_onnx.relevance.adjoint import conv_transpose, divisors, fitted, tap_positions
from cfp_onnx.relevance.field_walk import Handed, Walk
from cfp_onnx.runtime.probe import Probe
from cfp_onnx.values import Array

Turn = Callable[[Array], Array]


def selected(walk: Walk, node: Node, effect: fx.Select, g: str) -> Iterator[Handed]:
    """A choice element by element: the field where a source was taken."""
    shape = walk.value.shape(node.outputs[0])
    for index in effect.sources:
        name = node.inputs[index]
        if not walk.useful(name):
            continue
        if node.op == "Where":
            chosen = node.inputs[0] if index == 1 else walk.probe.add("Not", [node.inputs[0]])
        else:
            chosen = _equal(walk.probe, walk.value(name), walk.value(node.outputs[0]))
        yield Handed(name, walk.probe.mask(chosen, g), shape)


def reduced(walk: Walk, node: Node, effect: fx.Reduce, g: str) -> Iterator[Handed]:
    """A reduction over whole axes: the field spread over them; of a maximum, shared by the elements that reach it."""
    name = node.inputs[effect.source]
    if not walk.useful(name):
        return
    probe, shape = walk.probe, walk.value.shape(name)
    kept = [1 if a in effect.axes else n for a, n in enumerate(shape)]
    g = probe.reshape(g, kept)
    if effect.kind == "mean":
        count = int(np.prod([shape[a] for a in effect.axes], dtype=np.int64))
        g = probe.add("Mul", [g, probe.number(1.0 / count)])
    full = probe.constant(np.array(shape, np.int64))
    if effect.kind == "max":
        top = probe.reshape(walk.value(node.outputs[0]), kept)
        hit = probe.add("Cast", [_equal(probe, walk.value(name), top)], to=TensorProto.FLOAT)
        count_hits = probe.reduce("ReduceSum", hit, effect.axes, keep=True)
        yield Handed(name, probe.add("Mul", [hit, probe.add("Div", [g, count_hits])]))
        return
    yield Handed(name, probe.add("Expand", [g, full]))


def blended(probe: Probe, x: str, rank: int, effect: fx.Blend, *, back: bool, turn: Turn | None = None) -> str:
    """A tensor times the matrix of each axis of a blend.

    Args:
        probe: Where the nodes go.
        x: The tensor; for the way back a field of the blend's output.
        rank: Its number of axes.
        effect: The blend.
        back: Whether the matrices are transposed, as for a field.
        turn: What is made of each matrix first.
    """
    for axis in effect.axes:
        matrix = effect.matrix(axis) if turn is None else turn(effect.matrix(axis))
        weights = probe.constant(np.ascontiguousarray(matrix if back else matrix.T, np.float32), "blend")
        perm = [*(a for a in range(rank) if a != axis), axis]
        last = axis == rank - 1
        turned = x if last else probe.add("Transpose", [x], perm=perm)
        made = probe.add("MatMul", [turned, weights])
        x = made if last else probe.add("Transpose", [made], perm=[int(i) for i in np.argsort(perm)])
    return x


def pooled(walk: Walk, node: Node, effect: fx.Pool, g: str, *, squared: bool = False) -> Iterator[Handed]:
    """A pool over windows: of a mean the field spread over each window, of a maximum the field at the maximum.

    Args:
        walk: The walk.
        node: The pool.
        effect: Its effect.
        g: Field of its output.
        squared: Whether the divisors of a mean count by their squares.
    """
    name = node.inputs[effect.source]
    if walk.useful(name) and effect.kind == "max":
        yield Handed(name, _max_pooled(walk, node, effect, g))
    elif walk.useful(name):
        yield Handed(name, mean_pooled(walk, node, effect, g, power=2 if squared else 1))


def mean_pooled(walk: Walk, node: Node, effect: fx.Pool, g: str, *, power: int = 1) -> str:
    """The field of a mean pool's input; `power` is that of its divisors."""
    probe = walk.probe
    shape, out = walk.value.shape(node.inputs[effect.source]), walk.value.shape(node.outputs[0])
    sizes = shape[2:]
    geometry = fitted(effect.geometry, sizes, out[2:])
    counts = divisors(effect, geometry, sizes, out[2:])
    g = probe.add("Mul", [g, probe.constant((1.0 / counts**power).astype(np.float32)[None, None])])
    if all(o == 1 for o in out[2:]) and geometry.kernel == sizes and not any(geometry.begins):
        return probe.add("Expand", [g, probe.constant(np.array(shape, np.int64))])
    maps = shape[0] * shape[1]
    rows = probe.reshape(g, (maps, 1, *out[2:]))
    ones = probe.constant(np.ones((1, 1, *geometry.kernel), np.float32))
    return probe.reshape(conv_transpose(probe, rows, ones, geometry, 1), shape)


def _max_pooled(walk: Walk, node: Node, effect: fx.Pool, g: str) -> str:
    """The field at the first maximum of each window; overlapping windows add."""
    probe = walk.probe
    name = node.inputs[effect.source]
    indices = _indices(walk, node)
    shape = walk.value.shape(name)
    if probe.opset < 16:
        return _max_pooled_by_taps(probe, effect, shape, walk.value.shape(node.outputs[0]), indices, g)
    flat = probe.add("Reshape", [indices, probe.constant(np.array([-1], np.int64))])
    zeros = probe.zeros((int(np.prod(shape)),))
    spread = probe.add("ScatterElements", [zeros, flat, probe.reshape(g, (-1,))], axis=0, reduction="add")
    return probe.reshape(spread, shape)


def _indices(walk: Walk, node: Node) -> str:
    """The tensor that says where each window has its maximum."""
    if len(node.outputs) > 1 and node.outputs[1]:
        return node.outputs[1]
    if walk.program.dtypes.get(node.inputs[0], "float32") == "float32":
        return walk.probe.with_indices.setdefault(node.name, walk.probe.fresh("indices"))
    attributes = {k: v for k, v in node.attributes.items() if v is not None}
    values, indices = walk.probe.fresh("maxpool"), walk.probe.fresh("indices")
    walk.probe.nodes.append(
        helper.make_node("MaxPool", [walk.value(node.inputs[0])], [values, indices], values, **attributes)
    )
    return indices


def _max_pooled_by_taps(
    probe: Probe, effect: fx.Pool, shape: tuple[int, ...], out: tuple[int, ...], indices: str, g: str
) -> str:
    """The same without a scatter, for operator sets that have none that adds: one plane per tap of the window."""
    maps, sizes = shape[0] * shape[1], shape[2:]
    place = np.arange(maps, dtype=np.int64).reshape(shape[0], shape[1], *(1,) * len(sizes)) * int(np.prod(sizes))
    geometry = fitted(effect.geometry, sizes, out[2:])
    taps = int(np.prod(geometry.kernel))
    reference = tap_positions(geometry, sizes, out[2:])
    rows = probe.reshape(probe.add("Sub", [indices, probe.constant(place)]), (maps, 1, *out[2:]))
    hit = probe.add("Equal", [rows, probe.constant(reference[None])])
    planes = probe.mask(hit, probe.reshape(g, (maps, 1, *out[2:])))
    weights = np.eye(taps, dtype=np.float32).reshape(taps, 1, *geometry.kernel)
    spread = conv_transpose(probe, planes, probe.constant(weights), geometry, 1)
    return probe.reshape(spread, shape)


def _equal(probe: Probe, a: str, b: str) -> str:
    return probe.add("Not", [probe.add("Cast", [probe.add("Sub", [a, b])], to=TensorProto.BOOL)])


__all__ = ["mean_pooled", "pooled", "reduced", "selected"]
