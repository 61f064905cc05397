"""Making a baseline: what a model's decisions on some clips rest on, and the machine's own noise."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import Baseline, Remembered
from cfp_onnx.checking.change import Noise, changes_of, outputs_over, worst
from cfp_onnx.checking.fingerprint import RULES, Recorder, Sight, Traits, doubled, shapes_of
from cfp_onnx.checking.values import BaselineRun, FileFacts
from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.clips.load import Clip, Preprocess, load_clip
from cfp_onnx.errors import ModelError, RunError, UsageError
from cfp_onnx.explanation.options import deepest
from cfp_onnx.explanation.shared_clip import ModelInputs
from cfp_onnx.files.strict_json import rounded
from cfp_onnx.model import Model, load
from cfp_onnx.values import Array, Progress

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
    """What a model's decisions on some clips rest on, to hold later files against with `check`.

    Args:
        model: A model or its path.
        clips: Files, folders of them, or lists with labels (see `cfp_onnx.clips.lists.clips_in`).
        target: Class index or label for all clips; that of the list, else each clip's top-1 class by default.
        output: Output that decides; the first by default.
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
    names = tuple(labels) if labels is not None else loaded.labels
    made = _Making(loaded, taker, runtime.Device(device, threads), output, rule, levels, barriers=barriers)
    found = []
    for n, item in enumerate(listed):
        if progress is not None:
            progress("recording", n, len(listed))
        clip = load_clip(item.file, taker.inputs, preprocess=taker.preprocess, layout=taker.layout(layout))
        wanted = item.target if item.target is not None else target
        found.append(made.clip(clip, _shown_path(item, relative_to), wanted, names))
    if progress is not None:
        progress("measuring the machine's own noise", len(listed), len(listed))
    traits = made.recorders[0].traits
    return Baseline(
        model=FileFacts.of(loaded),
        inputs=taker.inputs, preprocess=replace(taker.preprocess, layout=taker.layout(layout)), run=made.run(),
        labels=names,
        traits=tuple(_rounded(t) for t in traits),
        clips=tuple(found), noise=made.noise(),
    )  # fmt: skip


def _rounded(t: Traits) -> Traits:
    """A layer in short, as the file will have it."""
    bias = None if t.bias is None else rounded(t.bias)
    return replace(t, size=rounded(t.size), root=rounded(t.root), sketch=rounded(t.sketch), bias=bias)


def without_time(model: Model) -> bool:
    """Whether a model takes pictures, so that each of a folder's is a clip of its own."""
    shape = model.inputs[0].shape if model.inputs else None
    return shape is not None and len(shape) == 4


def _shown_path(item: Listed, folder: str | os.PathLike[str] | None) -> str:
    if folder is None:
        return item.file
    try:
        return Path(os.path.relpath(item.file, folder)).as_posix()
    except ValueError:  # another drive
        return item.file


class _Making:
    """Recorders by input size, and what the first clips need again for the noise."""

    def __init__(
        self, model: Model, taker: ModelInputs, device: runtime.Device, output: str | None, rule: str,
        depth: int | None, *, barriers: bool,
    ) -> None:  # fmt: skip
        self.model, self.taker, self.device = model, taker, device
        self.options: dict[str, Any] = {"output": output, "rule": rule, "depth": depth, "barriers": barriers}
        self._by_shape: dict[Any, Recorder] = {}
        self._variants_made: dict[Any, Recorder] = {}
        self._again: list[tuple[Clip, int, Sight]] = []

    @property
    def recorders(self) -> list[Recorder]:
        """All recorders, the first clip's first."""
        return list(self._by_shape.values())

    def recorder(self, feeds: Mapping[str, Array]) -> Recorder:
        """The recorder of a size."""
        key = shapes_of(feeds)
        if key not in self._by_shape:
            self._by_shape[key] = Recorder(self.model, feeds, device=self.device, **self.options)
        return self._by_shape[key]

    def clip(self, clip: Clip, file: str, target: int | str | None, labels: Sequence[str] | None) -> Remembered:
        """One clip's reasons, as they are kept."""
        recorder = self.recorder(clip.feeds)
        engine = recorder.engine
        index = engine.pick_class({} if target is not None else engine.plain(clip.feeds), target, labels)
        seen = recorder.look(clip.feeds, index)
        kept = Sight(
            rounded(seen.scores), tuple(rounded(a) for a in seen.activity),
            tuple(None if r is None else rounded(r) for r in seen.relevance),
        )  # fmt: skip
        if len(self._again) < NOISE_CLIPS:
            self._again.append((clip, index, kept))
        label = labels[index] if labels is not None and index < len(labels) else None
        shape = clip.feeds[self.taker.inputs[0].name].shape
        return Remembered(file, clip.sha256, shape, clip.layout, index, label, int(seen.scores.argmax()), kept)

    def noise(self) -> Noise:
        """How far the first clips move when only the machine's way of working changes."""
        variants: list[str] = []
        changes, outputs = [], 0.0
        for clip, index, kept in self._again:
            for name, recorder, feeds in self._variants(clip):
                seen = recorder.look(feeds, index)
                changes.append(changes_of(kept, seen))
                outputs = max(outputs, outputs_over(kept.scores, seen.scores))
                variants.append(name)
        layers = tuple(worst(column) for column in zip(*changes, strict=True))
        return Noise(len(self._again), tuple(dict.fromkeys(variants)), outputs, layers)

    def _variants(self, clip: Clip) -> list[tuple[str, Recorder, Mapping[str, Array]]]:
        own = self.recorder(clip.feeds)
        single = runtime.Device(self.device.name, 1 if self.device.threads != 1 else 2)
        found: list[tuple[str, Recorder, Mapping[str, Array]]] = [
            ("the same again", own, clip.feeds),
            (f"{single.threads} threads" if single.threads != 1 else "1 thread",
             self._variant("threads", clip.feeds, single), clip.feeds),
            ("no optimisation", self._variant("plain", clip.feeds, self.device, optimise=False), clip.feeds),
        ]  # fmt: skip
        twice = doubled(self.model, clip.feeds)
        if twice is not None and (pair := self._pair(own, twice)) is not None:
            found.append(("batch of 2", pair, twice))
        return found

    def _pair(self, single: Recorder, twice: Mapping[str, Array]) -> Recorder | None:
        """The recorder of two clips; None where the model names its batch open and fixes it further in."""
        try:
            pair = self._variant("batch", twice, self.device)
        except (ModelError, RunError):
            return None
        return pair if pair.engine.classes() == single.engine.classes() else None

    def _variant(
        self, name: str, feeds: Mapping[str, Array], device: runtime.Device, *, optimise: bool = True
    ) -> Recorder:
        key = (name, shapes_of(feeds))
        if key not in self._variants_made:
            self._variants_made[key] = Recorder(self.model, feeds, device=device, optimise=optimise, **self.options)
        return self._variants_made[key]

    def run(self) -> BaselineRun:
        """Settings, provider and versions."""
        from cfp_onnx import __version__

        engine = self.recorders[0].engine
        depth = self.options["depth"]
        return BaselineRun(
            rule=self.options["rule"], output=engine.output, provider=engine.provider(), threads=self.device.threads,
            depth="all" if depth is None else depth, cfp_onnx=__version__,
            onnxruntime=runtime.import_onnxruntime().__version__,
            numpy=np.__version__, python=platform.python_version(), system=f"{platform.system()} {platform.machine()}",
        )  # fmt: skip


__all__ = ["NOISE_CLIPS", "baseline", "without_time"]
