"""Frames under a tube as slanted sheets, one behind another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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

_SHEET = 230
"""Height in pixels of the first sheet, about."""

_ROW_WIDTH = 1560
"""Most pixels that a row of sheets takes; a longer row is drawn smaller."""

_YAW, _PITCH = math.radians(54), math.radians(13)
"""How far the eye is turned to the left of the sheets, and how far above them."""


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
    """Draws the frames under the tube as a row of slanted sheets that goes back as time goes on.

    This is how the papers on Saliency Tubes and Class Feature Pyramids draw them.

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
    body = _row_of_sheets(sheets, [str(t) for t in chosen])
    return page_of(body, title, subtitle, legend_of(scale, opacity, notes=sampling_note(len(chosen), len(frames))))


@dataclass(frozen=True)
class _Places:
    """Where things are on the page, in pixels: right, down.

    Attributes:
        corners: Of each sheet the four corners, ``(4, 2)``, from the top left one clockwise.
        names: Of each sheet the point that its name is drawn at, ``(n, 2)``.
        arrow: Start and end of the arrow for time, ``(2, 2)``.
        middle: Middle of the arrow.
        width: Of the page.
        height: Of the page.
    """

    corners: tuple[Array, ...]
    names: Array
    arrow: Array
    middle: Array
    width: int
    height: int


def _places_of(count: int, aspect: float) -> _Places:
    """Places of sheets that stand one behind another, each `aspect` times as wide as it is high."""
    gap = max(0.68 * aspect, 0.45)
    length = gap * (count - 1)
    distance = 6 + 1.5 * length
    half, corners_of_one = aspect / 2, [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corners = [
        _projected(np.array([[half * x, y / 2, gap * i] for x, y in corners_of_one]), distance) for i in range(count)
    ]
    names = _projected(np.array([[half, 0.5, gap * i] for i in range(count)]), distance)
    arrow = _projected(np.array([[half + 0.16, 0.62, -0.1 * gap], [half + 0.16, 0.62, length + 0.35]]), distance)
    every = np.concatenate([*corners, arrow])
    first, extent, margin = every.min(axis=0), every.max(axis=0) - every.min(axis=0), 16
    scale = min(float(_SHEET), _ROW_WIDTH / float(extent[0]))
    offset = margin - first * scale
    return _Places(
        corners=tuple(corner * scale + offset for corner in corners),
        names=names * scale + offset,
        arrow=arrow * scale + offset,
        middle=(arrow[0] * 0.5 + arrow[1] * 0.5) * scale + offset,
        width=math.ceil(extent[0] * scale) + 2 * margin + 30,
        height=math.ceil(extent[1] * scale) + 2 * margin + 14,
    )


def _projected(points: Array, distance: float) -> Array:
    """Projects points onto the page, as seen from the left and from above.

    Args:
        points: ``(n, 3)``: right, down, back; a sheet is 1 high.
        distance: Of the eye from the first sheet, in the same unit.

    Returns:
        ``(n, 2)``: right, down.
    """
    x, y, z = points.T
    across, back = x * math.cos(_YAW) + z * math.sin(_YAW), z * math.cos(_YAW) - x * math.sin(_YAW)
    down, away = y * math.cos(_PITCH) - back * math.sin(_PITCH), back * math.cos(_PITCH) + y * math.sin(_PITCH)
    size = distance / (distance + away)
    return np.stack([across * size, down * size], axis=1)


def _row_of_sheets(pictures: Sequence[Picture], names: Sequence[str]) -> Picture:
    """Draws sheets one behind another, their names, and an arrow for time."""
    places = _places_of(len(pictures), pictures[0].shape[1] / pictures[0].shape[0])
    page = _sheets_and_arrow(pictures, places)
    for name, at in zip(names, places.names, strict=True):
        draw_text(page, name, (round(at[0]) + 3, round(at[1]) + 15), 13, color=FADED, align=0.5)
    if len(pictures) > 1:
        at = (round(places.middle[0]) + 14, round(places.middle[1]) + 24)
        draw_text(page, "time (frame)", at, 14, color=FADED)
    return page


def _sheets_and_arrow(pictures: Sequence[Picture], places: _Places) -> Picture:
    """Draws at twice the size and averages, which makes edges smooth."""
    fine = 2
    page = paper(places.height * fine, places.width * fine)
    for picture, corners in reversed(list(zip(pictures, places.corners, strict=True))):
        _draw_sheet(page, picture, corners * fine)
    if len(pictures) > 1:
        start, end = (point * fine for point in places.arrow)
        tip = 22 / max(float(np.hypot(*(end - start))), 1.0)
        cv2.arrowedLine(page, rounded_point(start), rounded_point(end), FADED, 2 * fine, cv2.LINE_AA, 0, tip)
    size = (places.width, places.height)
    return cast("Picture", cv2.resize(page, size, interpolation=cv2.INTER_AREA))


def _draw_sheet(page: Picture, picture: Picture, corners: Array) -> None:
    """Draws a picture between four corners on the page, with an outline; in place."""
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
