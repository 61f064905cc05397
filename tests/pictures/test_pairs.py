"""A frame beside its map, alone and in a film."""

from __future__ import annotations

import numpy as np
import pytest
from planted_pictures import LEVELS, WORDS, box_of, colourful, grey_frames, planted

from cfp_onnx.pictures import pairs


def test_a_picture_is_beside_its_map():
    frame = grey_frames([100])[0]
    page = pairs.image(frame, planted((40, 40), (slice(4, 8), slice(4, 8)), 2.0), low=0, high=2, **WORDS)
    top, bottom, left, right = box_of(page, 100)
    rows, columns = np.nonzero(colourful(page[top:bottom]))
    assert right - left == 2 * 320 + 8
    assert columns.min() > left + 320
    assert ((columns.mean() - left - 328) / 320) == pytest.approx(6 / 40, abs=0.02)
    assert rows.mean() / 320 == pytest.approx(6 / 40, abs=0.02)


def test_a_film_moves_with_the_tube(texts):
    frames = grey_frames(LEVELS[:4])
    tube = np.zeros((4, 40, 40), np.float32)
    for t in range(4):
        tube[t, 18:22, 10 * t : 10 * t + 6] = 1
    pages = pairs.film(frames, tube, low=0, high=1, **WORDS)
    assert len(pages) == 4
    places = []
    for page, level in zip(pages, LEVELS, strict=False):
        top, bottom, left, _ = box_of(page, level)
        assert np.unique(page[top + 5, left + 5]).tolist() == [level]
        places.append(np.nonzero(colourful(page[top:bottom]))[1].mean())
    assert np.diff(places) == pytest.approx([80, 80, 80], abs=6)
    assert [text for text in texts if text.startswith("t = ")] == [f"t = {t} (of 0 to 3)" for t in range(4)]
