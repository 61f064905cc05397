"""Contact sheets: each frame and each row is at its place, under its own scale."""

from __future__ import annotations

import numpy as np
import pytest
from planted_pictures import LEVELS, WORDS, box_of, colourful, grey_frames, planted

from cfp_onnx.pictures import sheets


def test_a_strip_shows_frames_in_reading_order_at_one_size():
    page = sheets.strip(grey_frames(LEVELS), np.zeros((8, 40, 40)), low=0, high=1, **WORDS)
    boxes = [box_of(page, level) for level in LEVELS]
    assert {(b - t, r - left) for t, b, left, r in boxes} == {(160, 160)}
    assert boxes == sorted(boxes, key=lambda box: (box[0], box[2]))


def test_levels_draw_every_row_under_its_own_scale(texts):
    frames = grey_frames([100, 130])
    spot = planted((2, 40, 40), (slice(None), slice(10, 30), slice(10, 30)), 1.0)
    rows = [
        sheets.Level("depth 1", 8 * spot, 0, 8.0, unit="activation"),
        sheets.Level("depth 2", 0.01 * spot, 0, 0.01, unit="relevance"),
        sheets.Level("depth 3", 0 * spot + 0.4, 0, 8.0),
        sheets.Level("depth 4", 8 * spot, 0, 8.0, constant=True),
    ]
    page = sheets.levels(frames, rows, title="pyramid")
    body = page[: box_of(page, 100)[1]]
    starts = np.nonzero(np.diff(colourful(body).any(axis=1).astype(int)) == 1)[0]
    assert len(starts) == 2, "the constant rows have no colours"
    rows_drawn = np.unique((body == 100).all(axis=-1).sum(axis=1))
    assert len(rows_drawn) > 1
    assert {"low end", "high end", "activation / relevance"} <= set(texts)
    said = " ".join(texts)
    for text in ("depth 1", "depth 4", "0 to 8; this map 0 to 8", "0 to 0.01", "constant at 0.4: nothing to see"):
        assert text in said


def test_a_spot_in_levels_is_in_its_row_and_frame():
    frames = grey_frames([100, 130])
    rows = [
        sheets.Level("depth 1", planted((2, 40, 40), (0, 1, 1), 0.01), 0, 5),
        sheets.Level("depth 2", planted((2, 40, 40), (1, slice(4, 8), slice(30, 34)), 5.0), 0, 5),
    ]
    page = sheets.levels(frames, rows, title="pyramid")
    top, bottom, left, right = box_of(page, 130)
    ys, xs = np.nonzero(colourful(page[top:bottom]))
    assert bottom - top == 2 * 120 + 8
    assert ys.mean() == pytest.approx(128 + 120 * 6 / 40, abs=2)
    assert xs.mean() - left == pytest.approx((right - left) * 32 / 40, abs=2)


def test_a_page_names_title_ticks_unit_and_frames(texts):
    sheets.strip(grey_frames(LEVELS), planted((8, 40, 40), (1, 2, 3), 4.0), low=0, high=5, **WORDS)
    assert {"a title", "a subtitle", "0", "2.5", "5", "activation"} <= set(texts)
    assert [text for text in texts if text.startswith("t = ")] == [f"t = {t}" for t in range(8)]


def test_levels_count_their_frames(texts):
    tube = planted((20, 8, 8), (3, 3, 3), 1.0)
    sheets.levels(grey_frames([100] * 20, 8, 8), [sheets.Level("depth 1", tube, 0, 1)], title="x", columns=5)
    assert "5 of 20 frames, evenly spaced" in texts
