"""One pass over the nodes in execution order that moves labels: tracks and side inputs of every tensor, and joints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import assert_never

import numpy as np

from cfp_onnx.errors import LimitError, UnsupportedOperatorError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.ancestry import Ancestry
from cfp_onnx.graph.channel_axis import channel_axis
from cfp_onnx.graph.labels import NONE, UNKNOWN, to_rank, varies, varying_axes
from cfp_onnx.graph.layers import KernelLayer, Origin
from cfp_onnx.graph.merging import merged
from cfp_onnx.graph.operators import View, effect_of, jumps
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.quantisation import layer_quantised_as, quantised_as
from cfp_onnx.graph.recurrent import RECURRENT, inner_effect
from cfp_onnx.graph.states import State, Track, merge_tracks
from cfp_onnx.model import Node, Program, captured
from cfp_onnx.values import Array

TRACK_LIMIT = 3_000_000
"""Most layers whose kernels the tensors of a network carry, added up over all tensors."""

Means = Callable[[str], "Array | None"]


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


def unsupported(program: Program, node: Node) -> UnsupportedOperatorError:
    """The refusal of an operator through which channels cannot be followed.

    Args:
        program: The network.
        node: The operator's node.
    """
    fused = program.model.unexpanded.get(node.name)
    why = "cannot be followed (it is unknown, or used in a form that is)"
    if fused is not None:
        why = f"{fused}, which is not understood"
    todo = "export the model with simpler operators" if fused is None else "export or optimise the model without it"
    return UnsupportedOperatorError(
        f"{program.model.path}: operator {node.op} at node {node.name!r} {why}, and kernels reach the scores through "
        f"it; {todo}, or pass over it with --allow-barriers, which leaves what is below it unknown",
        operator=node.op,
        node=node.name,
    )


class Tracing:
    """One pass over the nodes.

    Attributes:
        states: Labels of every tensor.
        effects: Effect of every node, by name.
        steering: How values pass a node through which no channel does, by name; nodes without an entry pass none.
        branches: Concats and Adds where branches meet.
        shortcuts: Adds with their shortcuts.
        gates: Products with their gates.
        barriers: Unknown operators that were passed over.
    """

    def __init__(
        self,
        program: Program,
        layers: list[KernelLayer],
        origins: list[Origin],
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
        self.steering: dict[str, fx.Effect] = {}
        self.branches: list[Joint] = []
        self.shortcuts: list[Joint] = []
        self.gates: list[Joint] = []
        self.barriers: list[str] = []
        self.behind: list[str] = []
        self._known = known or {}
        self._ancestry = Ancestry([p.name for p in program.model.inputs])
        self._place: dict[str, tuple[KernelLayer, int]] = {}
        self._inside: set[str] = set()
        for layer in layers:
            offset = 0
            for part in layer.parts:
                self._place[part.node.name] = (layer, offset)
                self._inside.update(n for n in part.nodes if n != part.node.name)
                offset += 0 if layer.tied else part.kernels
        self._steps = frozenset(n for r in program.model.recurrent.values() for n in r.inside)
        self._firsts = np.zeros(0, np.int64)
        self._tracks = 0
        self._fiber_joints = {layer.output for layer in layers if layer.split}
        self._view = View(program, self.states, {p.node.name: p for layer in layers for p in layer.parts})
        self._steering = replace(self._view, steering=True)
        inputs = {p.name for p in program.model.inputs}
        self.states.update({o.tensor: self._whole(o) for o in origins if o.layer is None and o.tensor in inputs})

    def run(self) -> None:
        """Take every node in execution order.

        Raises:
            UnsupportedOperatorError: If an operator on a channel path is unknown and barriers are not allowed.
            LimitError: If there is too much to follow, see `TRACK_LIMIT`.
        """
        for node in self.program.nodes:
            if node.name in self._inside:
                continue
            effect = self._known.get(node.name) or self._effect(node)
            self.effects[node.name] = effect
            if isinstance(effect, fx.Held) and not self._known:
                self.steering[node.name] = self._steered(node)
            self._ancestry.add(node, self._place[node.name][0].index if node.name in self._place else None)
            for name, state in zip(node.outputs, self._apply(node, effect), strict=False):
                if name:
                    self.states[name] = state
                    self._count(state)
            if isinstance(effect, fx.Layer) and effect.part.output != node.outputs[0]:
                self.states[effect.part.output] = self.states[node.outputs[0]]
                self._ancestry.copy(effect.part.output, node.outputs[0])

    def _count(self, state: State) -> None:
        """Refuse networks in which each shortcut carries the kernels of all layers before it on and on."""
        self._tracks += len(state.tracks)
        if self._tracks > TRACK_LIMIT:
            raise LimitError(
                f"{self.program.model.path}: its shortcuts carry the kernels of more than {TRACK_LIMIT} layers in all "
                "from tensor to tensor, which is too much to follow"
            )

    def _effect(self, node: Node) -> fx.Effect:
        if node.name in self._steps or jumps(node, self._view):
            return fx.Held()
        part = self._view.parts.get(node.name)
        if part is not None and part.kind == RECURRENT:
            return fx.Layer(part)
        return effect_of(node, self._view) or self._barrier(node)

    def _steered(self, node: Node) -> fx.Effect:
        """How values pass a node through which no channel does: a step stops them, what is not known is a barrier."""

        def general(node: Node) -> fx.Effect | None:
            return effect_of(node, self._steering)

        if node.name in self._steps:
            return inner_effect(self.program, node, general)
        if jumps(node, self._view):
            return fx.Held()
        return general(node) or self._barrier(node)

    def _barrier(self, node: Node) -> fx.Effect:
        """What an unknown operator is: nothing to speak of where no layer stands above it, else a barrier."""
        if not self._ancestry.has_layers((*node.inputs, *captured(node))):
            return fx.Barrier()
        if self.allow_barriers:
            self.barriers.append(node.op)
            return fx.Barrier()
        if node.name in self._before_layers:
            raise unsupported(self.program, node)
        self.behind.append(node.name)  # what no layer reads matters only to an output that is made of it
        return fx.Barrier()

    @cached_property
    def _before_layers(self) -> frozenset[str]:
        """Nodes that a layer depends on."""
        found: set[str] = set()
        stack = [part.source for layer in self.layers for part in layer.parts]
        while stack:
            made = self.program.producers.get(stack.pop())
            if made is not None and made.name not in found:
                found.add(made.name)
                stack.extend(i for i in made.inputs if i)
        return frozenset(found)

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
                return [self._reduce(node, effect), *self._held(node, node.outputs[1:])]
            case fx.Normalise():
                return self._normalise(node, effect)
            case fx.Mix(value):
                return [self._mix(node, value)]
            case fx.Pool(source=source):
                axes = range(2, len(self.program.shapes[node.inputs[source]]))
                return [self._windowed(node, source, axes), *self._held(node, node.outputs[1:])]
            case fx.Blend(axes=axes, source=source):
                return [self._windowed(node, source, axes)]
            case fx.Identity(source) | fx.Quantise(source) | fx.Activation(source=source) | fx.Affine(source=source):
                state = self._in_place(node, source)
                if isinstance(effect, fx.Identity) and effect.mixes:
                    state = replace(state, side=state.side | self._members(state))
                return [state, *self._held(node, node.outputs[1:])]
            case fx.Barrier():
                above = self._ancestry.has_layers(node.inputs)
                return [self._unknown(node, o) if above else self._prepared(o) for o in node.outputs]
            case fx.Product() | fx.Linear() | fx.Held():
                return self._held(node, node.outputs)
            case _:
                assert_never(effect)

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
        """Places of the origins whose labels a tensor carries."""
        if len(self._firsts) != len(self.origins):
            self._firsts = np.array([o.first for o in self.origins])
        labels = np.concatenate([t.labels.reshape(-1) for t in state.tracks]) if state.tracks else np.zeros(0, np.int64)
        places = np.searchsorted(self._firsts, labels[labels >= 0], side="right") - 1
        return frozenset(np.unique(places).tolist())

    def _held(self, node: Node, outputs: Sequence[str]) -> list[State]:
        return [State((), self._side(node)) for _ in outputs]

    def _unknown(self, node: Node, output: str) -> State:
        rank = len(self.program.shapes.get(output, ()))
        shape = (1,) * rank
        return State((Track(np.full(shape, UNKNOWN, np.int64), np.ones(shape)),), self._side(node))

    def _prepared(self, output: str) -> State:
        """Labels of what the network itself makes of its input before its first layer: channels of an input anew."""
        shape = self.program.shapes.get(output)
        if not shape:
            return State()
        origin = next((o for o in self.origins if o.tensor == output), None)
        if origin is None:
            axis = channel_axis(self.program, output)
            axis = min(1, len(shape) - 1) if axis is None else axis
            last = self.origins[-1]
            origin = Origin(None, output, last.first + last.count, shape[axis], axis)
            self.origins.append(origin)
        return self._whole(origin)

    def _whole(self, origin: Origin) -> State:
        """Labels of an input."""
        shape = [1] * len(self.program.shapes[origin.tensor])
        if shape and origin.axis is not None:
            shape[origin.axis] = origin.count
        labels = np.arange(origin.first, origin.first + origin.count, dtype=np.int64).reshape(shape)
        return State((Track(labels, np.ones(shape)),), frozenset())

    def _emit(self, node: Node, part: Part) -> State:
        layer, offset = self._place[node.name]
        rank = len(self.program.shapes[part.output])
        shape = [1] * rank
        shape[part.out_axis] = part.kernels
        start = layer.first + offset
        labels = np.arange(start, start + part.kernels, dtype=np.int64).reshape(shape)
        return State((Track(labels, np.ones(shape)),), frozenset(), layer_quantised_as(node))

    def _in_place(self, node: Node, source: int) -> State:
        state = self.states.get(node.inputs[source], State())
        rank = len(self.program.shapes[node.outputs[0]])
        tracks = tuple(t.to_rank(rank) for t in state.tracks)
        return State(tracks, self._side(node, (source,)), quantised_as(node, state, self.effects[node.name]))

    def _windowed(self, node: Node, source: int, axes: Sequence[int]) -> State:
        """Labels of what takes in several places along some axes."""
        state = self.states.get(node.inputs[source], State())
        if not any(a in axes for t in state.tracks for a in varying_axes(t.labels)):
            return self._in_place(node, source)
        found = merged(state.tracks, axes)
        return State(found or (), self._side(node, (source,) if found else ()))

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
        quantised = quantised_as(node, states[0], effect)
        return [State(merge_tracks(t), side, quantised) for t in tracks]

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
            place.append(Track(np.broadcast_to(a, shape), np.broadcast_to(s, shape), via).compact())

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
            for t in (track.to_rank(rank) for track in self.states[name].tracks):
                part = t.share * share
                labels = t.labels
                if labels.shape != part.shape:
                    labels = np.broadcast_to(labels, np.broadcast_shapes(labels.shape, part.shape))
                via = t.via if kind == "chain" or t.via == "gate" else kind
                tracks.append(Track(labels, part, via))
        return State(
            merge_tracks(tracks), self._side(node, sources), quantised_as(node, State(), self.effects[node.name])
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
        main, as_long = self._ancestry.main_path(names)
        kinds = ["chain" if same else "shortcut" for same in as_long]
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
        if self._ancestry.has_own_layers(shortcut, main):
            return "projected"
        if any((np.asarray(t.labels) == NONE).any() for t in self.states[shortcut].tracks):
            return "padded"
        return "identity"

    def _select(self, node: Node, sources: tuple[int, ...]) -> State:
        rank = len(self.program.shapes[node.outputs[0]])
        live = [n for i in sources if self._view.carries(n := node.inputs[i])]
        tracks = [
            replace(t, share=t.share / len(live))
            for n in live
            for t in (track.to_rank(rank) for track in self.states[n].tracks)
        ]
        return State(merge_tracks(tracks), self._side(node, sources))

    def _gate(self, node: Node, effect: fx.Gate) -> State:
        rank = len(self.program.shapes[node.outputs[0]])
        value, gate = node.inputs[effect.value], node.inputs[effect.gate]
        tracks = [t.to_rank(rank) for t in self.states[value].tracks]
        side = self._side(node, (effect.value, effect.gate))
        if not effect.own and self._view.carries(gate):
            factors = [t.to_rank(rank).labels for t in self.states[gate].tracks]
            tracks += [Track(labels, np.zeros(labels.shape), "gate") for labels in factors]
            self.gates.append(
                Joint(node.name, "gate", (self._layers_in(self.states[value]), self._layers_in(self.states[gate])))
            )
        return State(merge_tracks(tracks), side, quantised_as(node, State(), effect))

    def _reduce(self, node: Node, effect: fx.Reduce) -> State:
        state = self.states.get(node.inputs[effect.source], State())
        found = merged(state.tracks, effect.axes)
        if found is None:
            return State((), self._side(node))
        keep = len(self.program.shapes[node.outputs[0]]) == len(self.program.shapes[node.inputs[effect.source]])
        tracks = tuple(
            t if keep else replace(t, labels=np.squeeze(t.labels, effect.axes), share=np.squeeze(t.share, effect.axes))
            for t in found
        )
        return State(tracks, self._side(node, (effect.source,)), quantised_as(node, state, effect))

    def _normalise(self, node: Node, effect: fx.Normalise) -> list[State]:
        state = self._in_place(node, effect.source)
        if effect.mixes or any(varies(t.labels, a) for t in state.tracks for a in effect.axes or ()):
            state = replace(state, side=state.side | self._members(state))
        return [state, *self._held(node, node.outputs[1:])]

    def _mix(self, node: Node, value: int) -> State:
        state = self.states[node.inputs[value]]
        rank, own = len(self.program.shapes[node.outputs[0]]), len(self.program.shapes[node.inputs[value]])
        tracks = [t.to_rank(own) for t in state.tracks]
        found = merged(tracks, (own - 1 if value == 0 else own - 2,), kernels=True)
        if found is None:  # too many meet: the walk follows them, their names are not known
            return self._unknown(node, node.outputs[0])
        return State(tuple(t.to_rank(rank) for t in found), self._side(node, (value,)))
