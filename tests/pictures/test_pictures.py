"""What holds for every form of picture: planted values are found in place, names fit, wrong input is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from planted_pictures import FRAMES, LEVELS, TUBE, WORDS, box_of, colourful, grey_frames, planted

from cfp_onnx import pictures
from cfp_onnx.opencv import PIXEL_LIMIT


@pytest.mark.parametrize("draw", [pictures.strip, pictures.stack])
def test_a_planted_spot_is_in_its_frame_and_at_its_place(draw):
    frames = grey_frames(LEVELS)
    tube = planted((8, 40, 40), (5, slice(8, 12), slice(28, 32)), 3.0)
    with_spot = draw(frames, tube, low=0, high=3, **WORDS)
    without = draw(frames, planted((8, 40, 40), (5, 9, 30), 1e-6), low=0, high=3, **WORDS)
    body = np.abs(with_spot.astype(int) - without).max(axis=-1) > 30
    body[round(0.85 * len(body)) :] = False  # the legend's words differ
    rows, columns = np.nonzero(body)
    top, bottom, left, right = box_of(without, LEVELS[5])
    assert top < rows.min() <= rows.max() < bottom
    assert left < columns.min() <= columns.max() < right
    if draw is pictures.strip:
        assert (rows.mean() + 0.5 - top) / (bottom - top) == pytest.approx(10 / 40, abs=0.02)
        assert (columns.mean() + 0.5 - left) / (right - left) == pytest.approx(30 / 40, abs=0.02)
    else:
        seen = (without[top:bottom, left:right] == LEVELS[5]).all(axis=-1)
        assert seen[rows - top, columns - left].mean() > 0.95, "the spot lies on the sheet, not on its neighbours"


def test_a_constant_map_is_said_in_words_instead_of_colours(texts):
    frames = grey_frames([100, 140])
    for draw in (pictures.strip, pictures.stack, pictures.film):
        texts.clear()
        drawn = draw(frames, np.full((2, 40, 40), 1.25), low=0, high=3, **WORDS)
        assert not colourful(drawn).any()
        assert "constant at 1.25: nothing to see" in texts
    texts.clear()
    noise = planted((2, 40, 40), (0, 3, 3), 2.0)
    assert not colourful(pictures.strip(frames, noise, low=0, high=2, constant=True, **WORDS)).any()
    assert "constant at 1: nothing to see" in texts
    assert colourful(pictures.strip(frames, noise, low=0, high=2, **WORDS)).any()


@pytest.mark.parametrize(("draw", "limit"), [(pictures.strip, 32), (pictures.stack, 16)])
def test_of_many_frames_evenly_spaced_ones_are_shown_and_counted(texts, draw, limit):
    count = 100
    draw(grey_frames([100] * count, 4, 4), np.zeros((count, 4, 4)), low=0, high=1, **WORDS)
    assert f"{limit} of 100 frames, evenly spaced" in texts
    numbers = [int(m[1]) for text in texts if (m := re.fullmatch(r"(?:t = )?(\d+)", text))]
    assert numbers[0] == 0
    assert numbers[-1] == 99
    assert len(numbers) == limit
    assert set(np.diff(numbers)) <= {(count - 1) // (limit - 1), (count - 1) // (limit - 1) + 1}


HARD_NAMES = [
    "layer/" + "very_long_name." * 60 + "conv",
    "x" * 100_000,
    "lone \udc80 and \ud800 surrogates",
    "line\nbreak\ttab\x00nul \u202e turned",
    "\U0001f600 日本語 ägyptisch שלום é",
    "",
    "   ",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_can_be_drawn_and_fits(texts, name):
    frames, tube = grey_frames([100]), planted((1, 40, 40), (0, 3, 3), 1.0)
    words = {"title": name, "subtitle": name, "unit": name, "scope": name}
    pictures.strip(frames, tube, low=0, high=1, **words)
    pictures.stack(frames, tube, low=0, high=1, **words)
    pictures.curve(np.zeros((2, 9)), planted((9,), 3, 1.0), low=0, high=1, **words)
    pictures.levels(frames, [pictures.Level(name, tube, 0, 1, unit=name)], title=name, subtitle=name)
    drawn = "".join(texts)
    drawn.encode("utf-8")
    assert drawn.isprintable()


NAN = planted((2, 8, 8), (1, 3, 3), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pictures.overlay(FRAMES.astype(float), TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: pictures.overlay(FRAMES[..., 0], TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: pictures.overlay(FRAMES[:0], TUBE[:0], low=0, high=1), "not empty"),
        (lambda: pictures.overlay(FRAMES, TUBE[:, :4], low=0, high=1), "interpolate the tube"),
        (lambda: pictures.overlay(FRAMES, NAN, low=0, high=1), "not finite"),
        (lambda: pictures.overlay(FRAMES, TUBE, low=0, high=np.inf), "must be finite"),
        (lambda: pictures.overlay(FRAMES, TUBE, low=0, high=1, opacity=1.5), "opacity is 1.5"),
        (lambda: pictures.strip(FRAMES, NAN, low=0, high=1, title=""), "not finite"),
        (lambda: pictures.stack(FRAMES, TUBE, low=0, high=1, title="", limit=0), "at least 1 sheet"),
        (lambda: pictures.image(FRAMES, TUBE, low=0, high=1, title=""), "one frame, not 2"),
        (lambda: pictures.film(FRAMES, TUBE[:1], low=0, high=1, title=""), "interpolate the tube"),
        (lambda: pictures.levels(FRAMES, [], title=""), "at least one row"),
        (lambda: pictures.levels(FRAMES, [pictures.Level("", TUBE, 0, 1)], title="", columns=0), "at least 1 frame"),
        (lambda: pictures.levels(FRAMES, [pictures.Level("", NAN, 0, 1)], title=""), "not finite"),
        (lambda: pictures.curve(np.zeros((2, 5)), np.zeros(4), low=0, high=1, title=""), r"\(C, L\)"),
        (lambda: pictures.curve(np.zeros((0, 5)), np.zeros(5), low=0, high=1, title=""), "not empty"),
        (lambda: pictures.curve(np.full((1, 5), np.inf), np.zeros(5), low=0, high=1, title=""), "not finite"),
        (lambda: pictures.encode_png(FRAMES), "uint8 RGB"),
        (lambda: pictures.encode_png(FRAMES[0].astype(float)), "uint8 RGB"),
        (lambda: pictures.encode_jpeg(FRAMES[0], quality=0), "quality is 0"),
        (lambda: pictures.write_animation("x.gif", FRAMES[0]), "uint8 RGB"),
        (lambda: pictures.write_animation("x.gif", FRAMES, fps=0), "fps is 0"),
        (lambda: pictures.write_animation("x.gif", FRAMES, fps=float("nan")), "fps is nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_inputs_are_left_alone():
    frames, tube = FRAMES.copy(), TUBE.copy()
    frames.flags.writeable = tube.flags.writeable = False
    pictures.overlay(frames, tube, low=0, high=1)
    pictures.strip(frames, tube, low=0, high=1, **WORDS)
    pictures.stack(frames, tube, low=0, high=1, **WORDS)
    pictures.film(frames, tube, low=0, high=1, **WORDS)
    np.testing.assert_array_equal(frames, FRAMES)


def test_drawing_first_leaves_the_cap_on_decoded_pixels():
    code = "import os, cfp_onnx.pictures; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == PIXEL_LIMIT
