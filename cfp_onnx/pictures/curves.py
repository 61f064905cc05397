"""A signal's channels as curves, with the tube as a coloured band beneath."""

from __future__ import annotations

from typing import Any

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import CURVE_COLOURS, FADED, RULE, Picture, blend
from cfp_onnx.pictures.legend import legend_of
from cfp_onnx.pictures.lettering import draw_text, text_width
from cfp_onnx.pictures.page import page_of, paper, put, rounded_point
from cfp_onnx.pictures.scale import Scale, check_scale, number_text, scale_of
from cfp_onnx.values import Array

_LEFT, _RIGHT, _TOP = 64, 12, 10
"""Pixels around the plot, for its numbers."""

_WIDTH, _HEIGHT, _BAND = 900, 260, 40
"""Width and height of the plot in pixels, and height of the band under it."""

_BAND_TOP = _TOP + _HEIGHT + 8
_BASE = _BAND_TOP + _BAND + 17
"""Baseline of the numbers of samples."""


def curve(
    signal: Array,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws a signal's channels as curves with the tube as a coloured band beneath: the form for 1-D models.

    The signal is ``(C, L)`` float, one row per input channel, of which the first eight are drawn; the tube is ``(L,)``
    float at its samples. The options are those of `strip`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or the opacity is outside 0..1.
    """
    if signal.ndim != 2 or tube.ndim != 1 or not signal.size or signal.shape[1] != tube.shape[0]:
        raise ValueError(f"signal {signal.shape} and tube {tube.shape} must be (C, L) and (L,), and not empty")
    if not (np.isfinite(signal).all() and np.isfinite(tube).all()):
        raise ValueError("signal or tube holds values that are not finite; nothing can be drawn")
    check_scale(low, high, opacity)
    scale = scale_of(tube, low=low, high=high, unit=unit, scope=scope, constant=constant, extremes=extremes)
    drawn = signal[: len(CURVE_COLOURS)].astype(np.float64)
    notes = [f"{len(drawn)} of {len(signal)} channels are drawn"] if len(drawn) < len(signal) else []
    body = _plot(drawn, tube.astype(np.float64), scale, opacity)
    return page_of(body, title, subtitle, legend_of(scale, opacity, notes=notes))


def _plot(signal: Array, tube: Array, scale: Scale, opacity: float) -> Picture:
    """Draws axes, a curve for each row of the signal, and the tube as a band on the same axis of samples."""
    several = len(signal) > 1
    block = paper(_BAND_TOP + _BAND + 44 + (22 if several else 0), _LEFT + _WIDTH + _RIGHT)
    low, high = float(signal.min()), float(signal.max())
    if high <= low:
        low, high = low - 1, high + 1
    count = signal.shape[1]
    parts = np.arange(count) / (count - 1) if count > 1 else np.array([0.5])
    columns = _LEFT + parts * (_WIDTH - 1)
    _draw_value_axis(block, low, high)
    _draw_band(block, np.interp(np.arange(_LEFT, _LEFT + _WIDTH), columns, tube), scale, opacity)
    half = high / 2 - low / 2
    _draw_curves(block, columns, _row_of((signal / half - low / half) / 2))
    cv2.rectangle(block, (_LEFT - 1, _TOP - 1), (_LEFT + _WIDTH, _TOP + _HEIGHT), RULE, 1)
    cv2.rectangle(block, (_LEFT - 1, _BAND_TOP - 1), (_LEFT + _WIDTH, _BAND_TOP + _BAND), RULE, 1)
    _draw_sample_axis(block, columns, parts)
    if several:
        _draw_channel_names(block, len(signal))
    return block


def _draw_value_axis(block: Picture, low: float, high: float) -> None:
    """Draws lines across the plot, and the values of the first, the middle and the last of them."""
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = round(_row_of(part))
        cv2.line(block, (_LEFT, y), (_LEFT + _WIDTH - 1, y), (230, 231, 233), 1)
        value = (1 - part) * low + part * high
        text = number_text(0.0 if abs(value) < 1e-3 * (high / 2 - low / 2) else value)
        if part in (0, 0.5, 1):
            draw_text(block, text, (_LEFT - 8, y + 5), 13, color=FADED, align=1)


def _draw_band(block: Picture, values: Array, scale: Scale, opacity: float) -> None:
    """Colours the band by the map, one value per column of pixels, and the plot above it more weakly."""
    grey = np.full((_BAND, _WIDTH, 3), 225, dtype=np.uint8)
    ramp = np.broadcast_to(values, (_BAND, _WIDTH)) if scale.drawn else None
    put(block, blend(grey, ramp, scale.low, scale.high, opacity), _BAND_TOP, _LEFT)
    if scale.drawn:
        plot = block[_TOP : _TOP + _HEIGHT, _LEFT : _LEFT + _WIDTH]
        plot[:] = blend(plot, np.broadcast_to(values, (_HEIGHT, _WIDTH)), scale.low, scale.high, 0.3 * opacity)


def _draw_curves(block: Picture, columns: Array, rows: Array) -> None:
    """Draws one curve per row of `rows` ``(C, L)``; a single sample is a disc."""
    for row, color in zip(rows, CURVE_COLOURS, strict=False):
        points = np.stack(_thinned(columns, row, _WIDTH), axis=1)
        if len(columns) == 1:
            cv2.circle(block, rounded_point(points[0]), 4, color, -1, cv2.LINE_AA)
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.polylines(block, [fixed], False, color, 2, cv2.LINE_AA, 4)  # noqa: FBT003  (open)


def _draw_sample_axis(block: Picture, columns: Array, parts: Array) -> None:
    """Writes the numbers of the first, the middle and the last sample under the band."""
    draw_text(block, "map", (_LEFT - 8, _BAND_TOP + _BAND // 2 + 5), 13, color=FADED, align=1)
    last = len(columns) - 1
    for i in sorted({0, last // 2, last}):
        at = (round(float(columns[i])), _BASE)
        draw_text(block, str(i), at, 13, color=FADED, align=float(parts[i]))
    draw_text(block, "sample", (_LEFT + _WIDTH // 2, _BASE + 17), 13, color=FADED, align=0.5)


def _draw_channel_names(block: Picture, count: int) -> None:
    """Writes which colour is which channel."""
    x = _LEFT
    for i in range(count):
        cv2.line(block, (x, _BASE + 34), (x + 22, _BASE + 34), CURVE_COLOURS[i], 2, cv2.LINE_AA)
        draw_text(block, f"channel {i}", (x + 28, _BASE + 39), 13, color=FADED)
        x += 28 + text_width(f"channel {i}", 13) + 18


def _row_of(part: Any) -> Any:
    """Row of the page for 0 (lowest value) to 1 (highest), a little away from the plot's edges."""
    return _TOP + 8 + (1 - part) * (_HEIGHT - 17)


def _thinned(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """Keeps the smallest and the largest value per half pixel of a long curve: the same picture from fewer points."""
    if len(x) <= 4 * width:
        return x, y
    starts = np.linspace(0, len(x), 2 * width, endpoint=False).astype(int)
    pairs = np.stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)], axis=1)
    return np.repeat(x[starts], 2), pairs.reshape(-1)
