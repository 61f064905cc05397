"""A baseline is made: what a model's decisions on some clips rest on, and the machine's own noise."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import Baseline, BaselineClip
from cfp_onnx.checking.fingerprint import RULES, Recorder, Sight, Traits
from cfp_onnx.checking.noise import measured_noise
from cfp_onnx.checking.recorders import Recorders
from cfp_onnx.checking.values import BaselineRun, FileFacts
from cfp_onnx.clips.clip import Clip
from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.labels import fitted_labels
from cfp_onnx.explanation.options import deepest
from cfp_onnx.explanation.shared_clip import ModelInputs
from cfp_onnx.files.packed_numbers import rounded
from cfp_onnx.model import Model, load
from cfp_onnx.values import Progress
from cfp_onnx.version import __version__

NOISE_CLIPS = 2
"""Clips on which the machine's own noise is measured."""


def baseline(
    model: Model | str | os.PathLike[str],
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Listed],
    *,
    target: int | str | None = None,
    output: str | None = None,
    rule: str = "positional",
    depth: int | str = 3,
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    relative_to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """Record what a model's decisions on some clips rest on; `check` compares later files with it.

    Args:
        model: A model or its path.
        clips: Files, folders of them, or lists with labels (see `cfp_onnx.clips.lists.clips_in`).
        target: Class index or label for all clips; that of the list, else each clip's top-1 class by default.
        output: Output that decides; of several the one with classes by default.
        rule: positional, active or zplus.
        depth: Deepest level whose relevance is kept, or ``"all"``; activity and weights are kept of every layer.
        layout: Axes of an input, where they are ambiguous.
        labels: Class names; the model's metadata by default.
        preprocess: How footage becomes input; the model's metadata by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        relative_to: Folder that the clips' paths are written relative to; paths are kept as they are by default.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if rule not in RULES:
        raise UsageError(f"a baseline is made by one of the rules {', '.join(RULES)}, not {rule!r}")
    levels = deepest(depth)
    loaded = model if isinstance(model, Model) else load(model)
    taker = ModelInputs.of(loaded, preprocess)
    listed = clips_in([clips] if isinstance(clips, str | os.PathLike) else clips, pictures=without_time(loaded))
    if not listed:
        raise UsageError("there is no clip to make a baseline of; give at least one")
    names = labels if labels is not None else loaded.labels
    recorders = Recorders(loaded, runtime.Device(device, threads), rule, levels, output, barriers)
    found: list[BaselineClip] = []
    again: list[tuple[Clip, BaselineClip]] = []
    for n, item in enumerate(listed):
        if progress is not None:
            progress("recording", n, len(listed))
        clip = load_clip(item.file, taker.inputs, preprocess=taker.preprocess, layout=taker.layout(layout))
        wanted = item.target if item.target is not None else target
        file = _shown_path(item, relative_to)
        recorder = recorders.at(clip.feeds)
        names, _ = fitted_labels(names, recorder.engine.classes()[0], loaded.path)
        found.append(_remembered(recorder, clip, file, wanted, names, taker.inputs[0].name))
        if len(again) < NOISE_CLIPS:
            again.append((clip, found[-1]))
    if progress is not None:
        progress("measuring the machine's own noise", len(listed), len(listed))
    traits = recorders.first.traits
    return Baseline(
        model=FileFacts.of(loaded),
        inputs=taker.inputs, preprocess=replace(taker.preprocess, layout=taker.layout(layout)), run=_run_of(recorders),
        labels=None if names is None else tuple(names),
        traits=tuple(_rounded(t) for t in traits),
        clips=tuple(found), noise=measured_noise(recorders, again),
    )  # fmt: skip


def _rounded(t: Traits) -> Traits:
    """A layer's sketches, rounded as the file will have them."""
    bias = None if t.bias is None else rounded(t.bias)
    return replace(t, size=rounded(t.size), root=rounded(t.root), sketch=rounded(t.sketch), bias=bias)


def without_time(model: Model) -> bool:
    """Whether a model takes pictures, so that each picture of a folder is a clip."""
    shape = model.inputs[0].shape if model.inputs else None
    return shape is not None and len(shape) == 4


def _shown_path(item: Listed, folder: str | os.PathLike[str] | None) -> str:
    if folder is None:
        return item.file
    try:
        return Path(os.path.relpath(item.file, folder)).as_posix()
    except ValueError:  # another drive
        return item.file


def _remembered(
    recorder: Recorder, clip: Clip, file: str, target: int | str | None, labels: Sequence[str] | None, main: str
) -> BaselineClip:
    """One clip's reasons, as the file will have them.

    Args:
        recorder: A recorder of the clip's sizes.
        clip: The clip.
        file: What the baseline calls it.
        target: The class; the strongest one where None.
        labels: Class names.
        main: Name of the first input.
    """
    engine = recorder.engine
    index = engine.pick_class({} if target is not None else engine.plain(clip.feeds), target, labels)
    seen = recorder.look(clip.feeds, index)
    kept = Sight(
        rounded(seen.scores), tuple(rounded(a) for a in seen.activity),
        tuple(None if r is None else rounded(r) for r in seen.relevance),
    )  # fmt: skip
    label = labels[index] if labels is not None and index < len(labels) else None
    top = int(seen.scores.argmax())
    return BaselineClip(file, clip.sha256, clip.feeds[main].shape, clip.layout, index, label, top, kept)


def _run_of(recorders: Recorders) -> BaselineRun:
    """Settings, provider and versions."""
    engine, depth = recorders.first.engine, recorders.depth
    return BaselineRun(
        rule=recorders.rule, output=engine.output, provider=engine.provider(), threads=recorders.device.threads,
        depth="all" if depth is None else depth, cfp_onnx=__version__,
        onnxruntime=runtime.import_onnxruntime().__version__, numpy=np.__version__,
        python=platform.python_version(), system=f"{platform.system()} {platform.machine()}",
    )  # fmt: skip


__all__ = ["NOISE_CLIPS", "baseline", "without_time"]
