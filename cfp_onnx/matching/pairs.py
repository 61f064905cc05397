"""A layer of one file and the same layer of the other: the pair, and where its outputs are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cfp_onnx.graph.activation import OWN_GATE
from cfp_onnx.matching.paths import Place, Stage
from cfp_onnx.matching.units import Unit
from cfp_onnx.values import Array

FITTING = 1e-2
"""Largest difference of two kernels' sizes, over the layer's largest, at which the same maps are folded into both."""


@dataclass(frozen=True)
class Pair:
    """A layer of one file and the same of the other.

    Attributes:
        a: The first file's.
        b: The second file's.
        evidence: ``weights``, ``names``, ``activations`` or ``position``: why they are taken as the same.
        kernels: Kernel of `a` to that of `b`, (kernels,).
        channels: Channel of `a` to that of `b`, (channels,).
        wired: `channels` by the wires; it differs where the weights contradict them.
        alike: Mean cosine of the kernels' weights.
    """

    a: Unit
    b: Unit
    evidence: str
    kernels: Array
    channels: Array
    wired: Array
    alike: float

    @property
    def reordered(self) -> bool:
        """Whether channels arrive in an order that the weights contradict."""
        return not np.array_equal(self.channels, self.wired)


@dataclass(frozen=True)
class Alignment:
    """Pairs in the first file's execution order, and what is only in one of them.

    Attributes:
        pairs: Layers that both have.
        only_a: Layers of the first file only.
        only_b: Layers of the second file only.
        owners: Layers and inputs of the first file to those of the second.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[Unit, ...]
    only_b: tuple[Unit, ...]
    owners: Mapping[int, int]


def at_common_stage(pair: Pair) -> Pair:
    """The pair compared in front of an affine map that is folded into the layer in one file only.

    A map behind an Add belongs to no single layer; in a file without the Add it is folded into the layer.
    """
    a, b = pair.a, pair.b
    ours, theirs = a.stages if b.shared else (), b.stages if a.shared else ()
    if not (ours or theirs) or _same_sizes(a, b, pair.kernels):
        return pair
    cuts = [*(replace(pair, a=_at_stage(a, s)) for s in ours), *(replace(pair, b=_at_stage(b, s)) for s in theirs)]
    return next((p for p in cuts if _same_sizes(p.a, p.b, p.kernels)), pair)


def _at_stage(unit: Unit, stage: Stage) -> Unit:
    return replace(
        unit, scale=stage.scale, bias=stage.bias, epsilon=stage.epsilon, variance=stage.variance, activation=None,
        before=stage.place, output=stage.place or unit.output, stages=(),
    )  # fmt: skip


def _same_sizes(a: Unit, b: Unit, kernels: Array) -> bool:
    """Whether the weights and biases of most kernels have the same size."""
    if a.scale is None or b.scale is None or a.bias is None or b.bias is None:
        return True
    one, two = (np.linalg.norm(u.effective().reshape(u.kernels, -1), axis=1) for u in (a, b))
    near = np.abs(one - two[kernels]) <= FITTING * one.max(initial=0.0)
    near &= np.abs(a.bias - b.bias[kernels]) <= FITTING * max(np.abs(a.bias).max(initial=0.0), one.max(initial=0.0))
    return bool(near.mean() > 0.5)


def places(a: Unit, b: Unit) -> tuple[Place, Place]:
    """Where the outputs of two layers are compared: behind the activation.

    In front of it where only one file has an activation there, or writes it as a product.
    """
    if a.answers(b):
        return (a.answer[1], b.output) if a.answer else (a.output, b.answer[1] if b.answer else b.output)
    alike = bool(a.activation) == bool(b.activation) and (a.activation == OWN_GATE) == (b.activation == OWN_GATE)
    if alike or a.before is None or b.before is None:
        return a.output, b.output
    return a.before, b.before


__all__ = ["FITTING", "Alignment", "Pair", "at_common_stage", "places"]
