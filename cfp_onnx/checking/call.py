"""The check: does a file still decide as its baseline did, and for the same reasons?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.checking.baseline import baseline as make_baseline
from cfp_onnx.checking.baseline import without_time
from cfp_onnx.checking.baseline_file import Baseline, Remembered, load_baseline
from cfp_onnx.checking.change import Change, change, mean, outputs_over
from cfp_onnx.checking.clips import ClipReader, sources_of
from cfp_onnx.checking.fingerprint import Recorder, Sight, Traits, shapes_of
from cfp_onnx.checking.first_change import first_change
from cfp_onnx.checking.judge import (
    SILENT,
    above_noise,
    before_and_now,
    breaches_of,
    kernels_concerned,
    label_of,
    strongest,
)
from cfp_onnx.checking.layer_match import Match, matched, of_layer, weight_change
from cfp_onnx.checking.policy import Policy, named
from cfp_onnx.checking.result import Checked
from cfp_onnx.checking.values import (
    WINDOW,
    BaselineFacts,
    Breach,
    CheckedClip,
    CheckedLayer,
    CheckRun,
    FileFacts,
    RunThen,
)
from cfp_onnx.clips.lists import Listed
from cfp_onnx.clips.load import Clip, Preprocess
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.files.whole import folder_of
from cfp_onnx.matching.wording import explain_window
from cfp_onnx.model import Model, load
from cfp_onnx.values import Progress


def check(
    model: Model | str | os.PathLike[str],
    baseline: Baseline | str | os.PathLike[str],
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    policy: Policy | None = None,
    layout: str | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    folder: str | os.PathLike[str] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Hold a file against a baseline.

    Args:
        model: A model or its path.
        baseline: A baseline or its path.
        clips: Where the baseline's clips are; where it says they are by default.
        policy: Limits; the defaults where None.
        layout: Axes of an input, where they are ambiguous.
        preprocess: How footage becomes input; the model's metadata, else the baseline's, by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        folder: What the baseline's paths are relative to; its own folder by default.
        name: What the baseline is called in the result; its file's name by default.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if not isinstance(baseline, Baseline):
        folder = folder_of(baseline) if folder is None else folder
        name = name or Path(baseline).name
        baseline = load_baseline(baseline)
    loaded = model if isinstance(model, Model) else load(model)
    sources = sources_of(baseline, clips, folder, pictures=without_time(loaded))
    reader = ClipReader(baseline, loaded, preprocess, layout)
    run = _Run(loaded, baseline, runtime.Device(device, threads), barriers=barriers)
    for n, (clip, item) in enumerate(sources):
        if progress is not None:
            progress("checking", n, len(sources))
        run.clip(clip, reader.read(clip, item))
    return run.finish(policy or Policy(), name or "a baseline")


def renewed(
    model: Model | str | os.PathLike[str],
    old: Baseline,
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    layout: str | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """The baseline of a file on another baseline's clips, classes, rule and depth.

    Args:
        model: A model or its path.
        old: The other baseline.
        clips: Where its clips are; where it says they are by default.
        layout: Axes of an input, where they are ambiguous.
        preprocess: How footage becomes input; the model's metadata, else the old baseline's, by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        folder: What the old baseline's paths are relative to, and the new one's will be.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    loaded = model if isinstance(model, Model) else load(model)
    reader = ClipReader(old, loaded, preprocess, layout)
    sources = sources_of(old, clips, folder, pictures=without_time(loaded))
    listed: dict[int, Listed] = {}
    for clip, item in sources:
        content = None if clip is not None else reader.read(clip, item).sha256
        for n, found in enumerate(old.clips):
            if found is clip or found.sha256 == content:
                listed.setdefault(n, Listed(item.file, found.index))
    if len(listed) < len(old.clips):
        raise UsageError(
            f"{len(listed)} of the baseline's {len(old.clips)} clips were named, and a new one would lose the others; "
            "name all of them, or none to take them from where they were"
        )
    output = _output(loaded, old, reader.read(*sources[0]), runtime.Device(device, threads))
    return make_baseline(
        loaded, list(listed.values()), output=output, rule=old.run.rule, depth=old.run.depth, layout=layout,
        labels=old.labels if loaded.labels is None else None,
        preprocess=reader.takers[1].preprocess, device=device, threads=threads, barriers=barriers,
        relative_to=folder, progress=progress,
    )  # fmt: skip


def _output(model: Model, baseline: Baseline, clip: Clip, device: runtime.Device) -> str | None:
    """The output that decides: the baseline's, or of several by other names the one whose scores are nearest to it.

    Args:
        model: The file.
        baseline: What its output is known by.
        clip: One of the baseline's clips.
        device: Where to run.
    """
    names = [p.name for p in model.outputs]
    if baseline.run.output in names:
        return baseline.run.output
    then = next(c.sight.scores for c in baseline.clips if c.sha256 == clip.sha256)
    far = {}
    if len(names) > 1:
        for name, value in zip(
            names, runtime.run(runtime.plain_session(model, device), names, clip.feeds), strict=True
        ):
            numbers = isinstance(value, np.ndarray) and value.ndim > 0 and value.dtype.kind == "f"
            if numbers and len(scores := value[:1].astype(np.float64).reshape(-1)) == len(then):
                far[name] = outputs_over(then, scores)
    return min(far, key=lambda name: far[name]) if far else None


class _Run:
    """A model and what the clips so far showed."""

    def __init__(self, model: Model, baseline: Baseline, device: runtime.Device, *, barriers: bool) -> None:
        self.model, self.baseline, self.device, self.barriers = model, baseline, device, barriers
        self._recorders: dict[Any, Recorder] = {}
        self._by_hash: dict[str, list[Remembered]] = {}
        for clip in baseline.clips:
            self._by_hash.setdefault(clip.sha256, []).append(clip)
        self._looked_at: set[int] = set()
        self.seen: list[tuple[Remembered, Sight]] = []

    def clip(self, expected: Remembered | None, clip: Clip) -> None:
        """Look at one clip of the baseline, for each class that the baseline has of it."""
        known = self._by_hash.get(clip.sha256, [])
        if expected is not None and clip.sha256 != expected.sha256:
            raise ClipError(
                f"{clip.file} is not the clip that the baseline was made of: its content has changed; restore it, or "
                "make the baseline anew"
            )
        if not known:
            raise ClipError(
                f"{clip.file} is none of the baseline's {len(self.baseline.clips)} clips; check on those, or make a "
                "baseline with it"
            )
        key = shapes_of(clip.feeds)
        if key not in self._recorders:
            others = [r.engine.output for r in self._recorders.values()]
            self._recorders[key] = Recorder(
                self.model, clip.feeds, rule=self.baseline.run.rule, depth=self.baseline.depth,
                output=others[0] if others else _output(self.model, self.baseline, clip, self.device),
                device=self.device, barriers=self.barriers,
            )  # fmt: skip
        recorder = self._recorders[key]
        classes = len(self.baseline.clips[0].sight.scores)
        if recorder.engine.classes()[0] != classes:
            raise UsageError(
                f"{self.model.path} has {recorder.engine.classes()[0]} classes and the baseline's model has {classes}; "
                "only a network with the same classes can be checked"
            )
        for remembered in [expected] if expected is not None else known:
            if id(remembered) not in self._looked_at:
                self._looked_at.add(id(remembered))
                self.seen.append((remembered, recorder.look(clip.feeds, remembered.index)))

    def finish(self, policy: Policy, name: str) -> Checked:
        """The result."""
        recorder = next(iter(self._recorders.values()))
        traits = recorder.traits
        matches = matched(
            self.baseline.traits, traits, [c.sight.activity for c, _ in self.seen], [s.activity for _, s in self.seen]
        )
        layers = tuple(self._layer(m, traits, policy) for m in matches)
        missing, added = self._unmatched(matches, traits)
        eight_bits = recorder.network.precision == "int8"
        first = first_change(layers, matches, traits, self.baseline, missing, added, eight_bits=eight_bits)
        answers = tuple(self._answer(c, s, matches) for c, s in self.seen)
        then, before = self.baseline.model, self.baseline.run
        return Checked(
            model=FileFacts.of(self.model),
            baseline=BaselineFacts(name, then.file, then.sha256, then.producer, then.opset),
            run=CheckRun(
                before.rule, before.depth, recorder.engine.provider(), runtime.import_onnxruntime().__version__,
                RunThen(before.provider, before.onnxruntime, before.cfp_onnx),
            ),
            layers=layers, clips=answers, missing=missing, added=added, first=first, max_flips=policy.max_flips,
            notes=(*self._notes(recorder, matches), *self._notes_on_limits(policy)),
        )  # fmt: skip

    def _layer(self, match: Match, traits: Sequence[Traits], policy: Policy) -> CheckedLayer:
        old, new = self.baseline.traits[match.old], traits[match.new]
        pairs = [before_and_now(c.sight, s, match) for c, s in self.seen]
        changes = [change(activity, relevance) for activity, relevance in pairs]
        total = mean(changes)
        per_kernel = weight_change(old, new, match.kernels)
        weights = of_layer(per_kernel)
        limits = above_noise(policy.of(old.name, old.weight), self.baseline.noise.layers[match.old])
        window = tuple(f.text for f in explain_window(old.geometry, new.geometry, ("then", "now")))
        breaches = [*breaches_of(total, weights, limits), *self._by_class(changes, policy, old, match)]
        if any(not w.startswith("padding") for w in window) and not total.activity <= SILENT:
            breaches.append(Breach(WINDOW, 1.0, 0.0))
        return CheckedLayer(
            name=old.name, other=new.name, weight=old.weight, evidence=match.evidence, depth=old.depth,
            reordered=match.reordered, change=total, weights=weights, window=window, limits=limits,
            breaches=tuple(breaches), kernels=kernels_concerned(pairs, per_kernel, total, limits),
        )  # fmt: skip

    def _by_class(self, changes: Sequence[Change], policy: Policy, old: Traits, match: Match) -> list[Breach]:
        """Limits of single classes, judged on their clips alone."""
        found = []
        for name, some_limits in policy.classes.items():
            of_class = [
                c for c, (clip, _) in zip(changes, self.seen, strict=True) if name in {clip.label, str(clip.index)}
            ]
            if of_class:
                base = replace(policy.of(old.name, old.weight), **some_limits)
                limits = above_noise(base, self.baseline.noise.layers[match.old])
                found += [replace(b, label=name) for b in breaches_of(mean(of_class), None, limits)]
        return found

    def _unmatched(self, matches: Sequence[Match], traits: Sequence[Traits]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        old, new = {m.old for m in matches}, {m.new for m in matches}
        return (
            tuple(t.name for i, t in enumerate(self.baseline.traits) if i not in old),
            tuple(t.name for i, t in enumerate(traits) if i not in new),
        )

    def _answer(self, clip: Remembered, sight: Sight, matches: Sequence[Match]) -> CheckedClip:
        labels = self.baseline.labels or ()
        if len(sight.scores) > 1:
            tops = clip.top, strongest(clip, sight.scores, self.baseline.noise.outputs)
        else:
            tops = self._signs(clip, sight, matches)
            labels = labels if len(labels) != 1 else (f"not {labels[0]}", labels[0])
        return CheckedClip(
            file=clip.file, index=clip.index, label=clip.label, top=tops,
            top_labels=(label_of(labels, tops[0]), label_of(labels, tops[1])),
            scores=(float(clip.sight.scores[clip.index]), float(sight.scores[clip.index])),
            difference=outputs_over(clip.sight.scores, sight.scores),
        )  # fmt: skip

    def _signs(self, clip: Remembered, sight: Sight, matches: Sequence[Match]) -> tuple[int, int]:
        """The decision of a network with one score, before and now: 1 where it is positive before any Sigmoid."""
        heads = [m for m in matches if self.baseline.traits[m.old].head]
        if len(heads) != 1 or self.baseline.traits[heads[0].old].kernels != 1:
            return int(clip.sight.scores[0] > 0), int(sight.scores[0] > 0)
        return int(clip.sight.activity[heads[0].old][0] > 0), int(sight.activity[heads[0].new][0] > 0)

    def _notes_on_limits(self, policy: Policy) -> list[str]:
        """Limits of a file that concern nothing, and limits that the machine's own noise has widened."""
        traits, noise = self.baseline.traits, self.baseline.noise.layers
        known = {name for c in self.baseline.clips for name in (c.label, str(c.index))}
        notes = [f"no layer is called {p!r}, its limits say nothing" for p in policy.layers
                 if not any(named(p, t.name, t.weight) for t in traits)]  # fmt: skip
        notes += [f"no clip is of class {c!r}, its limits say nothing" for c in policy.classes if c not in known]
        own = [policy.of(t.name, t.weight) for t in traits]
        wider = [t.name for t, o, n in zip(traits, own, noise, strict=True) if above_noise(o, n) != o]
        if wider:
            notes.append(f"the machine's own noise widens the limits of {_layers(len(wider))}, {wider[0]} first")
        return notes

    def _notes(self, recorder: Recorder, matches: Sequence[Match]) -> tuple[str, ...]:
        notes = []
        if recorder.engine.output != self.baseline.run.output and len(self.model.outputs) > 1:
            gone = self.baseline.run.output
            notes.append(f"there is no output {gone!r}, {recorder.engine.output!r} is looked at in its place")
        left = len(self.baseline.clips) - len(self.seen)
        if left:
            notes.append(f"{left} of the baseline's {len(self.baseline.clips)} clips were not looked at")
        if not recorder.engine.coverage.complete:
            share = 100 * recorder.engine.coverage.channels
            notes.append(f"the file could be followed in part only: {share:.1f} % of its channels")
        moved = [self.baseline.traits[m.old].name for m in matches if m.reordered]
        if moved:
            notes.append(f"kernels stand in another order in {_layers(len(moved))}, {moved[0]} first")
        guessed = [self.baseline.traits[m.old].name for m in matches if m.evidence == "order"]
        if guessed:
            notes.append(f"only their order tells which layer is which for {_layers(len(guessed))}, {guessed[0]} first")
        now, then = recorder.engine.provider(), self.baseline.run.provider
        if now != then:
            notes.append(f"the baseline was made on {then}, this ran on {now}")
        return tuple(notes)


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


__all__ = ["check", "renewed"]
