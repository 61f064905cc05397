"""One-to-one maps: equal numbers paired, gaps filled, and the choice with the largest values."""

from __future__ import annotations

import numpy as np

from cfp_onnx.matching.units import NOWHERE
from cfp_onnx.values import Array


def pair_up(a: Array, b: Array) -> tuple[Array, Array]:
    """Places of two lists that hold the same number; of equal numbers the first goes with the first, and so on.

    Args:
        a: (n,) integers.
        b: (m,) integers.

    Returns:
        Places in `a`, and their partners in `b`.
    """
    _, left, right = np.intersect1d(_coded(a, a, b), _coded(b, a, b), assume_unique=True, return_indices=True)
    return left, right


def _coded(values: Array, a: Array, b: Array) -> Array:
    """A different number for each place, made of its value and of how many equal values come before it."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    occurrence = np.zeros(len(values), np.int64)
    if len(values):
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        sizes = np.diff(np.r_[starts, len(values)])
        occurrence[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return np.asarray(values * (max(len(a), len(b)) + 1) + occurrence)


def fill(partial: Array) -> Array:
    """A partial one-to-one map, completed.

    What has no partner keeps its own number where that is free, and takes the next free one otherwise.

    Args:
        partial: (n,) partner of each; negative for none.
    """
    out = partial.copy()
    free = np.setdiff1d(np.arange(len(out)), out[out >= 0])
    for place in np.flatnonzero(out < 0):
        if np.isin(place, free):
            out[place] = place
            free = free[free != place]
    holes = np.flatnonzero(out < 0)
    out[holes] = free[: len(holes)]
    return out


def assign(value: Array) -> Array:
    """A one-to-one choice with large values: pairs that are each other's best first, then the largest value left.

    Args:
        value: (n, n) of each row with each column.

    Returns:
        (n,) column of each row.
    """
    n = len(value)
    best = value.argmax(axis=1)
    out = np.full(n, NOWHERE)
    if len(np.unique(best)) == n:
        return np.asarray(best)
    mutual = value.argmax(axis=0)[best] == np.arange(n)
    out[mutual] = best[mutual]
    rows = np.flatnonzero(~mutual)
    columns = np.setdiff1d(np.arange(n), out[mutual])
    rest = value[np.ix_(rows, columns)].copy()
    for _ in range(len(rows)):
        i, j = np.unravel_index(int(rest.argmax()), rest.shape)
        out[rows[i]] = columns[j]
        rest[i, :] = rest[:, j] = -np.inf
    return np.asarray(out)


__all__ = ["assign", "fill", "pair_up"]
