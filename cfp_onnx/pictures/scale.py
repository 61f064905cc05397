"""The scale of a map's colours, in numbers and in words: two maps compare only under one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cfp_onnx.values import Array

_FLAT_CHANGE = 1e-12
"""Change of a map, relative to its largest value, up to which it counts as constant."""


@dataclass(frozen=True)
class Scale:
    """Numbers and words of one legend; `drawn` is False where the map shows no colours."""

    low: float
    high: float
    unit: str
    sentences: tuple[str, ...]
    drawn: bool


def check_scale(low: float, high: float, opacity: float) -> None:
    """Refuses a scale or an opacity that nothing can be drawn with.

    Raises:
        ValueError: An end of the scale is not finite, or the opacity is outside 0..1.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"the scale {low} to {high} must be finite")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; it must be 0 to 1")


def has_colours(tube: Array, low: float, high: float) -> bool:
    """Whether a map varies and its scale has an extent."""
    return high > low and not _is_flat(float(tube.min()), float(tube.max()))


def _is_flat(smallest: float, largest: float) -> bool:
    return largest - smallest <= _FLAT_CHANGE * max(abs(smallest), abs(largest))


def scale_of(
    tube: Array,
    *,
    low: float,
    high: float,
    unit: str,
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
) -> Scale:
    """Decides whether a map has colours, and says in words how to read them.

    Args:
        tube: The values that are drawn, of any shape.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        unit: What the numbers are.
        scope: What shares the scale, e.g. ``"depth 2"``.
        constant: Whether to draw no colours and say so.
        extremes: True minimum and maximum of the map; None takes the tube's.
    """
    smallest, largest = extremes or (float(tube.min()), float(tube.max()))
    if constant or _is_flat(smallest, largest):
        sentence = f"constant at {number_text((smallest + largest) / 2)}: nothing to see"
        return Scale(low, high, unit, (sentence,), drawn=False)
    shared = f"one scale for {scope}" if scope else "scale"
    map_range = f"this map {number_text(smallest)} to {number_text(largest)}"
    words = [f"{shared}: {number_text(low)} to {number_text(high)}; {map_range}"]
    if high <= low:
        return Scale(low, high, unit, (*words, "a scale without extent: nothing is drawn"), drawn=False)
    if low < 0 and low == -high:
        words.append("red speaks for, blue against")
    elif smallest < low <= float(tube.min()):
        words.append("negative values are drawn by their size")
    elif largest <= low:
        words.append(f"nothing of this map is above {number_text(low)}: no colours")
    elif smallest < low:
        words.append(f"below {number_text(low)} nothing is drawn")
    if largest > high:
        words.append(f"above {number_text(high)} the last colour")
    return Scale(low, high, unit, tuple(words), drawn=has_colours(tube, low, high))


def number_text(value: float) -> str:
    """Writes a number with at least three significant digits, without an exponent where people would use none."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    if abs(value) >= 1e3:
        return f"{value:.0f}"
    text = np.format_float_positional(value, precision=3, fractional=False, trim="-")
    return "0" if text == "-0" else text
