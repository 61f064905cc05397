"""Contact sheets: frames in rows under a tube, or under one tube a depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cfp_onnx.pictures.colours import Picture, check_clip, is_signed
from cfp_onnx.pictures.frames import evenly_spaced, frame_under_map, sampling_note
from cfp_onnx.pictures.legend import legend_of
from cfp_onnx.pictures.page import beside, column, grid, labelled, page_of, row_caption
from cfp_onnx.pictures.scale import Scale, check_scale, scale_of
from cfp_onnx.values import Array

FRAME_LIMIT = 32
"""Most frames that a contact sheet shows; of more, as many evenly spaced ones."""


@dataclass(frozen=True)
class Level:
    """One row of `levels`: a class's tube at one depth, with its scale.

    Attributes:
        title: Written at the left of the row, e.g. ``"depth 2"``.
        tube: ``(T, H, W)`` float, at the frames' pixels.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        unit: What the numbers are.
        constant: Whether to draw no colours and say so.
        extremes: True minimum and maximum of the map; None takes the tube's.
    """

    title: str
    tube: Array
    low: float
    high: float
    unit: str = "relevance"
    constant: bool = False
    extremes: tuple[float, float] | None = None


def strip(
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
) -> Picture:
    """Draws a contact sheet: every frame under the tube, with its number; of more than 32, as many evenly spaced ones.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        tube: ``(T, H, W)`` float, at the frames' pixels.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        unit: Word under the colour bar.
        scope: What shares the scale, e.g. ``"depth 2"``.
        constant: Whether to draw no colours and say so.
        extremes: True minimum and maximum of the map, for the legend; None takes the tube's.
        opacity: As in `overlay`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`.
    """
    check_clip(frames, tube)
    check_scale(low, high, opacity)
    scale = scale_of(tube, low=low, high=high, unit=unit, scope=scope, constant=constant, extremes=extremes)
    chosen = evenly_spaced(len(frames), FRAME_LIMIT)
    cells = [labelled(frame_under_map(frames[t], tube[t], scale, opacity, 150, 256), f"t = {t}") for t in chosen]
    body = grid(cells, _column_count(len(cells), cells[0].shape[1] / cells[0].shape[0]))
    return page_of(body, title, subtitle, legend_of(scale, opacity, notes=sampling_note(len(chosen), len(frames))))


def levels(
    frames: Picture,
    rows: Sequence[Level],
    *,
    title: str,
    subtitle: str = "",
    columns: int = 8,
    opacity: float = 0.8,
) -> Picture:
    """Draws a whole pyramid: one row of frames per depth, its title and its own scale at the left.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        rows: The tubes from top to bottom.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        columns: Most frames per row; of more, as many evenly spaced ones.
        opacity: As in `overlay`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, there is no row, or `columns` is below 1.
    """
    if not rows:
        raise ValueError("levels needs at least one row")
    if columns < 1:
        raise ValueError(f"columns is {columns}; a row has at least 1 frame")
    for row in rows:
        check_clip(frames, row.tube)
        check_scale(row.low, row.high, opacity)
    chosen = evenly_spaced(len(frames), columns)
    lines, any_drawn = [], False
    for number, row in enumerate(rows, 1):
        scale = scale_of(
            row.tube, low=row.low, high=row.high, unit=row.unit, constant=row.constant, extremes=row.extremes
        )
        any_drawn |= scale.drawn
        cells = [frame_under_map(frames[t], row.tube[t], scale, opacity, 120, 160) for t in chosen]
        if number == len(rows):
            cells = [labelled(cell, f"t = {t}") for cell, t in zip(cells, chosen, strict=True)]
        lines.append(beside(row_caption(row.title, scale.sentences, 190, cells[0].shape[0]), grid(cells, len(cells))))
    words = ["each row has its own scale, stated at its left"] if len(rows) > 1 else []
    plain = [row for row in rows if not is_signed(row.low, row.high)]
    units = " / ".join(dict.fromkeys(row.unit for row in plain or rows))
    shared = Scale(0.0 if plain else -1.0, 1.0, units, tuple(words), drawn=any_drawn)
    notes = sampling_note(len(chosen), len(frames))
    legend = legend_of(shared, opacity, notes=notes, ticks=("low end", "", "high end"))
    return page_of(column(lines), title, subtitle, legend)


def _column_count(count: int, aspect: float) -> int:
    """The number of columns that makes a wide page with few empty places."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * aspect / rows / 2.5)) + 3 * (rows * columns - count) / count

    return min(range(1, min(count, 12) + 1), key=cost)
