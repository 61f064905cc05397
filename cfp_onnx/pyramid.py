"""The result: kernels chosen per depth with their links, as plain frozen values and as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfp_onnx.errors import OutputError
from cfp_onnx.tubes import Media, Tubes

SCHEMA = "cfp-onnx/pyramid"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LayerResult:
    """A layer that was walked.

    Attributes:
        name: Layer name.
        op: ONNX operator.
        weight: Initializer of its weights.
        nodes: All nodes that make it up.
        kernels: Output channels.
        channels: Input channels.
        groups: Groups or fibers.
        kernel_shape: Taps per axis.
        family: plain, pointwise, grouped, depthwise, factorised or dense.
        depth: Longest path to the target.
        relevance: One number per kernel, to be compared within the layer only.
    """

    name: str
    op: str
    weight: str
    nodes: tuple[str, ...]
    kernels: int
    channels: int
    groups: int
    kernel_shape: tuple[int, ...]
    family: str
    depth: int
    relevance: tuple[float, ...]


@dataclass(frozen=True)
class LinkSource:
    """A kernel that feeds a channel (`layer` None: a channel of the model's input)."""

    layer: str | None
    kernel: int
    share: float
    via: str = "chain"


@dataclass(frozen=True)
class Link:
    """A channel chosen for a kernel."""

    channel: int
    weight: float
    sources: tuple[LinkSource, ...]


@dataclass(frozen=True)
class Edge:
    """An expanded kernel with its chosen channels."""

    layer: str
    kernel: int
    channels: tuple[Link, ...]


@dataclass(frozen=True)
class Pyramid:
    """A class feature pyramid.

    Attributes:
        model: file, sha256, producer, opset.
        input: file, sha256, shape, layout.
        run: rule, class_step, theta, top_k, depth, provider, onnxruntime, output_difference, undefined ...
        target: output, index, label, score, top.
        coverage: channels, layers, operators_unknown.
        layers: Layers walked, in execution order.
        levels: Depth to (layer, kernel, relevance) chosen there, strongest first within a layer.
        edges: Expanded kernels.
        tubes: Saliency tubes, where they were asked for.
        media: What a person sees of the clip.
    """

    model: Mapping[str, Any]
    input: Mapping[str, Any]
    run: Mapping[str, Any]
    target: Mapping[str, Any]
    coverage: Mapping[str, Any]
    layers: tuple[LayerResult, ...]
    levels: Mapping[int, tuple[tuple[str, int, float], ...]]
    edges: tuple[Edge, ...]
    tubes: Tubes | None = field(default=None, compare=False, repr=False)
    media: Media | None = field(default=None, compare=False, repr=False)

    def layer(self, name: str) -> LayerResult:
        """The layer of that name.

        Raises:
            KeyError: If it was not walked.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def kernels(self, depth: int) -> tuple[tuple[str, int, float], ...]:
        """(layer, kernel, relevance) chosen at a depth."""
        return self.levels.get(depth, ())

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "model": dict(self.model),
            "input": dict(self.input),
            "run": dict(self.run),
            "target": dict(self.target),
            "coverage": dict(self.coverage),
            "layers": [
                {
                    "name": x.name, "op": x.op, "weight": x.weight, "nodes": list(x.nodes),
                    "kernels": x.kernels, "channels": x.channels, "groups": x.groups,
                    "kernel_shape": list(x.kernel_shape), "family": x.family, "depth": x.depth,
                    "relevance": list(x.relevance),
                }
                for x in self.layers
            ],
            "levels": [
                {"depth": d, "kernels": [{"layer": n, "kernel": k, "relevance": r} for n, k, r in self.levels[d]]}
                for d in sorted(self.levels)
            ],
            "edges": [
                {
                    "layer": e.layer,
                    "kernel": e.kernel,
                    "channels": [
                        {
                            "channel": c.channel,
                            "weight": c.weight,
                            "sources": [
                                {"layer": s.layer, "kernel": s.kernel, "share": s.share, "via": s.via}
                                for s in c.sources
                            ],
                        }
                        for c in e.channels
                    ],
                }
                for e in self.edges
            ],
        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``pyramid.json`` into a folder, which is made where it is missing.

        Raises:
            OutputError: If it cannot be written; nothing half-written stays.
        """
        return write_json(Path(folder) / "pyramid.json", self.to_json())


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write JSON atomically: a killed run leaves the old file whole.

    Raises:
        OutputError: If the folder cannot be made or written to.
    """
    return write_text(path, json.dumps(value, allow_nan=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically.

    Raises:
        OutputError: If the folder cannot be made or written to.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; give a file name")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place with -o") from error
    return path
