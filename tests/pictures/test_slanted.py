"""The stack: sheets go back to the right, become smaller, and cover each other."""

from __future__ import annotations

import numpy as np
from planted_pictures import LEVELS, WORDS, box_of, grey_frames

from cfp_onnx.pictures import slanted


def test_a_stack_goes_back_to_the_right_and_becomes_smaller():
    page = slanted.stack(grey_frames(LEVELS), np.zeros((8, 40, 40)), low=0, high=1, **WORDS)
    boxes = np.array([box_of(page, level) for level in LEVELS])
    assert (np.diff(boxes[:, 3]) > 0).all()
    assert (np.diff(boxes[:, 0]) < 0).all()
    first, last = boxes[0], boxes[-1]
    assert 0.5 < (last[1] - last[0]) / (first[1] - first[0]) < 0.95


def test_in_a_stack_the_nearer_sheet_covers_the_farther():
    page = slanted.stack(grey_frames(LEVELS[:2]), np.zeros((2, 40, 40)), low=0, high=1, **WORDS)
    areas = [int((page == level).all(axis=-1).sum()) for level in LEVELS[:2]]
    alone = slanted.stack(grey_frames(LEVELS[:1]), np.zeros((1, 40, 40)), low=0, high=1, **WORDS)
    assert int((alone == LEVELS[0]).all(axis=-1).sum()) > 0
    assert areas[0] > 1.05 * areas[1]


def test_a_sheet_is_slanted_and_smooth_at_its_edges():
    page = slanted.stack(grey_frames([0], 56, 56), np.zeros((1, 56, 56)), low=0, high=1, title="")
    top, bottom, left, right = box_of(page, 0)
    sheet = page[top:bottom, left:right, 0]
    width, height = sheet.shape[1], sheet.shape[0]
    assert 0.3 < width / height < 0.8
    corners = [sheet[12, 8], sheet[-12, -8], sheet[2, -3], sheet[-3, 2]]
    assert corners == [0, 0, 252, 252], "the right side is nearer, so lower; beyond the edges is paper"
    assert len(np.unique(sheet)) > 20, "steps between ink and paper"
