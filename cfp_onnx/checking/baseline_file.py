"""A baseline and its file: which class a model decides for on some clips, and by which kernels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx.checking.change import Noise
from cfp_onnx.checking.fingerprint import PATTERNS, RULES, Sight, Traits
from cfp_onnx.checking.values import BaselineRun, FileFacts
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import UsageError
from cfp_onnx.files.packed_numbers import packed
from cfp_onnx.files.strict_json import Reader, read_object
from cfp_onnx.files.whole import write_text
from cfp_onnx.graph.parts import Geometry
from cfp_onnx.values import plain

SCHEMA = "cfp-onnx/baseline"


SCHEMA_VERSION = 1


PADS = 2**20
"""Most elements that negative padding of a window may crop."""


CLASSES, KERNELS, CLIPS = 2**22, 2**20, 2**16
"""Most classes, kernels of a layer and clips that a baseline may have."""


@dataclass(frozen=True)
class BaselineClip:
    """One clip of a baseline: its class, and what the model showed on it.

    Attributes:
        file: Path of the clip, relative to the baseline's folder or as it was given.
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
    """What a model's decisions on some clips rest on.

    Attributes:
        model: The file that it was made of.
        inputs: What it takes.
        preprocess: How footage became an input.
        run: How it was made.
        labels: Class names.
        traits: Its layers.
        clips: The clips.
        noise: What the machine itself changes between runs.
    """

    model: FileFacts
    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess
    run: BaselineRun
    labels: tuple[str, ...] | None
    traits: tuple[Traits, ...]
    clips: tuple[BaselineClip, ...]
    noise: Noise

    def __repr__(self) -> str:
        return f"<Baseline: {len(self.traits)} layers, {len(self.clips)} clips>"

    @property
    def depth(self) -> int | None:
        """Deepest level whose relevance is known; None for all."""
        return None if self.run.depth == "all" else int(self.run.depth)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, whole or not at all; a link stays one.

        Raises:
            OutputError: If it cannot be written; an old file is then left as it was.
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
        "model": plain(b.model),
        "inputs": [
            {"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "channel_axis": s.channel_axis} for s in b.inputs
        ],
        "preprocess": b.preprocess.to_json(),
        "run": plain(b.run),
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


def _clip_json(c: BaselineClip) -> dict[str, Any]:
    return {
        "file": c.file, "sha256": c.sha256, "shape": list(c.shape), "layout": c.layout,
        "target": {"index": c.index, "label": c.label}, "top": c.top, "classes": len(c.sight.scores),
        "scores": packed(c.sight.scores), "activity": [packed(a) for a in c.sight.activity],
        "relevance": [None if r is None else packed(r) for r in c.sight.relevance],
    }  # fmt: skip


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


def _model(reader: Reader) -> FileFacts:
    model = FileFacts(
        reader.text("file"), reader.text("sha256"), reader.maybe("producer", reader.text), reader.whole("opset")
    )
    reader.done()
    return model


def _input(reader: Reader) -> InputSpec:
    sizes = reader.items("shape")
    if not all(s is None or (type(s) is int and s >= 1) for s in sizes):
        raise reader.wrong("shape", sizes, "a list of sizes, null where one is open")
    spec = InputSpec(
        reader.text("name"), tuple(sizes), reader.text("dtype"), reader.maybe("channel_axis", reader.whole)
    )
    reader.done()
    return spec


def _run(reader: Reader) -> BaselineRun:
    texts = {key: reader.text(key) for key in ("rule", "output", "provider")}
    threads = reader.maybe("threads", lambda key: reader.whole(key, 1))
    depth = reader.take("depth")
    if depth != "all" and (type(depth) is not int or depth < 1):
        raise reader.wrong("depth", depth, "a whole number of at least 1, or all")
    if texts["rule"] not in RULES:
        raise reader.wrong("rule", texts["rule"], f"one of {', '.join(RULES)}")
    versions = {key: reader.text(key) for key in ("cfp_onnx", "onnxruntime", "numpy", "python", "system")}
    reader.done()
    return BaselineRun(threads=threads, depth=depth, **texts, **versions)


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


def _clip(reader: Reader, traits: Sequence[Traits]) -> BaselineClip:
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
    clip = BaselineClip(
        reader.text("file"), reader.text("sha256"), reader.wholes("shape"), reader.maybe("layout", reader.text),
        index, label, top, sight,
    )  # fmt: skip
    reader.done()
    return clip


__all__ = [
    "CLASSES", "CLIPS", "KERNELS", "PADS", "SCHEMA", "SCHEMA_VERSION", "Baseline", "BaselineClip", "load_baseline",
]  # fmt: skip
