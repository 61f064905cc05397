"""Arithmetic of labels: integer arrays that say, element by element, which kernel made a tensor.

An array of labels broadcasts against its tensor and has length 1 on every axis along which the label does not vary.
"""

from __future__ import annotations

import numpy as np

from cfp_onnx.values import Array

NONE = -1
"""Label of an element that comes from no kernel: padding or a constant."""

UNKNOWN = -2
"""Label of an element behind a barrier."""


def varies(labels: Array, axis: int) -> bool:
    """Whether labels differ along an axis."""
    return bool(labels.shape[axis] > 1)


def varying_axes(labels: Array) -> tuple[int, ...]:
    """Axes along which labels differ."""
    return tuple(a for a, n in enumerate(labels.shape) if n > 1)


def to_rank(labels: Array, rank: int) -> Array:
    """Labels with axes of length 1 in front, as broadcasting adds them."""
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def reshape_labels(labels: Array, old: tuple[int, ...], new: tuple[int, ...]) -> Array:
    """Labels of a reshaped tensor, expanded only where neighbouring axes that vary are merged or cut.

    Args:
        labels: Broadcasts against `old`.
        old: Shape before.
        new: Shape after; the same number of elements.
    """
    if np.prod(old, dtype=np.int64) == 0:
        return np.full((1,) * len(new), NONE, dtype=labels.dtype)
    shape_in: list[int] = []
    shape_full: list[int] = []
    shape_out: list[int] = []
    for i0, i1, o0, o1 in _groups(old, new):
        vary = any(varies(labels, a) for a in range(i0, i1))
        for a in range(i0, i1):
            shape_in.append(labels.shape[a])
            shape_full.append(old[a] if vary else 1)
        shape_out += [new[a] if vary else 1 for a in range(o0, o1)]
    return np.broadcast_to(labels.reshape(shape_in), shape_full).reshape(shape_out)


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Smallest runs of axes of both shapes that hold the same number of elements."""
    out, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        a = b = 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        while i < len(old) and old[i] == 1 and (j >= len(new) or new[j] != 1):
            i += 1
        while j < len(new) and new[j] == 1 and i >= len(old):
            j += 1
        out.append((i0, i, j0, j))
    return out
