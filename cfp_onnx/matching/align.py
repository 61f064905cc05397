"""Which layer and kernel of one file is which of another, whatever tools wrote them.

A layer is described by what its file computes: the window, the weights with the affine map that follows folded in, and
for each channel the kernels that arrive there. Layers are then walked from the input down the wires: the order of a
layer's input channels is known from the layers above, so its kernels can be told by their weights alone, in any order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Geometry
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.matching.chains import Place, Stage, Way, affine, between, chain, kernel_axis, read
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

EXACT = 1e-4
"""Kernels whose weights differ by less are taken in the order in which they stand, without looking further."""

ALIKE = 0.8
"""Mean cosine of the kernels' weights from which weights alone say that two layers are the same."""

NAMED = 0.5
"""Part of their words that two names share, from which names say so."""

FITS = 0.99
"""Cosine from which weights fit."""

FITTING = 1e-2
"""Largest difference of sizes, over the layer's largest, of kernels that may be the same behind the same maps."""

SEVERAL = 8
"""Weights of a channel from which an order in which they fit nearly is no accident."""

SPREAD = 2048
"""Most weights by which layers are told where kernels and channels may stand in any order."""

PRECISIONS = ("int8", "float16", "float32")
"""Kinds of numbers, the coarsest first."""

NOWHERE = -1

OWN_GATE = "a gate of its own"
"""Name of an activation that is written as a product of the kernels with something made of them."""


@dataclass(frozen=True)
class Arrival:
    """One track of what arrives at a layer's channels.

    Attributes:
        gate: Whether it only multiplies.
        shortcut: Whether it comes by a shortcut.
        owner: (channels, m) layer index, or the number of layers plus that of the input; `NOWHERE` for nothing.
        kernel: (channels, m) kernel of the owner, or channel of the input.
    """

    gate: bool
    shortcut: bool
    owner: Array
    kernel: Array


@dataclass(frozen=True)
class Unit:
    """A layer as it is compared.

    Attributes:
        index: Its place among the layers of its file; of inputs, the number of layers plus theirs.
        name: Its name.
        weight: Name of its weights.
        op: Operator.
        depth: Longest path to the target.
        kernels: Output channels.
        channels: Input channels.
        groups: Groups, or fibers.
        geometry: Its window; zeros that a Pad in front of it adds are part of it.
        weights: Resolves (kernels, channels / groups, taps), float32, as the file has them.
        scale: Factor of the affine map that follows, (kernels,); None where it is not one number per kernel.
        bias: Constant of layer and map together, (kernels,); None as above.
        epsilon: That of the batch norm that follows, where there is one.
        activation: Name of the activation that follows; None for none.
        precision: ``float32``, ``float16`` or ``int8``, of its weights.
        arrivals: What arrives at its channels.
        input: What it reads, before any Pad.
        before: Its kernels after the affine map.
        output: Its kernels after the activation.
        path: What lies between the layers above and this one, by kind.
        joined: Whether its kernels go straight into an Add.
        variance: Of the batch norm that follows, (kernels,).
        answer: Its kernels behind the activation that makes the answer of them, where that is not counted as its own.
        shared: Whether they do, or have several readers, so that a map that follows is not theirs alone.
        way: How it is reached, with factors and offsets that no layer above has for itself.
        stages: Its kernels behind none of the maps that follow, behind the first, and so on without the last.
    """

    index: int
    name: str
    weight: str
    op: str
    depth: int | None
    kernels: int
    channels: int
    groups: int
    geometry: Geometry
    weights: Callable[[], Array]
    scale: Array | None
    bias: Array | None
    epsilon: float | None
    activation: str | None
    precision: str
    arrivals: tuple[Arrival, ...]
    input: Place
    before: Place | None
    output: Place
    path: Mapping[str, int] = field(default_factory=dict)
    joined: bool = False
    variance: Array | None = None
    answer: tuple[str, Place] | None = None
    shared: bool = False
    way: Way = field(default_factory=Way)
    stages: tuple[Stage, ...] = ()

    @property
    def taps(self) -> tuple[int, ...]:
        """Sizes of its window without the axes along which it has one tap, where that says enough."""
        return self.geometry.kernel

    def answers(self, other: Unit) -> bool:
        """Whether the activation that makes the answer is part of the layer in one file and behind it in the other."""
        return any(x.answer and y.before is None and x.answer[0] == y.activation for x, y in
                   ((self, other), (other, self)))  # fmt: skip

    def effective(self) -> Array:
        """Weights times the factor that follows, (kernels, channels / groups, taps) float32."""
        weights = self.weights()
        if self.scale is None or (self.scale == 1).all():
            return weights
        return weights * self.scale.astype(np.float32)[:, None, None]

    @cached_property
    def spectrum(self) -> Array:
        """Its weights in order of size, some of them evenly spread: the same in any order of kernels and channels."""
        values = np.sort(self.effective().reshape(-1))
        return np.asarray(values[np.unique(np.linspace(0, values.size - 1, SPREAD).round().astype(int))])

    @cached_property
    def carried(self) -> dict[int, tuple[Array, Array]]:
        """For each owner, gates aside, the channels at which kernels of it arrive, and these kernels."""
        return _incoming(a for a in self.arrivals if not a.gate)

    @cached_property
    def incoming(self) -> dict[int, tuple[Array, Array]]:
        """The same with what arrives as a gate."""
        return _incoming(self.arrivals)


@dataclass(frozen=True)
class Network:
    """The layers that one output depends on, in execution order, and the model's inputs.

    Attributes:
        units: The layers.
        count: Layers of the whole file.
        inputs: Name and channels of each input.
        heads: Layers that the output is made of; their kernels are classes, whose order is fixed.
        precision: ``float32``, ``float16`` or ``int8``: the coarsest numbers that it keeps weights or activations in.
        rounded: Whether all weights are numbers that float16 can hold, whatever type they are kept in.
        behind: Operators between the classes' scores and the output, such as Softmax.
    """

    units: tuple[Unit, ...]
    count: int
    inputs: tuple[tuple[str, int], ...]
    heads: frozenset[int]
    precision: str = "float32"
    rounded: bool = False
    behind: tuple[str, ...] = ()

    def unit(self, index: int) -> Unit:
        """The layer of an index."""
        return next(u for u in self.units if u.index == index)


@dataclass(frozen=True)
class Pair:
    """A layer of one file and the same of the other.

    Attributes:
        a: The first file's.
        b: The second file's.
        evidence: ``weights``, ``names``, ``activations`` or ``position``: what says that they are the same.
        kernels: Kernel of `a` to that of `b`, (kernels,).
        channels: Channel of `a` to that of `b`, (channels,).
        wired: The same as the wires have it; it differs where weights say that channels arrive in another order.
        alike: Mean cosine of the kernels' weights.
    """

    a: Unit
    b: Unit
    evidence: str
    kernels: Array
    channels: Array
    wired: Array
    alike: float

    @property
    def reordered(self) -> bool:
        """Whether channels arrive in another order than the weights expect."""
        return not np.array_equal(self.channels, self.wired)


@dataclass(frozen=True)
class Alignment:
    """Pairs in the first file's execution order, and what is only in one of them.

    Attributes:
        pairs: Layers that both have.
        only_a: Layers of the first file only.
        only_b: Layers of the second file only.
        owners: Layers and inputs of the first file to those of the second.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[Unit, ...]
    only_b: tuple[Unit, ...]
    owners: Mapping[int, int]


# ------------------------------------------------------------------------------------------ describing


def network(topology: Topology, output: str, target: str, depths: Mapping[int, int]) -> Network:
    """What is compared of a file: every layer that an output depends on.

    Args:
        topology: The network.
        output: The model's output.
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
    return Network(
        units=units,
        count=len(topology.layers),
        inputs=tuple((o.tensor, o.count) for o in inputs if o.tensor in program.shapes),
        heads=frozenset(topology.heads(target)),
        precision=next((k for k in PRECISIONS if k in kinds), "float32"),
        rounded=all(_fits_float16(u.weights()) for u in units),
        behind=_behind(program, output, target),
    )


def _fits_float16(weights: Array) -> bool:
    some = weights.reshape(-1)[:4096]
    with np.errstate(over="ignore"):
        return bool((some == some.astype(np.float16).astype(np.float32)).all())


def _behind(program: Program, output: str, target: str) -> tuple[str, ...]:
    found: list[str] = []
    tensor = output
    while tensor != target and (node := program.producers.get(tensor)) is not None:
        found.append(node.op.rpartition("::")[2])
        tensor = node.inputs[0]
    return tuple(f for f in found[::-1] if f.removeprefix("QLinear") in {"Softmax", "LogSoftmax", "Sigmoid"})


def _unit(
    topology: Topology, layer: KernelLayer, found: Feature, target: str, depth: int | None, ends: frozenset[str]
) -> Unit:
    steps = chain(topology, layer, found.tensor)
    activation, before = _activation(topology, layer, steps)
    source, axis, geometry = _unpadded(topology, layer)
    *stages, last = affine(topology, layer, steps)
    users = topology.program.consumers.get(found.tensor, [])
    joined = any(isinstance(topology.effects.get(u.name), fx.Sum) for u in users)
    return Unit(
        index=layer.index, name=layer.name, weight=layer.weight, op=layer.op, depth=depth,
        kernels=layer.kernels, channels=layer.channels, groups=layer.groups, geometry=geometry,
        weights=lambda: _weights(layer), scale=last.scale, bias=last.bias, epsilon=last.epsilon, variance=last.variance,
        activation=activation, precision=_precision(topology.program, layer),
        arrivals=_arrivals(topology, layer), input=Place(source, axis),
        before=Place(found.tensor, found.axis) if activation is None else before,
        output=Place(found.tensor, found.axis), path=_path(topology, source),
        joined=joined, answer=_answer(topology.program, found, target) if activation is None else None,
        way=between(topology, source, ends), stages=tuple(stages),
        shared=activation is None and (joined or len(users) > 1),
    )  # fmt: skip


def _answer(program: Program, found: Feature, target: str) -> tuple[str, Place] | None:
    """The Sigmoid between a classifier and the answer, which onnxruntime makes part of the classifier."""
    users = program.consumers.get(target, []) if found.tensor == target else []
    return next(((n.op, Place(n.outputs[0], found.axis)) for n in users if n.op == "Sigmoid"), None)


def _weights(layer: KernelLayer) -> Array:
    pieces = [w.reshape(w.shape[0], w.shape[1], -1) for w in (p.weights() for p in layer.parts)]
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


def _activation(
    topology: Topology, layer: KernelLayer, steps: Sequence[tuple[Node, fx.Effect]]
) -> tuple[str | None, Place | None]:
    """Name of the activation behind a layer, and the kernels before it where the file has them."""
    fused = layer.parts[0].activation
    if fused and fused.lower() != "identity":
        return _spelled(fused), None
    for node, effect in steps:
        if isinstance(effect, fx.Activation | fx.Gate):
            name = "Relu" if isinstance(effect, fx.Activation) and effect.rectifier else node.op.rpartition("::")[2]
            if isinstance(effect, fx.Gate):
                name = OWN_GATE
            tensor = read(node, effect) or ""
            axis = kernel_axis(topology, tensor, layer.kernels)
            return name, None if axis is None else Place(tensor, axis)
    ends = [layer.output, *(n.outputs[0] for n, e in steps if isinstance(e, fx.Quantise))]
    if any(_saturates(topology, tensor) for tensor in ends):
        return "Relu", None
    return None, None


def _spelled(name: str) -> str:
    return {"relu": "Relu"}.get(name.lower(), name)


def _saturates(topology: Topology, tensor: str) -> bool:
    """Whether an integer tensor holds no number below zero, so that a Relu has vanished into its range."""
    quantised = topology.states.get(tensor, State()).quantised
    if quantised is None:
        return False
    kind = topology.program.dtypes.get(tensor, "uint8")
    zero = topology.program.constant_or_none(quantised[1]) if quantised[1] else np.zeros(1)
    if zero is None or not np.issubdtype(np.dtype(kind), np.integer):
        return False
    return bool((np.asarray(zero) == np.iinfo(kind).min).all())


def _unpadded(topology: Topology, layer: KernelLayer) -> tuple[str, int, Geometry]:
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
        elif node.op == "Reshape" and (kept := _moved_ones(program, node)) is not None:
            axes = [kept[a] for a in axes]
        elif node.op == "Pad" and (pads := _zeros(program, node, axes)) is not None:
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


def _moved_ones(program: Program, node: Node) -> dict[int, int] | None:
    """Axes after and before a Reshape that only puts axes of one element elsewhere; None for any other."""
    after, before = program.shapes[node.outputs[0]], program.shapes[node.inputs[0]]
    long = [[a for a, n in enumerate(shape) if n != 1] for shape in (after, before)]
    ones = [[a for a, n in enumerate(shape) if n == 1] for shape in (after, before)]
    if len(after) != len(before) or [after[a] for a in long[0]] != [before[a] for a in long[1]]:
        return None
    return {**dict(zip(*long, strict=True)), **dict(zip(*ones, strict=True))}


def _zeros(program: Program, node: Node, axes: Sequence[int]) -> list[tuple[int, int]] | None:
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


def _path(topology: Topology, source: str) -> dict[str, int]:
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
                found[f"activation {_spelled(name)}"] += 1
            continue
        node = program.producers.get(tensor)
        effect = None if node is None else topology.effects.get(node.name)
        if node is None or effect is None:
            continue
        if word := _word(node, effect):
            found[word] += 1
        stack.extend(i for i in node.inputs if i)
    return dict(found)


def _word(node: Node, effect: fx.Effect) -> str | None:
    op = node.op.rpartition("::")[2]
    match effect:
        case fx.Activation(rectifier=rectifier):
            return f"activation {'Relu' if rectifier else op}"
        case fx.Pool(kind=kind, geometry=g):
            pads = "/".join(f"{b}+{e}" for b, e in zip(g.begins, g.ends, strict=True))
            return f"{kind} pool {_times(g.kernel)}, strides {_times(g.strides)}, padding {pads}"
        case fx.Reduce(kind=kind):
            return f"{kind} over axes"
        case fx.Normalise():
            return f"normalisation {op}"
        case fx.Sum():
            return "an Add"
        case fx.Gate():
            return "a product"
    return None


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


# ------------------------------------------------------------------------------------------- channels


def pair_up(a: Array, b: Array) -> tuple[Array, Array]:
    """Places in two lists that hold the same number; of repeated ones the first with the first, and so on.

    Args:
        a: (n,) integers.
        b: (m,) integers.

    Returns:
        Places in `a` and the ones in `b` that they go with.
    """
    _, left, right = np.intersect1d(_coded(a, a, b), _coded(b, a, b), assume_unique=True, return_indices=True)
    return left, right


def _coded(values: Array, a: Array, b: Array) -> Array:
    """Distinct numbers that say which value, and the how-manieth of it."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    occurrence = np.zeros(len(values), np.int64)
    if len(values):
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        sizes = np.diff(np.r_[starts, len(values)])
        occurrence[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return np.asarray(values * (max(len(a), len(b)) + 1) + occurrence)


def fill(partial: Array) -> Array:
    """A partial one-to-one map made whole: what has no partner keeps its place, or takes the next free one."""
    out = partial.copy()
    free = np.setdiff1d(np.arange(len(out)), out[out >= 0])
    for place in np.flatnonzero(out < 0):
        if np.isin(place, free):
            out[place] = place
            free = free[free != place]
    holes = np.flatnonzero(out < 0)
    out[holes] = free[: len(holes)]
    return out


# -------------------------------------------------------------------------------------------- kernels


def directions(weights: Array) -> Array:
    """Rows of length 1; a row of zeros becomes one that only equals another such row."""
    rows = weights.reshape(len(weights), -1).astype(np.float32)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = np.full(rows.shape[1], rows.shape[1] ** -0.5, np.float32)
    return np.where(size > 0, rows / np.where(size > 0, size, 1), flat).reshape(weights.shape)


def reordered(weights: Array, groups: int, channels: Array) -> tuple[Array, Array]:
    """Weights of the second file with channels in the order of the first's.

    Args:
        weights: (kernels, channels / groups, taps).
        groups: Groups.
        channels: (channels,) channel of the first file to that of the second.

    Returns:
        (groups, kernels / groups, channels / groups, taps) by the first file's groups, and the second's group of each;
        -1 where channels of one group come from several.
    """
    kernels, width, taps = weights.shape
    table = channels.reshape(groups, width)
    group = table[:, 0] // width
    whole = (table // width == group[:, None]).all(axis=1)
    first = np.zeros(groups, bool)
    first[np.unique(group, return_index=True)[1]] = True
    ok = whole & first
    pieces = weights.reshape(groups, kernels // groups, width, taps)
    if not np.array_equal(group, np.arange(groups)):
        pieces = pieces[group]
    if not np.array_equal(table, np.arange(channels.size).reshape(table.shape)):
        places = np.where(ok[:, None], table - group[:, None] * width, 0)
        pieces = np.take_along_axis(pieces, places[:, None, :, None], axis=2)
    return pieces, np.where(ok, group, NOWHERE)


def match_kernels(a: Unit, b: Unit, channels: Array, *, fixed: bool = False) -> tuple[Array, float]:
    """Which kernel is which, given which channel is which, and the mean cosine of their weights.

    Kernels with parallel weights are told by the size of the weights and by the bias, then by their place.

    Args:
        a: A layer of the first file.
        b: One of the second.
        channels: (channels,) channel of `a` to that of `b`.
        fixed: Whether every kernel keeps its place, as classes do.
    """
    wa, wb = a.effective(), b.effective()
    groups, per = a.groups, a.kernels // a.groups
    theirs, group = reordered(wb, groups, channels)
    theirs = theirs.reshape(groups, per, -1)
    ours = wa.reshape(theirs.shape)
    sizes_a, sizes_b = (np.sqrt(np.einsum("gmd,gmd->gm", w, w)) for w in (ours, theirs))
    both = sizes_a * sizes_b
    straight = np.einsum("gmd,gmd->gm", ours, theirs) / np.where(both > 0, both, 1)
    straight = np.where((sizes_a == 0) & (sizes_b == 0), 1.0, straight)
    bias_a = _by_group(a.bias, groups, per, np.arange(groups))
    bias_b = _by_group(b.bias, groups, per, group)
    same = np.array_equal(group, np.arange(groups))
    if same and (fixed or _near(straight, sizes_a, sizes_b, bias_a, bias_b)):
        return np.arange(a.kernels), float(straight.mean())
    if fixed:
        return np.arange(a.kernels), float(np.where(group == np.arange(groups), straight.mean(axis=1), 0).mean())
    u, v = (directions(w.reshape(a.kernels, -1)).reshape(groups, per, -1) for w in (ours, theirs))
    cosines = np.matmul(u, v.transpose(0, 2, 1))
    cosines[group < 0] = 0.0
    value = cosines - 1e-3 * _apart(sizes_a, sizes_b) - 1e-3 * _apart(bias_a, bias_b)
    value[:, np.arange(per), np.arange(per)] += 1e-6
    out = np.full((groups, per), NOWHERE)
    total = 0.0
    for g in range(groups):
        if group[g] < 0:
            continue
        chosen = assign(value[g])
        out[g] = group[g] * per + chosen
        total += float(cosines[g][np.arange(per), chosen].sum())
    return fill(out.reshape(-1)), total / a.kernels


def _by_group(bias: Array | None, groups: int, per: int, order: Array) -> Array:
    return np.zeros((groups, per)) if bias is None else np.asarray(bias).reshape(groups, per)[order]


def _near(cosines: Array, *pairs: Array) -> bool:
    sizes_a, sizes_b, bias_a, bias_b = pairs
    near = [np.abs(x - y).max(initial=0.0) <= EXACT * np.abs(x).max(initial=1e-30) for x, y in
            ((sizes_a, sizes_b), (bias_a, bias_b))]  # fmt: skip
    return bool(cosines.min(initial=1.0) >= 1 - EXACT and all(near))


def _apart(a: Array, b: Array) -> Array:
    """Distance of each to each, 0..1 of the larger: (groups, m, m)."""
    far = np.abs(a[:, :, None] - b[:, None, :])
    size = np.maximum(np.abs(a)[:, :, None], np.abs(b)[:, None, :])
    return np.asarray(np.minimum(1.0, far / np.maximum(size, 1e-12)))


def assign(value: Array) -> Array:
    """A one-to-one choice with large values, (n,) column of each row: mutual bests first, then the largest left."""
    n = len(value)
    best = value.argmax(axis=1)
    out = np.full(n, NOWHERE)
    if len(np.unique(best)) == n:
        return np.asarray(best)
    mutual = value.argmax(axis=0)[best] == np.arange(n)
    out[mutual] = best[mutual]
    rows = np.flatnonzero(~mutual)
    columns = np.setdiff1d(np.arange(n), out[mutual])
    rest = value[np.ix_(rows, columns)].copy()
    for _ in range(len(rows)):
        i, j = np.unravel_index(int(rest.argmax()), rest.shape)
        out[rows[i]] = columns[j]
        rest[i, :] = rest[:, j] = -np.inf
    return np.asarray(out)


def wire_maps(a: Unit, b: Unit, owners: Mapping[int, int], maps: Mapping[int, Array]) -> list[Array]:
    """Possible orders of a layer's channels: as the wires have it, then as the file has it.

    Args:
        a: A layer of the first file.
        b: One of the second.
        owners: Layers and inputs of the first file that are known, and theirs of the second.
        maps: Kernel of each of them to the second's.
    """
    ours, theirs = a.carried, b.carried
    known = [o for o in ours if o in owners and owners[o] in theirs]
    found = []
    for order in (sorted(known, reverse=True), sorted(known)):
        partial = np.full(a.channels, NOWHERE)
        taken = np.zeros(a.channels, bool)
        for owner in order:
            channels, kernels = ours[owner]
            other, at = theirs[owners[owner]]
            left, right = pair_up(maps[owner][kernels], at)
            left, right = channels[left], other[right]
            free = (partial[left] < 0) & ~taken[right]
            partial[left[free]] = right[free]
            taken[right[free]] = True
        found.append(fill(partial))
    found.append(np.arange(a.channels))
    return [m for i, m in enumerate(found) if not any(np.array_equal(m, o) for o in found[:i])]


def _incoming(arrivals: Iterable[Arrival]) -> dict[int, tuple[Array, Array]]:
    out: dict[int, list[tuple[Array, Array]]] = {}
    for arrival in arrivals:
        for owner in np.unique(arrival.owner[arrival.owner >= 0]):
            rows, columns = np.nonzero(arrival.owner == owner)
            out.setdefault(int(owner), []).append((rows, arrival.kernel[rows, columns]))
    return {o: (np.concatenate([c for c, _ in x]), np.concatenate([k for _, k in x])) for o, x in out.items()}


def _refined(best: Pair) -> Array:
    """Channels of groups that do not fit, told by the weights that read them instead of by the wires."""
    a, b, channels = best.a, best.b, best.channels
    wa, wb = a.effective(), b.effective()
    if a.groups == a.channels == a.kernels:  # each kernel has its own channel: it is where its weights are
        u, v = directions(wa).reshape(a.kernels, -1), directions(wb).reshape(a.kernels, -1)
        bad = np.flatnonzero(np.einsum("kn,kn->k", u, v[channels]) < FITS)
        out = channels.copy()
        out[bad] = channels[bad][assign(u[bad] @ v[channels[bad]].T)] if bad.size else channels[bad]
        return out
    per, width = a.kernels // a.groups, a.channels // a.groups
    theirs, group = reordered(wb, a.groups, channels)
    out = channels.copy()
    for g in np.flatnonzero(group >= 0):
        ours = wa[g * per : (g + 1) * per]
        rows = best.kernels[g * per : (g + 1) * per] - group[g] * per
        starts = [rows] if ((rows >= 0) & (rows < per)).all() else []
        order = max(
            (_columns(ours, theirs[g], r) for r in (*starts, _by_signature(ours, theirs[g]))), key=lambda x: x[1]
        )
        out[g * width : (g + 1) * width] = channels[g * width : (g + 1) * width][order[0]]
    return out


def _columns(ours: Array, theirs: Array, rows: Array) -> tuple[Array, float]:
    """Channel of each channel once kernels are told, kernels told again by that, and how well they fit: mean cosine."""
    order, fit = np.arange(ours.shape[1]), 0.0
    for _ in range(2):
        u, v = (w.transpose(1, 0, 2).reshape(w.shape[1], -1) for w in (ours, theirs[rows]))
        order = assign(2 * u @ v.T - (v**2).sum(axis=1) - (u**2).sum(axis=1)[:, None])  # few kernels: size tells, too
        u, v = (directions(w).reshape(len(w), -1) for w in (ours, theirs[:, order]))
        cosines = u @ v.T
        rows = assign(cosines)
        fit = float(cosines[np.arange(len(rows)), rows].mean())
    return order, fit


def _by_signature(ours: Array, theirs: Array) -> Array:
    """Kernels told by what does not depend on the order of their channels."""
    u, v = (
        directions(
            np.concatenate([w.sum(axis=1), (w**2).sum(axis=1), np.sort(np.linalg.norm(w, axis=2), axis=1)], axis=1)
        )
        for w in (ours, theirs)
    )
    return assign(u @ v.T)


# --------------------------------------------------------------------------------------------- layers


class _Aligner:
    """One walk over the layers of the first file; what it knows is in its attributes."""

    def __init__(self, a: Network, b: Network, means: tuple[Mapping[int, Array], Mapping[int, Array]] | None) -> None:
        self.a, self.b, self.means = a, b, means
        self.owners: dict[int, int] = {}
        self.maps: dict[int, Array] = {}
        self.pairs: dict[int, Pair] = {}
        self.free = {u.index: u for u in b.units}
        self.corrected: dict[int, dict[int, Pair]] = {}
        names = [name for name, _ in b.inputs]
        for i, (name, count) in enumerate(a.inputs):
            other = names.index(name) if name in names else i
            if other < len(names):
                self.owners[a.count + i] = b.count + other
                self.maps[a.count + i] = np.arange(count)

    def run(self) -> Alignment:
        for unit in self.a.units:
            found = self._partner(unit)
            if found is not None:
                self._take(found)
        only_a = tuple(u for u in self.a.units if u.index not in self.pairs)
        ordered = tuple(self.pairs[u.index] for u in self.a.units if u.index in self.pairs)
        return Alignment(ordered, only_a, tuple(self.free.values()), dict(self.owners))

    def _partner(self, a: Unit) -> Pair | None:
        """The most likely partner among the layers that are left."""
        candidates = sorted(
            (b for b in self.free.values() if alike_in_shape(a, b)),
            key=lambda b: (-self._wired(a, b), -shared_words(a, b), b.index),
        )
        tried = []
        for b in candidates:
            pair = self._fit(a, b)
            tried.append(pair)
            if pair.alike >= FITS and self._wired(a, b) == 1.0:
                return pair
        if not tried:
            return None
        best = max(tried, key=lambda p: p.alike + 0.1 * self._wired(a, p.b) + 0.01 * shared_words(a, p.b))
        if best.alike >= ALIKE:
            return best
        tried = [p for p in tried if not self._another(a, p.b)]
        if not tried:
            return None
        by_name = max(tried, key=lambda p: (shared_words(a, p.b), self._wired(a, p.b)))
        if shared_words(a, by_name.b) >= NAMED:
            return replace(by_name, evidence="names")
        if self.means is not None:
            ours, theirs = self.means
            scored = [(profile(ours[a.index], theirs[p.b.index]), p) for p in tried
                      if a.index in ours and p.b.index in theirs]  # fmt: skip
            score, by_mean = max(scored, key=lambda x: x[0], default=(0.0, tried[0]))
            if score >= FITS:
                return replace(by_mean, evidence="activations")
        first = tried[0]
        return replace(first, evidence="position") if self._wired(a, first.b) > 0 else None

    def _another(self, a: Unit, b: Unit) -> bool:
        """Whether a layer of the second file has the weights of one that is still to come, in whatever order."""
        later = (u for u in self.a.units if u.index not in self.pairs and u is not a)
        return any(alike_in_shape(u, b) and same_spectrum(u, b) for u in later)

    def _wired(self, a: Unit, b: Unit) -> float:
        """Part of the layers above that the two have in common."""
        ours = {self.owners.get(o, NOWHERE) for o in a.carried}
        theirs = set(b.carried)
        return len(ours & theirs) / max(1, len(ours | theirs))

    def _fit(self, a: Unit, b: Unit) -> Pair:
        """The two as a pair, in the order of channels under which their weights agree best."""
        fixed = a.index in self.a.heads
        wired, *others = wire_maps(a, b, self.owners, self.maps)
        kernels, alike = match_kernels(a, b, wired, fixed=fixed)
        best = Pair(a, b, "weights", kernels, wired, wired, alike)
        if alike >= 1 - 1e-6:
            return best
        for channels in others:
            best = self._better(best, channels, fixed=fixed)
        if best.alike < 1 - EXACT:
            told = self._better(best, _refined(best), fixed=fixed)
            few = a.kernels // a.groups * np.prod(a.taps, dtype=int) < SEVERAL  # which fit nearly in some order
            best = told if told.alike >= 1 - EXACT or not few else best
        if best.alike < ALIKE:  # weights say nothing: kernels keep the place that names and wires give them
            return replace(best, kernels=np.arange(a.kernels), channels=wired)
        return best

    @staticmethod
    def _better(best: Pair, channels: Array, *, fixed: bool) -> Pair:
        """Another order of channels where it leaves less than half of what is amiss."""
        kernels, alike = match_kernels(best.a, best.b, channels, fixed=fixed)
        return replace(best, kernels=kernels, channels=channels, alike=alike) if (
            1 - alike < 0.5 * (1 - best.alike)) else best  # fmt: skip

    def _take(self, pair: Pair) -> None:
        pair = _levelled(pair)
        index = pair.a.index
        self.pairs[index] = pair
        self.owners[index] = pair.b.index
        self.maps[index] = pair.kernels
        del self.free[pair.b.index]
        self._correct(pair)

    def _correct(self, pair: Pair) -> None:
        """Kernels above whose order this layer's weights contradict get the order that it expects.

        Where the files wire the two layers alike, whoever changed the order changed the kernels, and not what
        lies between.
        """
        for owner, (channels, kernels) in pair.a.incoming.items():
            above = self.pairs.get(owner)
            other = pair.b.incoming.get(self.owners.get(owner, NOWHERE))
            if above is None or other is None or above.a.index in self.a.heads:
                continue
            arrives = np.full(pair.b.channels, NOWHERE)
            arrives[other[0]] = other[1]
            told = arrives[pair.channels[channels]]
            if (arrives[channels] != kernels).any() and not _by_whole_kernels(kernels, told):
                continue
            implied = np.full(above.a.kernels, NOWHERE)
            implied[kernels] = told
            if (implied >= 0).any() and len(np.unique(implied[implied >= 0])) == (implied >= 0).sum():
                kept = (implied < 0) & ~np.isin(above.kernels, implied)  # the others are not read here, or exchanged
                implied = fill(np.where(kept, above.kernels, implied))
                if not np.array_equal(implied, above.kernels):
                    self._set(replace(above, kernels=implied))
                    self.corrected.setdefault(pair.a.index, {})[owner] = above
                    self._restore(owner)
                    self._rewire(pair)

    def _set(self, pair: Pair) -> None:
        self.maps[pair.a.index] = pair.kernels
        self.pairs[pair.a.index] = pair

    def _restore(self, index: int) -> None:
        """What a layer with a channel of its own for each kernel made of the layers above, where it is itself at fault.

        Its kernels exchanged look like its channels exchanged; the layer below tells which it is.
        """
        pair = self.pairs[index]
        if pair.a.groups != pair.a.channels or index not in self.corrected:
            return
        for old in self.corrected.pop(index).values():
            self._set(old)
        wired = wire_maps(pair.a, pair.b, self.owners, self.maps)[0]
        self.pairs[index] = replace(pair, channels=wired, wired=wired)

    def _rewire(self, pair: Pair) -> None:
        wired = wire_maps(pair.a, pair.b, self.owners, self.maps)
        kept = next((w for w in wired if np.array_equal(w, pair.channels)), wired[0])
        self.pairs[pair.a.index] = replace(pair, wired=kept)


def _by_whole_kernels(ours: Array, theirs: Array) -> bool:
    """Whether each kernel arrives several times, as positions laid out do, and goes to one other with all of them.

    Args:
        ours: Kernel at each channel.
        theirs: The other file's kernel at the channel that fits.
    """
    count = np.bincount(ours)
    first = np.full(count.size, NOWHERE)
    first[ours] = theirs
    return bool((count[count > 0] > 1).all() and (first[ours] == theirs).all())


def _levelled(pair: Pair) -> Pair:
    """A pair judged before maps that are the layer's alone in one file only, as behind an Add that the other lacks."""
    a, b = pair.a, pair.b
    ours, theirs = a.stages if b.shared else (), b.stages if a.shared else ()
    if not (ours or theirs) or _fits_scale(a, b, pair.kernels):
        return pair
    cuts = [*(replace(pair, a=_cut(a, s)) for s in ours), *(replace(pair, b=_cut(b, s)) for s in theirs)]
    return next((p for p in cuts if _fits_scale(p.a, p.b, p.kernels)), pair)


def _cut(unit: Unit, stage: Stage) -> Unit:
    return replace(
        unit, scale=stage.scale, bias=stage.bias, epsilon=stage.epsilon, variance=stage.variance, activation=None,
        before=stage.place, output=stage.place or unit.output, stages=(),
    )  # fmt: skip


def _fits_scale(a: Unit, b: Unit, kernels: Array) -> bool:
    """Whether the weights and biases of most kernels have the same size."""
    if a.scale is None or b.scale is None or a.bias is None or b.bias is None:
        return True
    one, two = (np.linalg.norm(u.effective().reshape(u.kernels, -1), axis=1) for u in (a, b))
    near = np.abs(one - two[kernels]) <= FITTING * one.max(initial=0.0)
    near &= np.abs(a.bias - b.bias[kernels]) <= FITTING * max(np.abs(a.bias).max(initial=0.0), one.max(initial=0.0))
    return bool(near.mean() > 0.5)


def places(a: Unit, b: Unit) -> tuple[Place, Place]:
    """Where the outputs of two layers are compared: after the activation.

    Before it where only one has any, or only one has it as a product, to which a factor may still be missing.
    """
    if a.answers(b):
        return (a.answer[1], b.output) if a.answer else (a.output, b.answer[1] if b.answer else b.output)
    alike = bool(a.activation) == bool(b.activation) and (a.activation == OWN_GATE) == (b.activation == OWN_GATE)
    if alike or a.before is None or b.before is None:
        return a.output, b.output
    return a.before, b.before


def align(a: Network, b: Network, *, means: tuple[Mapping[int, Array], Mapping[int, Array]] | None = None) -> Alignment:
    """Which layer and kernel is which: by weights, then names, then activations, then place.

    Args:
        a: The first file's layers.
        b: The second file's.
        means: Mean activation of every kernel, by layer index, of both on one clip.
    """
    return _Aligner(a, b, means).run()


def alike_in_shape(a: Unit, b: Unit) -> bool:
    """Whether two layers can be the same: kernels, channels, groups and window, axes with one tap aside."""
    if (a.kernels, a.channels, a.groups) != (b.kernels, b.channels, b.groups):
        return False
    one, two = a.taps, b.taps
    if len(one) != len(two):
        one, two = (tuple(k for k in taps if k > 1) for taps in (one, two))
    return one == two


def same_spectrum(a: Unit, b: Unit) -> bool:
    """Whether two layers have the same weights, whatever the order of kernels and channels."""
    one, two = a.spectrum, b.spectrum
    size = float(np.abs(one).max(initial=0.0))
    return one.shape == two.shape and bool(np.abs(one - two).max(initial=0.0) <= EXACT * size)


def shared_words(a: Unit, b: Unit) -> float:
    """Part of the words of two layers' names that both have, 0..1."""
    return words_in_common((a.weight, a.name), (b.weight, b.name))


def words_in_common(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Part of the words that a name of one has in common with a name of the other, 0..1, the most of all pairs."""
    return max(_shared(one, two) for one in ours for two in theirs)


_NOISE = frozenset({"weight", "kernel", "conv", "matmul", "gemm", "w", "node", "readvariableop", "0", "quantized", ""})


def _shared(one: str, two: str) -> float:
    first, second = (set(re.split(r"[^a-z0-9]+", n.lower())) - _NOISE for n in (one, two))
    return len(first & second) / len(first | second) if first | second else 0.0


def profile(a: Array, b: Array) -> float:
    """How alike the sorted mean activations of two layers are, in any order of kernels: cosine."""
    if a.shape != b.shape:
        return 0.0
    one, two = np.sort(a), np.sort(b)
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / size if size > 0 else 0.0


__all__ = [
    "Alignment", "Arrival", "Network", "Pair", "Place", "Stage", "Unit", "align", "assign", "directions", "fill",
    "match_kernels", "network", "pair_up", "places", "profile", "reordered", "same_spectrum", "shared_words",
    "wire_maps", "words_in_common",
]  # fmt: skip
