"""Kernels as dots, one row a depth, with lines to what feeds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import CURVE_COLOURS, FADED, INK, PAPER, RULE, Picture
from cfp_onnx.pictures.lettering import draw_text, drawable, shortened, text_width, wrapped
from cfp_onnx.pictures.page import MIN_WIDTH, page_of, paper, put, row_caption

_LEFT, _ROW_HEIGHT = 215, 84
"""Pixels for the words at the left of a row, and height of a row."""

_LEAST_RADIUS, _MOST_RADIUS = 9, 15
"""Radius in pixels of a disc whose share is 0, and of one whose share is 1."""

_GROUP_GAP = 1.2
"""Space between two groups, in dots."""

_LINK_COLORS = {
    "chain": CURVE_COLOURS[0],
    "branch": CURVE_COLOURS[2],
    "shortcut": CURVE_COLOURS[1],
    "gate": CURVE_COLOURS[3],
}


@dataclass(frozen=True)
class Dot:
    """A kernel in `pyramid_diagram`.

    Attributes:
        key: What lines refer to.
        text: Drawn in it where it fits.
        share: The kernel's relevance as a part of the strongest one's in its group, 0..1: the size of the disc.
        chosen: Whether it is drawn as a disc, otherwise as a ring.
    """

    key: Hashable
    text: str
    share: float
    chosen: bool = True


@dataclass(frozen=True)
class DotRow:
    """A row of `pyramid_diagram`.

    Attributes:
        title: First line at its left.
        words: Sentences under the title.
        groups: Names of groups, each with its kernels.
    """

    title: str
    words: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Dot]]]


@dataclass(frozen=True)
class DotLine:
    """A link of `pyramid_diagram`.

    Attributes:
        reader: Key of a dot.
        source: Key of a dot that feeds it.
        strength: 0..1: how wide and dark the line is.
        kind: How the two are connected: chain, branch, shortcut or gate.
    """

    reader: Hashable
    source: Hashable
    strength: float
    kind: str = "chain"


def pyramid_diagram(
    rows: Sequence[DotRow], lines: Sequence[DotLine], *, title: str, subtitle: str = "", width: int = 1100
) -> Picture:
    """Draws kernels as dots, one row per depth, with lines to what feeds them.

    Within a group the dots are in the order of their readers above, so that few lines cross.

    Args:
        rows: From top to bottom.
        lines: Links; one whose ends are not both in `rows` is left out.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        width: Width of the rows in pixels, at least 680; more where a row has many dots.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: There is no dot, or a share or strength is outside 0..1.
    """
    dots = [dot for row in rows for _, group in row.groups for dot in group]
    if not dots:
        raise ValueError("a diagram needs at least one dot")
    if not all(0 <= x <= 1 for x in (*(d.share for d in dots), *(line.strength for line in lines))):
        raise ValueError("a share or strength is outside 0..1")
    slots = [sum(len(g) for _, g in row.groups) + _GROUP_GAP * max(0, len(row.groups) - 1) for row in rows]
    width = max(width, MIN_WIDTH, _LEFT + round(max(slots) * 2 * (_MOST_RADIUS + 1)))
    body = paper(_ROW_HEIGHT * len(rows), width)
    placed = _dot_places(rows, slots, lines, width)
    drawn = [line for line in lines if line.reader in placed and line.source in placed]
    for line in sorted(drawn, key=lambda x: x.strength):
        _draw_link(body, placed[line.reader], placed[line.source], line.strength, _LINK_COLORS.get(line.kind, FADED))
    for number, row in enumerate(rows):
        _draw_row(body, row, number * _ROW_HEIGHT, placed)
    return page_of(body, title, subtitle, _link_legend(list(dict.fromkeys(line.kind for line in drawn))))


def _dot_places(
    rows: Sequence[DotRow], slots: Sequence[float], lines: Sequence[DotLine], width: int
) -> dict[Hashable, tuple[float, float]]:
    """Returns the centres of all dots; a group is in the order of the mean places of its readers, by strength."""
    readers: dict[Hashable, list[tuple[Hashable, float]]] = {}
    for line in lines:
        readers.setdefault(line.source, []).append((line.reader, line.strength))
    placed: dict[Hashable, tuple[float, float]] = {}

    def pull(dot: Dot) -> float:
        known = [(placed[reader][0], strength) for reader, strength in readers.get(dot.key, ()) if reader in placed]
        total = sum(strength for _, strength in known)
        return sum(x * strength for x, strength in known) / total if total > 0 else width / 2

    for number, (row, count) in enumerate(zip(rows, slots, strict=True)):
        step = min(62.0, (width - _LEFT) / max(count, 1))
        x = _LEFT + (width - _LEFT - step * count) / 2 + step / 2
        wanted = {dot.key: pull(dot) for _, group in row.groups for dot in group}
        for _, group in row.groups:
            for dot in sorted(group, key=lambda d: wanted[d.key]):
                placed[dot.key] = (x, number * _ROW_HEIGHT + 34.0)
                x += step
            x += step * _GROUP_GAP
    return placed


def _draw_row(page: Picture, row: DotRow, top: int, placed: Mapping[Hashable, tuple[float, float]]) -> None:
    """Draws a row's words and dots, and the names of its groups where there are several."""
    put(page, row_caption(row.title, row.words, _LEFT - 30, 0)[:_ROW_HEIGHT], top, 0)
    for name, group in row.groups:
        for dot in group:
            _draw_dot(page, dot, placed[dot.key])
        if len(row.groups) > 1 and group:
            _draw_group_name(page, name, [placed[dot.key][0] for dot in group], top + 68)


def _draw_group_name(page: Picture, name: str, xs: Sequence[float], base: int) -> None:
    """Writes a group's name under its dots, over the lines."""
    text = shortened(drawable(name), max(90, round(max(xs) - min(xs)) + 40), 11)
    middle, half = round((min(xs) + max(xs)) / 2), text_width(text, 11) // 2 + 3
    page[base - 11 : base + 4, max(0, middle - half) : middle + half] = PAPER
    draw_text(page, text, (middle, base), 11, color=FADED, align=0.5)


def _draw_link(
    page: Picture, top: tuple[float, float], end: tuple[float, float], strength: float, color: tuple[int, int, int]
) -> None:
    """Draws a curve that starts and ends upright; a weak link is pale and thin."""
    t = np.linspace(0, 1, 40)[:, None]
    lean = np.array([0.0, 0.5 * (end[1] - top[1])])
    a, d = np.array(top), np.array(end)
    points = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * (a + lean) + 3 * (1 - t) * t**2 * (d - lean) + t**3 * d
    share = 0.25 + 0.75 * strength
    mixed = tuple(round(share * c + (1 - share) * p) for c, p in zip(color, PAPER, strict=True))
    pixels = np.round(points * 16).astype(np.int32)
    cv2.polylines(page, [pixels], isClosed=False, color=mixed, thickness=1 + round(2 * strength), lineType=cv2.LINE_AA,
                  shift=4)  # fmt: skip


def _draw_dot(page: Picture, dot: Dot, at: tuple[float, float]) -> None:
    """Draws a disc or a ring, and its text where it fits."""
    radius: float = _LEAST_RADIUS + 3
    if dot.chosen:
        radius = _LEAST_RADIUS + (_MOST_RADIUS - _LEAST_RADIUS) * math.sqrt(dot.share)
    centre = (round(at[0] * 16), round(at[1] * 16))
    cv2.circle(page, centre, round(16 * radius), INK if dot.chosen else PAPER, -1, cv2.LINE_AA, 4)
    if not dot.chosen:
        cv2.circle(page, centre, round(16 * radius), RULE, 1, cv2.LINE_AA, 4)
    text = drawable(dot.text)
    size = next((s for s in (11, 10, 9) if text_width(text, s) <= 2 * radius - 2), None)
    if size is not None:
        color = PAPER if dot.chosen else FADED
        draw_text(page, text, (round(at[0]), round(at[1]) + 4), size, color=color, align=0.5)


def _link_legend(kinds: Sequence[str]) -> Callable[[int], Picture]:
    """Returns a function that draws the legend once the width of the page is known."""
    words = (
        "A disc is a chosen kernel, its size the share of the strongest in its layer; a ring only feeds chosen ones.",
        "Lines lead down to what feeds a kernel, stronger where it carries more.",
    )

    def draw(width: int) -> Picture:
        sentences = [line for text in words for line in wrapped(text, width, 14)]
        block = paper(19 * len(sentences) + (24 if kinds else 4), width)
        for i, sentence in enumerate(sentences):
            draw_text(block, sentence, (0, 13 + 19 * i), 14)
        left, base = 0, 19 * len(sentences) + 15
        for kind in kinds:
            text = drawable(kind)
            cv2.line(block, (left, base - 4), (left + 26, base - 4), _LINK_COLORS.get(kind, FADED), 3, cv2.LINE_AA)
            draw_text(block, text, (left + 34, base), 13, color=FADED)
            left += 34 + text_width(text, 13) + 24
        return block

    return draw
