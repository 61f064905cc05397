"""Frames at their size on a page."""

from __future__ import annotations

import numpy as np
import pytest
from planted_pictures import WORDS, box_of, grey_frames, planted

from cfp_onnx.pictures import sheets


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(40, 40, (160, 160)), (56, 56, (168, 168)), (112, 112, (224, 224)), (224, 224, (224, 224)),
     (480, 640, (192, 256)), (90, 160, (90, 160)), (1, 1, (150, 150)), (4, 2000, (16, 256))],
)  # fmt: skip
def test_small_frames_grow_by_a_whole_factor_and_large_ones_shrink(height, width, expected):
    page = sheets.strip(grey_frames([77], height, width), np.zeros((1, height, width)), low=0, high=1, **WORDS)
    top, bottom, left, right = box_of(page, 77)
    assert (bottom - top, right - left) == expected


def test_small_frames_and_maps_are_enlarged_smoothly():
    frames = grey_frames([50])
    frames[:, :, 20:] = 150
    page = sheets.strip(frames, np.zeros((1, 40, 40)), low=0, high=1, **WORDS)
    top, _, left, _ = box_of(page, 50)
    assert len(np.unique(page[top + 80, left : left + 160, 0])) >= 5, "an edge has steps"
    tube = planted((1, 40, 40), (0, 20, 20), 1.0)
    page = sheets.strip(grey_frames([128]), tube, low=0, high=1, **WORDS)
    top, _, left, _ = box_of(page, 128)
    assert len(np.unique(page[top + 82, left : left + 160, 0])) >= 5, "a spot has steps"


def test_large_frames_shrink_by_means():
    frames = grey_frames([0], 768, 768)
    frames[:, :, ::3] = 150
    page = sheets.strip(frames, np.zeros((1, 768, 768)), low=0, high=1, **WORDS)
    top, bottom, left, right = box_of(page, 50)
    assert (page[top:bottom, left:right] == 50).all()
    assert (bottom - top, right - left) == (256, 256)
