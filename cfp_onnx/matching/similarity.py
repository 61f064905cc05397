"""What says that two layers are the same: shape, weights in any order, names, activations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cfp_onnx.graph.parts import Geometry
from cfp_onnx.matching.kernels import EXACT
from cfp_onnx.matching.units import Unit
from cfp_onnx.values import Array


class Shaped(Protocol):
    """What two layers must have in common to be the same."""

    @property
    def kernels(self) -> int:
        """Output channels."""

    @property
    def channels(self) -> int:
        """Input channels."""

    @property
    def groups(self) -> int:
        """Groups, or fibers."""

    @property
    def geometry(self) -> Geometry:
        """The window."""


def alike_in_shape(a: Shaped, b: Shaped) -> bool:
    """Whether two layers can be the same: kernels, channels, groups and window.

    Where the windows have different ranks, axes along which they have one tap are left out.
    """
    one, two = a.geometry.kernel, b.geometry.kernel
    if len(one) != len(two):
        one, two = (tuple(k for k in taps if k > 1) for taps in (one, two))
    return (a.kernels, a.channels, a.groups, one) == (b.kernels, b.channels, b.groups, two)


def same_weights_in_any_order(a: Unit, b: Unit) -> bool:
    """Whether two layers have the same weights, in any order of kernels and channels."""
    one, two = a.spectrum, b.spectrum
    size = float(np.abs(one).max(initial=0.0))
    return one.shape == two.shape and bool(np.abs(one - two).max(initial=0.0) <= EXACT * size)


def shared_words(a: Unit, b: Unit) -> float:
    """Part of the words of two layers' names that both have, 0..1."""
    return words_in_common((a.weight, a.name), (b.weight, b.name))


def words_in_common(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Part of their words that two names share, 0..1; the largest of all pairs of names."""
    return max(_shared(one, two) for one in ours for two in theirs)


_NOISE = frozenset({"weight", "kernel", "conv", "matmul", "gemm", "w", "node", "readvariableop", "0", "quantized", ""})


def _shared(one: str, two: str) -> float:
    first, second = (set(re.split(r"[^a-z0-9]+", n.lower())) - _NOISE for n in (one, two))
    return len(first & second) / len(first | second) if first | second else 0.0


def activity_similarity(a: Array, b: Array) -> float:
    """Cosine of the sorted mean activations of two layers, which is the same for any order of kernels.

    Args:
        a: (kernels,) of one.
        b: (kernels,) of the other.
    """
    if a.shape != b.shape:
        return 0.0
    one, two = np.sort(a), np.sort(b)
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / size if size > 0 else 0.0


__all__ = [
    "Shaped",
    "activity_similarity",
    "alike_in_shape",
    "same_weights_in_any_order",
    "shared_words",
    "words_in_common",
]
