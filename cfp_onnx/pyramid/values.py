"""What a walk found, as plain frozen values: layers with their relevance, chosen kernels, links and sources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader

PATHS = ("all", "some", "none")
"""How many of a layer's paths to the target a walk can follow."""


class Kernel(NamedTuple):
    """A chosen kernel: layer name, number, relevance (to be compared within its layer only)."""

    layer: str
    kernel: int
    relevance: float


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
        relevance: One number per kernel, to be compared within the layer only; NaN where it is not known.
        paths: How many of its paths to the target the walk can follow: ``all``; ``some``, where what came by the
            others is missing; or ``none``, where its relevance is not known.
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
    paths: str = "all"

    @property
    def known(self) -> bool:
        """Whether anything is known of its relevance."""
        return self.paths != "none"

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {
            "name": self.name, "op": self.op, "weight": self.weight, "nodes": list(self.nodes),
            "kernels": self.kernels, "channels": self.channels, "groups": self.groups,
            "kernel_shape": list(self.kernel_shape), "family": self.family, "depth": self.depth,
            "relevance": numbers_json(self.relevance), "paths": self.paths,
        }  # fmt: skip


@dataclass(frozen=True)
class LinkSource:
    """A kernel that feeds a channel (`layer` None: a channel of the model's input)."""

    layer: str | None
    kernel: int
    share: float
    via: str = "chain"

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {"layer": self.layer, "kernel": self.kernel, "share": self.share, "via": self.via}


@dataclass(frozen=True)
class Link:
    """A channel chosen for a kernel."""

    channel: int
    weight: float
    sources: tuple[LinkSource, ...]

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {"channel": self.channel, "weight": self.weight, "sources": [s.to_json() for s in self.sources]}


@dataclass(frozen=True)
class Edge:
    """An expanded kernel with its chosen channels."""

    layer: str
    kernel: int
    channels: tuple[Link, ...]

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {"layer": self.layer, "kernel": self.kernel, "channels": [c.to_json() for c in self.channels]}


def numbers_json(values: Iterable[float]) -> list[float | None]:
    """Numbers as published: null where one is not known."""
    return [None if math.isnan(v) else v for v in values]


def levels_json(levels: Mapping[int, tuple[Kernel, ...]]) -> list[dict[str, Any]]:
    """Chosen kernels by depth, as published."""
    return [
        {"depth": d, "kernels": [{"layer": n, "kernel": k, "relevance": r} for n, k, r in levels[d]]}
        for d in sorted(levels)
    ]


@dataclass(frozen=True)
class Alternative:
    """The same class set against something else: what a further walk found, in the same layers.

    Attributes:
        run: How it was walked; `RunHeader.against` and `RunHeader.rivals` say rather than what.
        relevance: Layer name to one number per kernel, to be compared within the layer only; in execution order.
        levels: Depth to the kernels chosen there, strongest first within a layer.
        edges: Expanded kernels.
    """

    run: RunHeader
    relevance: Mapping[str, tuple[float, ...]]
    levels: Mapping[int, tuple[Kernel, ...]]
    edges: tuple[Edge, ...]

    def to_json(self) -> dict[str, Any]:
        """The published values."""
        return {
            "run": self.run.to_json(),
            "layers": [{"name": name, "relevance": numbers_json(values)} for name, values in self.relevance.items()],
            "levels": levels_json(self.levels),
            "edges": [e.to_json() for e in self.edges],
        }


def ranks_in_layers(layers: Iterable[str | None]) -> list[int]:
    """The rank of each of some kernels in its layer, 0 for the strongest.

    Args:
        layers: Their layers, the strongest kernel of a layer first.
    """
    seen: dict[str | None, int] = {}
    ranks = []
    for layer in layers:
        ranks.append(seen.setdefault(layer, 0))
        seen[layer] += 1
    return ranks


class Findings(Protocol):
    """The part of a pyramid that is shown as text: everything but tubes and files."""

    @property
    def model(self) -> ModelHeader:
        """Which model it was."""

    @property
    def input(self) -> InputHeader:
        """What the model was fed."""

    @property
    def run(self) -> RunHeader:
        """Settings and what the run reported."""

    @property
    def target(self) -> TargetHeader:
        """The class."""

    @property
    def coverage(self) -> CoverageHeader:
        """How much of the network was traced."""

    @property
    def layers(self) -> tuple[LayerResult, ...]:
        """Layers walked, in execution order."""

    @property
    def levels(self) -> Mapping[int, tuple[Kernel, ...]]:
        """Depth to the kernels chosen there."""

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Expanded kernels with their links."""

    @property
    def rather(self) -> tuple[Alternative, ...]:
        """What else the class was set against."""

    def kernels(self, depth: int) -> tuple[Kernel, ...]:
        """Chosen kernels of a depth."""


__all__ = [
    "PATHS", "Alternative", "Edge", "Findings", "Kernel", "LayerResult", "Link", "LinkSource", "levels_json",
    "numbers_json", "ranks_in_layers",
]  # fmt: skip
