"""What a model decides for on some clips, and by which kernels, kept in one small file to hold later files against."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.checking.change import Noise, changes_of, outputs_over, worst
from cfp_onnx.checking.fingerprint import PATTERNS, RULES, Recorder, Sight, Traits, doubled, shapes_of
from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.clips.load import Clip, InputSpec, Preprocess, load_clip
from cfp_onnx.errors import ModelError, RunError, UsageError
from cfp_onnx.explanation.call import deepest, pick_class
from cfp_onnx.explanation.inputs import Taker
from cfp_onnx.files.strict_json import Reader, packed, read_object, rounded
from cfp_onnx.files.whole import write_text
from cfp_onnx.graph.parts import Geometry
from cfp_onnx.model import Model, load
from cfp_onnx.values import Array, Progress

SCHEMA = "cfp-onnx/baseline"
SCHEMA_VERSION = 1

NOISE_CLIPS = 2
"""Clips on which the machine's own noise is measured."""

PADS = 2**20
"""Most elements that a window's negative padding may crop."""

CLASSES, KERNELS, CLIPS = 2**22, 2**20, 2**16
"""Most classes, kernels of a layer and clips that a baseline may speak of."""


@dataclass(frozen=True)
class Remembered:
    """One clip and what the model made of it.

    Attributes:
        file: The clip as a path relative to the baseline's folder, or as it was named.
        sha256: Of its content.
        shape: Of the first input.
        layout: Letters of the first input's axes; None where unknown.
        index: The class.
        label: Its name.
        top: The strongest class.
        sight: What the decision rests on.
    """

    file: str
    sha256: str
    shape: tuple[int, ...]
    layout: str | None
    index: int
    label: str | None
    top: int
    sight: Sight


@dataclass(frozen=True, repr=False)
class Baseline:
    """A model's reasons on some clips.

    Attributes:
        model: file, sha256, producer, opset.
        inputs: What it takes.
        preprocess: How footage became an input.
        run: rule, depth, output, provider, threads, and versions.
        labels: Class names.
        traits: Its layers.
        clips: Clip by clip.
        noise: What the machine itself changes from run to run.
    """

    model: Mapping[str, Any]
    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess
    run: Mapping[str, Any]
    labels: tuple[str, ...] | None
    traits: tuple[Traits, ...]
    clips: tuple[Remembered, ...]
    noise: Noise

    def __repr__(self) -> str:
        return f"<Baseline: {len(self.traits)} layers, {len(self.clips)} clips>"

    @property
    def depth(self) -> int | None:
        """Deepest level whose relevance is known; None for all."""
        return None if self.run["depth"] == "all" else int(self.run["depth"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, whole or not at all; a link stays one.

        Raises:
            OutputError: If it cannot be written; what stood there before then still does.
        """
        write_text(Path(path).resolve(), self.to_text())
        return Path(path)

    def to_text(self) -> str:
        """The file's text: JSON, with a hash over everything else as its last key."""
        body = _to_json(self)
        text = json.dumps({**body, "digest": _digest(body)}, allow_nan=False, separators=(",", ":"))
        return text.replace('},{"name"', '},\n{"name"').replace('},{"file"', '},\n{"file"') + "\n"


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _to_json(b: Baseline) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "model": dict(b.model),
        "inputs": [
            {"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "channel_axis": s.channel_axis} for s in b.inputs
        ],
        "preprocess": b.preprocess.to_json(),
        "run": dict(b.run),
        "labels": None if b.labels is None else list(b.labels),
        "layers": [_traits_json(t) for t in b.traits],
        "clips": [_clip_json(c) for c in b.clips],
        "noise": b.noise.to_json(),
    }


def _traits_json(t: Traits) -> dict[str, Any]:
    return {
        "name": t.name, "weight": t.weight, "op": t.op, "kernels": t.kernels, "channels": t.channels,
        "groups": t.groups, "kernel_shape": list(t.geometry.kernel),
        "strides": list(t.geometry.strides), "dilations": list(t.geometry.dilations),
        "begins": list(t.geometry.begins), "ends": list(t.geometry.ends), "depth": t.depth, "head": t.head,
        "size": packed(t.size), "root": packed(t.root), "bias": None if t.bias is None else packed(t.bias),
        "sketch": packed(t.sketch),
    }  # fmt: skip


def _clip_json(c: Remembered) -> dict[str, Any]:
    return {
        "file": c.file, "sha256": c.sha256, "shape": list(c.shape), "layout": c.layout,
        "target": {"index": c.index, "label": c.label}, "top": c.top, "classes": len(c.sight.scores),
        "scores": packed(c.sight.scores), "activity": [packed(a) for a in c.sight.activity],
        "relevance": [None if r is None else packed(r) for r in c.sight.relevance],
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- reading


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read a baseline, which is data from elsewhere: nothing in it is trusted.

    Raises:
        UsageError: If it is no baseline, was cut off or edited, holds an unknown or doubled key, a value of another
            type, or a number that is not finite.
    """
    file = Path(path)
    value = read_object(file, "a baseline")
    schema, version = value.get("schema"), value.get("schema_version")
    if schema != SCHEMA:
        named = str(schema)[:60]
        raise UsageError(f"{file} is not a baseline: its schema is {named!r}; make one with: cfp-onnx baseline")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UsageError(
            f"{file} is a baseline of version {str(version)[:20]}, this program reads version {SCHEMA_VERSION}; make "
            "it anew"
        )
    body = {k: v for k, v in value.items() if k != "digest"}
    if value.get("digest") != _digest(body):
        raise UsageError(f"{file} was edited or damaged after it was written: its digest does not fit; make it anew")
    reader = Reader(body, str(file))
    reader.take("schema"), reader.take("schema_version")
    return _read(reader)


def _read(reader: Reader) -> Baseline:
    model = _model(reader.inner("model"))
    inputs = tuple(_input(Reader(v, f"{reader.where}: input")) for v in reader.items("inputs"))
    preprocess = Preprocess.from_json(reader.take("preprocess"))
    run = _run(reader.inner("run"))
    labels = reader.maybe("labels", reader.texts)
    traits = tuple(_traits(Reader(v, f"{reader.where}: layer {i}")) for i, v in enumerate(reader.items("layers")))
    clips = tuple(_clip(Reader(v, f"{reader.where}: clip {i}"), traits) for i, v in enumerate(reader.items("clips")))
    noise = Noise.read(reader.inner("noise"), len(traits))
    reader.done()
    if not clips or not traits or not inputs:
        raise UsageError(f"{reader.where} speaks of no clip, no layer or no input; make it anew")
    if len({len(c.sight.scores) for c in clips}) > 1:
        raise UsageError(f"{reader.where}: its clips have different numbers of classes; make it anew")
    return Baseline(model, inputs, preprocess, run, labels, traits, clips, noise)


def _model(reader: Reader) -> dict[str, Any]:
    value = {
        "file": reader.text("file"), "sha256": reader.text("sha256"),
        "producer": reader.maybe("producer", reader.text), "opset": reader.whole("opset"),
    }  # fmt: skip
    reader.done()
    return value


def _input(reader: Reader) -> InputSpec:
    sizes = reader.items("shape")
    if not all(s is None or (type(s) is int and s >= 1) for s in sizes):
        raise reader.wrong("shape", sizes, "a list of sizes, null where one is open")
    spec = InputSpec(
        reader.text("name"), tuple(sizes), reader.text("dtype"), reader.maybe("channel_axis", reader.whole)
    )
    reader.done()
    return spec


def _run(reader: Reader) -> dict[str, Any]:
    value: dict[str, Any] = {k: reader.text(k) for k in ("rule", "output", "provider")}
    value["threads"] = reader.maybe("threads", lambda k: reader.whole(k, 1))
    depth = reader.take("depth")
    if depth != "all" and (type(depth) is not int or depth < 1):
        raise reader.wrong("depth", depth, "a whole number of at least 1, or all")
    if value["rule"] not in RULES:
        raise reader.wrong("rule", value["rule"], f"one of {', '.join(RULES)}")
    value |= {"depth": depth, **{k: reader.text(k) for k in ("cfp_onnx", "onnxruntime", "numpy", "python", "system")}}
    reader.done()
    return value


def _traits(reader: Reader) -> Traits:
    kernels = reader.whole("kernels", 1)
    if kernels > KERNELS:
        raise reader.wrong("kernels", kernels, f"at most {KERNELS}")
    geometry = _geometry(reader)
    patterns = len(PATTERNS) if int(np.prod(geometry.kernel, dtype=np.float64)) > 1 else 1
    traits = Traits(
        name=reader.text("name"), weight=reader.text("weight"), op=reader.text("op"), kernels=kernels,
        channels=reader.whole("channels", 1), groups=reader.whole("groups", 1), geometry=geometry,
        depth=reader.maybe("depth", reader.whole), head=reader.flag("head"), size=reader.array("size", (kernels,)),
        root=reader.array("root", (kernels,)),
        bias=reader.maybe("bias", lambda k: reader.array(k, (kernels,))),
        sketch=reader.array("sketch", (kernels, patterns)),
    )  # fmt: skip
    reader.done()
    return traits


def _geometry(reader: Reader) -> Geometry:
    geometry = Geometry(
        reader.wholes("kernel_shape"), reader.wholes("strides"), reader.wholes("dilations"),
        reader.wholes("begins", -PADS), reader.wholes("ends", -PADS),
    )  # fmt: skip
    if len({len(axes) for axes in vars(geometry).values()}) > 1:
        raise reader.wrong("strides", geometry.strides, "of the rank of the window, as dilations, begins and ends are")
    return geometry


def _clip(reader: Reader, traits: Sequence[Traits]) -> Remembered:
    target = reader.inner("target")
    index, label = target.whole("index"), target.maybe("label", target.text)
    target.done()
    classes = reader.whole("classes", 1)
    top = reader.whole("top")
    if not (index < classes and top < classes <= CLASSES):
        raise reader.wrong("classes", classes, "larger than the class's index")
    scores = reader.array("scores", (classes,))
    activity, relevance = reader.items("activity"), reader.items("relevance")
    if len(activity) != len(traits) or len(relevance) != len(traits):
        raise reader.wrong("activity", len(activity), f"{len(traits)} entries, one for each layer")
    rows = [Reader({"activity": a, "relevance": r}, f"{reader.where}, layer {t.name}")
            for a, r, t in zip(activity, relevance, traits, strict=True)]  # fmt: skip
    sight = Sight(
        scores,
        tuple(row.array("activity", (t.kernels,)) for row, t in zip(rows, traits, strict=True)),
        tuple(
            row.maybe("relevance", lambda k, row=row, t=t: row.array(k, (t.kernels,)))  # type: ignore[misc]
            for row, t in zip(rows, traits, strict=True)
        ),
    )
    clip = Remembered(
        reader.text("file"), reader.text("sha256"), reader.wholes("shape"), reader.maybe("layout", reader.text),
        index, label, top, sight,
    )  # fmt: skip
    reader.done()
    return clip


# ----------------------------------------------------------------------------------------------- making


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
    taker = Taker.of(loaded, preprocess)
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
        model={"file": loaded.path.name, "sha256": loaded.sha256, "producer": loaded.producer, "opset": loaded.opset},
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
        self, model: Model, taker: Taker, device: runtime.Device, output: str | None, rule: str, depth: int | None,
        *, barriers: bool,
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
        index = pick_class(engine, {} if target is not None else engine.plain(clip.feeds), target, labels)
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

    def run(self) -> dict[str, Any]:
        """Settings, provider and versions."""
        from cfp_onnx import __version__

        engine = self.recorders[0].engine
        depth = self.options["depth"]
        return {
            "rule": self.options["rule"], "output": engine.output, "provider": engine.provider(),
            "threads": self.device.threads, "depth": "all" if depth is None else depth,
            "cfp_onnx": __version__, "onnxruntime": runtime.import_onnxruntime().__version__, "numpy": np.__version__,
            "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}",
        }  # fmt: skip


__all__ = ["SCHEMA", "Baseline", "Remembered", "baseline", "load_baseline", "without_time"]
