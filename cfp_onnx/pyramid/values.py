"""What a walk found, as plain frozen values: layers with their relevance, chosen kernels, links and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


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


class Findings(Protocol):
    """What can be told of a pyramid without drawing or saving it."""

    @property
    def model(self) -> Mapping[str, Any]:
        """file, sha256, producer, opset."""

    @property
    def input(self) -> Mapping[str, Any]:
        """file, sha256, shape, layout."""

    @property
    def run(self) -> Mapping[str, Any]:
        """Settings and what the run reported."""

    @property
    def target(self) -> Mapping[str, Any]:
        """output, index, label, score, top."""

    @property
    def coverage(self) -> Mapping[str, Any]:
        """channels, layers, operators_unknown."""

    @property
    def layers(self) -> tuple[LayerResult, ...]:
        """Layers walked, in execution order."""

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Expanded kernels with their links."""

    def kernels(self, depth: int) -> tuple[Kernel, ...]:
        """Chosen kernels of a depth."""


__all__ = ["Edge", "Findings", "Kernel", "LayerResult", "Link", "LinkSource"]
