"""A network with its sessions: read once at one input size, then asked about any class of any clip of that size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation import classes as class_rules
from cfp_onnx.explanation import field_run, pooled_run, tube_run
from cfp_onnx.explanation.assemble import agree, assemble, media_of
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.explanation.directions import Direction, direction_of
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.options import resolved
from cfp_onnx.explanation.places import MEAN, STRONGEST, asked_place, usual_place
from cfp_onnx.explanation.sessions import NOTHING_MORE, FieldProbe, Sessions, Wanted
from cfp_onnx.explanation.values import Request
from cfp_onnx.graph.target import kernels_at
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
        output: Name of the output to explain; of several the one with classes by default.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        keep: Whether sessions are kept for the next clip; see `Sessions`.

    Attributes:
        network: What is known without a clip; its parts are attributes of the engine too.
        sessions: The sessions.
        shapes: Shape of every input.

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
        self.scored = network.scored
        self.graph = self.sessions.graph
        self.shapes = {name: v.shape for name, v in feeds.items()}
        self.barriers = barriers
        self._first = dict(feeds)

    # Classes.

    def classes(self) -> tuple[int, int | None]:
        """Number of classes and their axis in the target; None where the whole flattened target is classes."""
        return self.network.classes()

    def scores(self, value: Array) -> Array:
        """Class scores of the first item of a target or output, (classes,).

        Of a dense output each class's highest at any place; places of others are averaged.
        """
        found = self.network.target_classes()
        return found.peaks(value) if found.dense else found.scores(value)

    def classes_at(self, value: Array, index: int, at: str | int | None = None, *, turned: bool = False) -> Classes:
        """How the classes lie in the target, asked about one place.

        Args:
            value: What `scored` holds on this clip.
            index: The class.
            at: The place; see `cfp_onnx.explanation.places.asked_place`.
            turned: Whether it is asked what speaks against the class.

        Raises:
            TargetError: If there is no such place.
        """
        found = replace(self.network.target_classes().told_apart(value), turned=turned)
        place = asked_place(at, found, file=self.file.path)
        if place == MEAN:
            return found
        return found.at(found.strongest_place(value, index) if isinstance(place, str) else place)

    def classes_on(self, feeds: Mapping[str, Array], index: int) -> Classes:
        """The same on a clip, at the class's strongest place where the output is dense."""
        found = self.network.target_classes()
        return self.classes_at(self.plain(feeds)[self.scored], index) if found.dense else found

    def rivals(self, output: Array, index: int, classes: Classes | None = None) -> Array:
        """How much each other class competes with one on this clip, (classes,) float32; see `classes.rivals`."""
        found = classes or self.network.target_classes()
        return class_rules.rivals(self.program, self.scored, self.target, found, found.scores(output), index)

    def others(
        self,
        output: Array,
        index: int,
        against: str | int | None,
        labels: Sequence[str] | None = None,
        classes: Classes | None = None,
    ) -> Array | None:
        """How much each other class counts when one is set against them; see `classes.others`."""
        found = classes or self.network.target_classes()
        rivals = self.rivals(output, index, found)
        return class_rules.others(found, found.scores(output), rivals, index, against, labels, file=self.file.path)

    def seed(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """Field at the target, of its shape, as a mean over all places; see `Classes.seed`."""
        return self.network.target_classes().seed(index, step, rivals)

    def pick_class(
        self,
        outputs: Mapping[str, Array],
        target: int | str | None,
        labels: Sequence[str] | None,
        *,
        at: str | int | None = None,
    ) -> int:
        """The class index for an index, a label, or None (the top-1 class of the model's outputs, at the place if any).

        Raises:
            TargetError: If there is no such class.
        """
        found = self.network.target_classes()
        place = asked_place(at, found, file=self.file.path)
        scores = np.zeros(found.count)
        if target is None:
            value = outputs[self.scored]
            found = found.told_apart(value)
            if place == STRONGEST:
                scores = found.peaks(value)
            else:
                scores = found.at(None if isinstance(place, str) else place).scores(value)
        return class_rules.pick_class(found, scores, target, labels, file=self.file.path)

    # Runs.

    def plain(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the file as it is; see `Sessions.plain`."""
        return self.sessions.plain(feeds)

    def answers(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs of the file: as they were seen when the network was read on this very clip, else as `plain`.

        The first takes no pass of its own. It is as good only where all numbers are float32: what the runtime fuses
        then moves an output by no more than rounding.

        Raises:
            ModelError: If the runtime does not load the file as it is.
            RunError: As `plain` does.
        """
        seen = self.network.answers()
        if seen is None or any(feeds.get(k) is not v for k, v in self._first.items()):
            return self.plain(feeds)
        runtime.refuse_invalid(self.file)
        self.sessions.refuse_infinite(seen)
        return seen

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
        others, found = None, self.classes_on(feeds, index)
        if against is not None and resolved(against, class_step) != "mean":
            others = self.others(self.plain(feeds)[self.scored], index, against, self.file.labels, found)
        probe = self.field_probe(rule, depth, hold=hold, order=order)
        names = list(probe.relevance.values())
        results = runtime.run(probe.session, names, {**feeds, SEED: found.seed(index, class_step, others)})
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
        at: str | int | None = None,
        direction: Direction | None = None,
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
            at: The place of a dense output; see `cfp_onnx.explanation.places.asked_place`.
            direction: What is explained in place of a class; see `cfp_onnx.explanation.directions.direction_of`.
            progress: Told how far the work is.

        Raises:
            TargetError: If there is no such place or direction.
            UsageError: If the rule cannot look at one place, or along a direction.
        """
        plain = self.plain(clip.feeds) if plain is None else plain
        at = usual_place(at, rule_named(rule))
        classes = self.classes_at(plain[self.scored], settings.index, at, turned=settings.turned)
        if direction is not None:
            classes = replace(classes, direction=direction_of(direction, classes, plain[self.scored]))
        settings, *further = self._questions(settings, classes, plain[self.scored], labels)
        main = self.network.clip_input()
        first = self.network.frames_first()
        axis, collector = self.axes[main], None
        if tubes and axis is not None:
            collector = TubeCollector.of(self.topology, self.depths, main, axis, frames_first=first)
        request = Request(
            clip.feeds, rule_named(rule), settings, classes, tuple(further), collector,
            volumes=tubes and kernel_relevance, pulled=tubes and layer_evidence, progress=progress or silent,
        )  # fmt: skip
        fields = isinstance(request.rule.walk, FieldWalk)
        if direction is not None and not fields:
            raise UsageError(f"rule {rule} knows classes only and cannot look along a direction; choose positional")
        if classes.place is not None and not fields:
            raise UsageError(
                f"rule {rule} looks at means over all places and cannot explain one of them; choose positional, or "
                "--at mean"
            )
        run = field_run.run if fields else pooled_run.run
        found = run(self.sessions, request)
        if collector is not None and request.pulled:
            tube_run.pull(self.sessions, request, collector)
        if plain is self.network.answers() and not agree(plain, found.outputs):
            plain = self.plain(clip.feeds)
        pyramid = assemble(self.sessions, clip, request, found, plain=plain, labels=labels, at=at)
        if not tubes:
            return pyramid
        return replace(pyramid, media=media_of(self.network, clip), topology=topology_json(self.network))

    def _questions(
        self, settings: Settings, classes: Classes, output: Array, labels: Sequence[str] | None
    ) -> list[Settings]:
        """The settings once for all that the class is set against, with how much each other class counts there."""
        rivals = self.rivals(output, settings.index, classes)
        heads = kernels_at(self.topology, self.target, classes.element(settings.index))
        if not heads:
            raise TargetError(
                f"what {self.file.path} answers for class {settings.index} there is not made of kernels; choose "
                "another class or place"
            )
        found = []
        for against in (settings.against, *settings.rather):
            others = None
            if classes.direction is None:
                others = self.others(output, settings.index, against, labels, classes)
            asked = None if classes.count < 2 or classes.direction is not None else against
            found.append(replace(settings, against=asked, rivals=rivals, others=others, heads=heads))
        return found


__all__ = ["Engine"]
