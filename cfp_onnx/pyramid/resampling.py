"""Maps over the coordinates of a clip: interpolated, added up, and as a density per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.values import Array

Size = tuple[int, int, int]
"""Frames, height and width."""

Centres = tuple[Array, Array, Array]
"""Clip coordinates of a map's elements along time, height and width, rising."""


def resample(values: Array, centres: Sequence[Array], places: Sequence[Array]) -> Array:
    """Separable linear interpolation of a map at given coordinates, constant beyond its ends.

    Args:
        values: (t, h, w).
        centres: Coordinates of its elements per axis, rising.
        places: Coordinates wanted per axis.

    Returns:
        (len(places[0]), len(places[1]), len(places[2])) float32.
    """
    out = np.asarray(values, np.float32)
    for axis, (known, wanted) in enumerate(zip(centres, places, strict=True)):
        weights = _weights(np.asarray(known, np.float64), np.asarray(wanted, np.float64))
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out, dtype=np.float32)


def _weights(known: Array, wanted: Array) -> Array:
    """Matrix that interpolates: (len(wanted), len(known)) float32."""
    unit = np.eye(len(known))
    rows = [np.interp(wanted, known, column) for column in unit]
    return np.asarray(np.stack(rows, axis=1), np.float32)


def density(total: Array, centres: Sequence[Array], size: Sequence[int]) -> Array:
    """Relevance per clip pixel of a map of sums, so that coarse and fine maps of one depth may be added.

    Args:
        total: (t, h, w) sums over the elements.
        centres: Their coordinates.
        size: Frames, height and width of the clip.
    """
    cell = 1.0
    for known, n in zip(centres, size, strict=True):
        cell *= float(known[-1] - known[0]) / (len(known) - 1) if len(known) > 1 else float(n)
    return np.asarray(total / np.float32(max(cell, 1e-12)), np.float32)


def add_maps(maps: Sequence[tuple[Array, Centres]]) -> tuple[Array, Centres]:
    """The sum of maps on different grids, along each axis on the finest of them."""
    frames, rows, columns = (max((c[axis] for _, c in maps), key=len) for axis in range(3))
    centres = (frames, rows, columns)
    total = np.zeros([len(c) for c in centres], np.float32)
    for values, own in maps:
        same = all(len(a) == len(b) and np.allclose(a, b) for a, b in zip(own, centres, strict=True))
        total += values if same else resample(values, own, centres)
    return total, centres


__all__ = ["Centres", "Size", "add_maps", "density", "resample"]
