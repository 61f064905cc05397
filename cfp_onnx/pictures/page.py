"""The blocks of a page, and the page with its title."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from cfp_onnx.pictures.colours import FADED, PAPER, Picture
from cfp_onnx.pictures.lettering import draw_text, drawable, shortened, text_width, wrapped
from cfp_onnx.values import Array

_MARGIN = 22
"""Pixels between the edge of a page and what is on it."""

GAP = 8
"""Pixels between the blocks of a page."""

MIN_WIDTH = 680
"""Least width in pixels of what is on a page; the legend's words need it beside the colour bar."""


def paper(height: int, width: int) -> Picture:
    """Returns an empty block of a page."""
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def put(page: Picture, block: Picture, top: int, left: int) -> None:
    """Copies a block into a page, in place."""
    page[top : top + block.shape[0], left : left + block.shape[1]] = block


def labelled(cell: Picture, text: str) -> Picture:
    """Puts a line of text under a picture."""
    height, width = cell.shape[:2]
    wide = max(width, text_width(text, 13))
    block = paper(height + 22, wide)
    put(block, cell, 0, 0)
    draw_text(block, text, (0, height + 15), 13, color=FADED)
    return block


def grid(cells: Sequence[Picture], columns: int) -> Picture:
    """Puts cells of one size side by side, row by row."""
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    rows = math.ceil(len(cells) / columns)
    block = paper(rows * (height + GAP) - GAP, columns * (width + GAP) - GAP)
    for i, cell in enumerate(cells):
        put(block, cell, i // columns * (height + GAP), i % columns * (width + GAP))
    return block


def beside(left: Picture, right: Picture) -> Picture:
    """Puts two blocks side by side."""
    block = paper(max(left.shape[0], right.shape[0]), left.shape[1] + GAP + right.shape[1])
    put(block, left, 0, 0)
    put(block, right, 0, left.shape[1] + GAP)
    return block


def column(blocks: Sequence[Picture]) -> Picture:
    """Puts blocks under one another."""
    block = paper(sum(b.shape[0] + GAP for b in blocks) - GAP, max(b.shape[1] for b in blocks))
    top = 0
    for part in blocks:
        put(block, part, top, 0)
        top += part.shape[0] + GAP
    return block


def row_caption(title: str, sentences: Sequence[str], width: int, height: int) -> Picture:
    """Writes the words at the left of a row: its title, and sentences about its scale."""
    lines = [line for sentence in sentences for line in wrapped(drawable(sentence), width, 12)]
    block = paper(max(height, 34 + 16 * len(lines)), width)
    draw_text(block, shortened(drawable(title), width, 16, 600), (0, 18), 16, weight=600)
    for i, line in enumerate(lines):
        draw_text(block, line, (0, 40 + 16 * i), 12, color=FADED)
    return block


def page_of(body: Picture, title: str, subtitle: str, legend: Callable[[int], Picture]) -> Picture:
    """Puts the title over the body and the legend under it."""
    width = max(body.shape[1], MIN_WIDTH)
    heading = shortened(drawable(title), width, 22, 600)
    small = wrapped(drawable(subtitle), width, 14)
    small = [*small[:1], shortened(" ".join(small[1:]), width, 14)] if len(small) > 1 else small
    foot = legend(width)
    top = _MARGIN + (34 if heading else 0) + 20 * len(small) + (8 if small else 0)
    page = paper(top + body.shape[0] + 18 + foot.shape[0] + _MARGIN, width + 2 * _MARGIN)
    draw_text(page, heading, (_MARGIN, _MARGIN + 18), 22, weight=600)
    start = _MARGIN + (34 if heading else 0) + 13
    for i, line in enumerate(small):
        draw_text(page, line, (_MARGIN, start + 20 * i), 14, color=FADED)
    put(page, body, top, _MARGIN)
    put(page, foot, top + body.shape[0] + 18, _MARGIN)
    return page


def rounded_point(point: Array) -> tuple[int, int]:
    """Returns the pixel that a point (right, down) lies in."""
    return round(float(point[0])), round(float(point[1]))
