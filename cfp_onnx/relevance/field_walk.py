"""The backward walk that every field rule shares, appended to the model as ordinary ONNX operators.

What is handed down from the target meets at each tensor, is added up there, gives the kernels that are judged at that
tensor their relevance, and goes on to the inputs of the node that made the tensor. How it passes a layer or another
operator is the rule's: a small object that yields what it hands to which tensor. One forward pass then returns the
relevance of every kernel of every layer, and nothing is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature, features_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node
from cfp_onnx.runtime.probe import SEED, Probe, Values


@dataclass(frozen=True)
class Field:
    """What arrived at a tensor.

    Attributes:
        name: A float32 tensor of the probe, of that tensor's shape.
        kind: What it means, a word of the rule's own; rules with one meaning leave it empty.
    """

    name: str
    kind: str = ""


@dataclass(frozen=True)
class Handed:
    """A field on its way to an input of a node.

    Attributes:
        tensor: The input.
        name: The field, a float32 tensor of the probe.
        shape: Its shape where that may be broader than the input's; it is summed over the axes that were broadcast.
        kind: See `Field`.
    """

    tensor: str
    name: str
    shape: tuple[int, ...] | None = None
    kind: str = ""


@dataclass(frozen=True)
class Message:
    """Input and field whose products, tap by tap, are the messages of a part's channels.

    Attributes:
        part: The part, with the weights to use.
        x: float32 tensor that stands for its input.
        g: Field at its output, before a fused activation.
    """

    part: Part
    x: str
    g: str


class FieldRule(Protocol):
    """How fields pass layers and other operators; bound to one walk."""

    def settle(self, tensor: str, arrived: Sequence[Field]) -> Field:
        """What a tensor has once all that reads it has handed down."""

    def judge(self, tensor: str, field: Field) -> str:
        """Relevance at each element of a tensor where kernels are judged; its sum is the kernels' relevance."""

    def correction(self, feature: Feature) -> str | None:
        """What is added to the relevance of the kernels judged at a tensor, (kernels,); None for nothing."""

    def pass_layer(self, layer: KernelLayer, index: int, field: Field) -> Iterator[Handed]:
        """What part `index` of a layer hands to its input; its links go to `Walk.messages`."""

    def hand_down(self, node: Node, effect: fx.Effect, incoming: Mapping[str, Field]) -> Iterator[Handed]:
        """What another node hands to its inputs, from the fields at its outputs by name."""


class Walk:
    """One walk from a target tensor, as nodes of a probe.

    Args:
        topology: The network.
        target: The tensor that holds the scores of the classes.
        depths: Depth of each layer upstream of the target.
        depth: Deepest level; None for all.
        rule: Makes the rule for this walk.
        probe: Where the nodes go.
        linked: Layers whose links are wanted.
        value: Tensors of the model as float32, where another walk of the same probe made some already.
        seed: Name of the graph input that holds the field at the target; of a tensor where the probe makes one.
        places: Whether relevance place by place is wanted too.
        seen: Tensors whose relevance place by place is wanted, with their kernel axis; an input of the model among
            them takes the walk down to it, whatever the depth.
        through: A tensor; below it only what comes down through it counts, and `seen` begins there.
        items: Whether the relevance of each item of the batch is wanted apart.

    Attributes:
        relevance: Layer index to the output that holds its kernels' relevance, (kernels,); (items, kernels) where
            `items` asks for it.
        corrected: Whether some relevance has a term that is known of all items together only.
        features: Layer index to where its kernels are judged.
        messages: (layer index, part index) to what the links of the part are computed from.
        maps: Layer index to its relevance summed over the kernels, the feature's axes without the kernels'; where
            `places` asks for it.
        volumes: Layer index to the relevance at each element of the feature; where `places` asks for it.
        seen: Tensor to its relevance summed over its kernel axis, where it was asked for and the walk came by.
    """

    def __init__(
        self,
        topology: Topology,
        target: str,
        *,
        depths: Mapping[int, int],
        depth: int | None,
        rule: Callable[[Walk], FieldRule],
        probe: Probe,
        linked: Iterable[int] = (),
        value: Values | None = None,
        seed: str = SEED,
        places: bool = False,
        seen: Mapping[str, int] | None = None,
        through: str | None = None,
        items: bool = False,
    ) -> None:
        self.topology = topology
        self.program = topology.program
        self.target = target
        self.depths = depths
        self.limit = max(depths.values(), default=0) if depth is None else depth
        self.probe = probe
        self.value = value or Values(topology, probe)
        self.linked = frozenset(linked)
        self.relevance: dict[int, str] = {}
        self.corrected = False
        self.features: dict[int, Feature] = {}
        self.messages: dict[tuple[int, int], tuple[Message, ...]] = {}
        self.maps: dict[int, str] = {}
        self.volumes: dict[int, str] = {}
        self.seen: dict[str, str] = {}
        self._places = places
        self._wanted = dict(seen or {})
        self._through = through
        self._items = items
        self._inputs = [p.name for p in self.program.model.inputs if p.name in self._wanted]
        self._seed = seed
        self._parts = {p.node.name: (layer, k) for layer in topology.layers for k, p in enumerate(layer.parts)}
        self._ends = {p.output: p.node.name for layer in topology.layers for p in layer.parts}
        self._arrived: dict[str, list[Field]] = {}
        self._settled: set[str] = set()
        self._scores = {target}
        self._judged: dict[str, list[tuple[KernelLayer, Feature]]] = {}
        for layer in topology.layers:
            if 0 < depths.get(layer.index, -1) <= self.limit:
                for found in features_of(topology, layer, target):
                    self.features[layer.index] = found
                    self._judged.setdefault(found.tensor, []).append((layer, found))
        if self._inputs:  # the walk goes on below the depth at which kernels are judged
            self.limit = max(depths.values(), default=0) + 1
        self._useful = self._reach()
        self._rule = rule(self)

    # What a rule asks of the walk.

    def useful(self, tensor: str) -> bool:
        """Whether a layer within the depth limit can still be reached through a tensor."""
        return tensor in self._useful

    def judged(self, tensor: str) -> bool:
        """Whether kernels of a layer are judged at a tensor."""
        return tensor in self._judged

    def score(self, tensor: str) -> bool:
        """Whether a tensor is the target, or leads to it from the classifier."""
        return tensor in self._scores

    def made_by(self, tensor: str) -> tuple[KernelLayer, int] | None:
        """The layer, and the number of its part, whose output a tensor is."""
        return self._parts.get(self._ends.get(tensor, ""))

    def depth_of(self, layer: KernelLayer) -> int:
        """A layer's depth; beyond the limit where the target does not depend on it."""
        return self.depths.get(layer.index, self.limit + 1)

    def link(self, layer: KernelLayer, index: int, *messages: Message) -> None:
        """Keep what the links of a part are computed from; those of all trips of a loop are one."""
        key = (layer.index, 0 if layer.tied else index)
        self.messages[key] = (*self.messages.get(key, ()), *messages)

    # The walk itself.

    def run(self) -> None:
        """Append the whole walk."""
        if not any(self._seed in node.output for node in self.probe.nodes):
            self.probe.seeds[self._seed] = self.value.shape(self.target)
        self._arrived[self.target] = [Field(self._seed)]
        for node in reversed(self.program.nodes):
            layer, k = self._parts.get(node.name, (None, 0))
            outputs = [layer.parts[k].output] if layer is not None else [o for o in node.outputs if o]
            live = [o for o in outputs if o in self._arrived]
            if not live:
                continue
            fields = {o: self._settle(o) for o in live}
            if self._through in fields:
                self._leave_all_but(self._through)
            if layer is not None:
                if self._expands(layer):
                    self._take(self._rule.pass_layer(layer, k, fields[outputs[0]]))
            elif node.name in self.topology.effects:
                if any(o in self._scores for o in live):
                    self._scores.update(node.inputs)
                self._take(self._rule.hand_down(node, self.topology.passing(node), fields))
        for name in self._inputs:
            if name in self._arrived:
                self._settle(name)

    def _leave_all_but(self, tensor: str) -> None:
        """Forget what came to other tensors, and what was seen above."""
        self._arrived = {tensor: self._arrived[tensor]}
        self.seen = {name: found for name, found in self.seen.items() if name == tensor}

    def _expands(self, layer: KernelLayer) -> bool:
        """Whether something is handed below a layer: the classifier always, others above the depth limit."""
        return self.depth_of(layer) < self.limit or self.depths.get(layer.index) == 0 or self._goes_round(layer)

    def _goes_round(self, layer: KernelLayer) -> bool:
        """Whether a layer hands down to earlier trips of its own loop, whatever its depth."""
        return layer.tied and layer.index in self.depths

    def _reach(self) -> set[str]:
        """Tensors through which a layer within the depth limit can still be reached."""
        useful: set[str] = set(self._inputs)
        inner = {n for layer in self.topology.layers for p in layer.parts for n in p.nodes[1:]}
        for node in self.program.nodes:
            place = self._parts.get(node.name)
            if place is not None:
                if self.depth_of(place[0]) <= self.limit or self._goes_round(place[0]):
                    useful.add(place[0].parts[place[1]].output)
                continue
            if node.name not in inner and any(i in useful for i in node.inputs):
                useful.update(node.outputs)
        return useful

    def _settle(self, tensor: str) -> Field:
        """Add up what all readers handed down, once; note the relevance of kernels that are judged here."""
        if tensor in self._settled:  # a bias behind a layer is a node of its own and a part of the layer too
            return self._arrived[tensor][0]
        self._settled.add(tensor)
        field = self._rule.settle(tensor, self._arrived[tensor])
        self._arrived[tensor] = [field]
        for layer, feature in self._judged.get(tensor, []):
            self._note(layer, feature, field)
        if tensor in self._wanted:
            relevance = self._rule.judge(tensor, field)
            self.seen[tensor] = self.probe.reduce("ReduceSum", relevance, [self._wanted[tensor]], keep=False)
        return field

    def _note(self, layer: KernelLayer, feature: Feature, field: Field) -> None:
        relevance = self._rule.judge(feature.tensor, field)
        kept = {feature.axis, 0} if self._items else {feature.axis}
        axes = [a for a in range(len(self.value.shape(feature.tensor))) if a not in kept]
        found = self.probe.reduce("ReduceSum", relevance, axes, keep=False)
        more = self._rule.correction(feature)
        self.corrected = self.corrected or more is not None
        parts = [name for name in (self.relevance.get(layer.index), found, more) if name is not None]
        self.relevance[layer.index] = total(self.probe, parts)
        if self._places and not layer.tied:
            self.maps[layer.index] = self.probe.reduce("ReduceSum", relevance, [feature.axis], keep=False)
            self.volumes[layer.index] = relevance

    def _take(self, handed: Iterator[Handed]) -> None:
        """Keep what was handed to tensors through which a layer can still be reached."""
        for one in handed:
            if one.tensor in self._useful:
                self._arrived.setdefault(one.tensor, []).append(Field(self._fitted(one), one.kind))

    def _fitted(self, one: Handed) -> str:
        to = self.value.shape(one.tensor)
        if one.shape is None or one.shape == to:
            return one.name
        return unbroadcast(self.probe, one.name, one.shape, to)


def of_kind(handed: Iterable[Handed], kind: str) -> Iterator[Handed]:
    """The same fields with another meaning."""
    for one in handed:
        yield replace(one, kind=kind)


def unbroadcast(probe: Probe, g: str, shape: tuple[int, ...], to: tuple[int, ...]) -> str:
    """The sum of a field over the axes along which a tensor was broadcast.

    Args:
        probe: Where the nodes go.
        g: The field.
        shape: Its shape.
        to: Shape of the tensor before it was broadcast.
    """
    aligned = (1,) * (len(shape) - len(to)) + to
    axes = [a for a, (n, m) in enumerate(zip(shape, aligned, strict=True)) if n != m]
    g = probe.reduce("ReduceSum", g, axes, keep=True)
    return g if aligned == to else probe.reshape(g, to)


def total(probe: Probe, names: Sequence[str]) -> str:
    """The sum of tensors of one shape."""
    found = names[0]
    for name in names[1:]:
        found = probe.add("Add", [found, name])
    return found


__all__ = ["Field", "FieldRule", "Handed", "Message", "Walk", "of_kind", "total", "unbroadcast"]
