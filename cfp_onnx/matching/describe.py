"""From a network to the layers that are matched.

A layer is described by what its file computes: the window, the weights with the affine map that follows folded in, and
for each channel the kernels that arrive there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.activation import activation_of, spelled
from cfp_onnx.graph.features import Feature, feature_of, kernel_axis
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Geometry
from cfp_onnx.graph.target import behind_target
from cfp_onnx.graph.topology import Topology
from cfp_onnx.matching.paths import Place, stages_of, steps_behind, way_to
from cfp_onnx.matching.units import NOWHERE, PRECISIONS, Arrival, NetworkUnits, Unit
from cfp_onnx.matching.wording import by_sizes
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


def network(topology: Topology, scored: str, target: str, depths: Mapping[int, int]) -> NetworkUnits:
    """What is compared of a file: every layer that an output depends on.

    Args:
        topology: The network.
        scored: What the scores are read from.
        target: The tensor before its Softmax.
        depths: Layer index to its depth.
    """
    program = topology.program
    members = topology.upstream(target)
    inputs = [o for o in topology.origins if o.layer is None]
    layers = [x for x in topology.layers if x.index in members]
    features = {x.index: feature_of(topology, x, target) for x in topology.layers}
    ends = frozenset(f.tensor for f in features.values())
    units = tuple(_unit(topology, x, features[x.index], target, depths.get(x.index), ends) for x in layers)
    kinds = {u.precision for u in units}
    if any(s.quantised is not None for s in topology.states.values()):
        kinds.add("int8")
    if "float16" in {program.dtypes.get(o) for n in program.nodes for o in n.outputs}:
        kinds.add("float16")
    return NetworkUnits(
        units=units,
        count=len(topology.layers),
        inputs=tuple((o.tensor, o.count) for o in inputs if o.tensor in program.shapes),
        heads=frozenset(topology.heads(target)),
        precision=next((k for k in PRECISIONS if k in kinds), "float32"),
        rounded=all(_fits_float16(u.weights()) for u in units),
        behind=tuple(n.op.rpartition("::")[2] for n in behind_target(program, scored, target)),
    )


def _fits_float16(weights: Array) -> bool:
    some = weights.reshape(-1)[:4096]
    with np.errstate(over="ignore"):
        return bool((some == some.astype(np.float16).astype(np.float32)).all())


def _unit(
    topology: Topology, layer: KernelLayer, found: Feature, target: str, depth: int | None, ends: frozenset[str]
) -> Unit:
    steps = steps_behind(topology, layer, found.tensor)
    activation, tensor = activation_of(topology, layer, steps)
    before_axis = None if tensor is None else kernel_axis(topology, tensor, layer.kernels)
    before = None if tensor is None or before_axis is None else Place(tensor, before_axis)
    source, axis, geometry = _before_padding(topology, layer)
    *stages, last = stages_of(topology, layer, steps)
    users = topology.program.consumers.get(found.tensor, [])
    joined = any(isinstance(topology.effects.get(u.name), fx.Sum) for u in users)
    return Unit(
        index=layer.index, name=layer.name, weight=layer.weight, op=layer.op, depth=depth,
        kernels=layer.kernels, channels=layer.channels, groups=layer.groups, geometry=geometry,
        weights=lambda: _weights(layer), scale=last.scale, bias=last.bias, epsilon=last.epsilon, variance=last.variance,
        activation=activation, precision=_precision(topology.program, layer),
        arrivals=_arrivals(topology, layer), input=Place(source, axis),
        before=Place(found.tensor, found.axis) if activation is None else before,
        output=Place(found.tensor, found.axis), path=_operators_on_path(topology, source),
        joined=joined, answer=_final_sigmoid(topology.program, found, target) if activation is None else None,
        way=way_to(topology, source, ends), stages=tuple(stages),
        shared=activation is None and (joined or len(users) > 1),
    )  # fmt: skip


def _final_sigmoid(program: Program, found: Feature, target: str) -> tuple[str, Place] | None:
    """The Sigmoid between a classifier and the answer, which onnxruntime makes part of the classifier."""
    users = program.consumers.get(target, []) if found.tensor == target else []
    return next(((n.op, Place(n.outputs[0], found.axis)) for n in users if n.op == "Sigmoid"), None)


def _weights(layer: KernelLayer) -> Array:
    parts = layer.parts[:1] if layer.tied else layer.parts
    pieces = [w.reshape(w.shape[0], w.shape[1], -1) for w in (p.weights() for p in parts)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _precision(program: Program, layer: KernelLayer) -> str:
    if not program.is_constant(layer.weight):
        return "float32"
    kind = program.constant(layer.weight).dtype
    if kind == np.float16:
        return "float16"
    return "float32" if kind.kind == "f" else "int8"


def _arrivals(topology: Topology, layer: KernelLayer) -> tuple[Arrival, ...]:
    firsts = np.array([o.first for o in topology.origins])
    out = []
    for via, labels, _ in topology.wires(layer):
        known = labels >= 0
        owner = np.where(known, topology.owners(labels), NOWHERE)
        out.append(Arrival(via == "gate", via == "shortcut", owner, np.where(known, labels - firsts[owner], NOWHERE)))
    return tuple(out)


def _before_padding(topology: Topology, layer: KernelLayer) -> tuple[str, int, Geometry]:
    """What a layer reads before zeros are put around it, its channel axis, and the window with these zeros."""
    program, part = topology.program, layer.parts[0]
    tensor, geometry = part.source, part.geometry
    axes = [part.in_axis, *(range(2, 2 + len(geometry.kernel)) if part.kind != "dense" else ())]
    begins, ends = list(geometry.begins), list(geometry.ends)
    split = layer.split
    while (node := program.producers.get(tensor)) is not None:
        if node.op == "Transpose":
            perm = node.attributes.get("perm") or list(range(len(program.shapes[tensor])))[::-1]
            axes = [int(perm[a]) for a in axes]
        elif node.op == "Reshape" and (kept := _axes_kept(program, node)) is not None:
            axes = [kept[a] for a in axes]
        elif node.op == "Pad" and (pads := _zeros_added(program, node, axes)) is not None:
            begins = [b + before for b, (before, _) in zip(begins, pads, strict=True)]
            ends = [e + after for e, (_, after) in zip(ends, pads, strict=True)]
        elif split and node.op in {"Split", "Slice"}:
            split = False
        elif node.op != "Identity":
            break
        tensor = node.inputs[0]
    if split:
        axis = kernel_axis(topology, layer.source, layer.channels)
        return layer.source, part.in_axis if axis is None else axis, geometry
    return tensor, axes[0], replace(geometry, begins=tuple(begins), ends=tuple(ends))


def _axes_kept(program: Program, node: Node) -> dict[int, int] | None:
    """Axes after and before a Reshape that only puts axes of one element elsewhere; None for any other."""
    after, before = program.shapes[node.outputs[0]], program.shapes[node.inputs[0]]
    long = [[a for a, n in enumerate(shape) if n != 1] for shape in (after, before)]
    ones = [[a for a, n in enumerate(shape) if n == 1] for shape in (after, before)]
    if len(after) != len(before) or [after[a] for a in long[0]] != [before[a] for a in long[1]]:
        return None
    return {**dict(zip(*long, strict=True)), **dict(zip(*ones, strict=True))}


def _zeros_added(program: Program, node: Node, axes: Sequence[int]) -> list[tuple[int, int]] | None:
    """Zeros that a Pad puts before and behind each spatial axis; None where it does anything else."""
    if node.attributes.get("mode", "constant") != "constant" or len(axes) < 2:
        return None
    given = node.attributes.get("pads")
    pads = program.constant_or_none(node.input(1)) if given is None else np.asarray(given)
    value = program.constant_or_none(node.input(2)) if node.input(2) else np.asarray(node.attributes.get("value", 0.0))
    if pads is None or value is None or np.any(value):
        return None
    rank = len(program.shapes[node.inputs[0]])
    listed = program.constant_or_none(node.input(3)) if node.input(3) else np.arange(rank)
    if listed is None:
        return None
    where = [int(a) % rank for a in np.asarray(listed).reshape(-1)]
    before, after = np.zeros(rank, int), np.zeros(rank, int)
    flat = np.asarray(pads).reshape(-1)
    before[where], after[where] = flat[: len(where)], flat[len(where) :]
    others = [a for a in range(rank) if a not in axes[1:]]
    if before[others].any() or after[others].any():
        return None
    return [(int(before[a]), int(after[a])) for a in axes[1:]]


def _operators_on_path(topology: Topology, source: str) -> dict[str, int]:
    """What lies between the kernels of the layers above and a tensor, by kind."""
    program = topology.program
    fused = {p.output: p.activation for x in topology.layers for p in x.parts}
    found: Counter[str] = Counter()
    stack, seen = [source], set()
    while stack:
        tensor = stack.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor in fused:
            if name := fused[tensor]:
                found[f"activation {spelled(name)}"] += 1
            continue
        node = program.producers.get(tensor)
        effect = None if node is None else topology.effects.get(node.name)
        if node is None or effect is None:
            continue
        if word := _operator_on_path(node, effect):
            found[word] += 1
        stack.extend(i for i in node.inputs if i)
    return dict(found)


def _operator_on_path(node: Node, effect: fx.Effect) -> str | None:
    op = node.op.rpartition("::")[2]
    match effect:
        case fx.Activation(rectifier=rectifier):
            return f"activation {'Relu' if rectifier else op}"
        case fx.Pool(kind=kind, geometry=g):
            pads = "/".join(f"{b}+{e}" for b, e in zip(g.begins, g.ends, strict=True))
            return f"{kind} pool {by_sizes(g.kernel)}, strides {by_sizes(g.strides)}, padding {pads}"
        case fx.Blend():
            return f"{op} along axes {by_sizes(effect.axes)}"
        case fx.Reduce(kind=kind):
            return f"{kind} over axes"
        case fx.Normalise():
            return f"normalisation {op}"
        case fx.Sum():
            return "an Add"
        case fx.Gate():
            return "a product"
        case fx.Identity() | fx.Quantise() | fx.Move():
            return None  # the same values
        case fx.Affine():
            return None  # its numbers are compared
        case fx.Select() | fx.Mix() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return None  # not told apart: files that differ only in one of these count as the same here
        case fx.Layer():
            return None  # a layer of its own
        case _:
            assert_never(effect)


__all__ = ["network"]
