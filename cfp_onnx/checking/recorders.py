"""The recorders of one model, one for each input size, and the output of a model that decides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import Baseline
from cfp_onnx.checking.change import outputs_over
from cfp_onnx.checking.fingerprint import Recorder, shapes_of
from cfp_onnx.clips.clip import Clip
from cfp_onnx.model import Model
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Recorders:
    """Recorders of a model, each made when it is first asked for and kept.

    Attributes:
        model: The model.
        device: Where to run.
        rule: Rule that gives the relevance.
        depth: Deepest level whose relevance is taken; None for all.
        output: The output that decides; the first where None.
        barriers: Whether unknown operators on channel paths are passed over.
    """

    model: Model
    device: runtime.Device
    rule: str
    depth: int | None
    output: str | None
    barriers: bool
    _made: dict[Any, Recorder] = field(default_factory=dict, init=False, repr=False)

    @property
    def first(self) -> Recorder:
        """The recorder that was made first."""
        return next(iter(self._made.values()))

    def at(
        self, feeds: Mapping[str, Array], *, device: runtime.Device | None = None, optimise: bool = True
    ) -> Recorder:
        """The recorder for these sizes, on this device, with or without the runtime's optimisations."""
        where = self.device if device is None else device
        key: tuple[Any, ...] = (shapes_of(feeds), where, optimise)
        clip = (*key, digest_of(feeds))
        if key not in self._made and clip not in self._made:
            made = Recorder(
                self.model, feeds, rule=self.rule, depth=self.depth, output=self.output, device=where,
                optimise=optimise, barriers=self.barriers,
            )  # fmt: skip
            self._made[clip if made.engine.model.by_clip else key] = made
        return self._made.get(clip) or self._made[key]


def digest_of(feeds: Mapping[str, Array]) -> str:
    """Hash of the values of all inputs."""
    found = hashlib.sha256()
    for name in sorted(feeds):
        found.update(np.ascontiguousarray(feeds[name]).tobytes())
    return found.hexdigest()


def deciding_output(model: Model, baseline: Baseline, clip: Clip, device: runtime.Device) -> str | None:
    """The output that decides: the one with the baseline's name, else the one whose scores are closest to its scores.

    Args:
        model: The file.
        baseline: The baseline, whose output is looked for.
        clip: One of the baseline's clips.
        device: Where to run.

    Returns:
        Its name; None for the first, where the file has only one or none fits.
    """
    names = [p.name for p in model.outputs]
    if baseline.run.output in names:
        return baseline.run.output
    then = next(c.sight.scores for c in baseline.clips if c.sha256 == clip.sha256)
    far = {}
    if len(names) > 1:
        for name, value in runtime.answers(model, runtime.plain_session(model, device), clip.feeds).items():
            numbers = isinstance(value, np.ndarray) and value.ndim > 0 and value.dtype.kind == "f"
            if numbers and len(scores := value[:1].astype(np.float64).reshape(-1)) == len(then):
                far[name] = outputs_over(then, scores)
    return min(far, key=lambda name: far[name]) if far else None


__all__ = ["Recorders", "deciding_output"]
