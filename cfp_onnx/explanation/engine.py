"""A network with its sessions: read once at one input size, then asked about any class of any clip of that size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation import classes as class_rules
from cfp_onnx.explanation import field_run, pooled_run, tube_run
from cfp_onnx.explanation.assemble import assemble, media_of
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.options import resolved
from cfp_onnx.explanation.sessions import NOTHING_MORE, FieldProbe, Sessions, Wanted
from cfp_onnx.explanation.values import Request
from cfp_onnx.model import Model
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.topology_json import topology_json
from cfp_onnx.pyramid.tube_collector import TubeCollector
from cfp_onnx.relevance.rules import FieldWalk, rule_named
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.relevance.values import Settings
from cfp_onnx.runtime.probe import SEED
from cfp_onnx.values import Array, Progress, silent

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip


class Engine:
    """One model at one input size on one device.

    Args:
        model: A loaded model.
        feeds: Arrays for all inputs; only their shapes matter here.
        device: Where to run.
        output: Name of the output to explain; the first by default.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        keep: Whether sessions are kept for the next clip; see `Sessions`.

    Attributes:
        network: What is known without a clip; its parts are attributes of the engine too.
        sessions: The sessions.

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
        self.device = device or runtime.Device()
        runtime.providers(self.device)  # a device that is missing is told before the network is read
        self.network = network = Network.read(model, feeds, output=output, barriers=barriers)
        self.sessions = Sessions(network, {k: v.shape for k, v in feeds.items()}, self.device, keep=keep)
        self.file, self.model, self.program = network.file, network.model, network.program
        self.topology, self.axes, self.coverage = network.topology, network.axes, network.coverage
        self.output, self.target, self.depths = network.output, network.target, network.depths
        self.graph = self.sessions.graph

    # Classes.

    def classes(self) -> tuple[int, int | None]:
        """Number of classes and their axis in the target; None where the whole flattened target is classes."""
        return self.network.classes()

    def scores(self, value: Array) -> Array:
        """Class scores of the first item of a target or output, (classes,); positions are averaged."""
        return self.network.target_classes().scores(value)

    def rivals(self, output: Array, index: int) -> Array:
        """How much each other class competes with one on this clip, (classes,) float32; see `classes.rivals`."""
        return class_rules.rivals(self.program, self.output, self.target, self.scores(output), index)

    def others(
        self, output: Array, index: int, against: str | int | None, labels: Sequence[str] | None = None
    ) -> Array | None:
        """How much each other class counts when one is set against them; see `classes.others`."""
        found = self.network.target_classes()
        rivals = self.rivals(output, index)
        return class_rules.others(found, self.scores(output), rivals, index, against, labels, file=self.file.path)

    def seed(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """Field at the target, of its shape; see `Classes.seed`."""
        return self.network.target_classes().seed(index, step, rivals)

    def pick_class(self, outputs: Mapping[str, Array], target: int | str | None, labels: Sequence[str] | None) -> int:
        """The class index for an index, a label, or None (the top-1 class of the model's outputs).

        Raises:
            TargetError: If there is no such class.
        """
        found = self.network.target_classes()
        scores = found.scores(outputs[self.output]) if target is None else np.zeros(found.count)
        return class_rules.pick_class(found, scores, target, labels, file=self.file.path)

    # Runs.

    def plain(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the file as it is; see `Sessions.plain`."""
        return self.sessions.plain(feeds)

    def provider(self) -> str:
        """Name of the provider that runs the sessions."""
        return self.sessions.provider()

    def field_probe(
        self,
        rule: str,
        depth: int | None,
        wanted: Wanted = NOTHING_MORE,
        *,
        hold: Sequence[str] | None = None,
        order: int = 1,
    ) -> FieldProbe:
        """The session that returns every kernel's relevance by a field rule; see `Sessions.field`."""
        return self.sessions.field(rule_named(rule), depth, wanted, hold=hold, order=order)

    def relevance(
        self,
        feeds: Mapping[str, Array],
        index: int,
        *,
        rule: str = "positional",
        class_step: str = "contrast",
        depth: int | None = None,
        hold: Sequence[str] | None = None,
        against: str | int | None = None,
        order: int = 1,
    ) -> dict[int, Array]:
        """Relevance of every kernel of every layer walked, by a field rule: layer index to (kernels,) float64.

        Args:
            feeds: Arrays for all inputs.
            index: The class.
            rule: Name of a field rule.
            class_step: ``contrast`` or ``contribution``.
            depth: Deepest level; None for all.
            hold: What is held at its recorded value; None for what the rule holds by itself.
            order: 1, or 2 to count what a removal bends too.
            against: What the class is set against under ``contrast``: ``mean``, ``rivals``, ``best`` or a class; None
                for the mean, which needs no scores.

        Raises:
            UsageError: If the rule cannot do what is asked for.
        """
        others = None
        if against is not None and resolved(against, class_step) != "mean":
            others = self.others(self.plain(feeds)[self.output], index, against, self.file.labels)
        probe = self.field_probe(rule, depth, hold=hold, order=order)
        names = list(probe.relevance.values())
        results = runtime.run(probe.session, names, {**feeds, SEED: self.seed(index, class_step, others)})
        return {i: np.asarray(r, np.float64).reshape(-1) for i, r in zip(probe.relevance, results, strict=True)}

    def statistics_session(self, rule: str, depth: int | None) -> tuple[Any, Statistics]:
        """The session that returns the statistics of a pooled rule for all layers within the depth."""
        return self.sessions.statistics(rule_named(rule), depth)

    def statistics(
        self, feeds: Mapping[str, Array], rule: str, depth: int | None = None
    ) -> tuple[Statistics, dict[str, Array]]:
        """Pooled statistics of one clip, and the model's own outputs of the same pass."""
        return pooled_run.read_statistics(self.sessions, feeds, rule_named(rule), depth)

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
        layer_evidence: bool = False,
        progress: Progress | None = None,
    ) -> Pyramid:
        """Run the model on a clip and walk down from one class.

        Args:
            clip: What to feed.
            settings: Threshold, depth, class.
            rule: Name of the rule.
            labels: Class names.
            plain: Outputs of the file as it is, where they are known.
            tubes: Whether tubes are recorded.
            kernel_relevance: Whether they hold the relevance of single kernels too.
            layer_evidence: Whether they hold where in the clip each layer's evidence lies too.
            progress: Told how far the work is.
        """
        plain = self.plain(clip.feeds) if plain is None else plain
        scores = self.scores(plain[self.output])
        settings, *further = self._questions(settings, plain[self.output], labels)
        main = self.network.clip_input()
        first = self.network.frames_first()
        collector = (
            TubeCollector.of(self.topology, self.depths, main, self.axes[main], frames_first=first) if tubes else None
        )
        request = Request(
            clip.feeds, rule_named(rule), settings, tuple(further), collector,
            volumes=tubes and kernel_relevance, pulled=tubes and layer_evidence, progress=progress or silent,
        )  # fmt: skip
        run = field_run.run if isinstance(request.rule.walk, FieldWalk) else pooled_run.run
        found = run(self.sessions, request)
        if collector is not None and request.pulled:
            tube_run.pull(self.sessions, request, collector)
        pyramid = assemble(self.sessions, clip, request, found, plain=plain, scores=scores, labels=labels)
        if not tubes:
            return pyramid
        return replace(pyramid, media=media_of(self.network, clip), topology=topology_json(self.network))

    def _questions(self, settings: Settings, output: Array, labels: Sequence[str] | None) -> list[Settings]:
        """The settings once for all that the class is set against, with how much each other class counts there."""
        rivals = self.rivals(output, settings.index)
        alone = self.network.target_classes().count < 2
        found = []
        for against in (settings.against, *settings.rather):
            others = self.others(output, settings.index, against, labels)
            found.append(replace(settings, against=None if alone else against, rivals=rivals, others=others))
        return found


__all__ = ["Engine"]
