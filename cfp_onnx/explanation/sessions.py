"""The sessions that explain one network: the file as it is, and the file with a rule's probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import RunError, UsageError
from cfp_onnx.explanation.network import Network
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.first_layers import behind_norm, first_features
from cfp_onnx.graph.parts import Part
from cfp_onnx.relevance import pooled_walk
from cfp_onnx.relevance.field_walk import Message, Walk
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.positional import Positional
from cfp_onnx.relevance.rules import RULES, Rule
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.relevance.values import deepest_level
from cfp_onnx.runtime.probe import TUBE_SEED, Probe, Values
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Wanted:
    """What one session returns besides relevance.

    Attributes:
        linked: Layers whose links are computed.
        shown: Layers whose activation maps are returned.
        maps: Whether the class's relevance of every layer walked is returned, place by place, and what the class's own
            tube is made of.
        volumes: Whether the relevance of each kernel of the `shown` layers is returned, place by place.
        places: Whether `maps` are the rule's own whatever the rule, which costs no second walk.
        same: Whether the class's tubes ask the same question as the ranking: the class against its rivals.
        taps: Tensors of the model that are returned, as float32.
    """

    linked: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    maps: bool = False
    volumes: bool = False
    places: bool = False
    same: bool = False
    taps: tuple[str, ...] = ()


MANY = 4000
"""Nodes above which a network with steps or trips is run as it is written: optimising them takes longer."""

NOTHING_MORE = Wanted()

TUBE_RULE = "positional"
"""The rule whose relevance has places that can be trusted."""


@dataclass(frozen=True)
class FieldProbe:
    """A session that returns relevance, and the names to fetch.

    Attributes:
        session: onnxruntime session.
        relevance: Layer index to output name.
        links: (layer index, part index) to what the messages of its channels are computed from.
        statistics: Reader of the addends' means.
        features: Layer index to where its kernels are judged.
        placed: Whether the class's relevance was asked for place by place.
        activations: Layer index to the name of that tensor, where it was asked for.
        maps: Layer index to the class's relevance summed over its kernels, where it was asked for.
        seen: Where the class's own tube comes from: relevance summed over the kernels, at the clip and at the maps of
            the first layers.
        volumes: Layer index to the relevance of all its kernels, place by place, where it was asked for.
        taps: Tensor of the model to the name of its float32 form, where it was asked for.
    """

    session: Any
    relevance: Mapping[int, str]
    links: Mapping[tuple[int, int], tuple[Message, ...]]
    statistics: Statistics
    features: Mapping[int, Feature]
    placed: bool
    activations: Mapping[int, str]
    maps: Mapping[int, str]
    seen: Mapping[Feature, str]
    volumes: Mapping[int, str]
    taps: Mapping[str, str]


@dataclass(frozen=True)
class PulledProbe:
    """A session that returns where in the clip a layer's evidence lies.

    Attributes:
        session: onnxruntime session.
        seen: As of `FieldProbe`.
    """

    session: Any
    seen: Mapping[Feature, str]


class Sessions:
    """Sessions of one network on one device, made when they are first used.

    Args:
        network: The network.
        shapes: Shape of every input.
        device: Where to run.
        keep: Whether sessions are kept for the next clip; otherwise each is dropped after its run, which needs less
            memory.

    Raises:
        DeviceError: If the device asked for is not there.
    """

    def __init__(
        self, network: Network, shapes: Mapping[str, tuple[int, ...]], device: runtime.Device, *, keep: bool = True
    ) -> None:
        self.network = network
        self.device = device
        self.keep = keep
        self.graph = runtime.Graph.of(network.model, shapes)
        self._providers = runtime.providers(device)
        self._plain: Any = None
        self._scores: tuple[Any, str] | None = None
        self._fields: dict[tuple[str, tuple[str, ...], int, int | None, Wanted], FieldProbe] = {}
        self._statistics: dict[tuple[str, int | None], tuple[Any, Statistics]] = {}
        self._mean_weights: dict[str, Array] = {}

    def provider(self) -> str:
        """Name of the provider that runs the sessions."""
        first = self._providers[0]
        return str(first[0] if isinstance(first, tuple) else first)

    def plain(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the file as it is, and the scores where an output only picks from them.

        Raises:
            RunError: If the runtime fails, or an output is not finite.
        """
        file = self.network.file
        session = self._plain if self._plain is not None else runtime.plain_session(file, self.device)
        if self.keep:
            self._plain = session
        results = runtime.answers(file, session, feeds)
        scored = self.network.scored
        if scored not in results:
            results[scored] = self._inside(scored, feeds)
        self.refuse_infinite(results)
        return results

    def refuse_infinite(self, outputs: Mapping[str, Array]) -> None:
        """Refuse a clip on which an output is not finite.

        Raises:
            RunError: If there is such an output.
        """
        for name, value in outputs.items():
            floating = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
            if floating and not np.isfinite(value).all():
                raise RunError(
                    f"output {name!r} of {self.network.file.path} holds NaN or infinity for this clip; "
                    "check the clip and its preprocessing"
                )

    def _inside(self, tensor: str, feeds: Mapping[str, Array]) -> Array:
        """A tensor of the model that is no output, as float32."""
        if self._scores is None or not self.keep:
            probe = Probe(self.network.model.opset)
            name = Values(self.network.topology, probe)(tensor)
            probe.outputs = [name]
            self._scores = self.graph.with_probe(probe, keep_outputs=False).session(self.device), name
        session, name = self._scores
        found = runtime.run(session, [name], feeds)[0]
        if not self.keep:
            self._scores = None
        return found

    def field(
        self,
        rule: Rule,
        depth: int | None,
        wanted: Wanted = NOTHING_MORE,
        *,
        hold: Sequence[str] | None = None,
        order: int = 1,
    ) -> FieldProbe:
        """The session that returns every kernel's relevance by a field rule, and what else is wanted.

        Args:
            rule: The rule.
            depth: Deepest level; None for all.
            wanted: What is returned besides relevance.
            hold: What is held at its recorded value; None for what the rule holds by itself.
            order: 1 or 2.

        Raises:
            UsageError: If the rule does not let one choose what it holds, has no such order, or does not pass the
                network's recurrent layers.
        """
        self.refuse_recurrent(rule, depth)
        held = rule.held(hold)
        key = (rule.name, held, rule.ordered(order), depth, wanted)
        found = self._fields.get(key) or self._make_field(rule, held, order, depth, wanted)
        if self.keep:
            self._fields[key] = found
        return found

    def _make_field(
        self, rule: Rule, hold: tuple[str, ...], order: int, depth: int | None, wanted: Wanted
    ) -> FieldProbe:
        network, make = self.network, rule.field().of_order(order)
        probe = Probe(network.model.opset)
        tubes = wanted.maps or wanted.volumes
        same = wanted.same and order == 1
        own = wanted.places or (tubes and (not rule.second_walk or self._one_walk(rule, hold, same=same)))
        seen = self._first_maps() if wanted.maps else ()
        walk = Walk(
            network.topology, network.target, depths=network.depths, depth=depth, rule=lambda w: make(w, hold),
            probe=probe, linked=wanted.linked, places=own,
            seen={f.tensor: f.axis for f in seen} if own else None,
        )  # fmt: skip
        walk.run()
        probe.outputs.extend(walk.relevance.values())
        probe.outputs.extend(n for messages in walk.messages.values() for m in messages for n in (m.x, m.g))
        statistics = Statistics.begin(network.topology, probe, walk.value)
        if wanted.linked:
            statistics.want_addends(self._joints(depth))
        placed = walk if own or not tubes else self._held_walk(walk, depth, seen)
        maps = placed.maps if wanted.maps or wanted.places else {}
        volumes = {i: placed.volumes[i] for i in wanted.shown if i in placed.volumes} if wanted.volumes else {}
        activations = {i: walk.value(walk.features[i].tensor) for i in wanted.shown if i in walk.features}
        taps = {t: walk.value(t) for t in wanted.taps}
        clip = {f: placed.seen[f.tensor] for f in seen if f.tensor in placed.seen}
        probe.outputs.extend([*clip.values(), *maps.values(), *volumes.values(), *activations.values(), *taps.values()])
        constant = network.program.is_constant
        probe.outputs = [o for o in probe.outputs if not constant(o)]
        return FieldProbe(
            self._session(probe), walk.relevance, walk.messages, statistics, walk.features, wanted.maps, activations,
            maps, clip, volumes, taps,
        )  # fmt: skip

    def _one_walk(self, rule: Rule, hold: Sequence[str], *, same: bool) -> bool:
        """Whether the ranking's walk is the tubes' too: by the same rule and question, and nothing more to hold."""
        return same and rule.name == TUBE_RULE and not (self.network.topology.steers or hold)

    def _first_maps(self) -> tuple[Feature, ...]:
        """The clip, and the maps of the first layers behind norm and activation."""
        network = self.network
        clip = network.clip_input()
        axis = network.axes[clip]
        own = () if axis is None else (Feature(clip, axis),)
        return (*own, *first_features(network.topology, clip, network.target))

    def _held_walk(self, first: Walk, depth: int | None, seen: Sequence[Feature]) -> Walk:
        """A further walk in the same graph for the places of the class's evidence."""
        walk = self._places_walk(first.probe, depth, seen, value=first.value, places=True)
        walk.run()
        return walk

    def _places_walk(
        self,
        probe: Probe,
        depth: int | None,
        seen: Sequence[Feature],
        *,
        value: Values | None = None,
        places: bool = False,
        through: str | None = None,
    ) -> Walk:
        """A walk with all held, means too: what a norm or a gate makes of a change is spread over all places."""
        network = self.network
        return Walk(
            network.topology, network.target, depths=network.depths, depth=depth,
            rule=lambda w: Positional(w, hold=(*HOLDS, "means")), probe=probe, value=value, seed=TUBE_SEED,
            places=places, seen={f.tensor: f.axis for f in seen}, through=through,
        )  # fmt: skip

    def pulled(self, layer: int, depth: int | None) -> PulledProbe | None:
        """The session that takes what one layer holds of the class down to the clip; None where it holds nothing.

        The relevance of a layer's feature in the walk of the class's own tube is handed on alone. Where layers cut the
        network, each path from the clip to the class once, their maps at the clip add up to the class's own.

        Args:
            layer: The layer.
            depth: Deepest level of the walk; None for all.
        """
        network = self.network
        feature = feature_of(network.topology, network.topology.layers[layer], network.target)
        seen = self._first_maps()
        behind = behind_norm(network.topology, feature, network.target)
        through = behind.tensor if behind in seen else feature.tensor
        probe = Probe(network.model.opset)
        walk = self._places_walk(probe, depth, seen, through=through)
        walk.run()
        clip = {f: walk.seen[f.tensor] for f in seen if f.tensor in walk.seen}
        if layer not in walk.relevance or not clip:
            return None
        probe.outputs.extend(clip.values())
        return PulledProbe(self._session(probe), clip)

    def statistics(self, rule: Rule, depth: int | None) -> tuple[Any, Statistics]:
        """The session that returns the statistics of a pooled rule for all layers within the depth."""
        self.refuse_recurrent(rule, depth)
        key = (rule.name, depth)
        if key not in self._statistics:
            network = self.network
            deepest = deepest_level(network.depths, depth)
            probe = Probe(network.model.opset)
            statistics = Statistics.begin(network.topology, probe)
            want = statistics.want_taps if rule.pooled().statistics == "taps" else statistics.want_pooled
            for i, d in network.depths.items():
                if d < deepest or d == 0:
                    for part in network.topology.layers[i].parts:
                        want(part)
            statistics.want_addends(self._joints(depth))
            self._statistics[key] = (self._session(probe), statistics)
        return self._statistics[key]

    def refuse_recurrent(self, rule: Rule, depth: int | None) -> None:
        """Refuse a rule that does not pass a recurrent layer that it would meet.

        Raises:
            UsageError: If there is such a layer.
        """
        layers, deepest = self.network.topology.layers, deepest_level(self.network.depths, depth)
        for i, d in self.network.depths.items():
            if layers[i].recurs and not rule.recurrent and (d < deepest or d == 0):
                raise UsageError(
                    f"rule {rule.name} does not pass recurrent layers, and {layers[i].name!r} is one; choose one of "
                    f"{', '.join(name for name, row in RULES.items() if row.recurrent)}"
                )

    def mean_weights(self, part: Part) -> Array:
        """Mean over the taps of a part's weights, (kernels, channels / groups), kept for the next walk."""
        if part.node.name not in self._mean_weights:
            self._mean_weights[part.node.name] = pooled_walk.mean_weights(part)
        return self._mean_weights[part.node.name]

    def _session(self, probe: Probe) -> Any:
        """A session with a probe; what the model takes is no output."""
        inputs = {p.name for p in self.network.model.inputs}
        probe.outputs = [o for o in dict.fromkeys(probe.outputs) if o not in inputs]
        nodes = len(self.graph.proto.graph.node) + len(probe.nodes)
        optimise = not ((self.network.topology.steps or self.network.model.copies) and nodes > MANY)
        return self.graph.with_probe(probe).session(self.device, optimise=optimise)

    def _joints(self, depth: int | None) -> list[str]:
        """Nodes between layers within the depth, the Adds among them."""
        network = self.network
        deepest = deepest_level(network.depths, depth)
        layers = network.topology.layers
        stack = [p.source for i, d in network.depths.items() if d < deepest for p in layers[i].parts]
        ends = {p.output for layer in layers for p in layer.parts}
        seen: set[str] = set()
        names: dict[str, None] = {}
        while stack:
            tensor = stack.pop()
            if tensor in seen or tensor in ends:
                continue
            seen.add(tensor)
            node = network.program.producers.get(tensor)
            if node is not None:
                names[node.name] = None
                stack.extend(i for i in node.inputs if i)
        return list(names)


__all__ = ["NOTHING_MORE", "FieldProbe", "PulledProbe", "Sessions", "Wanted"]
