"""Layers, wires, branches, fibers, shortcuts and gates of a network, read off the labels that flow through its graph.

A tensor's labels say, element by element, which kernel made it. Layers read the labels that arrive at their input
channels (wires) and emit fresh ones, so shuffles, flattening and padded shortcuts come out exact with no special case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import numpy as np

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.fibers import find_fibers
from cfp_onnx.graph.labels import UNKNOWN
from cfp_onnx.graph.layers import KernelLayer, Origin, find_layers, find_origins, find_parts
from cfp_onnx.graph.no_layers import without_layers
from cfp_onnx.graph.reach import Paths, layers_by_value, paths_to
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.graph.states import State
from cfp_onnx.graph.steering import Role, carrying, is_mean, role_of
from cfp_onnx.graph.tracing import Joint, Means, Tracing
from cfp_onnx.graph.wires import part_wires
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Source:
    """One thing that feeds a channel: kernel `kernel` of layer `layer` (None: of a graph input)."""

    layer: int | None
    kernel: int
    share: float
    via: str


@dataclass(frozen=True)
class Coverage:
    """How much of what is upstream of the target could be traced.

    Attributes:
        channels: Fraction of input channels whose sources are known, of layers that a walk reaches at all.
        layers: Fraction of layers that the walk can reach by all of their paths.
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
        steering: How values pass a node through which no channel does, by name.
        origins: Layers and inputs, by label range.
        branches: Concats (and Adds) where branches meet.
        shortcuts: Adds with their shortcuts.
        gates: Products with their gates.
        barriers: Unknown operators that were passed over on request.
        behind: Nodes with unknown operators that no layer reads; only an output that is made of them is refused.
    """

    program: Program
    layers: tuple[KernelLayer, ...]
    states: Mapping[str, State]
    effects: Mapping[str, fx.Effect]
    steering: Mapping[str, fx.Effect]
    origins: tuple[Origin, ...]
    branches: tuple[Joint, ...]
    shortcuts: tuple[Joint, ...]
    gates: tuple[Joint, ...]
    barriers: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    _wires: dict[int, list[tuple[str, Array, Array]]] = field(default_factory=dict, repr=False, compare=False)
    _roles: dict[tuple[str, str], Role] = field(default_factory=dict, repr=False, compare=False)

    def passing(self, node: Node) -> fx.Effect:
        """How values pass a node, whether channels do or not."""
        return self.steering.get(node.name, self.effects[node.name])

    @cached_property
    def carrying(self) -> frozenset[str]:
        """Tensors whose channels reach a layer or an output; all others only steer."""
        return carrying(self.program, self.effects, self.layers)

    @cached_property
    def untold(self) -> tuple[str, ...]:
        """Operators that are not followed: those passed over, and those before the first layer."""
        stops = (n.op for n in self.program.nodes if n.name in self.effects and isinstance(self.passing(n), fx.Barrier))
        return tuple(dict.fromkeys(stops))

    @cached_property
    def steps(self) -> frozenset[str]:
        """Names of the nodes inside of recurrent layers."""
        return frozenset(name for found in self.program.model.recurrent.values() for name in found.inside)

    @cached_property
    def always_held(self) -> tuple[str, ...]:
        """What is held whatever is asked for: ``grids``, the places at which a sampling looks."""
        return ("grids",) if any(n.op == "GridSample" for n in self.program.nodes) else ()

    @cached_property
    def steers(self) -> bool:
        """Whether something can be held: a norm of the clip's own statistics, an attention or a gate."""
        gated = any(r.gates > 1 for r in self.program.model.recurrent.values())
        return gated or any(
            isinstance(e, fx.Normalise | fx.Mix) or (isinstance(e, fx.Gate) and not e.own)
            for e in self.effects.values()
        )

    @cached_property
    def _weighted(self) -> frozenset[str]:
        return frozenset(p.node.name for layer in self.layers for p in layer.parts)

    def role(self, value: str, gate: str) -> Role:
        """What a factor is to the tensor that it scales; see `cfp_onnx.graph.steering.role_of`."""
        key = (value, gate)
        if key not in self._roles:
            self._roles[key] = role_of(self.program, self._weighted, value, gate)
        return self._roles[key]

    def is_mean(self, value: str, other: str) -> bool:
        """Whether one addend is the other's mean; see `cfp_onnx.graph.steering.is_mean`."""
        return is_mean(self.program, self._weighted, value, other)

    @cached_property
    def _firsts(self) -> Array:
        return np.array([o.first for o in self.origins], dtype=np.int64)

    def origin_of(self, label: int) -> Origin:
        """The layer or input a label belongs to."""
        return self.origins[int(np.searchsorted(self._firsts, label, side="right")) - 1]

    def wires(self, layer: KernelLayer, states: Mapping[str, State] | None = None) -> list[tuple[str, Array, Array]]:
        """Arriving labels per channel: (via, labels (channels, m), shares (channels, m)) for each track."""
        if states is not None:
            return part_wires(layer, states, self.program)
        if layer.index not in self._wires:
            self._wires[layer.index] = part_wires(layer, self.states, self.program)
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
        out: dict[int, tuple[float, str]] = {}
        for via, labels, shares in wires:
            for label, share in zip(labels[channel].tolist(), shares[channel].tolist(), strict=True):
                if label < 0:
                    continue
                old, came = out.get(label, (0.0, via))
                out[label] = (old + share, via if came == "gate" else came)
        total = sum(share for share, _ in out.values())
        main = sum(via != "gate" for _, via in out.values())
        found = []
        for (label, (share, via)), place in zip(out.items(), self.owners(np.array(list(out), np.int64)), strict=True):
            origin = self.origins[int(place)]
            even = 1 / main if via != "gate" else 0.0
            part = share / total if total > 0 else even
            found.append(Source(origin.layer, label - origin.first, part, via))
        return tuple(found)

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
        arriving: dict[str, list[Array]] = {}
        for via, labels, _ in self.wires(layer):
            arriving.setdefault(via, []).append(labels.reshape(-1))
        found = [
            (int(k), via)
            for via, pieces in arriving.items()
            for k in np.unique(self._index_of(np.concatenate(pieces)))
            if k >= 0
        ]
        return tuple((self.origins[k], via) for k, via in sorted(found))

    def _index_of(self, labels: Array) -> Array:
        index = np.searchsorted(self._firsts, labels, side="right") - 1
        return np.where(labels < 0, -1, index)

    def side_inputs(self, layer: KernelLayer) -> tuple[Origin, ...]:
        """Origins that influence a layer's input without being a channel of it."""
        found = {k for part in layer.parts for k in self.states.get(part.source, State()).side}
        found |= self._initial_states(layer)
        return tuple(self.origins[k] for k in sorted(found))

    def _initial_states(self, layer: KernelLayer) -> set[int]:
        """Origins of what a recurrent layer begins with, where that depends on the model's input."""
        part = layer.parts[0]
        if part.kind != RECURRENT:
            return set()
        read = {k for _, labels, _ in self.wires(layer) for k in np.unique(self._index_of(labels)).tolist()}
        return set(self.states.get(part.node.inputs[0], State()).side) - read

    # -------------------------------------------------------------------------------------------- target

    def paths(self, tensor: str) -> dict[int, Paths]:
        """For each layer with a path to a tensor how many of its paths pass no barrier: all, some or none."""
        passing = {**self.effects, **self.steering}
        return paths_to(self.program, passing, self.layers, tensor)

    def by_value(self, tensor: str) -> frozenset[int]:
        """Indexes of the layers whose values arrive at a tensor, not only as a factor or weight of others."""
        return layers_by_value(self.program, {**self.effects, **self.steering}, self.layers, tensor)

    def by_label(self, tensor: str) -> frozenset[int]:
        """Indexes of the layers that are met on the way down from a tensor by the labels of channels alone."""
        found, stack = set(self.heads(tensor)), list(self.heads(tensor))
        while stack:
            for origin, _ in self.readers[stack.pop()]:
                if origin.layer is not None and origin.layer not in found:
                    found.add(origin.layer)
                    stack.append(origin.layer)
        return frozenset(found)

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

    def unknown_behind(self, tensor: str) -> Node | None:
        """The first node with an unknown operator between the layers and a tensor; None where there is none."""
        wanted = set(self.behind)
        seen, stack = set(), [tensor]
        while wanted and stack:
            made = self.program.producers.get(stack.pop())
            if made is None or made.name in seen:
                continue
            seen.add(made.name)
            stack.extend(i for i in made.inputs if i)
        return next((n for n in self.program.nodes if n.name in wanted & seen), None)

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
                if below is not None and below < index:  # a later one is of an earlier trip of the same loop
                    depth[below] = max(depth.get(below, 0), depth[index] + 1)
        return depth

    def _side_layers(self, index: int) -> set[int | None]:
        return {o.layer for o in self.side_inputs(self.layers[index]) if o.layer is not None and o.layer < index}

    def coverage(self, tensor: str, lost: Collection[int] = ()) -> Coverage:
        """What is known of everything upstream of a tensor.

        Args:
            tensor: The tensor.
            lost: Layers that a rule does not reach, though their values arrive.
        """
        members = self.upstream(tensor)
        paths: Mapping[int, str] = {**self.paths(tensor), **dict.fromkeys(lost, "none")}
        known = total = 0
        for index in members:
            for channel_known in _channels_known(self, self.layers[index]):
                total += 1
                known += channel_known and paths.get(index) != "none"
        reached = {i for i in self.depths(tensor) if paths.get(i, "all") == "all"} & members
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


def build(program: Program, *, channel_axes: Mapping[str, int | None], barriers: bool = False) -> Topology:
    """Read the topology of a program.

    Args:
        program: Canonical graph with observed shapes.
        channel_axes: Channel axis of each input of the model; None of one that is a single channel.
        barriers: Whether an unknown operator on a channel path is passed over, and recorded, instead of refused.

    Raises:
        UnsupportedOperatorError: If an operator on a channel path is unknown.
        ModelError: If there is no layer at all, or a weight contradicts its node.
    """
    parts = find_parts(program)
    if not parts:
        raise ModelError(without_layers(program))
    layers = find_layers(program, parts, find_fibers(program, parts))
    origins = find_origins(program, layers, channel_axes)
    flow = Tracing(program, layers, origins, barriers=barriers)
    flow.run()
    return Topology(
        program=program,
        layers=tuple(layers),
        states=flow.states,
        effects=flow.effects,
        steering=flow.steering,
        origins=tuple(origins),
        branches=tuple(flow.branches),
        shortcuts=tuple(flow.shortcuts),
        gates=tuple(flow.gates),
        barriers=tuple(dict.fromkeys(flow.barriers)),
        behind=tuple(flow.behind),
    )


def shared_states(topology: Topology, means: Means) -> Mapping[str, State]:
    """Labels again, with each addend's share taken from its pooled magnitude.

    Args:
        topology: Topology of the program.
        means: Pooled mean of a tensor that goes into an Add, broadcasting against it; None where unknown.
    """
    flow = Tracing(
        topology.program, list(topology.layers), list(topology.origins), barriers=True, means=means,
        known=topology.effects,
    )  # fmt: skip
    flow.run()
    return flow.states
