"""What a check judges: a baseline, and what a file showed on the baseline's clips."""

from __future__ import annotations

from dataclasses import dataclass, field

from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import Baseline, BaselineClip
from cfp_onnx.checking.fingerprint import Recorder, Sight, Traits
from cfp_onnx.checking.layer_match import Match, matched
from cfp_onnx.checking.policy import Policy
from cfp_onnx.checking.recorders import Recorders, deciding_output
from cfp_onnx.clips.clip import Clip
from cfp_onnx.errors import ClipError, RunError, UsageError
from cfp_onnx.model import Model


@dataclass(frozen=True)
class Case:
    """A baseline, a policy, and what a file showed.

    Attributes:
        baseline: The baseline.
        policy: What may change.
        traits: The file's layers.
        matches: Which layer of the file is which of the baseline.
        seen: Each clip as the baseline has it, and what the file shows on it.
    """

    baseline: Baseline
    policy: Policy
    traits: tuple[Traits, ...]
    matches: tuple[Match, ...]
    seen: tuple[tuple[BaselineClip, Sight], ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Layers of the baseline only."""
        found = {m.old for m in self.matches}
        return tuple(t.name for i, t in enumerate(self.baseline.traits) if i not in found)

    @property
    def added(self) -> tuple[str, ...]:
        """Layers of the file only."""
        found = {m.new for m in self.matches}
        return tuple(t.name for i, t in enumerate(self.traits) if i not in found)


@dataclass
class Observed:
    """A file, and what it showed on the clips so far.

    Attributes:
        model: The file.
        baseline: The baseline.
        device: Where to run.
        barriers: Whether unknown operators on channel paths are passed over.
        seen: Each clip as the baseline has it, and what the file shows on it.
    """

    model: Model
    baseline: Baseline
    device: runtime.Device
    barriers: bool
    seen: list[tuple[BaselineClip, Sight]] = field(default_factory=list)
    _recorders: Recorders | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder of the first clip.

        Raises:
            RunError: If no clip was looked at.
        """
        if self._recorders is None:
            raise RunError("no clip was looked at; give one of the baseline's")
        return self._recorders.first

    def look(self, expected: BaselineClip | None, clip: Clip) -> None:
        """Look at one clip, for each class that the baseline has of it.

        Args:
            expected: The clip that it must be; None where any clip of the baseline will do.
            clip: The clip.

        Raises:
            ClipError: If the baseline was not made of it.
            UsageError: If the file has another number of classes.
        """
        listed = self._remembered(expected, clip)
        recorder = self._recorder_for(clip)
        known = {id(remembered) for remembered, _ in self.seen}
        for remembered in listed:
            if id(remembered) not in known:
                self.seen.append((remembered, recorder.look(clip.feeds, remembered.index)))

    def _remembered(self, expected: BaselineClip | None, clip: Clip) -> list[BaselineClip]:
        if expected is not None and clip.sha256 != expected.sha256:
            raise ClipError(
                f"{clip.file} is not the clip that the baseline was made of: its content has changed; restore it, or "
                "make the baseline anew"
            )
        listed = [c for c in self.baseline.clips if c.sha256 == clip.sha256]
        if not listed:
            raise ClipError(
                f"{clip.file} is none of the baseline's {len(self.baseline.clips)} clips; check on those, or make a "
                "baseline with it"
            )
        return listed if expected is None else [expected]

    def _recorder_for(self, clip: Clip) -> Recorder:
        if self._recorders is None:
            output = deciding_output(self.model, self.baseline, clip, self.device)
            self._recorders = Recorders(
                self.model, self.device, self.baseline.run.rule, self.baseline.depth, output, self.barriers
            )
        recorder = self._recorders.at(clip.feeds)
        classes, found = len(self.baseline.clips[0].sight.scores), recorder.engine.classes()[0]
        if found != classes:
            raise UsageError(
                f"{self.model.path} has {found} classes and the baseline's model has {classes}; only a network with "
                "the same classes can be checked"
            )
        return recorder

    def case(self, policy: Policy) -> Case:
        """What is to be judged, once all clips were looked at."""
        traits = self.recorder.traits
        before = [clip.sight.activity for clip, _ in self.seen]
        now = [sight.activity for _, sight in self.seen]
        matches = tuple(matched(self.baseline.traits, traits, before, now))
        return Case(self.baseline, policy, traits, matches, tuple(self.seen))


__all__ = ["Case", "Observed"]
