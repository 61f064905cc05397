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
    """Axes, one curve per row of the signal, and the tube as a band that shares the axis of samples."""
    left, right, top, width, height, band = 64, 12, 10, 900, 260, 40
    several = len(signal) > 1
    band_top = top + height + 8
    block = paper(band_top + band + 44 + (22 if several else 0), left + width + right)
    low, high = float(signal.min()), float(signal.max())
    if high <= low:
        low, high = low - 1, high + 1
    count = signal.shape[1]
    places = left + (np.arange(count) / max(count - 1, 1) if count > 1 else np.array([0.5])) * (width - 1)
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = round(_height_of(part, top, height))
        cv2.line(block, (left, y), (left + width - 1, y), (230, 231, 233), 1)
        value = (1 - part) * low + part * high
        text = number_text(0.0 if abs(value) < 1e-3 * (high / 2 - low / 2) else value)
        if part in (0, 0.5, 1):
            draw_text(block, text, (left - 8, y + 5), 13, color=FADED, align=1)
    values = np.interp(np.arange(left, left + width), places, tube)
    grey = np.full((band, width, 3), 225, dtype=np.uint8)
    ramp = np.broadcast_to(values, (band, width)) if scale.drawn else None
    put(block, blend(grey, ramp, scale.low, scale.high, opacity), band_top, left)
    if scale.drawn:
        plot = block[top : top + height, left : left + width]
        tint = np.broadcast_to(values, (height, width))
        plot[:] = blend(plot, tint, scale.low, scale.high, 0.3 * opacity)
    half = high / 2 - low / 2
    rows = _height_of((signal / half - low / half) / 2, top, height)
    for row, color in zip(rows, CURVE_COLOURS, strict=False):
        points = np.stack(_thinned(places, row, width), axis=1)
        if count == 1:
            cv2.circle(block, rounded_point(points[0]), 4, color, -1, cv2.LINE_AA)
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.polylines(block, [fixed], False, color, 2, cv2.LINE_AA, 4)  # noqa: FBT003  (open)
    cv2.rectangle(block, (left - 1, top - 1), (left + width, top + height), RULE, 1)
    cv2.rectangle(block, (left - 1, band_top - 1), (left + width, band_top + band), RULE, 1)
    draw_text(block, "map", (left - 8, band_top + band // 2 + 5), 13, color=FADED, align=1)
    base = band_top + band + 17
    for i in sorted({0, (count - 1) // 2, count - 1}):
        part = i / (count - 1) if count > 1 else 0.5
        draw_text(block, str(i), (round(float(places[i])), base), 13, color=FADED, align=part)
    draw_text(block, "sample", (left + width // 2, base + 17), 13, color=FADED, align=0.5)
    x = left
    for i in range(len(signal) if several else 0):
        cv2.line(block, (x, base + 34), (x + 22, base + 34), CURVE_COLOURS[i], 2, cv2.LINE_AA)
        draw_text(block, f"channel {i}", (x + 28, base + 39), 13, color=FADED)
        x += 28 + text_width(f"channel {i}", 13) + 18
    return block


def _height_of(part: Any, top: int, height: int) -> Any:
    """Row of the page for 0 (lowest value) to 1 (highest), a little away from the plot's edges."""
    return top + 8 + (1 - part) * (height - 17)


def _thinned(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """Of a long curve, the smallest and largest value per half pixel: the same picture from fewer points."""
    if len(x) <= 4 * width:
        return x, y
    starts = np.linspace(0, len(x), 2 * width, endpoint=False).astype(int)
    pairs = np.stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)], axis=1)
    return np.repeat(x[starts], 2), pairs.reshape(-1)
