"""Layers, wires, branches, fibers, shortcuts and gates of a network, read off the labels that flow through its graph.

A tensor's labels say, element by element, which kernel made it. Layers read the labels that arrive at their input
channels (wires) and emit fresh ones, so shuffles, flattening and padded shortcuts come out exact with no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import networkx as nx
import numpy as np

from cfp_onnx.errors import ModelError, TargetError, UnsupportedOperatorError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import NONE, UNKNOWN, to_rank, varies
from cfp_onnx.graph.layers import Fibers, Part, find_fibers, find_parts
from cfp_onnx.graph.operators import View, effect_of
from cfp_onnx.graph.states import State, Track
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

Means = Callable[[str], "Array | None"]


@dataclass(frozen=True)
class KernelLayer:
    """A layer of the network.

    Attributes:
        index: Position in execution order.
        name: The ONNX node's name; of fibers that are one layer, the first's.
        op: ONNX operator.
        weight: Name of the initializer its weights come from.
        nodes: All nodes that make it up.
        kernels: Output channels.
        channels: Input channels, over the whole layer.
        groups: Groups, or fibers.
        kernel_shape: Taps per spatial axis; empty for a dense layer.
        family: plain, pointwise, grouped, depthwise, factorised or dense.
        parts: The weighted operations.
        first: Label of its kernel 0.
        source: Tensor its channels are numbered over.
        output: Tensor its kernels are numbered over.
        split: Whether it is written as Split, convolutions and Concat.
    """

    index: int
    name: str
    op: str
    weight: str
    nodes: tuple[str, ...]
    kernels: int
    channels: int
    groups: int
    kernel_shape: tuple[int, ...]
    family: str
    parts: tuple[Part, ...]
    first: int
    source: str
    output: str
    split: bool = False


@dataclass(frozen=True)
class Origin:
    """Where labels come from: a layer, or an input of the model (`layer` is None)."""

    layer: int | None
    tensor: str
    first: int
    count: int


@dataclass(frozen=True)
class Source:
    """One thing that feeds a channel: kernel `kernel` of layer `layer` (None: of a graph input)."""

    layer: int | None
    kernel: int
    share: float
    via: str


@dataclass(frozen=True)
class Joint:
    """A place where paths meet: a branch point, a shortcut's Add, or a gate's Mul.

    Attributes:
        node: The node where they meet.
        kind: ``concat`` | ``add`` for branches, ``identity`` | ``projected`` | ``padded`` for shortcuts, ``gate``.
        paths: Layers whose kernels arrive, path by path (of a shortcut or gate: main path first).
    """

    node: str
    kind: str
    paths: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Coverage:
    """How much of what is upstream of the target could be traced.

    Attributes:
        channels: Fraction of input channels whose sources are known.
        layers: Fraction of layers that the walk can reach.
        operators_unknown: Operators that were treated as a barrier.
    """

    channels: float
    layers: float
    operators_unknown: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return self.channels == 1.0 and self.layers == 1.0 and not self.operators_unknown


@dataclass(frozen=True)
class Topology:
    """The network as a graph of layers.

    Attributes:
        program: The program it was read from.
        layers: Layers in execution order.
        states: Labels of every tensor.
        effects: Effect of every node, by name.
        origins: Layers and inputs, by label range.
        branches: Concats (and Adds) where branches meet.
        shortcuts: Adds with their shortcuts.
        gates: Products with their gates.
        barriers: Unknown operators that were passed over on request.
    """

    program: Program
    layers: tuple[KernelLayer, ...]
    states: Mapping[str, State]
    effects: Mapping[str, fx.Effect]
    origins: tuple[Origin, ...]
    branches: tuple[Joint, ...]
    shortcuts: tuple[Joint, ...]
    gates: tuple[Joint, ...]
    barriers: tuple[str, ...] = ()
    _wires: dict[int, list[tuple[str, Array, Array]]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _firsts(self) -> Array:
        return np.array([o.first for o in self.origins], dtype=np.int64)

    def origin_of(self, label: int) -> Origin:
        """The layer or input a label belongs to."""
        return self.origins[int(np.searchsorted(self._firsts, label, side="right")) - 1]

    def wires(self, layer: KernelLayer, states: Mapping[str, State] | None = None) -> list[tuple[str, Array, Array]]:
        """Arriving labels per channel: (via, labels (channels, m), shares (channels, m)) for each track."""
        if states is not None:
            return part_wires(self, layer, states)
        if layer.index not in self._wires:
            self._wires[layer.index] = part_wires(self, layer, self.states)
        return self._wires[layer.index]

    def owners(self, labels: Array) -> Array:
        """Index into `origins` of each label."""
        return np.searchsorted(self._firsts, labels, side="right") - 1

    def sources(
        self, layer: KernelLayer, channels: Sequence[int], states: Mapping[str, State] | None = None
    ) -> list[tuple[Source, ...]]:
        """What feeds each of some channels of a layer; the shares of a channel add up to 1 (gates have 0)."""
        wires = self.wires(layer, states)
        return [self._sources_of(wires, c) for c in channels]

    def _sources_of(self, wires: list[tuple[str, Array, Array]], channel: int) -> tuple[Source, ...]:
        out: dict[tuple[int | None, int], Source] = {}
        for via, labels, shares in wires:
            for label, share in zip(labels[channel], shares[channel], strict=True):
                if label < 0:
                    continue
                origin = self.origin_of(int(label))
                key = (origin.layer, int(label) - origin.first)
                old = out.get(key)
                if old is None:
                    out[key] = Source(*key, float(share), via)
                else:
                    out[key] = replace(old, share=old.share + float(share), via=via if old.via == "gate" else old.via)
        total = sum(s.share for s in out.values())
        if total > 0:
            return tuple(replace(s, share=s.share / total) for s in out.values())
        main = [s for s in out.values() if s.via != "gate"]
        return tuple(replace(s, share=1 / len(main) if s in main else 0.0) for s in out.values())

    @cached_property
    def graph(self) -> nx.MultiDiGraph:
        """Layers as nodes (and ``input:NAME``), one edge per wire with attribute ``via``; edges point with the data."""
        graph: nx.MultiDiGraph = nx.MultiDiGraph()
        for layer in self.layers:
            graph.add_node(
                layer.name, index=layer.index, op=layer.op, kernels=layer.kernels, channels=layer.channels,
                groups=layer.groups, family=layer.family, kernel_shape="x".join(map(str, layer.kernel_shape)),
            )  # fmt: skip
        for layer in self.layers:
            for origin, via in self.readers[layer.index]:
                source = f"input:{origin.tensor}" if origin.layer is None else self.layers[origin.layer].name
                graph.add_edge(source, layer.name, via=via)
        return graph

    @cached_property
    def readers(self) -> tuple[tuple[tuple[Origin, str], ...], ...]:
        """For each layer the origins it reads and how they come."""
        return tuple(self._origins_of(layer) for layer in self.layers)

    def _origins_of(self, layer: KernelLayer) -> tuple[tuple[Origin, str], ...]:
        found: dict[tuple[int, str], None] = {}
        for via, labels, _ in self.wires(layer):
            for k in np.unique(self._index_of(labels)):
                if k >= 0:
                    found[int(k), via] = None
        return tuple((self.origins[k], via) for k, via in sorted(found))

    def _index_of(self, labels: Array) -> Array:
        index = np.searchsorted(self._firsts, labels, side="right") - 1
        return np.where(labels < 0, -1, index)

    def side_inputs(self, layer: KernelLayer) -> tuple[Origin, ...]:
        """Origins that influence a layer's input without being a channel of it."""
        found = {k for part in layer.parts for k in self.states.get(part.source, State()).side}
        return tuple(self.origins[k] for k in sorted(found))

    # -------------------------------------------------------------------------------------------- target

    def upstream(self, tensor: str) -> frozenset[int]:
        """Indexes of all layers whose output the tensor depends on."""
        owner = {p.output: layer.index for layer in self.layers for p in layer.parts}
        found, seen, stack = set(), set(), [tensor]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in owner:
                found.add(owner[name])
            made = self.program.producers.get(name)
            if made is not None:
                stack.extend(i for i in made.inputs if i)
        return frozenset(found)

    def heads(self, tensor: str) -> tuple[int, ...]:
        """Layers whose kernels a tensor's elements are: the classifier."""
        state = self.states.get(tensor, State())
        found = {
            o.layer
            for t in state.tracks
            if t.via != "gate"
            for k in np.unique(self._index_of(np.asarray(t.labels)))
            if k >= 0 and (o := self.origins[int(k)]).layer is not None
        }
        return tuple(sorted(found))

    def depths(self, tensor: str) -> dict[int, int]:
        """Depth of every layer a tensor depends on: the longest path to it; the classifier has depth 0."""
        depth: dict[int, int] = dict.fromkeys(self.heads(tensor), 0)
        members = self.upstream(tensor)
        side_of = {k: self._side_layers(k) for k in members}
        head_side = {self.origins[k].layer for k in self.states.get(tensor, State()).side}
        for index in sorted(members, reverse=True):
            if index in head_side:
                depth.setdefault(index, 1)
            if index not in depth:
                continue
            for below in {o.layer for o, _ in self.readers[index] if o.layer is not None} | side_of[index]:
                if below is not None and below != index:
                    depth[below] = max(depth.get(below, 0), depth[index] + 1)
        return depth

    def _side_layers(self, index: int) -> set[int | None]:
        return {o.layer for o in self.side_inputs(self.layers[index]) if o.layer is not None and o.layer < index}

    def coverage(self, tensor: str) -> Coverage:
        """What is known of everything upstream of a tensor."""
        members = self.upstream(tensor)
        known = total = 0
        for index in members:
            for channel_known in _channels_known(self, self.layers[index]):
                total += 1
                known += channel_known
        reached = set(self.depths(tensor)) & members
        return Coverage(
            channels=known / total if total else 1.0,
            layers=len(reached) / len(members) if members else 1.0,
            operators_unknown=self.barriers,
        )


def _channels_known(topology: Topology, layer: KernelLayer) -> list[bool]:
    known = np.ones(layer.channels, dtype=bool)
    seen = np.zeros(layer.channels, dtype=bool)
    for _, labels, _ in topology.wires(layer):
        known &= ~(labels == UNKNOWN).any(axis=1)
        seen |= (labels != UNKNOWN).any(axis=1)
    has_side = bool(topology.side_inputs(layer))
    return list((known & (seen | has_side)).tolist())


def part_wires(topology: Topology, layer: KernelLayer, states: Mapping[str, State]) -> list[tuple[str, Array, Array]]:
    """Labels that arrive at each channel of a layer, over the whole layer's input."""
    rows: dict[tuple[int, str], list[tuple[int, Array, Array]]] = {}
    offset = 0
    for part in layer.parts:
        for k, track in enumerate(states.get(part.source, State()).tracks):
            labels, shares = _per_channel(track, part, topology.program)
            rows.setdefault((k, track.via), []).append((offset, labels, shares))
        offset += part.channels
    out = []
    for (_, via), pieces in rows.items():
        width = max(p[1].shape[1] for p in pieces)
        labels = np.full((layer.channels, width), NONE, np.int64)
        shares = np.zeros((layer.channels, width))
        for start, piece, share in pieces:
            labels[start : start + len(piece), : piece.shape[1]] = piece
            shares[start : start + len(piece), : piece.shape[1]] = share
        out.append((via, labels, shares))
    return out


def _per_channel(track: Track, part: Part, program: Program) -> tuple[Array, Array]:
    """Distinct labels of each channel (channels, m) with their mean shares."""
    rank = len(program.shapes[part.source])
    labels, shares = (np.moveaxis(to_rank(a, rank), part.in_axis, 0) for a in (track.labels, track.share))
    labels, shares = labels.reshape(labels.shape[0], -1), shares.reshape(shares.shape[0], -1)
    if labels.shape[0] == 1 and part.channels > 1:
        labels, shares = (np.repeat(a, part.channels, axis=0) for a in (labels, shares))
    if labels.shape[1] == 1:
        return labels, shares
    rows = [np.unique(row, return_inverse=True) for row in labels]
    width = max(len(u) for u, _ in rows)
    out, out_share = np.full((len(rows), width), NONE, np.int64), np.zeros((len(rows), width))
    for i, (unique, inverse) in enumerate(rows):
        out[i, : len(unique)] = unique
        out_share[i, : len(unique)] = (
            np.bincount(inverse.reshape(-1), weights=shares[i], minlength=len(unique)) / labels.shape[1]
        )
    return out, out_share


# ----------------------------------------------------------------------------------------------- building


def build(program: Program, *, channel_axes: Mapping[str, int], barriers: bool = False) -> Topology:
    """Read the topology of a program.

    Args:
        program: Canonical graph with observed shapes.
        channel_axes: Channel axis of each input of the model.
        barriers: Whether an unknown operator on a channel path is passed over, and recorded, instead of refused.

    Raises:
        UnsupportedOperatorError: If an operator on a channel path is unknown.
        ModelError: If there is no layer at all, or a weight contradicts its node.
    """
    parts = find_parts(program)
    if not parts:
        raise ModelError(
            f"{program.model.path}: no convolution and no dense layer with weights; there are no kernels to rank"
        )
    layers = _layers(program, parts, find_fibers(program, parts))
    origins = _origins(program, layers, channel_axes)
    flow = _Flow(program, layers, origins, channel_axes, barriers=barriers)
    flow.run()
    return Topology(
        program=program,
        layers=tuple(layers),
        states=flow.states,
        effects=flow.effects,
        origins=tuple(origins),
        branches=tuple(flow.branches),
        shortcuts=tuple(flow.shortcuts),
        gates=tuple(flow.gates),
        barriers=tuple(dict.fromkeys(flow.barriers)),
    )


def shared_states(topology: Topology, channel_axes: Mapping[str, int], means: Means) -> Mapping[str, State]:
    """Labels again, with each addend's share taken from its pooled magnitude.

    Args:
        topology: Topology of the program.
        channel_axes: Channel axis of each input.
        means: Pooled mean of a tensor that goes into an Add, broadcasting against it; None where unknown.
    """
    flow = _Flow(
        topology.program, list(topology.layers), list(topology.origins), channel_axes, barriers=True, means=means,
        known=topology.effects,
    )  # fmt: skip
    flow.run()
    return flow.states


def _layers(program: Program, parts: list[Part], fibers: list[Fibers]) -> list[KernelLayer]:
    inside = {p.node.name: f for f in fibers for p in f.parts}
    out: list[KernelLayer] = []
    first = 0
    used: set[str] = set()
    for part in parts:
        group = inside.get(part.node.name)
        if group is not None and group.parts[0].node.name != part.node.name:
            continue
        members = (part,) if group is None else group.parts
        kernels, channels = sum(p.kernels for p in members), sum(p.channels for p in members)
        groups = part.groups if group is None else len(members)
        name = part.node.name
        if name in used:
            name = f"{name}#{sum(u.startswith(name) for u in used) + 1}"
        used.add(name)
        out.append(
            KernelLayer(
                index=len(out),
                name=name,
                op=part.node.op.rpartition("::")[2],
                weight=program.stem(part.weight),
                nodes=part.nodes if group is None else group.nodes,
                kernels=kernels,
                channels=channels,
                groups=groups,
                kernel_shape=part.geometry.kernel,
                family=_family(part, groups, channels),
                parts=members,
                first=first,
                source=part.source if group is None else group.source,
                output=part.output if group is None else group.output,
                split=group is not None,
            )
        )
        first += kernels
    return out


def _family(part: Part, groups: int, channels: int) -> str:
    if part.kind == "dense":
        return "dense"
    if groups > 1:
        return "depthwise" if groups == channels else "grouped"
    kernel = part.geometry.kernel
    if all(k == 1 for k in kernel):
        return "pointwise"
    return "factorised" if any(k == 1 for k in kernel) and len(kernel) > 1 else "plain"


def _origins(program: Program, layers: list[KernelLayer], axes: Mapping[str, int]) -> list[Origin]:
    origins = [Origin(layer.index, layer.output, layer.first, layer.kernels) for layer in layers]
    first = layers[-1].first + layers[-1].kernels
    for port in program.model.inputs:
        shape = program.shapes[port.name]
        count = shape[axes[port.name]] if shape else 1
        origins.append(Origin(None, port.name, first, count))
        first += count
    return origins


class _Flow:
    """One pass over the nodes that moves labels; everything it finds is in its attributes afterwards."""

    def __init__(
        self,
        program: Program,
        layers: list[KernelLayer],
        origins: list[Origin],
        channel_axes: Mapping[str, int],
        *,
        barriers: bool,
        means: Means | None = None,
        known: Mapping[str, fx.Effect] | None = None,
    ) -> None:
        self.program = program
        self.layers = layers
        self.origins = origins
        self.allow_barriers = barriers
        self.means = means
        self.states: dict[str, State] = {}
        self.effects: dict[str, fx.Effect] = {}
        self.branches: list[Joint] = []
        self.shortcuts: list[Joint] = []
        self.gates: list[Joint] = []
        self.barriers: list[str] = []
        self._known = known or {}
        self._above: dict[str, frozenset[int]] = {}
        self._rank: dict[str, int] = {}
        self._place: dict[str, tuple[KernelLayer, int]] = {}
        self._inside: set[str] = set()
        for layer in layers:
            offset = 0
            for part in layer.parts:
                self._place[part.node.name] = (layer, offset)
                self._inside.update(n for n in part.nodes if n != part.node.name)
                offset += part.kernels
        self._fiber_joints = {layer.output for layer in layers if layer.split}
        self._view = View(program, self.states, {p.node.name: p for layer in layers for p in layer.parts})
        self._start(channel_axes)

    def _start(self, channel_axes: Mapping[str, int]) -> None:
        for origin in self.origins:
            if origin.layer is not None:
                continue
            rank = len(self.program.shapes[origin.tensor])
            shape = [1] * rank
            if rank:
                shape[channel_axes[origin.tensor]] = origin.count
            labels = np.arange(origin.first, origin.first + origin.count, dtype=np.int64).reshape(shape)
            self.states[origin.tensor] = State((Track(labels, np.ones(shape)),), frozenset())
            self._above[origin.tensor] = frozenset()
            self._rank[origin.tensor] = 0

    def run(self) -> None:
        for node in self.program.nodes:
            if node.name in self._inside:
                continue
            effect = self._known.get(node.name) or effect_of(node, self._view) or self._barrier(node)
            self.effects[node.name] = effect
            self._ancestry(node)
            for name, state in zip(node.outputs, self._apply(node, effect), strict=False):
                if name:
                    self.states[name] = state
            if isinstance(effect, fx.Layer) and effect.part.output != node.outputs[0]:
                self.states[effect.part.output] = self.states[node.outputs[0]]
                self._above[effect.part.output] = self._above[node.outputs[0]]
                self._rank[effect.part.output] = self._rank[node.outputs[0]]

    def _ancestry(self, node: Node) -> None:
        """Layers above each tensor, and the longest chain of them."""
        above = frozenset().union(*(self._above.get(i, frozenset()) for i in node.inputs))
        rank = max((self._rank.get(i, 0) for i in node.inputs), default=0)
        place = self._place.get(node.name)
        if place is not None:
            above, rank = above | {place[0].index}, rank + 1
        for name in node.outputs:
            self._above[name], self._rank[name] = above, rank

    def _barrier(self, node: Node) -> fx.Effect:
        if not any(self._view.carries(i) for i in node.inputs) and not any(self.states.get(i) for i in node.inputs):
            return fx.Held()
        if self.allow_barriers:
            self.barriers.append(node.op)
            return fx.Barrier()
        raise UnsupportedOperatorError(
            f"{self.program.model.path}: operator {node.op} at node {node.name!r} lies on a channel path and has no "
            "handler (or is used in a way its handler does not know); add one in "
            "cfp_onnx/graph/operators/<family>.py, or pass --allow-barriers",
            operator=node.op,
            node=node.name,
        )

    # ---------------------------------------------------------------------------------------- effects

    def _apply(self, node: Node, effect: fx.Effect) -> list[State]:
        match effect:
            case fx.Layer(part):
                return [self._emit(node, part)]
            case fx.Move():
                return self._move(node, effect)
            case fx.Sum(sources):
                return [self._sum(node, sources)]
            case fx.Select(sources):
                return [self._select(node, sources)]
            case fx.Gate():
                return [self._gate(node, effect)]
            case fx.Reduce():
                return [self._reduce(node, effect)]
            case fx.Normalise():
                return self._normalise(node, effect)
            case fx.Mix(value):
                return [self._mix(node, value)]
            case fx.Pool(source=source):
                return [self._pool(node, source), *self._held(node, node.outputs[1:])]
            case fx.Identity(source) | fx.Quantise(source) | fx.Activation(source=source) | fx.Affine(source=source):
                state = self._in_place(node, source)
                if isinstance(effect, fx.Identity) and effect.mixes:
                    state = replace(state, side=state.side | self._members(state))
                return [state, *self._held(node, node.outputs[1:])]
            case fx.Barrier():
                return [self._unknown(node, o) for o in node.outputs]
            case fx.Held():
                return self._held(node, node.outputs)

    def _side(self, node: Node, skip: Iterable[int] = ()) -> frozenset[int]:
        """Side inputs of a result: those of its inputs, and everything in inputs with channels that do not pass."""
        passed = {node.inputs[i] for i in skip}
        side: frozenset[int] = frozenset()
        for name in node.inputs:
            state = self.states.get(name)
            if state is None:
                continue
            side |= state.side
            if name not in passed:
                side |= self._members(state)
        return side

    def _members(self, state: State) -> frozenset[int]:
        firsts = np.array([o.first for o in self.origins])
        found: set[int] = set()
        for track in state.tracks:
            labels = np.unique(track.labels)
            found.update((np.searchsorted(firsts, labels[labels >= 0], side="right") - 1).tolist())
        return frozenset(found)

    def _held(self, node: Node, outputs: Sequence[str]) -> list[State]:
        return [State((), self._side(node)) for _ in outputs]

    def _unknown(self, node: Node, output: str) -> State:
        rank = len(self.program.shapes.get(output, ()))
        shape = (1,) * rank
        return State((Track(np.full(shape, UNKNOWN, np.int64), np.ones(shape)),), self._side(node))

    def _emit(self, node: Node, part: Part) -> State:
        layer, offset = self._place[node.name]
        rank = len(self.program.shapes[part.output])
        shape = [1] * rank
        shape[part.out_axis] = part.kernels
        start = layer.first + offset
        labels = np.arange(start, start + part.kernels, dtype=np.int64).reshape(shape)
        return State((Track(labels, np.ones(shape)),), frozenset(), _quantised_output(node))

    def _in_place(self, node: Node, source: int) -> State:
        state = self.states.get(node.inputs[source], State())
        rank = len(self.program.shapes[node.outputs[0]])
        tracks = tuple(replace(t, labels=to_rank(t.labels, rank), share=to_rank(t.share, rank)) for t in state.tracks)
        return State(tracks, self._side(node, (source,)), _quantised(node, state, self.effects[node.name]))

    def _pool(self, node: Node, source: int) -> State:
        state = self.states.get(node.inputs[source], State())
        if any(varies(t.labels, a) for t in state.tracks for a in range(2, t.labels.ndim)):
            return State((), self._side(node))
        return self._in_place(node, source)

    def _move(self, node: Node, effect: fx.Move) -> list[State]:
        states = [self.states.get(node.inputs[i], State()) for i in effect.sources]
        side = self._side(node, effect.sources)
        tracks: list[list[Track]] = [[] for _ in node.outputs]
        plain = [[t for t in s.tracks if t.via != "gate"] for s in states]
        gates = [[t for t in s.tracks if t.via == "gate"] for s in states]
        joins = len(effect.sources) > 1 and sum(bool(p) for p in plain) > 1
        for lists, is_gate in ((plain, False), (gates, True)):
            for k in range(max((len(x) for x in lists), default=0)):
                picked = [x[k] if k < len(x) else None for x in lists]
                self._move_track(node, effect, picked, tracks, joins=joins and not is_gate)
        if joins and node.op.endswith("Concat") and node.outputs[0] not in self._fiber_joints:
            self.branches.append(Joint(node.name, "concat", tuple(self._layers_in(s) for s in states)))
        quantised = _quantised(node, states[0], effect)
        return [State(tuple(_merge(t)), side, quantised) for t in tracks]

    def _move_track(
        self, node: Node, effect: fx.Move, picked: list[Track | None], out: list[list[Track]], *, joins: bool
    ) -> None:
        ranks = [len(self._view.shape(node.inputs[i])) for i in effect.sources]
        labels = [
            np.full((1,) * r, NONE, np.int64) if t is None else t.labels for t, r in zip(picked, ranks, strict=True)
        ]
        shares = [np.zeros((1,) * r) if t is None else t.share for t, r in zip(picked, ranks, strict=True)]
        vias = [t.via for t in picked if t is not None]
        via = "branch" if joins and node.outputs[0] not in self._fiber_joints else vias[0]
        moved = effect.apply(labels, NONE)
        moved_share = effect.apply(shares, 0)
        for place, a, s in zip(out, moved, moved_share, strict=True):
            shape = np.broadcast_shapes(a.shape, s.shape)
            place.append(Track(*_compact(np.broadcast_to(a, shape), np.broadcast_to(s, shape)), via))

    def _layers_in(self, state: State) -> tuple[int, ...]:
        found = (self.origins[k].layer for k in self._members(state))
        return tuple(sorted(x for x in found if x is not None))

    def _sum(self, node: Node, sources: tuple[int, ...]) -> State:
        rank = len(self.program.shapes[node.outputs[0]])
        names = [n for i in sources if self._view.carries(n := node.inputs[i])]
        shares = self._addend_shares(names, rank)
        vias = self._addend_kinds(node, names)
        tracks: list[Track] = []
        for name, share, kind in zip(names, shares, vias, strict=True):
            for t in self.states[name].tracks:
                part = to_rank(t.share, rank) * share
                labels = to_rank(t.labels, rank)
                labels = (
                    np.broadcast_to(labels, np.broadcast_shapes(labels.shape, part.shape))
                    if part.shape != labels.shape
                    else labels
                )
                via = t.via if kind == "chain" or t.via == "gate" else kind
                tracks.append(Track(labels, part, via))
        return State(
            tuple(_merge(tracks)), self._side(node, sources), _quantised(node, State(), self.effects[node.name])
        )

    def _addend_shares(self, names: list[str], rank: int) -> list[Array]:
        if self.means is not None:
            found = [self.means(n) for n in names]
            if all(f is not None for f in found):
                sizes = [to_rank(np.abs(np.asarray(f, np.float64)), rank) for f in found]
                total = np.sum(np.broadcast_arrays(*sizes), axis=0)
                even = np.full(total.shape, 1 / len(names))
                return [np.where(total > 0, s / np.where(total > 0, total, 1), even) for s in sizes]
        return [np.full((1,) * rank, 1 / len(names)) for _ in names]

    def _addend_kinds(self, node: Node, names: list[str]) -> list[str]:
        """For each addend ``chain``, ``branch`` or ``shortcut``; notes the joint."""
        if len(names) < 2 or len(set(names)) < 2:
            return ["chain"] * len(names)
        ranks = [self._rank[n] for n in names]
        main = max(range(len(names)), key=lambda i: ranks[i])
        kinds = ["chain" if ranks[i] == ranks[main] else "shortcut" for i in range(len(names))]
        paths = [self._layers_in(self.states[n]) for n in names]
        if kinds.count("chain") > 1:
            kinds = ["branch" if k == "chain" else k for k in kinds]
            self.branches.append(Joint(node.name, "add", tuple(paths)))
        for i, kind in enumerate(kinds):
            if kind == "shortcut":
                self.shortcuts.append(
                    Joint(node.name, self._shortcut_kind(names[main], names[i]), (paths[main], paths[i]))
                )
        return kinds

    def _shortcut_kind(self, main: str, shortcut: str) -> str:
        own = self._above[shortcut] - self._above[main]
        if own:
            return "projected"
        if any((np.asarray(t.labels) == NONE).any() for t in self.states[shortcut].tracks):
            return "padded"
        return "identity"

    def _select(self, node: Node, sources: tuple[int, ...]) -> State:
        rank = len(self.program.shapes[node.outputs[0]])
        tracks = [
            replace(t, labels=to_rank(t.labels, rank), share=to_rank(t.share, rank) / len(sources))
            for i in sources
            for t in self.states[node.inputs[i]].tracks
        ]
        return State(tuple(_merge(tracks)), self._side(node, sources))

    def _gate(self, node: Node, effect: fx.Gate) -> State:
        rank = len(self.program.shapes[node.outputs[0]])
        value, gate = node.inputs[effect.value], node.inputs[effect.gate]
        tracks = [
            replace(t, labels=to_rank(t.labels, rank), share=to_rank(t.share, rank)) for t in self.states[value].tracks
        ]
        side = self._side(node, (effect.value, effect.gate))
        if not effect.own and self._view.carries(gate):
            for t in self.states[gate].tracks:
                labels = to_rank(t.labels, rank)
                tracks.append(Track(labels, np.zeros(labels.shape), "gate"))
            self.gates.append(
                Joint(node.name, "gate", (self._layers_in(self.states[value]), self._layers_in(self.states[gate])))
            )
        return State(tuple(_merge(tracks)), side, _quantised(node, State(), effect))

    def _reduce(self, node: Node, effect: fx.Reduce) -> State:
        state = self.states.get(node.inputs[effect.source], State())
        if any(varies(t.labels, a) for t in state.tracks for a in effect.axes):
            return State((), self._side(node))
        keep = len(self.program.shapes[node.outputs[0]]) == len(self.program.shapes[node.inputs[effect.source]])
        tracks = tuple(
            t if keep else replace(t, labels=np.squeeze(t.labels, effect.axes), share=np.squeeze(t.share, effect.axes))
            for t in state.tracks
        )
        return State(tracks, self._side(node, (effect.source,)), _quantised(node, state, effect))

    def _normalise(self, node: Node, effect: fx.Normalise) -> list[State]:
        state = self._in_place(node, effect.source)
        if effect.mixes or any(varies(t.labels, a) for t in state.tracks for a in effect.axes or ()):
            state = replace(state, side=state.side | self._members(state))
        return [state, *self._held(node, node.outputs[1:])]

    def _mix(self, node: Node, value: int) -> State:
        state = self.states[node.inputs[value]]
        rank = len(self.program.shapes[node.outputs[0]])
        tracks = tuple(replace(t, labels=to_rank(t.labels, rank), share=to_rank(t.share, rank)) for t in state.tracks)
        return State(tracks, self._side(node, (value,)))


def _compact(labels: Array, share: Array) -> tuple[Array, Array]:
    """Length 1 on every axis along which neither varies; a Reshape that cuts and merges again leaves such axes."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1:
            first = tuple(slice(0, 1) if a == axis else slice(None) for a in range(labels.ndim))
            if (labels == labels[first]).all() and (share == share[first]).all():
                labels, share = labels[first], share[first]
    return labels, share


def _merge(tracks: Sequence[Track]) -> list[Track]:
    """Drop tracks that hold no label, and add up those with the same labels."""
    out: list[Track] = []
    for track in tracks:
        if track.labels.size and int(track.labels.max()) < 0 and int(track.labels.min()) == NONE:
            continue
        for i, old in enumerate(out):
            if old.labels.shape == track.labels.shape and np.array_equal(old.labels, track.labels):
                via = track.via if old.via == "gate" else old.via
                out[i] = Track(old.labels, old.share + track.share, via)
                break
        else:
            out.append(track)
    return out


_KEEPS_INTEGERS = (fx.Identity, fx.Move, fx.Pool, fx.Reduce, fx.Activation)


def _quantised(node: Node, state: State, effect: fx.Effect) -> tuple[str, str] | None:
    """Scale and zero point of an output that holds integers standing for real numbers."""
    op = node.op.rpartition("::")[2]
    if op == "QuantizeLinear":
        return node.input(1), node.input(2)
    if op == "DynamicQuantizeLinear":
        return node.outputs[1], node.outputs[2]
    if op in {"DequantizeLinear", "Cast"}:
        return None
    if op in {"QLinearAdd", "QLinearMul"}:
        return node.input(6), node.input(7)
    if op in {"QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax"}:
        return node.input(3), node.input(4)
    if op == "QLinearConcat":
        return node.input(0), node.input(1)
    return state.quantised if isinstance(effect, _KEEPS_INTEGERS) else None


def _quantised_output(node: Node) -> tuple[str, str] | None:
    op = node.op.rpartition("::")[2]
    if op in {"QLinearConv", "QLinearMatMul"}:
        return node.input(6), node.input(7)
    if op == "QGemm" and node.input(7):
        return node.input(7), node.input(8)
    return None


# ------------------------------------------------------------------------------------------- channel axes


def channel_axis(program: Program, name: str) -> int | None:
    """Axis of an input that its first layers read as channels, None where none of them tells."""
    rank = len(program.shapes[name])
    for axis in range(rank):
        if axis != 0 and _reads(program, name, axis):
            return axis
    return None


def _reads(program: Program, name: str, axis: int) -> bool:
    """Whether every first layer of an input sees exactly this axis as its channels."""
    parts = {p.node.name: p for p in find_parts(program)}
    shape = program.shapes[name]
    labels = np.arange(shape[axis], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    states = {name: State((Track(labels, np.ones(labels.shape)),))}
    view = View(program, states, parts)
    verdicts: list[bool] = []
    for node in program.nodes:
        if not any(i in states for i in node.inputs):
            continue
        part = parts.get(node.name)
        if part is not None:
            seen = to_rank(states[part.source].tracks[0].labels, len(program.shapes[part.source]))
            others = [a for a in range(seen.ndim) if a != part.in_axis]
            verdicts.append(all(seen.shape[a] == 1 for a in others) and seen.shape[part.in_axis] == shape[axis])
            continue
        effect = effect_of(node, view)
        if isinstance(effect, fx.Move) and len(effect.sources) == 1:
            for o, moved in zip(
                node.outputs,
                effect.apply([states[node.inputs[effect.sources[0]]].tracks[0].labels], NONE),
                strict=True,
            ):
                states[o] = State((Track(moved, np.ones(moved.shape)),))
        elif isinstance(effect, fx.Identity | fx.Quantise | fx.Affine | fx.Activation | fx.Pool):
            source = node.inputs[effect.source]
            if source in states:
                states[node.outputs[0]] = states[source]
    return bool(verdicts) and all(verdicts)


def target_tensor(topology: Topology, output: str) -> str:
    """The value before a final Softmax or Sigmoid; moves behind it are followed back.

    Raises:
        TargetError: If no layer made the output.
    """
    tensor = output
    name = output
    while (made := topology.program.producers.get(name)) is not None:
        op = made.op.rpartition("::")[2]
        if op in {"Softmax", "LogSoftmax", "Sigmoid", "QLinearSigmoid", "QLinearSoftmax"}:
            tensor = name = made.inputs[0]
            continue
        if op in {
            "Identity",
            "Cast",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "DequantizeLinear",
            "QuantizeLinear",
            "Dropout",
        }:
            name = made.inputs[0]
            continue
        break
    if not topology.heads(tensor):
        raise TargetError(
            f"output {output!r} of {topology.program.model.path} is not made of kernels of any layer that can be "
            "followed; choose another with --output"
        )
    return tensor
