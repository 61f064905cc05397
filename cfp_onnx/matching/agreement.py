"""How far two tensors, two rankings of kernels, or two tubes agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.pyramid.tubes import Tube
from cfp_onnx.values import Array

STRONGEST = 0.1
"""Part of a layer's kernels that count as its strongest."""


@dataclass(frozen=True)
class Agreement:
    """How far two tensors agree.

    Attributes:
        cosine: Of all their elements; 1 where both are zero.
        difference: Largest difference over the largest value of either.
        max_abs: Largest difference.
        rows: The same as `difference`, kernel by kernel, over the same largest value.
        resized: Whether they have different sizes, so that only the kernels' means could be compared.
    """

    cosine: float
    difference: float
    max_abs: float
    rows: Array
    resized: bool = False


def agreement(a: Array, b: Array) -> Agreement:
    """Compare two tensors.

    Args:
        a: (kernels, positions).
        b: The same, in the order of the first's kernels.
    """
    resized = a.shape != b.shape
    if resized:
        a, b = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    far = np.abs(a - b).max(axis=1, initial=0.0).astype(np.float64)
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    rows = far / scale if scale > 0 else far
    return Agreement(cosine(a, b), float(rows.max(initial=0.0)), float(far.max(initial=0.0)), rows, resized)


def cosine(a: Array, b: Array) -> float:
    """Cosine of two arrays of one size; 1 where both are zero, 0 where one is."""
    one, two = a.reshape(-1), b.reshape(-1)
    sizes = float(np.linalg.norm(one)), float(np.linalg.norm(two))
    if min(sizes) == 0:
        return float(sizes[0] == sizes[1])
    return float(np.clip(np.dot(one / sizes[0], two / sizes[1]), -1.0, 1.0))


def apart(a: Array, b: Array) -> float:
    """Norm of the difference of two arrays over the larger of their norms, 0 where both are zero."""
    size = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    return float(np.linalg.norm(a - b)) / size if size > 0 else 0.0


def spearman(a: Array, b: Array) -> float | None:
    """Rank correlation with ties at their mean rank; None where one of them does not vary."""
    one, two = (_ranks(np.asarray(v, np.float64)) for v in (a, b))
    one, two = one - one.mean(), two - two.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(np.clip(one @ two / size, -1.0, 1.0)) if size > 0 else None


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place.reshape(-1)])


def overlap(a: Array, b: Array, part: float = STRONGEST) -> float | None:
    """Share of the strongest kernels of one that are among the strongest of the other; None where nothing is relevant.

    Args:
        a: (kernels,) relevance.
        b: The same in the order of the first's kernels.
        part: Part of the kernels that counts as the strongest; at least one.
    """
    if not (a > 0).any() or not (b > 0).any():
        return None
    count = max(1, round(part * len(a)))
    best = [set(np.argsort(-v, kind="stable")[:count].tolist()) for v in (a, b)]
    return len(best[0] & best[1]) / count


def tube_cosine(a: Tube, b: Tube, size: tuple[int, int, int]) -> float:
    """Cosine of two tubes, on their own grid where they share it, else over the clip."""
    own = all(len(x) == len(y) and np.allclose(x, y) for x, y in zip(a.centres, b.centres, strict=True))
    return cosine(a.values, b.values) if own else cosine(a.at(size), b.at(size))


def rows_of(value: Array, axis: int, batch: int) -> Array:
    """A tensor as (kernels, positions).

    Args:
        value: The tensor.
        axis: Of its kernels.
        batch: Items of it that are taken, where the first axis is not that of the kernels.
    """
    if axis != 0 and value.shape[0] > batch:
        value = value[:batch]
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


__all__ = ["STRONGEST", "Agreement", "agreement", "apart", "cosine", "overlap", "rows_of", "spearman", "tube_cosine"]
