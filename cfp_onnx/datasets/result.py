"""What a class's clips have in common, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfp_onnx.datasets.aggregate import WIDE, KernelStatistics
from cfp_onnx.values import Array

SCHEMA = "cfp-onnx/class-pyramid"
VERSION = 1


@dataclass(frozen=True)
class Contrast:
    """How the kernels of a layer differ between two classes; arrays are (kernels,).

    Attributes:
        difference: Mean share of the class less that of the other.
        error: Its standard error.
    """

    difference: Array
    error: Array

    @property
    def score(self) -> Array:
        """The difference in standard errors; the difference itself where there are none."""
        known = np.isfinite(self.error) & (self.error > 0)
        return np.asarray(np.where(known, self.difference / np.where(known, self.error, 1.0), self.difference))


@dataclass(frozen=True)
class Excited:
    """The clips that excite each kernel of a layer most.

    Attributes:
        ids: For each kernel the ids of clips, the strongest first.
    """

    ids: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ClassLayer:
    """One layer over the clips of a class.

    Attributes:
        name: Its name.
        depth: Its depth.
        kernels: Statistics of its kernels.
        contrast: Against another class; None where none was named.
        relevant: The class's clips in which each kernel's relevance is largest.
        active: The class's clips in which each kernel's mean activation is largest; None where it was not recorded.
        curve: How well fewer clips tell the ranking of all: number of clips, and Spearman's rho.
    """

    name: str
    depth: int
    kernels: KernelStatistics
    contrast: Contrast | None
    relevant: Excited
    active: Excited | None
    curve: tuple[tuple[int, float], ...]

    def stable(self, theta: float = 0.6) -> tuple[int, ...]:
        """Kernels whose mean share is at least theta of the layer's largest, and surely above 0, strongest first."""
        share = self.kernels.share
        top = float(share.max(initial=0.0))
        sure = np.where(np.isfinite(self.kernels.low), self.kernels.low, share) > 0
        found = np.flatnonzero((share >= theta * top) & (share > 0) & sure)
        return tuple(int(k) for k in found[np.argsort(-share[found], kind="stable")])


@dataclass(frozen=True)
class ClassPyramid:
    """What the clips of a class have in common.

    Attributes:
        model: The file.
        output: The output.
        name: The class.
        index: Its number.
        against: The class that it is held against; None for none.
        clips: How many clips.
        groups: How many groups they come from; 0 where they have none.
        correct: How many of them the network answers with the class.
        predicted: How often each class is its answer, the most frequent first.
        layers: The layers by depth.
    """

    model: str
    output: str
    name: str
    index: int
    against: str | None
    clips: int
    groups: int
    correct: int
    predicted: Mapping[str, int]
    layers: tuple[ClassLayer, ...]

    def layer(self, name: str) -> ClassLayer:
        """A layer by its name."""
        return next(x for x in self.layers if x.name == name)

    def enough(self, rho: float = 0.95) -> int | None:
        """How many clips rank the kernels of every layer as all of them do, on average; None where all are needed."""
        counts = [n for n, _ in self.layers[0].curve]
        for place, count in enumerate(counts[:-1]):
            if float(np.mean([layer.curve[place][1] for layer in self.layers])) >= rho:
                return count
        return None

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {
            "schema": SCHEMA, "schema_version": VERSION, "model": self.model, "output": self.output,
            "class": {"index": self.index, "name": self.name}, "against": self.against, "clips": self.clips,
            "groups": self.groups, "correct": self.correct, "predicted": dict(self.predicted),
            "enough": self.enough(), "layers": [_layer_json(layer) for layer in self.layers],
        }  # fmt: skip


def _layer_json(layer: ClassLayer) -> dict[str, Any]:
    found = layer.kernels
    out: dict[str, Any] = {
        "name": layer.name, "depth": layer.depth, "stable": list(layer.stable()), "mean": _numbers(found.mean),
        "spread": _numbers(found.spread), "share": _numbers(found.share), "low": _numbers(found.low),
        "high": _numbers(found.high), "frequency": _numbers(found.frequency), "agreement": _numbers(found.agreement),
        "curve": [[n, rho] for n, rho in layer.curve], "relevant": [list(ids) for ids in layer.relevant.ids],
    }  # fmt: skip
    if layer.active is not None:
        out["active"] = [list(ids) for ids in layer.active.ids]
    if layer.contrast is not None:
        out["contrast"] = {
            "difference": _numbers(layer.contrast.difference),
            "interval": _numbers(WIDE * layer.contrast.error),
        }
    return out


def _numbers(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


@dataclass(frozen=True)
class Similarity:
    """How alike the classes are at one depth.

    Attributes:
        depth: The depth.
        names: The classes, similar ones beside each other.
        value: (classes, classes) Spearman's rho of their mean shares.
    """

    depth: int
    names: tuple[str, ...]
    value: Array


__all__ = ["ClassLayer", "ClassPyramid", "Contrast", "Excited", "Similarity"]
