"""Frames under a tube as slanted sheets, one behind another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import FADED, Picture, check_clip
from cfp_onnx.pictures.frames import evenly_spaced, frame_under_map, sampling_note
from cfp_onnx.pictures.legend import legend_of
from cfp_onnx.pictures.lettering import draw_text
from cfp_onnx.pictures.page import page_of, paper, rounded_point
from cfp_onnx.pictures.scale import check_scale, scale_of
from cfp_onnx.values import Array


def stack(
    frames: Picture,
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
    limit: int = 16,
) -> Picture:
    """Draws the frames under the tube as a row of slanted sheets that goes back in time's direction.

    This is the form of the figures in the papers on Saliency Tubes and Class Feature Pyramids.

    Takes what `strip` takes, and draws at most `limit` sheets: of more frames, as many evenly spaced ones.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, or the limit is below 1.
    """
    check_clip(frames, tube)
    check_scale(low, high, opacity)
    if limit < 1:
        raise ValueError(f"limit is {limit}; a stack has at least 1 sheet")
    scale = scale_of(tube, low=low, high=high, unit=unit, scope=scope, constant=constant, extremes=extremes)
    chosen = evenly_spaced(len(frames), limit)
    sheets = [frame_under_map(frames[t], tube[t], scale, opacity, 2 * _SHEET, 2 * _SHEET) for t in chosen]
    body = _sheets_in_a_row(sheets, [str(t) for t in chosen])
    return page_of(body, title, subtitle, legend_of(scale, opacity, notes=sampling_note(len(chosen), len(frames))))


_SHEET = 230
"""Height in pixels of the first sheet, about."""


_YAW, _PITCH = math.radians(54), math.radians(13)


_ROW_WIDTH = 1560
"""Most pixels that a row of sheets takes; a longer one is drawn smaller."""


def _projected(points: Array, distance: float) -> Array:
    """Looks at points ``(n, 3)`` (right, down, back; a sheet is 1 high) from the left and above; ``(n, 2)``."""
    x, y, z = points.T
    across, back = x * math.cos(_YAW) + z * math.sin(_YAW), z * math.cos(_YAW) - x * math.sin(_YAW)
    down, away = y * math.cos(_PITCH) - back * math.sin(_PITCH), back * math.cos(_PITCH) + y * math.sin(_PITCH)
    size = distance / (distance + away)
    return np.stack([across * size, down * size], axis=1)


def _sheets_in_a_row(pictures: Sequence[Picture], names: Sequence[str]) -> Picture:
    """Sheets one behind another with their names and an arrow for time, on paper."""
    aspect = pictures[0].shape[1] / pictures[0].shape[0]
    gap = max(0.68 * aspect, 0.45)
    length = gap * (len(pictures) - 1)
    distance = 6 + 1.5 * length
    half, side = aspect / 2, [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corners = [
        _projected(np.array([[half * sx, sy / 2, gap * i] for sx, sy in side]), distance) for i in range(len(pictures))
    ]
    marks = _projected(np.array([[half, 0.5, gap * i] for i in range(len(pictures))]), distance)
    ends = np.array([[half + 0.16, 0.62, -0.1 * gap], [half + 0.16, 0.62, length + 0.35]])
    arrow = _projected(ends, distance)
    every = np.concatenate([*corners, arrow])
    extent, margin = every.max(axis=0) - every.min(axis=0), 16
    scale = min(float(_SHEET), _ROW_WIDTH / float(extent[0]))
    size = extent * scale
    offset = margin - every.min(axis=0) * scale
    width, height = math.ceil(size[0]) + 2 * margin + 30, math.ceil(size[1]) + 2 * margin + 14

    fine = 2  # drawn twice as large, then averaged: smooth edges
    page = paper(height * fine, width * fine)
    for picture, corner in reversed(list(zip(pictures, corners, strict=True))):
        _sheet(page, picture, (corner * scale + offset) * fine)
    first, last = ((point * scale + offset) * fine for point in arrow)
    if len(pictures) > 1:
        tip = 22 / max(float(np.hypot(*(last - first))), 1.0)
        cv2.arrowedLine(page, rounded_point(first), rounded_point(last), FADED, 2 * fine, cv2.LINE_AA, 0, tip)
    page = cast("Picture", cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA))
    for name, mark in zip(names, marks * scale + offset, strict=True):
        draw_text(page, name, (round(mark[0]) + 3, round(mark[1]) + 15), 13, color=FADED, align=0.5)
    if len(pictures) > 1:
        middle = (arrow[0] * 0.5 + arrow[1] * 0.5) * scale + offset
        draw_text(page, "time (frame)", (round(middle[0]) + 14, round(middle[1]) + 24), 14, color=FADED)
    return page


def _sheet(page: Picture, picture: Picture, corners: Array) -> None:
    """Draws a picture into four corners of the page, with an outline."""
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 3
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    height, width = picture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32) - 0.5
    way = cv2.getPerspectiveTransform(source, (corners - low).astype(np.float32))
    bent = cv2.warpPerspective(picture, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = np.zeros((size[1], size[0]), dtype=np.uint8)
    polygon = np.rint((corners - low) * 16).astype(np.int32)
    cv2.fillConvexPoly(cover, polygon, 255, cv2.LINE_AA, 4)
    share = cover[:, :, None].astype(np.float32) / 255
    place = page[low[1] : high[1], low[0] : high[0]]
    place[:] = np.rint(place + share * (bent.astype(np.float32) - place)).astype(np.uint8)
    cv2.polylines(place, [polygon], True, (250, 250, 250), 3, cv2.LINE_AA, 4)  # noqa: FBT003  (closed)
    cv2.polylines(place, [polygon], True, (110, 112, 118), 2, cv2.LINE_AA, 4)  # noqa: FBT003  (closed)
