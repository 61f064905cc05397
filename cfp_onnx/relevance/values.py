"""How far a walk goes, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.values import Array


@dataclass
class Walked:
    """What a walk found.

    Attributes:
        relevance: Layer index to (kernels,) relevance.
        links: (layer index, kernel) to its chosen channels with their weights.
        chosen: Layer index to chosen kernels, strongest first.
        undefined: Kernels without children because their sum was zero or all values were equal.
        negative_sums: Kernels whose sum of products was negative, which reverses their order.
        omitted: Links left out because kernels tie by the thousand.
    """

    relevance: dict[int, Array] = field(default_factory=dict)
    links: dict[tuple[int, int], list[tuple[int, float]]] = field(default_factory=dict)
    chosen: dict[int, Array] = field(default_factory=dict)
    undefined: int = 0
    negative_sums: int = 0
    omitted: int = 0


@dataclass(frozen=True)
class Settings:
    """How far and how strictly to walk.

    Attributes:
        theta: Threshold on v.
        top_k: Most kernels per layer, None for no limit.
        depth: Deepest level, None for all.
        class_step: weights, contribution or contrast.
        index: The class.
        order: 1, or 2 for the curvature that a removal passes through as well.
        hold: What is held at its recorded value, of `cfp_onnx.relevance.rules.HOLDS`.
        against: What the class is set against under ``contrast``: ``mean``, ``rivals``, ``best`` or a class; None
            where it is set against nothing.
        rather: What else it is set against, each by a walk of its own.
        others: (classes,) how much each other class counts there; None for all alike.
        rivals: (classes,) how much each other class competes with it, for the class's tubes; None for all alike.
        turned: Whether it is asked what speaks against the class.
        heads: The kernel that makes the class's score in each layer that has one, by the layer's index; None for the
            kernel of the class's own number.
    """

    theta: float
    top_k: int | None
    depth: int | None
    class_step: str
    index: int
    hold: tuple[str, ...] = ()
    order: int = 1
    against: str | int | None = "mean"
    rather: tuple[str | int, ...] = ()
    others: Array | None = None
    rivals: Array | None = None
    turned: bool = False
    heads: Mapping[int, int] | None = None

    def head(self, layer: KernelLayer) -> int | None:
        """The kernel of a layer that makes the class's score; None where the layer has no part in it."""
        if self.heads is None:
            return min(self.index, layer.kernels - 1)
        return self.heads.get(layer.index)

    def deepest(self, depths: Mapping[int, int]) -> int:
        """The deepest level walked in a network with these depths."""
        return deepest_level(depths, self.depth)


def deepest_level(depths: Mapping[int, int], depth: int | None) -> int:
    """The depth asked for; the deepest there is where all are wanted (None)."""
    return max(depths.values(), default=0) if depth is None else depth
