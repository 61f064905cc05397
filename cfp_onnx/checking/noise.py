"""How far a model's reasons move when only the machine's way of working changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import BaselineClip
from cfp_onnx.checking.change import Noise, changes_of, outputs_over, worst
from cfp_onnx.checking.fingerprint import Recorder, doubled
from cfp_onnx.checking.recorders import Recorders
from cfp_onnx.clips.clip import Clip
from cfp_onnx.errors import ModelError, RunError
from cfp_onnx.values import Array


def measured_noise(recorders: Recorders, clips: Sequence[tuple[Clip, BaselineClip]]) -> Noise:
    """The farthest that any way of working moves the reasons on some clips.

    Args:
        recorders: Of the model.
        clips: Clips, and what the model showed on them.

    Raises:
        CfpError: If the model cannot be run.
    """
    variants: list[str] = []
    changes, outputs = [], 0.0
    for clip, before in clips:
        for name, recorder, feeds in _variants(recorders, clip):
            seen = recorder.look(feeds, before.index)
            changes.append(changes_of(before.sight, seen))
            outputs = max(outputs, outputs_over(before.sight.scores, seen.scores))
            variants.append(name)
    layers = tuple(worst(column) for column in zip(*changes, strict=True))
    return Noise(len(clips), tuple(dict.fromkeys(variants)), outputs, layers)


def _variants(recorders: Recorders, clip: Clip) -> Iterator[tuple[str, Recorder, Mapping[str, Array]]]:
    """Name, recorder and inputs of each way of working."""
    device = recorders.device
    own, threads = recorders.at(clip.feeds), 1 if device.threads != 1 else 2
    single = recorders.at(clip.feeds, device=runtime.Device(device.name, threads))
    yield "the same again", own, clip.feeds
    yield "1 thread" if threads == 1 else f"{threads} threads", single, clip.feeds
    yield "no optimisation", recorders.at(clip.feeds, optimise=False), clip.feeds
    twice = doubled(recorders.model, clip.feeds)
    if twice is not None and (pair := _pair(recorders, own, twice)) is not None:
        yield "batch of 2", pair, twice


def _pair(recorders: Recorders, single: Recorder, twice: Mapping[str, Array]) -> Recorder | None:
    """The recorder of two clips; None if the declared batch size is free but a node of the graph fixes it."""
    try:
        pair = recorders.at(twice)
    except (ModelError, RunError):
        return None
    return pair if pair.engine.classes() == single.engine.classes() else None


__all__ = ["measured_noise"]
