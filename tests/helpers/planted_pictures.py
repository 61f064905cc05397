"""Frames of one grey each and maps with planted values, and how they are found again on a page."""

from __future__ import annotations

import numpy as np

WORDS = {"title": "a title", "subtitle": "a subtitle", "unit": "activation", "scope": "depth 2"}


def grey_frames(levels, height=40, width=40):
    """Frames of one grey each, so that a page tells which pixel belongs to which frame."""
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


def planted(shape, where, value=1.0):
    tube = np.zeros(shape, np.float32)
    tube[where] = value
    return tube


def colourful(picture):
    """Where a picture of grey things has colours."""
    return picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 24


def box_of(page, level):
    """Bounding box (top, bottom, left, right) of one exact grey on a page."""
    rows, columns = np.nonzero((page == level).all(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


LEVELS = [60, 80, 100, 120, 140, 160, 180, 200]


FRAMES = grey_frames([100, 120], 8, 8)


TUBE = planted((2, 8, 8), (1, 3, 3), 1.0)
