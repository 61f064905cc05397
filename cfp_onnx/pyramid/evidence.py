"""Where in a clip the evidence for a class lies, against its rivals: one signed map over frames, height and width.

Two maps of relevance, one at the clip itself and one at the first layer, are added; the sum is smoothed over a small
box and over a box of all frames, and counts where both agree in sign (docs/method.md, tubes). The signs of a detector
of motion alternate from frame to frame, which the box of all frames evens out; the small one says when.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.pyramid.resampling import Centres, Size, resample
from cfp_onnx.values import Array

NEAR = 0.19
"""Width of the short box over the smaller side of the frames."""

NEAR_FRAMES = 3
"""Frames of the short box."""

FAR = 0.24
"""Width of the box of all frames, over the smaller side of the frames."""

SIDE = 64
"""Most elements of a map along height and width; more pixels are added up in cells."""

FRAMES = 64
"""Most elements of a map along time."""


def evidence(maps: Sequence[tuple[Array, Centres]], size: Size) -> tuple[Array, Centres]:
    """Signed evidence over a clip.

    Args:
        maps: Sums of relevance (t, h, w) with the clip coordinates of their elements, at the clip and at the first
            layers; each counts by its share of its own absolute sum.
        size: Frames, height and width of the clip.

    Returns:
        (t, h, w) float32, positive for the class and negative against it, and its coordinates.

    Raises:
        ValueError: If there is no map.
    """
    if not maps:
        raise ValueError("no maps to add up")
    centres = _cells(size)
    total = np.zeros([len(c) for c in centres], np.float64)
    for values, own in maps:
        placed = _laid(values, own, centres, size)
        whole = np.abs(placed).sum()
        if whole > 0:
            total += placed / whole
    long = [i for i in (1, 2) if size[i] > 1]
    side = min((total.shape[i] for i in long), default=1)
    near = [_odd(NEAR_FRAMES) if size[0] > 1 else 1, *(_odd(NEAR * side) if i in long else 1 for i in (1, 2))]
    far = [2 * total.shape[0] - 1, *(_odd(FAR * side) if i in long else 1 for i in (1, 2))]
    small, large = _box(total, near), _box(total, far)
    agreed = np.where(small * large > 0, np.sign(small) * np.abs(small * large), 0.0)
    top = np.abs(agreed).max(initial=0.0)
    return np.asarray(agreed / top if top > 0 else agreed, np.float32), centres


def smoothed(values: Array) -> Array:
    """A map (t, h, w) averaged over a box of three elements along each axis, less at the edges."""
    widths = [3 if n > 1 else 1 for n in values.shape]
    return np.asarray(_box(values.astype(np.float64), widths) / np.prod(widths), np.float32)


def _cells(size: Size) -> Centres:
    """Centres of the cells of a map: single pixels, or runs of them where there are too many."""
    found = []
    for n, most in zip(size, (FRAMES, SIDE, SIDE), strict=True):
        count = n if n <= most else -(-n // -(-n // most))
        found.append((np.arange(count) + 0.5) * n / count - 0.5)
    return found[0], found[1], found[2]


def _laid(values: Array, own: Centres, centres: Centres, size: Size) -> Array:
    """A map over the cells: pixels are added up in theirs, a coarser map is interpolated at its elements' centres."""
    fine = all(len(c) == n for c, n in zip(own, size, strict=True))
    if not fine:
        return resample(values, own, centres).astype(np.float64)
    out = np.asarray(values, np.float64)
    for axis, (n, cells) in enumerate(zip(size, centres, strict=True)):
        if len(cells) < n:
            cell = (np.arange(n) * len(cells)) // n
            starts = np.searchsorted(cell, np.arange(len(cells)))
            out = np.add.reduceat(out, starts, axis=axis)
    return out


def _odd(width: float) -> int:
    """The odd number nearest to a width, of two the larger."""
    return 1 + 2 * int(width / 2)


def _box(values: Array, widths: Sequence[int]) -> Array:
    """Sums over a box around each element, nothing outside the map."""
    out = values
    for axis, width in enumerate(widths):
        n, half = out.shape[axis], (width - 1) // 2
        if half == 0:
            continue
        edge = np.zeros_like(np.take(out, [0], axis=axis))
        sums = np.concatenate([edge, np.cumsum(out, axis=axis)], axis=axis)
        at = np.arange(n)
        high, low = np.minimum(at + half + 1, n), np.maximum(at - half, 0)
        out = np.take(sums, high, axis=axis) - np.take(sums, low, axis=axis)
    return out


__all__ = ["FAR", "FRAMES", "NEAR", "NEAR_FRAMES", "SIDE", "evidence", "smoothed"]
