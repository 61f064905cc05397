"""The main job: a model and a clip in, a class feature pyramid out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError, TargetError, UsageError
from cfp_onnx.graph.channel_axis import channel_axis
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.positions import spatial_axes
from cfp_onnx.graph.states import State
from cfp_onnx.graph.target import behind_target, class_axis, logits_of, target_tensor
from cfp_onnx.graph.topology import build, shared_states
from cfp_onnx.model import Model, Program, input_shape, load
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.topology_json import topology_json
from cfp_onnx.pyramid.tube_collector import Collector, clip_size, shown_kernels
from cfp_onnx.pyramid.tubes import Media, stretched
from cfp_onnx.relevance import messages
from cfp_onnx.relevance import pooled_walk as walk
from cfp_onnx.relevance import scores as rules
from cfp_onnx.relevance.field_walk import Message, Walk
from cfp_onnx.relevance.pooled_walk import Settings, Walked
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.relevance.zplus import ZPlus
from cfp_onnx.runtime.probe import SEED, TUBE_SEED, Probe, Values
from cfp_onnx.values import Array, Progress

if TYPE_CHECKING:
    from cfp_onnx.clips.load import Clip, InputSpec, Preprocess


FIELD_RULES = ("positional", "active", "zplus")
POOLED_RULES = ("published", "mean")
RULES = (*FIELD_RULES, *POOLED_RULES)
CLASS_STEPS = ("weights", "contribution", "contrast")
DEFAULT_STEP = {
    "positional": "contrast",
    "active": "contrast",
    "zplus": "contrast",
    "published": "weights",
    "mean": "contribution",
}

PASS_BUDGET = 2**30
"""Bytes of inputs, fields and maps fetched by one forward pass for links and tubes; more layers take a further pass."""

_FEEDABLE = frozenset(
    {"float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"}
)

LINK_LIMIT = 2**17
"""Most links of one pyramid; where kernels tie by the thousand the strongest are kept and the rest is counted."""

KERNEL_BLOCK = 256
"""Kernels whose messages are computed at a time."""

TOP = 5


@dataclass(frozen=True)
class FieldProbe:
    """A session that returns relevance, and the names to fetch.

    Attributes:
        session: onnxruntime session.
        relevance: Layer index to output name.
        links: (layer index, part index) to what the messages of its channels are computed from.
        statistics: Reader of the addends' means.
        features: Layer index to where its kernels are judged.
        activations: Layer index to the name of that tensor, where it was asked for.
        maps: Layer index to the class's relevance summed over its kernels, where it was asked for.
        volumes: Layer index to the relevance of all its kernels, place by place, where it was asked for.
        taps: Tensor of the model to the name of its float32 form, where it was asked for.
    """

    session: Any
    relevance: Mapping[int, str]
    links: Mapping[tuple[int, int], tuple[Message, ...]]
    statistics: Statistics
    features: Mapping[int, Feature]
    activations: Mapping[int, str]
    maps: Mapping[int, str]
    volumes: Mapping[int, str]
    taps: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What one session returns besides relevance.

    Attributes:
        linked: Layers whose links are computed.
        shown: Layers whose activation maps are returned.
        maps: Whether the class's relevance of every layer walked is returned, by rule `zplus`.
        volumes: Whether the relevance of each kernel of the `shown` layers is returned, by rule `zplus`.
        places: Whether `maps` are returned by the rule itself, which costs no second walk.
        taps: Tensors of the model that are returned, as float32.
    """

    linked: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    maps: bool = False
    volumes: bool = False
    places: bool = False
    taps: tuple[str, ...] = ()


class Engine:
    """A model at one input size on one device: topology, sessions and runs, made once and used for any class.

    Args:
        model: A loaded model.
        feeds: Arrays for all inputs; only their shapes matter here.
        device: Where to run.
        output: Name of the output to explain; the first by default.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        keep: Whether sessions are kept for the next clip; otherwise each is dropped after its run, which needs less
            memory.

    Raises:
        ModelError: If the model cannot be analysed or run.
        DeviceError: If the device asked for is not there.
        TargetError: If there is no such output, or no layer made it.
    """

    def __init__(
        self,
        model: Model,
        feeds: Mapping[str, Array],
        *,
        device: runtime.Device | None = None,
        output: str | None = None,
        barriers: bool = False,
        keep: bool = True,
    ) -> None:
        self.keep = keep
        self.device = device or runtime.Device()
        self.providers = runtime.providers(self.device)
        self.program = runtime.observe(model, feeds)
        self.model = self.program.model
        self.file = model
        self.axes = channel_axes(self.program)
        self.topology = build(self.program, channel_axes=self.axes, barriers=barriers)
        self.output = _output(model, output)
        self.target = target_tensor(self.topology, self.output)
        self.depths = self.topology.depths(self.target)
        self.coverage = self.topology.coverage(self.target)
        self.graph = runtime.Graph.of(self.model, {k: v.shape for k, v in feeds.items()})
        self._plain: Any = None
        self._fields: dict[tuple[str, int | None, Wanted], FieldProbe] = {}
        self._pooled_weights: dict[str, Array] = {}
        self._statistics: dict[tuple[str, int | None], tuple[Any, Statistics]] = {}

    # ------------------------------------------------------------------------------------- plain run

    def plain(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the file as it is.

        Raises:
            RunError: If the runtime fails, or an output is not finite.
        """
        session = self._plain if self._plain is not None else runtime.plain_session(self.file, self.device)
        if self.keep:
            self._plain = session
        names = [p.name for p in self.file.outputs]
        results = dict(zip(names, runtime.run(session, names, feeds), strict=True))
        for name, value in results.items():
            if (
                isinstance(value, np.ndarray)
                and np.issubdtype(value.dtype, np.floating)
                and not np.isfinite(value).all()
            ):
                raise RunError(
                    f"output {name!r} of {self.file.path} holds NaN or infinity for this clip; "
                    "check the clip and its preprocessing"
                )
        return results

    def provider(self) -> str:
        """Name of the provider that runs the sessions."""
        first = self.providers[0]
        return str(first[0] if isinstance(first, tuple) else first)

    # ----------------------------------------------------------------------------------------- target

    def classes(self) -> tuple[int, int | None]:
        """Number of classes and their axis in the target; None where the whole flattened target is classes."""
        return class_axis(self.topology, self.target)

    def scores(self, value: Array) -> Array:
        """Class scores of the first item of a target or output, (classes,); positions are averaged."""
        count, axis = self.classes()
        value = np.asarray(value, np.float64)
        if axis is not None and value.ndim > axis and value.shape[axis] == count:
            item = value[:1] if axis != 0 else value
            return np.asarray(item.mean(axis=tuple(a for a in range(value.ndim) if a != axis)))
        flat = value[:1].reshape(-1) if value.ndim else value.reshape(-1)
        return (
            flat if flat.size == count else (flat.reshape(count, -1).mean(axis=1) if flat.size % count == 0 else flat)
        )

    def rivals(self, output: Array, index: int) -> Array:
        """How much each other class competes with one on this clip: (classes,) float32, the softmax of their logits.

        Args:
            output: The output to explain, of a plain run.
            index: The class.
        """
        scores = logits_of(self.scores(output), behind_target(self.program, self.output, self.target))
        others = np.delete(scores, index)
        if not others.size:
            return np.zeros(len(scores), np.float32)
        weights = np.exp(others - others.max())
        return np.insert(weights / weights.sum(), index, 0.0).astype(np.float32)

    def seed(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """Field at the target, of its shape: the class, less the others under ``contrast``.

        Args:
            index: The class.
            step: ``contrast`` or ``contribution``.
            rivals: (classes,) weights of the other classes; all alike by default.
        """
        shape = self.program.shapes[self.target]
        count, axis = self.classes()
        weights = np.zeros(count, np.float32)
        if step == "contrast" and count > 1:
            weights -= np.float32(1.0 / (count - 1)) if rivals is None else rivals
        weights[index] = 1.0
        batch = shape[0] if shape and axis != 0 else 1
        if axis is None:
            positions = max(1, int(np.prod(shape)) // (batch * count))
            return (
                np.broadcast_to(weights.reshape(1, -1), (batch, count)).reshape(shape) / np.float32(batch * positions)
                if positions == 1
                else np.full(shape, 1.0 / np.prod(shape), np.float32)
            )
        view = [1] * len(shape)
        view[axis] = count
        total = int(np.prod(shape)) // count
        return np.ascontiguousarray(np.broadcast_to(weights.reshape(view), shape) / np.float32(total))

    # ------------------------------------------------------------------------------------ field rules

    def field_probe(self, rule: str, depth: int | None, wanted: Wanted = Wanted()) -> FieldProbe:
        """The session that returns every kernel's relevance, and what else is wanted."""
        key = (rule, depth, wanted)
        found = self._fields.get(key) or self._make_field_probe(rule, depth, wanted)
        if self.keep:
            self._fields[key] = found
        return found

    def _make_field_probe(self, rule: str, depth: int | None, wanted: Wanted) -> FieldProbe:
        probe = Probe(self.model.opset)
        walker = ZPlus if rule == "zplus" else Walk
        steps = walker(
            self.topology, self.target, depths=self.depths, depth=depth, rule=rule, probe=probe, linked=wanted.linked,
            places=wanted.places,
        )  # fmt: skip
        steps.run()
        probe.outputs.extend(steps.relevance.values())
        probe.outputs.extend(n for messages in steps.messages.values() for m in messages for n in (m.x, m.g))
        statistics = Statistics.begin(self.topology, probe, steps.value)
        if wanted.linked:
            statistics.want_addends(self._joints(depth))
        maps, volumes = (steps.maps, {}) if wanted.places else self._class_maps(steps, depth, wanted)
        activations = {i: steps.value(steps.features[i].tensor) for i in wanted.shown if i in steps.features}
        taps = {t: steps.value(t) for t in wanted.taps}
        probe.outputs.extend([*maps.values(), *volumes.values(), *activations.values(), *taps.values()])
        inputs = {p.name for p in self.model.inputs}
        probe.outputs = [o for o in dict.fromkeys(probe.outputs) if o not in inputs and not self.program.is_constant(o)]
        session = self.graph.with_probe(probe).session(self.device)
        return FieldProbe(
            session, steps.relevance, steps.messages, statistics, steps.features, activations, maps, volumes, taps
        )

    def _class_maps(self, steps: Walk, depth: int | None, wanted: Wanted) -> tuple[dict[int, str], dict[int, str]]:
        """Relevance maps by rule `zplus`, from a second walk in the same graph."""
        if not (wanted.maps or wanted.volumes) or not steps.features:  # a classifier alone has no maps
            return {}, {}
        tubes = ZPlus(
            self.topology, self.target, depths=self.depths, depth=depth, rule="zplus", probe=steps.probe,
            value=steps.value, seed=TUBE_SEED, absorbing=True,
        )  # fmt: skip
        tubes.run()
        volumes = {i: tubes.volumes[i] for i in wanted.shown if i in tubes.volumes} if wanted.volumes else {}
        return (tubes.maps if wanted.maps else {}), volumes

    def _joints(self, depth: int | None) -> list[str]:
        """Adds that feed a layer within the depth."""
        deepest = walk.deepest_level(self.depths, depth)
        stack = [p.source for i, d in self.depths.items() if d < deepest for p in self.topology.layers[i].parts]
        ends = {p.output for layer in self.topology.layers for p in layer.parts}
        seen: set[str] = set()
        names: dict[str, None] = {}
        while stack:
            tensor = stack.pop()
            if tensor in seen or tensor in ends:
                continue
            seen.add(tensor)
            node = self.program.producers.get(tensor)
            if node is not None:
                names[node.name] = None
                stack.extend(i for i in node.inputs if i)
        return list(names)

    def relevance(
        self,
        feeds: Mapping[str, Array],
        index: int,
        *,
        rule: str = "positional",
        class_step: str = "contrast",
        depth: int | None = None,
    ) -> dict[int, Array]:
        """Relevance of every kernel of every layer walked, by a field rule: layer index to (kernels,) float64."""
        probe = self.field_probe(rule, depth)
        names = list(probe.relevance.values())
        results = runtime.run(probe.session, names, {**feeds, SEED: self.seed(index, class_step)})
        return {i: np.asarray(r, np.float64).reshape(-1) for i, r in zip(probe.relevance, results, strict=True)}

    def _field_walk(
        self,
        feeds: Mapping[str, Array],
        rule: str,
        settings: Settings,
        collector: Collector | None,
        *,
        volumes: bool,
        progress: Progress,
    ) -> tuple[Walked, Mapping[str, State], dict[str, Array]]:
        deepest = settings.deepest(self.depths)
        layers = [i for i, d in sorted(self.depths.items(), key=lambda x: x[1]) if d <= deepest]
        expanded = [i for i in layers if self.depths[i] < deepest]
        shown = [i for i in layers if self.depths[i] > 0] if collector is not None else []
        walked, states, outputs = Walked(), self.topology.states, {}
        chunks = self._chunks(expanded, shown, volumes=volumes)
        for n, chunk in enumerate(chunks):
            progress("explaining", n, len(chunks))
            wanted = replace(chunk, maps=n == 0 and collector is not None)
            probe = self.field_probe(rule, settings.depth, wanted)
            first = [*probe.relevance.values(), *probe.statistics.addends.values()] if n == 0 else []
            own = [p.name for p in self.file.outputs] if n == 0 else []
            results = self._fetch(probe, feeds, [*own, *first], settings)
            if n == 0:
                outputs = {k: results[k] for k in own}
                states = self._take_relevance(probe, results, walked, settings)
            for (layer, part), messages_of in probe.links.items():
                self._link(walked, self.topology.layers[layer], part, messages_of, results, settings)
            if collector is not None:
                self._collect(collector, probe, results, walked)
            del probe, results  # before the next session is made
        return walked, states, outputs

    def _fetch(
        self, probe: FieldProbe, feeds: Mapping[str, Array], names: Sequence[str], settings: Settings
    ) -> dict[str, Array]:
        """One forward pass: the tensors named and everything the probe was made for."""
        seed = {SEED: self.seed(settings.index, settings.class_step)}
        if probe.maps or probe.volumes:
            seed[TUBE_SEED] = self.seed(settings.index, "contrast", settings.rivals)
        linked = [n for found in probe.links.values() for m in found for n in (m.x, m.g)]
        maps = [*probe.activations.values(), *probe.maps.values(), *probe.volumes.values()]
        wanted = [n for n in dict.fromkeys([*names, *linked, *maps]) if n not in feeds]
        results = dict(zip(wanted, runtime.run(probe.session, wanted, {**feeds, **seed}), strict=True))
        return {**results, **{k: np.asarray(v, np.float32) for k, v in feeds.items()}}

    def _collect(self, collector: Collector, probe: FieldProbe, results: Mapping[str, Array], walked: Walked) -> None:
        """Hand what one pass returned to the tubes."""
        layers = self.topology.layers
        for i, name in probe.maps.items():
            collector.add_relevance(layers[i], probe.features[i], results[name])
        for i, name in probe.activations.items():
            kernels, omitted = shown_kernels(walked.relevance[i], walked.chosen[i])
            collector.omitted += omitted
            collector.add_activations(layers[i], probe.features[i], results[name], kernels)
            if i in probe.volumes:
                collector.add_relevances(layers[i], probe.features[i], results[probe.volumes[i]], kernels)

    def _take_relevance(
        self, probe: FieldProbe, results: Mapping[str, Array], walked: Walked, settings: Settings
    ) -> Mapping[str, State]:
        for i, name in probe.relevance.items():
            walked.relevance[i] = results[name].astype(np.float64).reshape(-1)
            walked.chosen[i] = rules.choose(walked.relevance[i], theta=settings.theta, top_k=settings.top_k)
        deepest = settings.deepest(self.depths)
        for i, d in self.depths.items():
            if i not in walked.relevance and d <= deepest:
                walked.relevance[i] = np.zeros(self.topology.layers[i].kernels)
                walked.chosen[i] = np.zeros(0, np.int64)
            if d == 0:
                walked.chosen[i] = np.array([min(settings.index, self.topology.layers[i].kernels - 1)])
        means = {t: results[o] for t, o in probe.statistics.addends.items()}
        return shared_states(self.topology, self.axes, means.get) if means else self.topology.states

    def _chunks(self, expanded: Sequence[int], shown: Sequence[int], *, volumes: bool) -> list[Wanted]:
        """Layers whose inputs, fields and maps together stay within `PASS_BUDGET`, in the order of depth."""
        chunks: list[tuple[list[int], list[int]]] = [([], [])]
        size = 0
        for i in dict.fromkeys([*expanded, *shown]):
            parts = self.topology.layers[i].parts
            tensors = [t for p in parts for t in (p.source, p.output)] if i in expanded else []
            tensors += [p.output for p in parts] * (1 + volumes) if i in shown else []
            need = sum(4 * int(np.prod(self.program.shapes[t])) for t in tensors)
            if any(chunks[-1]) and size + need > PASS_BUDGET:
                chunks.append(([], []))
                size = 0
            for group, members in zip(chunks[-1], (expanded, shown), strict=True):
                if i in members:
                    group.append(i)
            size += need
        return [Wanted(tuple(linked), tuple(maps), volumes=volumes) for linked, maps in chunks]

    def _link(
        self,
        walked: Walked,
        layer: KernelLayer,
        part: int,
        found: Sequence[Message],
        results: Mapping[str, Array],
        settings: Settings,
    ) -> None:
        """Links of the chosen kernels of one part; of the classifier, those of the class."""
        piece = layer.parts[part]

        def signed(kernels: Array) -> Array:
            each = [messages.messages(m.part, results[m.x], results[m.g], kernels) for m in found]
            return np.asarray(np.sum(each, axis=0))

        offset = sum(p.kernels for p in layer.parts[:part])
        if self.depths[layer.index] == 0:
            z = signed(np.arange(piece.kernels))
            total = np.zeros(piece.channels)
            width, per = piece.channels // piece.groups, piece.kernels // piece.groups
            for group in range(piece.groups):
                total[group * width : (group + 1) * width] = z[group * per : (group + 1) * per].sum(axis=0)
            kernel = int(walked.chosen[layer.index][0])
            walked.relevance[layer.index][kernel] = float(total.sum())
            walked.links[layer.index, kernel], omitted = walk.link_messages(total, 0, settings.theta, LINK_LIMIT)
            walked.omitted += omitted
            return
        kernels = np.sort(walked.chosen[layer.index])
        mine = kernels[(kernels >= offset) & (kernels < offset + piece.kernels)] - offset
        if not mine.size:
            return
        limit = max(4, LINK_LIMIT // max(1, len(self.depths)) // max(1, kernels.size))
        for start in range(0, mine.size, KERNEL_BLOCK):
            block = mine[start : start + KERNEL_BLOCK]
            for kernel, row in zip(block, signed(block), strict=True):
                low, _ = walk.group_slices(layer, int(kernel) + offset)
                links, omitted = walk.link_messages(row, low, settings.theta, limit)
                walked.links[layer.index, int(kernel) + offset] = links
                walked.omitted += omitted

    # ----------------------------------------------------------------------------------- pooled rules

    def mean_weights(self, part: Part) -> Array:
        """Mean over the taps of a part's weights, (kernels, channels / groups), kept for the next walk."""
        if part.node.name not in self._pooled_weights:
            self._pooled_weights[part.node.name] = walk.mean_weights(part)
        return self._pooled_weights[part.node.name]

    def statistics_session(self, rule: str, depth: int | None) -> tuple[Any, Statistics]:
        """The session that returns the pooled statistics of a rule for all layers within the depth."""
        key = (rule, depth)
        if key not in self._statistics:
            deepest = walk.deepest_level(self.depths, depth)
            probe = Probe(self.model.opset)
            statistics = Statistics.begin(self.topology, probe)
            for i, d in self.depths.items():
                if d < deepest or d == 0:
                    for part in self.topology.layers[i].parts:
                        (statistics.want_taps if rule == "mean" else statistics.want_pooled)(part)
            statistics.want_addends(self._joints(depth))
            probe.outputs = [o for o in dict.fromkeys(probe.outputs) if o not in {p.name for p in self.model.inputs}]
            self._statistics[key] = (self.graph.with_probe(probe).session(self.device), statistics)
        return self._statistics[key]

    def statistics(
        self, feeds: Mapping[str, Array], rule: str, depth: int | None = None
    ) -> tuple[Statistics, dict[str, Array]]:
        """Pooled statistics of one clip, and the model's own outputs of the same pass."""
        session, statistics = self.statistics_session(rule, depth)
        wanted = [*statistics.pooled.values(), *statistics.taps.values(), *statistics.addends.values()]
        names = [n for n in dict.fromkeys([*(p.name for p in self.file.outputs), *wanted]) if n not in feeds]
        results = dict(zip(names, runtime.run(session, names, feeds), strict=True))
        return statistics, {**results, **feeds}

    def _pooled_walk(
        self,
        feeds: Mapping[str, Array],
        rule: str,
        settings: Settings,
        collector: Collector | None,
        *,
        volumes: bool,
        progress: Progress,
    ) -> tuple[Walked, Mapping[str, State], dict[str, Array]]:
        statistics, results = self.statistics(feeds, rule, settings.depth)
        means = {t: results[o] for t, o in statistics.addends.items()}
        states = shared_states(self.topology, self.axes, means.get) if means else self.topology.states

        def pooled(layer: KernelLayer) -> Array:
            return np.concatenate([statistics.channel_means(p, results) for p in layer.parts])

        def taps(layer: KernelLayer) -> list[Array]:
            return [statistics.tap_means(p, results) for p in layer.parts]

        if rule == "published":
            walked = walk.published(self.topology, self.depths, pooled, settings, self.mean_weights)
        else:
            walked = walk.mean_rule(self.topology, self.depths, taps, settings, states)
        if collector is not None:
            steps = replace(settings, class_step="contrast")
            self._pooled_tubes(feeds, walked, steps, collector, volumes=volumes, progress=progress)
        outputs = {p.name: results[p.name] for p in self.file.outputs}
        return walked, states, outputs

    def _pooled_tubes(
        self,
        feeds: Mapping[str, Array],
        walked: Walked,
        settings: Settings,
        collector: Collector,
        *,
        volumes: bool,
        progress: Progress,
    ) -> None:
        """Tubes of what a pooled rule chose, from further passes."""
        shown = [i for i in walked.relevance if self.depths[i] > 0]
        chunks = self._chunks([], shown, volumes=volumes)
        for n, chunk in enumerate(chunks):
            progress("recording tubes", n, len(chunks))
            probe = self.field_probe("zplus", settings.depth, replace(chunk, maps=n == 0))
            self._collect(collector, probe, self._fetch(probe, feeds, [], settings), walked)
            del probe  # before the next session is made

    # ---------------------------------------------------------------------------------------- pyramid

    def pyramid(
        self,
        clip: Clip,
        settings: Settings,
        *,
        rule: str,
        labels: Sequence[str] | None,
        plain: Mapping[str, Array] | None = None,
        tubes: bool = True,
        kernel_relevance: bool = False,
        progress: Progress | None = None,
    ) -> Pyramid:
        """Run the model on a clip and walk down from one class; `plain` are its outputs where they are known."""
        plain = self.plain(clip.feeds) if plain is None else plain
        settings = replace(settings, rivals=self.rivals(plain[self.output], settings.index))
        scores = self.scores(plain[self.output])
        walker = self._field_walk if rule in FIELD_RULES else self._pooled_walk
        main = self._main_input()
        collector = Collector.of(self.topology, self.depths, main, self.axes[main]) if tubes else None
        walked, states, outputs = walker(
            clip.feeds, rule, settings, collector, volumes=kernel_relevance, progress=progress or _silent
        )
        difference = _difference(plain, outputs)
        layers = walk.layer_results(self.topology, self.depths, walked)
        if not all(np.isfinite(r).all() for r in walked.relevance.values()):
            raise RunError(
                f"the relevance of {self.file.path} is not finite on this clip; its activations overflow float32"
            )
        order = np.argsort(-scores, kind="stable")[:TOP]
        name = self.model.inputs[0].name
        return Pyramid(
            model={
                "file": str(self.file.path), "sha256": self.file.sha256, "producer": self.file.producer,
                "opset": self.file.opset,
            },
            input={
                "file": clip.file, "sha256": clip.sha256, "shape": list(clip.feeds[name].shape), "layout": clip.layout,
            },
            run={
                "rule": rule, "class_step": settings.class_step, "theta": settings.theta, "top_k": settings.top_k,
                "depth": settings.depth if settings.depth is not None else "all", "gates": "frozen",
                "provider": self.provider(), "onnxruntime": runtime.import_onnxruntime().__version__,
                "output_difference": difference,
                "undefined": walked.undefined, "negative_sums": walked.negative_sums, "links_omitted": walked.omitted,
            },
            target={
                "output": self.output, "index": settings.index, "label": _label(labels, settings.index),
                "score": float(scores[settings.index]),
                "top": [[int(i), _label(labels, int(i)), float(scores[i])] for i in order],
            },
            coverage={
                "channels": self.coverage.channels, "layers": self.coverage.layers,
                "operators_unknown": list(self.coverage.operators_unknown),
            },
            layers=layers,
            levels=walk.levels(self.topology, self.depths, walked),
            edges=walk.edges(self.topology, walked, states),
            tubes=None if collector is None else collector.finish(),
            media=self._media(clip, main) if tubes else None,
            topology=topology_json(self) if tubes else None,
        )  # fmt: skip

    def _main_input(self) -> str:
        """The input that is the clip: the first with most axes."""
        ranks = {p.name: len(self.program.shapes[p.name]) for p in self.model.inputs}
        return max(ranks, key=lambda name: ranks[name])

    def _media(self, clip: Clip, name: str) -> Media:
        """What a person sees of the clip."""
        array, axis = clip.feeds[name], self.axes[name]
        size = clip_size(array.shape, axis)
        if size is None:
            return Media("none", (1, 1, 1), note="the model's input has no space or time to draw")
        axes = spatial_axes(array.ndim, axis)
        if len(axes) == 1:
            curve = np.moveaxis(np.asarray(array[0], np.float32), axis - 1, 0)
            return Media("curve", size, curve=curve, note="the signal as the network got it")
        kind = "video" if size[0] > 1 else "image"
        if clip.frames is not None and clip.frames.shape[:3] == size:
            return Media(kind, size, clip.frames, note="frames after resize and crop, as the network saw them")
        letters = dict(zip("THW"[3 - len(axes) :], axes, strict=True)) | {"C": axis}
        note = "the array as it was fed, its range stretched to black and white"
        return Media(kind, size, stretched(array, letters), note=note)


def _silent(_what: str, _done: int, _of: int) -> None:
    """Progress that nobody watches."""


def _label(labels: Sequence[str] | None, index: int) -> str | None:
    return labels[index] if labels is not None and index < len(labels) else None


def _difference(plain: Mapping[str, Array], probed: Mapping[str, Array]) -> float:
    """Largest absolute difference of the model's outputs with and without probes."""
    pairs = [(plain[k], v) for k, v in probed.items() if k in plain and np.issubdtype(np.asarray(v).dtype, np.number)]
    return max(
        (float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0)) for a, b in pairs), default=0.0
    )


def _output(model: Model, name: str | None) -> str:
    names = [p.name for p in model.outputs]
    if name is None:
        if not names:
            raise ModelError(f"{model.path}: the model has no output")
        return names[0]
    if name not in names:
        raise TargetError(f"{model.path} has no output {name!r}; its outputs are: {', '.join(names)}")
    return name


def channel_axes(program: Program) -> dict[str, int]:
    """Channel axis of every input: what its first layers read, else axis 1."""
    axes = {}
    for port in program.model.inputs:
        rank = len(program.shapes[port.name])
        found = channel_axis(program, port.name)
        axes[port.name] = found if found is not None else min(1, max(0, rank - 1))
    return axes


# -------------------------------------------------------------------------------------------- public calls


def topology(
    model: Model | str | os.PathLike[str],
    *,
    input_shape: Mapping[str, tuple[int, ...]] | None = None,
    barriers: bool = False,
) -> Engine:
    """The network of a file without a clip; `Engine.topology` and `Engine.coverage` hold the answer.

    Args:
        model: A model or its path.
        input_shape: Sizes for inputs that leave some open.
        barriers: Whether unknown operators are passed over and recorded.
    """
    loaded = model if isinstance(model, Model) else load(model)
    feeds = runtime.random_feeds(loaded, input_shape)
    return Engine(loaded, feeds, device=runtime.Device("cpu"), barriers=barriers)


def specs(model: Model) -> list[InputSpec]:
    """The model's inputs as the clip reader wants them; the graph tells the channel axis where the shape does not."""
    from cfp_onnx.clips.load import InputSpec, layout_of

    for port in model.inputs:
        if port.dtype not in _FEEDABLE:
            raise ModelError(
                f"{model.path}: input {port.name!r} is {port.dtype}, which cannot be fed from a clip; "
                "export the model with float32 inputs"
            )
    shapes = input_shape(model, {})
    out = [InputSpec(p.name, tuple(shapes[p.name]), p.dtype, None) for p in model.inputs]
    if len(out) != 1 or len(out[0].shape) < 3:
        return out
    try:
        layout_of(out[0])
    except (UsageError, ModelError):
        pass
    else:
        if sum(d in {1, 3} for d in out[0].shape[1:]) == 1:
            return out
    try:
        axis = channel_axis(runtime.observe(model, runtime.random_feeds(model)), out[0].name)
    except RunError:
        return out
    return [replace(out[0], channel_axis=axis)] if axis is not None else out


def explain(
    model: Model | str | os.PathLike[str],
    clip: str | os.PathLike[str] | Array | Mapping[str, Array],
    *,
    target: int | str | None = None,
    output: str | None = None,
    rule: str = "positional",
    class_step: str | None = None,
    theta: float = 0.6,
    top_k: int | None = None,
    depth: int | str = 3,
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    tubes: bool = True,
    kernel_relevance: bool = False,
    progress: Progress | None = None,
) -> Pyramid:
    """Explain one class of a model on one clip.

    Args:
        model: A model or its path.
        clip: A video, frame folder, image, frame database, array file or array (see `cfp_onnx.clips.load.load_clip`).
        target: Class index or label; the top-1 class by default.
        output: Output to explain; the first by default.
        rule: positional, active, zplus, published or mean.
        class_step: weights, contribution or contrast; each rule has its own default.
        theta: Threshold on v, 0..1.
        top_k: Most kernels per layer.
        depth: Deepest level, or ``"all"``.
        layout: Axes of the input, e.g. NCTHW; read off the model by default.
        labels: Class names; the model's metadata by default.
        preprocess: How footage becomes input; the model's metadata by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        tubes: Whether saliency tubes are recorded, for pictures and the report.
        kernel_relevance: Whether the tubes hold the relevance of single kernels too.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    from cfp_onnx.clips.load import Preprocess, load_clip

    settings = _settings(rule, class_step, theta, top_k, depth)
    clock = _Clock()
    loaded = model if isinstance(model, Model) else load(model)
    if preprocess is None:
        own = loaded.preprocess
        preprocess = Preprocess() if own is None else Preprocess.from_json(dict(own))
    footage = load_clip(clip, specs(loaded), preprocess=preprocess, layout=layout or preprocess.layout)
    clock.lap("read")
    engine = Engine(
        loaded, footage.feeds, device=runtime.Device(device, threads), output=output, barriers=barriers, keep=False
    )
    names = labels if labels is not None else loaded.labels
    clock.lap("topology")
    plain = engine.plain(footage.feeds)
    index = pick_class(engine, plain, target, names)
    clock.lap("plain")
    pyramid = engine.pyramid(
        footage, replace(settings, index=index), rule=rule, labels=names, plain=plain, tubes=tubes,
        kernel_relevance=kernel_relevance, progress=progress,
    )  # fmt: skip
    clock.lap("explain")
    return replace(pyramid, facts=_facts(clock.laps))


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def _facts(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Versions, time of day (UTC) and times taken."""
    from cfp_onnx import __version__

    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "cfp_onnx": __version__, "onnxruntime": runtime.import_onnxruntime().__version__, "numpy": np.__version__,
        "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "created": now,
        "seconds": dict(seconds),
    }  # fmt: skip


def _settings(rule: str, class_step: str | None, theta: float, top_k: int | None, depth: int | str) -> Settings:
    if rule not in RULES:
        raise UsageError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    step = class_step or DEFAULT_STEP[rule]
    if step not in CLASS_STEPS or (rule in FIELD_RULES and step == "weights"):
        allowed = CLASS_STEPS[1:] if rule in FIELD_RULES else CLASS_STEPS
        raise UsageError(f"rule {rule} has no class step {step!r}; choose one of {', '.join(allowed)}")
    if not 0.0 <= theta <= 1.0:
        raise UsageError(f"theta is {theta}, it must lie between 0 and 1")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top-k is {top_k}, it must be at least 1")
    return Settings(theta=theta, top_k=top_k, depth=deepest(depth), class_step=step, index=0)


def deepest(depth: int | str) -> int | None:
    """A depth as a number; None for ``"all"``.

    Raises:
        UsageError: If it is neither.
    """
    text = str(depth)
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"depth is {depth!r}, it must be a whole number of at least 1, or all")
    return int(text)


def pick_class(
    engine: Engine, outputs: Mapping[str, Array], target: int | str | None, labels: Sequence[str] | None
) -> int:
    """The class index for an index, a label, or None (the top-1 class of the model's outputs).

    Raises:
        TargetError: If there is no such class.
    """
    count, _ = engine.classes()
    if target is None:
        return int(np.argmax(engine.scores(outputs[engine.output])))
    text = str(target).strip()
    if labels is not None and text in labels and not isinstance(target, int):
        index = list(labels).index(text)
    elif text.lstrip("-").isdigit():
        index = int(text)
    else:
        known = (
            "the model has no labels, give --labels or an index" if labels is None else "see --labels, or give an index"
        )
        raise TargetError(f"label {text!r} is unknown; {known}")
    if not 0 <= index < count:
        raise TargetError(f"class {index} is out of range; {engine.file.path} has {count} classes, 0 to {count - 1}")
    return index


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file, one a line, or a JSON list.

    Raises:
        UsageError: If it cannot be read.
    """
    import json

    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read labels from {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read labels from {file}: {error}; save it as text in UTF-8") from error
    if text.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{file} is not a JSON list of labels: {error}") from error
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            raise UsageError(f"{file} is not a JSON list of strings")
        return tuple(value)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


__all__ = ["Engine", "Values", "deepest", "explain", "pick_class", "read_labels", "specs", "topology"]
