"""Linear and cubic interpolation along one axis as a matrix (ONNX Resize)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.values import Array

COORDINATES = frozenset({"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"})
"""Ways from a place of the output to one of the input that are followed."""


@dataclass(frozen=True)
class Line:
    """How one axis is interpolated.

    Attributes:
        coordinates: One of `COORDINATES`.
        cubic: Coefficient of the cubic; None for linear.
        outside: Whether places beyond the ends count, with the value at the end.
    """

    coordinates: str
    cubic: float | None = None
    outside: bool = True


def interpolation(old: int, new: int, scale: float, line: Line) -> Array:
    """The matrix of one axis.

    Args:
        old: Length before.
        new: Length after.
        scale: Factor of the axis, as the file gives it.
        line: How it is interpolated.

    Returns:
        (new, old) float32.
    """
    at = _places(old, new, scale, line.coordinates)
    low = np.floor(at)
    part = at - low
    taps = (0, 1) if line.cubic is None else (-1, 0, 1, 2)
    weights = np.stack([1 - part, part]) if line.cubic is None else _cubic(part, line.cubic)
    places = np.stack([low + t for t in taps]).astype(np.int64)
    if not line.outside:
        weights = np.where((places >= 0) & (places < old), weights, 0.0)
        weights = weights / weights.sum(axis=0)
    matrix = np.zeros((new, old))
    for place, weight in zip(places.clip(0, old - 1), weights, strict=True):
        np.add.at(matrix, (np.arange(new), place), weight)
    return matrix.astype(np.float32)


def _places(old: int, new: int, scale: float, coordinates: str) -> Array:
    """Place in the input of each place of the output."""
    x = np.arange(new, dtype=np.float64)
    match coordinates:
        case "asymmetric":
            return x / scale
        case "align_corners":
            return x * ((old - 1) / (new - 1)) if new > 1 else x * 0
        case "pytorch_half_pixel":
            return (x + 0.5) / scale - 0.5 if new > 1 else x * 0
        case "half_pixel_symmetric":
            adjusted = new / (scale * old)
            return old / 2 * (1 - adjusted) + (x + 0.5) / scale - 0.5
    return np.asarray((x + 0.5) / scale - 0.5)


def _cubic(part: Array, a: float) -> Array:
    """Weights of the four places around (Keys 1981)."""

    def near(d: Array) -> Array:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: Array) -> Array:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    return np.stack([far(part + 1), near(part), near(1 - part), far(2 - part)])


__all__ = ["COORDINATES", "Line", "interpolation"]
