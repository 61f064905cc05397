"""How a field goes back through operators that only move elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import NONE
from cfp_onnx.model import Node
from cfp_onnx.relevance.field_walk import Handed, Walk
from cfp_onnx.runtime.probe import Probe


def moved(walk: Walk, node: Node, effect: fx.Move, fields: Mapping[str, str]) -> Iterator[Handed]:
    """Fields of the inputs of a movement.

    Args:
        walk: The walk.
        node: The node.
        effect: Its movement.
        fields: Field of each of its outputs that has one.
    """
    op = node.op.rpartition("::")[2]
    probe, shape_of = walk.probe, walk.value.shape
    if op in {"Concat", "QLinearConcat"}:
        yield from _uncat(walk, node, effect, fields[node.outputs[0]])
        return
    name = node.inputs[effect.sources[0]]
    if not any(walk.useful(node.inputs[i]) for i in effect.sources):
        return
    shape = shape_of(name)
    if op == "Split":
        axis = int(node.attributes.get("axis", 0)) % len(shape)
        pieces = [fields[o] if o in fields else probe.zeros(shape_of(o)) for o in node.outputs]
        yield Handed(name, probe.add("Concat", pieces, axis=axis))
        return
    g = fields[node.outputs[0]]
    if op == "Transpose":
        perm = node.attributes.get("perm") or list(range(len(shape)))[::-1]
        yield Handed(name, probe.add("Transpose", [g], perm=[int(i) for i in np.argsort(perm)]))
    elif op in {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}:
        yield Handed(name, probe.reshape(g, shape))
    elif op == "Pad" and str(node.attributes.get("mode", "constant")) == "constant":
        yield Handed(name, _unpad(probe, effect, g, shape, shape_of(node.outputs[0])))
    elif op == "Gather" and (place := _one_place(walk, node, shape)) is not None:
        axis, index = place
        wide = probe.reshape(g, [1 if a == axis else n for a, n in enumerate(shape)])
        around = [[k if a == axis else 0 for a in range(len(shape))] for k in (index, shape[axis] - 1 - index)]
        yield Handed(name, probe.pad(wide, *around))
    elif op == "Expand":
        yield Handed(name, g, shape_of(node.outputs[0]))
    else:
        shapes = [shape_of(node.inputs[i]) for i in effect.sources]
        for k, index in enumerate(effect.sources):
            if walk.useful(node.inputs[index]):
                yield Handed(node.inputs[index], _gathered(probe, effect, g, shapes, k))


def _one_place(walk: Walk, node: Node, shape: Sequence[int]) -> tuple[int, int] | None:
    """Axis and place of a Gather that takes one place out of an axis, as each trip of a loop does."""
    indices = walk.program.constant_or_none(node.input(1))
    if indices is None or indices.size != 1:
        return None
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    return axis, int(indices.reshape(-1)[0]) % shape[axis]


def _uncat(walk: Walk, node: Node, effect: fx.Move, g: str) -> Iterator[Handed]:
    out = walk.value.shape(node.outputs[0])
    axis = int(node.attributes.get("axis", 1)) % len(out)
    start = 0
    for index in effect.sources:
        size = walk.value.shape(node.inputs[index])[axis]
        if walk.useful(node.inputs[index]):
            yield Handed(node.inputs[index], walk.probe.slice(g, axis, start, start + size))
        start += size


def _unpad(probe: Probe, effect: fx.Move, g: str, shape: tuple[int, ...], out: tuple[int, ...]) -> str:
    """Adjoint of zero padding: the inside of the field; cropped places get zero."""
    before, after = [0] * len(shape), [0] * len(shape)
    for axis, n in enumerate(shape):
        line = np.arange(n, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        if n == 1 and out[axis] == 1:
            continue
        seen = effect.apply([line if n > 1 else np.broadcast_to(line, shape)], NONE)[0]
        seen = np.moveaxis(seen, axis, 0).reshape(out[axis], -1).max(axis=1)
        inside = np.flatnonzero(seen >= 0)
        if not inside.size:
            return probe.zeros(shape)
        first, last = int(seen[inside[0]]), int(seen[inside[-1]])
        if inside[0] or inside[-1] + 1 < out[axis]:
            g = probe.slice(g, axis, int(inside[0]), int(inside[-1]) + 1)
        before[axis], after[axis] = first, n - 1 - last
    return probe.pad(g, before, after)


def _gathered(probe: Probe, effect: fx.Move, g: str, shapes: Sequence[tuple[int, ...]], source: int) -> str:
    """Adjoint of any movement: each element of a source collects the field of every place it was copied to."""
    shape = shapes[source]
    size = int(np.prod(shape, dtype=np.int64))
    arrays = [np.full(s, NONE, np.int64) for s in shapes]
    arrays[source] = np.arange(size, dtype=np.int64).reshape(shape)
    seen = effect.apply(arrays, NONE)[0].reshape(-1)
    places = np.flatnonzero(seen >= 0)
    order = places[np.argsort(seen[places], kind="stable")]
    counts = np.bincount(seen[places], minlength=size)
    table = np.full((max(1, int(counts.max(initial=0))), size), seen.size, np.int64)
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for k in range(table.shape[0]):
        has = counts > k
        table[k, has] = order[offset[has] + k]
    flat = probe.add("Concat", [probe.reshape(g, (-1,)), probe.constant(np.zeros(1, np.float32))], axis=0)
    rows = probe.add("Gather", [flat, probe.constant(table)], axis=0)
    return probe.reshape(probe.reduce("ReduceSum", rows, [0], keep=False), shape)


__all__ = ["moved"]
