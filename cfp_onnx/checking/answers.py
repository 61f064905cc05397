"""One clip's answer, before and now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.checking.baseline_file import BaselineClip
from cfp_onnx.checking.case import Case
from cfp_onnx.checking.change import outputs_over
from cfp_onnx.checking.fingerprint import Sight
from cfp_onnx.checking.judge import ABOVE_NOISE
from cfp_onnx.checking.values import CheckedClip
from cfp_onnx.values import Array


def checked_clip(case: Case, clip: BaselineClip, sight: Sight) -> CheckedClip:
    """A clip's answer, before and now.

    Args:
        case: What is judged.
        clip: The clip as the baseline has it.
        sight: What the file shows on it.
    """
    labels = case.baseline.labels or ()
    if len(sight.scores) > 1:
        tops = clip.top, strongest(clip, sight.scores, case.baseline.noise.outputs)
    else:
        tops = _signs(case, clip, sight)
        labels = labels if len(labels) != 1 else (f"not {labels[0]}", labels[0])
    return CheckedClip(
        file=clip.file, index=clip.index, label=clip.label, top=tops,
        top_labels=(_label(labels, tops[0]), _label(labels, tops[1])),
        scores=(float(clip.sight.scores[clip.index]), float(sight.scores[clip.index])),
        difference=outputs_over(clip.sight.scores, sight.scores),
    )  # fmt: skip


def _signs(case: Case, clip: BaselineClip, sight: Sight) -> tuple[int, int]:
    """Old and new decision of a network with one score: 1 if the score before any Sigmoid is positive, else 0."""
    heads = [m for m in case.matches if case.baseline.traits[m.old].head]
    if len(heads) != 1 or case.baseline.traits[heads[0].old].kernels != 1:
        return int(clip.sight.scores[0] > 0), int(sight.scores[0] > 0)
    return int(clip.sight.activity[heads[0].old][0] > 0), int(sight.activity[heads[0].new][0] > 0)


def strongest(clip: BaselineClip, scores: Array, noise: float) -> int:
    """The strongest class now; the baseline's where the machine's own noise could exchange the two.

    Args:
        clip: The clip as the baseline has it.
        scores: (classes,) now.
        noise: What the machine changes of the scores, over the largest of them.
    """
    size = max(float(np.abs(clip.sight.scores).max()), float(np.abs(scores).max()))
    level = float(scores.max()) - ABOVE_NOISE * noise * size
    return clip.top if scores[clip.top] >= level else int(scores.argmax())


def _label(labels: Sequence[str], index: int) -> str | None:
    return labels[index] if index < len(labels) else None


__all__ = ["checked_clip", "strongest"]
