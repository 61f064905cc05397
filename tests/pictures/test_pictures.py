"""Pictures: planted values must show where they were planted, in words and colours that others can check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from cfp_onnx.errors import OutputError
from cfp_onnx.opencv import PIXEL_LIMIT
from cfp_onnx.pictures import colours, curves, diagram, encode, lettering, pairs, scale, sheets, slanted

INFERNO_ENDS = [(0, 0, 4), (252, 255, 164)]
"""First and last colour of matplotlib's inferno."""

WORDS = {"title": "a title", "subtitle": "a subtitle", "unit": "activation", "scope": "depth 2"}


def grey_frames(levels, height=40, width=40):
    """Frames of one grey each, so that a page tells which pixel belongs to which frame."""
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


def planted(shape, where, value=1.0):
    tube = np.zeros(shape, np.float32)
    tube[where] = value
    return tube


def lightness(rgb):
    """CIE 1976 L* of sRGB colours."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def colourful(picture):
    """Where a picture of grey things has colours."""
    return picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 24


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def box_of(page, level):
    """Bounding box (top, bottom, left, right) of one exact grey on a page."""
    rows, columns = np.nonzero((page == level).all(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.fixture
def texts(monkeypatch):
    """Every text that OpenCV draws from now on; each must fit on what it is drawn on."""
    drawn = []
    original = cv2.putText

    def record(page, text, origin, *style):
        left, base = origin
        if isinstance(style[0], tuple):
            _, font, size, weight = style
            start, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, size, weight)
            right = left + start + width
        else:
            font, scale, _, thickness, _ = style
            size, right = 30 * scale, left + cv2.getTextSize(text, font, scale, thickness)[0][0]
        assert left >= -1, f"{text!r} is cut off at the left"
        assert right <= page.shape[1] + 1, f"{text!r} is cut off at the right"
        assert base - 0.6 * size > 0, f"{text!r} is cut off at the top"
        assert base <= page.shape[0], f"{text!r} is cut off at the bottom"
        drawn.append(text)
        return original(page, text, origin, *style)

    monkeypatch.setattr(cv2, "putText", record)
    return drawn


# --- colours -------------------------------------------------------------------------------------------


def test_the_colour_map_is_inferno_and_its_lightness_only_grows():
    table = colours.colormap()
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert [tuple(map(int, table[i])) for i in (0, 255)] == INFERNO_ENDS
    steps = np.diff(lightness(table.astype(float)))
    assert steps.min() > -0.3, "rounding to 8 bits may cost a little, no more"
    assert np.diff(lightness(table.astype(float))[::4]).min() > 0
    assert lightness(table[:1].astype(float))[0] < 1
    assert lightness(table[-1:].astype(float))[0] > 95


def test_a_planted_voxel_has_the_last_colour_and_nothing_else_has_any():
    frames = grey_frames([128] * 4, 12, 16)
    drawn = colours.overlay(frames, planted((4, 12, 16), (2, 5, 9), 7.5), low=0, high=7.5, opacity=1)
    assert tuple(drawn[2, 5, 9]) == INFERNO_ENDS[1]
    drawn[2, 5, 9] = 128
    np.testing.assert_array_equal(drawn, frames)


@pytest.mark.parametrize("value", [7.5, 100.0])
def test_values_above_the_scale_have_the_last_colour(value):
    frames = grey_frames([128], 6, 6)
    drawn = colours.overlay(frames, planted((1, 6, 6), (0, 3, 3), value), low=0, high=7.5, opacity=1)
    assert tuple(drawn[0, 3, 3]) == INFERNO_ENDS[1]


def test_values_below_the_scale_are_nothing():
    frames = grey_frames([90], 6, 6)
    tube = planted((1, 6, 6), (0, 3, 3), -50.0)
    np.testing.assert_array_equal(colours.overlay(frames, tube, low=0, high=1), frames)


def test_what_is_not_coloured_keeps_hue_and_lightness_and_loses_some_saturation(rng):
    frames = rng.integers(40, 216, (2, 8, 8, 3), dtype=np.uint8)
    drawn = colours.overlay(frames, np.zeros((2, 8, 8), np.float32), low=0, high=1)
    before, after = frames.astype(float), drawn.astype(float)
    chroma = [c - c.mean(axis=-1, keepdims=True) for c in (before, after)]
    lengths = [np.linalg.norm(c, axis=-1) for c in chroma]
    clear = lengths[0] > 30
    cosine = (chroma[0] * chroma[1]).sum(axis=-1) / (lengths[0] * lengths[1] + 1e-9)
    assert cosine[clear].min() > 0.999
    assert 0.3 < (lengths[1] / lengths[0])[clear].min() <= (lengths[1] / lengths[0])[clear].max() < 0.9
    luma = [c @ [0.299, 0.587, 0.114] for c in (before, after)]
    assert np.abs(luma[0] - luma[1]).max() < 1.5


def test_under_one_scale_weak_looks_weak():
    frames = grey_frames([128], 9, 9)
    strengths = [0.02, 0.1, 0.3, 0.6, 1.0]
    drawn = [colours.overlay(frames, planted((1, 9, 9), (0, 4, 4), v), low=0, high=1)[0, 4, 4] for v in strengths]
    change = [np.linalg.norm(pixel.astype(float) - 128) for pixel in drawn]
    assert change == sorted(change)
    assert change[0] < 4, "two per cent is next to nothing"
    assert change[1] < change[-1] / 5


def test_the_blend_is_the_formula_of_the_docstring(rng):
    frames = rng.integers(0, 256, (1, 5, 7, 3), dtype=np.uint8)
    tube = rng.uniform(-1, 3, (1, 5, 7)).astype(np.float32)
    drawn = colours.overlay(frames, tube, low=0.5, high=2, opacity=0.6)
    for y, x in np.ndindex(5, 7):
        n = min(max((float(tube[0, y, x]) - 0.5) / 1.5, 0), 1)
        f = frames[0, y, x].astype(float)
        g = f + colours._DESATURATED * (f @ [0.299, 0.587, 0.114] - f)
        expected = (1 - 0.6 * n) * g + 0.6 * n * colours.colormap()[round(255 * n)].astype(float)
        np.testing.assert_allclose(drawn[0, y, x], expected, atol=1.1)


@pytest.mark.parametrize(("low", "high", "value"), [(0, 1, 0.7), (0, 1, 5.0), (1, 1, None), (2, 1, None)])
def test_a_constant_map_and_an_empty_scale_colour_nothing(low, high, value):
    frames = grey_frames([128, 60], 8, 8)
    tube = np.linspace(0, 3, 128).reshape(2, 8, 8) if value is None else np.full((2, 8, 8), value)
    np.testing.assert_array_equal(colours.overlay(frames, tube, low=low, high=high), frames)


# --- where things are on a page ------------------------------------------------------------------------

LEVELS = [60, 80, 100, 120, 140, 160, 180, 200]


@pytest.mark.parametrize("draw", [sheets.strip, slanted.stack])
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
    if draw is sheets.strip:
        assert (rows.mean() + 0.5 - top) / (bottom - top) == pytest.approx(10 / 40, abs=0.02)
        assert (columns.mean() + 0.5 - left) / (right - left) == pytest.approx(30 / 40, abs=0.02)
    else:
        seen = (without[top:bottom, left:right] == LEVELS[5]).all(axis=-1)
        assert seen[rows - top, columns - left].mean() > 0.95, "the spot lies on the sheet, not on its neighbours"


def test_a_strip_shows_frames_in_reading_order_at_one_size():
    page = sheets.strip(grey_frames(LEVELS), np.zeros((8, 40, 40)), low=0, high=1, **WORDS)
    boxes = [box_of(page, level) for level in LEVELS]
    assert {(b - t, r - left) for t, b, left, r in boxes} == {(160, 160)}
    assert boxes == sorted(boxes, key=lambda box: (box[0], box[2]))


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


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(40, 40, (160, 160)), (56, 56, (168, 168)), (112, 112, (224, 224)), (224, 224, (224, 224)),
     (480, 640, (192, 256)), (90, 160, (90, 160)), (1, 1, (150, 150)), (4, 2000, (16, 256))],
)  # fmt: skip
def test_small_frames_grow_by_a_whole_factor_and_large_ones_shrink(height, width, expected):
    page = sheets.strip(grey_frames([77], height, width), np.zeros((1, height, width)), low=0, high=1, **WORDS)
    top, bottom, left, right = box_of(page, 77)
    assert (bottom - top, right - left) == expected


def test_a_picture_stands_beside_its_map():
    frame = grey_frames([100])[0]
    page = pairs.image(frame, planted((40, 40), (slice(4, 8), slice(4, 8)), 2.0), low=0, high=2, **WORDS)
    top, bottom, left, right = box_of(page, 100)
    rows, columns = np.nonzero(colourful(page[top:bottom]))
    assert right - left == 2 * 320 + 8
    assert columns.min() > left + 320
    assert ((columns.mean() - left - 328) / 320) == pytest.approx(6 / 40, abs=0.02)
    assert rows.mean() / 320 == pytest.approx(6 / 40, abs=0.02)


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


def test_a_curve_has_its_band_where_the_map_is_strong():
    signal = np.zeros((1, 200))
    tube = planted((200,), slice(150, 160), 4.0)
    page = curves.curve(signal, tube, low=0, high=4, **WORDS)
    (row,) = np.nonzero((page == 225).all(axis=-1).sum(axis=1) > 600)[0][[20]]
    columns = np.nonzero((page[row] != 252).any(axis=-1) & (page[row] != 250).any(axis=-1))[0]
    left, right = np.nonzero((page[row] == 225).all(axis=-1))[0][[0, -1]]
    hot = np.nonzero(colourful(page[row]))[0]
    assert len(columns) > 800
    assert (hot.mean() - left) / (right - left) == pytest.approx(154.5 / 199, abs=0.01)
    assert len(hot) / (right - left) == pytest.approx(10 / 199, abs=0.012)


def test_a_curve_goes_through_its_samples():
    signal = np.array([[0.0, 10.0, 0.0, 5.0, 0.0]])
    page = curves.curve(signal, np.zeros(5), low=0, high=1, **WORDS)
    blue = (page.astype(int) == colours.CURVE_COLOURS[0]).all(axis=-1)
    rows, columns = np.nonzero(blue)
    left, right = columns.min(), columns.max()
    places = [left + round(part * (right - left)) for part in (0.25, 0.5, 0.75)]
    heights = [np.nonzero(blue[:, max(place - 2, 0) : place + 3].any(axis=1))[0].min() for place in places]
    low, high = rows.max(), rows.min()
    assert heights[0] == high
    assert (low - heights[2]) / (low - high) == pytest.approx(0.5, abs=0.03)


def test_a_long_curve_keeps_its_peaks():
    signal = np.zeros((1, 200_000))
    signal[0, [123_456, 23_456]] = 9, -9
    page = curves.curve(signal, np.zeros(200_000), low=0, high=1, **WORDS)
    rows, _ = np.nonzero((page.astype(int) == colours.CURVE_COLOURS[0]).all(axis=-1))
    assert rows.max() - rows.min() > 200
    assert page.shape[0] > rows.max() > rows.mean() + 80
    assert rows.min() < rows.mean() - 80


# --- words ---------------------------------------------------------------------------------------------


def sentences(tube, low=0.0, high=12.3, *, scope="depth 2", constant=False, extremes=None):
    options = {"scope": scope, "constant": constant, "extremes": extremes}
    return scale.scale_of(np.asarray(tube), low=low, high=high, unit="activation", **options).sentences


def test_the_legend_states_scale_and_map():
    assert sentences([0.25, 3.2]) == ("one scale for depth 2: 0 to 12.3; this map 0.25 to 3.2",)
    assert sentences([0.25, 3.2], scope="") == ("scale: 0 to 12.3; this map 0.25 to 3.2",)
    assert sentences([0.25, 3.2], extremes=(-0.1, 4.0))[0].endswith("this map -0.1 to 4")


def test_the_legend_says_what_is_not_told_apart():
    assert sentences([-0.1, 3.2])[1:] == ("below 0 nothing is drawn",)
    assert sentences([0, 20])[1:] == ("above 12.3 the last colour",)
    assert sentences([-2, -1])[1:] == ("nothing of this map is above 0: no colours",)
    assert sentences([0, 1], high=0.0)[1:] == ("a scale without extent: nothing is drawn",)


def test_a_constant_map_is_said_in_words_instead_of_colours(texts):
    frames = grey_frames([100, 140])
    for draw in (sheets.strip, slanted.stack, pairs.film):
        texts.clear()
        drawn = draw(frames, np.full((2, 40, 40), 1.25), low=0, high=3, **WORDS)
        assert not colourful(drawn).any()
        assert "constant at 1.25: nothing to see" in texts
    texts.clear()
    noise = planted((2, 40, 40), (0, 3, 3), 2.0)
    assert not colourful(sheets.strip(frames, noise, low=0, high=2, constant=True, **WORDS)).any()
    assert "constant at 1: nothing to see" in texts
    assert colourful(sheets.strip(frames, noise, low=0, high=2, **WORDS)).any()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (12.345, "12.3"), (0.1, "0.1"), (-0.0999, "-0.0999"), (1234.5, "1234"), (99999, "99999"),
     (3.0, "3"), (1e-7, "1e-07"), (1.234e8, "1.23e+08"), (0.001, "0.001")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value, text):
    written = scale.number_text(value)
    assert written == text
    assert float(written) == pytest.approx(value, rel=5e-3)


def test_a_page_names_title_ticks_unit_and_frames(texts):
    sheets.strip(grey_frames(LEVELS), planted((8, 40, 40), (1, 2, 3), 4.0), low=0, high=5, **WORDS)
    assert {"a title", "a subtitle", "0", "2.5", "5", "activation"} <= set(texts)
    assert [text for text in texts if text.startswith("t = ")] == [f"t = {t}" for t in range(8)]


@pytest.mark.parametrize(("draw", "limit"), [(sheets.strip, 32), (slanted.stack, 16)])
def test_of_many_frames_evenly_spaced_ones_are_shown_and_counted(texts, draw, limit):
    count = 100
    draw(grey_frames([100] * count, 4, 4), np.zeros((count, 4, 4)), low=0, high=1, **WORDS)
    assert f"{limit} of 100 frames, evenly spaced" in texts
    numbers = [int(m[1]) for text in texts if (m := re.fullmatch(r"(?:t = )?(\d+)", text))]
    assert numbers[0] == 0
    assert numbers[-1] == 99
    assert len(numbers) == limit
    assert set(np.diff(numbers)) <= {(count - 1) // (limit - 1), (count - 1) // (limit - 1) + 1}


def test_levels_count_their_frames_and_curves_their_channels(texts):
    tube = planted((20, 8, 8), (3, 3, 3), 1.0)
    sheets.levels(grey_frames([100] * 20, 8, 8), [sheets.Level("depth 1", tube, 0, 1)], title="x", columns=5)
    assert "5 of 20 frames, evenly spaced" in texts
    curves.curve(np.zeros((11, 30)), np.zeros(30), low=0, high=1, **WORDS)
    assert f"{len(colours.CURVE_COLOURS)} of 11 channels are drawn" in texts


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
    sheets.strip(frames, tube, low=0, high=1, **words)
    slanted.stack(frames, tube, low=0, high=1, **words)
    curves.curve(np.zeros((2, 9)), planted((9,), 3, 1.0), low=0, high=1, **words)
    sheets.levels(frames, [sheets.Level(name, tube, 0, 1, unit=name)], title=name, subtitle=name)
    drawn = "".join(texts)
    drawn.encode("utf-8")
    assert drawn.isprintable()


def test_a_long_name_keeps_both_its_ends():
    short = lettering.shortened("layer1/block/" + "a" * 500 + "/conv3", 300, 14)
    assert short.startswith("layer1/block/")
    assert short.endswith("/conv3")
    before, after = re.split("…|[.]{3}", short)
    assert abs(len(before) - len(after)) <= 1
    assert 270 < lettering.text_width(short, 14) <= 300


def test_without_a_truetype_font_strokes_do(texts, monkeypatch):
    monkeypatch.setattr(lettering, "_FONT", None)
    page = sheets.strip(grey_frames([100]), planted((1, 40, 40), (0, 3, 3), 1.0), low=0, high=1,
                          title="kernel é × " * 40, subtitle="a – b")  # fmt: skip
    assert "".join(texts).isascii()
    assert "a - b" in texts
    assert any("..." in text and r"\xe9" in text for text in texts)
    assert page.min() < 100, "something is written"


# --- refusals ------------------------------------------------------------------------------------------

FRAMES = grey_frames([100, 120], 8, 8)
TUBE = planted((2, 8, 8), (1, 3, 3), 1.0)
NAN = planted((2, 8, 8), (1, 3, 3), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: colours.overlay(FRAMES.astype(float), TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: colours.overlay(FRAMES[..., 0], TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: colours.overlay(FRAMES[:0], TUBE[:0], low=0, high=1), "not empty"),
        (lambda: colours.overlay(FRAMES, TUBE[:, :4], low=0, high=1), "interpolate the tube"),
        (lambda: colours.overlay(FRAMES, NAN, low=0, high=1), "not finite"),
        (lambda: colours.overlay(FRAMES, TUBE, low=0, high=np.inf), "must be finite"),
        (lambda: colours.overlay(FRAMES, TUBE, low=0, high=1, opacity=1.5), "opacity is 1.5"),
        (lambda: sheets.strip(FRAMES, NAN, low=0, high=1, title=""), "not finite"),
        (lambda: slanted.stack(FRAMES, TUBE, low=0, high=1, title="", limit=0), "at least 1 sheet"),
        (lambda: pairs.image(FRAMES, TUBE, low=0, high=1, title=""), "one frame, not 2"),
        (lambda: pairs.film(FRAMES, TUBE[:1], low=0, high=1, title=""), "interpolate the tube"),
        (lambda: sheets.levels(FRAMES, [], title=""), "at least one row"),
        (lambda: sheets.levels(FRAMES, [sheets.Level("", TUBE, 0, 1)], title="", columns=0), "at least 1 frame"),
        (lambda: sheets.levels(FRAMES, [sheets.Level("", NAN, 0, 1)], title=""), "not finite"),
        (lambda: curves.curve(np.zeros((2, 5)), np.zeros(4), low=0, high=1, title=""), r"\(C, L\)"),
        (lambda: curves.curve(np.zeros((0, 5)), np.zeros(5), low=0, high=1, title=""), "not empty"),
        (lambda: curves.curve(np.full((1, 5), np.inf), np.zeros(5), low=0, high=1, title=""), "not finite"),
        (lambda: encode.encode_png(FRAMES), "uint8 RGB"),
        (lambda: encode.encode_png(FRAMES[0].astype(float)), "uint8 RGB"),
        (lambda: encode.encode_jpeg(FRAMES[0], quality=0), "quality is 0"),
        (lambda: encode.write_animation("x.gif", FRAMES[0]), "uint8 RGB"),
        (lambda: encode.write_animation("x.gif", FRAMES, fps=0), "fps is 0"),
        (lambda: encode.write_animation("x.gif", FRAMES, fps=float("nan")), "fps is nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_inputs_are_left_alone():
    frames, tube = FRAMES.copy(), TUBE.copy()
    frames.flags.writeable = tube.flags.writeable = False
    colours.overlay(frames, tube, low=0, high=1)
    sheets.strip(frames, tube, low=0, high=1, **WORDS)
    slanted.stack(frames, tube, low=0, high=1, **WORDS)
    pairs.film(frames, tube, low=0, high=1, **WORDS)
    np.testing.assert_array_equal(frames, FRAMES)


@pytest.mark.parametrize("signal", [np.zeros((1, 1)), np.full((3, 7), 5.0), np.array([[1.7e308, -1.7e308, 0.0]])])
def test_flat_short_and_huge_signals_are_drawn(signal):
    page = curves.curve(signal, np.zeros(signal.shape[1]), low=0, high=1, **WORDS)
    assert (page.astype(int) == colours.CURVE_COLOURS[len(signal) - 1]).all(axis=-1).sum() > 20


# --- files ---------------------------------------------------------------------------------------------


@pytest.fixture
def moving():
    """Eight frames of 30 x 41 with a red block that moves right."""
    frames = np.full((8, 30, 41, 3), 230, np.uint8)
    for t in range(8):
        frames[t, 8:20, 4 * t : 4 * t + 10] = (200, 30, 30)
    return frames


def test_png_keeps_every_pixel_and_jpeg_nearly(rng):
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    back = cv2.imdecode(np.frombuffer(encode.encode_png(picture), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(back[..., ::-1], picture)
    smooth = np.full((32, 32, 3), (200, 90, 20), np.uint8)
    data = encode.encode_jpeg(smooth)
    assert data[:2] == b"\xff\xd8"
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back[..., ::-1].astype(int) - smooth).max() < 6
    assert len(encode.encode_jpeg(picture, quality=20)) < len(encode.encode_jpeg(picture, quality=95))


def test_a_written_png_reads_back(tmp_path, rng):
    picture = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = encode.write_png(tmp_path / "new" / "folder" / "a.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    assert names_in(path.parent) == ["a.png"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def read_video(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    rate = capture.get(cv2.CAP_PROP_FPS)
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return np.stack(frames), rate


needs_gif = pytest.mark.skipif(not hasattr(cv2, "imwriteanimation"), reason="this OpenCV writes no GIF")


@pytest.mark.parametrize("suffix", [pytest.param(".gif", marks=needs_gif), ".mp4", ".MP4"])
def test_an_animation_reads_back(tmp_path, moving, suffix):
    path = encode.write_animation(tmp_path / f"a{suffix}", moving, fps=5)
    frames, rate = read_video(path)
    assert len(frames) == len(moving)
    assert rate == pytest.approx(5, abs=0.1)
    height, width = (30, 41) if suffix == ".gif" else (30, 42)
    assert frames.shape[1:3] == (height, width)
    for t in range(8):
        block, paper = frames[t, 10:18, 4 * t + 2 : 4 * t + 8], frames[t, 23:, :]
        assert np.abs(block.mean(axis=(0, 1)) - (200, 30, 30)).max() < 20
        assert np.abs(paper.mean(axis=(0, 1)) - 230).max() < 12
    assert names_in(tmp_path) == [path.name]


@needs_gif
def test_a_gif_is_endless(tmp_path, moving):
    data = encode.write_animation(tmp_path / "a.gif", moving).read_bytes()
    place = data.index(b"NETSCAPE2.0")
    assert data[place + 11 : place + 16] == b"\x03\x01\x00\x00\x00"


@pytest.mark.parametrize("name", ["a.avi", "a", "a.gif.txt"])
def test_an_unknown_suffix_is_refused(tmp_path, moving, name):
    with pytest.raises(OutputError, match=r"suffix \.gif or \.mp4"):
        encode.write_animation(tmp_path / name, moving)
    assert not names_in(tmp_path)


def test_a_missing_gif_writer_is_said(tmp_path, moving, monkeypatch):
    monkeypatch.delattr(cv2, "imwriteanimation", raising=False)
    with pytest.raises(OutputError, match=r"a\.gif.*opencv-python-headless >= 4\.11.*\.mp4"):
        encode.write_animation(tmp_path / "a.gif", moving)
    assert not names_in(tmp_path)


@pytest.mark.parametrize("refusal", ["closed", "raises"])
def test_a_missing_mp4_writer_is_said(tmp_path, moving, monkeypatch, refusal):
    class Closed:
        def __init__(self, *_):
            if refusal == "raises":
                raise cv2.error("no codec")

        fourcc = staticmethod(lambda *_: 0)

        def isOpened(self):  # noqa: N802  (OpenCV's name)
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OutputError, match=r"a\.mp4.*install opencv-python-headless.*\.gif"):
        encode.write_animation(tmp_path / "a.mp4", moving)
    assert not names_in(tmp_path)


WRITERS = [
    pytest.param(lambda path: encode.write_png(path, FRAMES[0]), ".png", id="png"),
    pytest.param(lambda path: encode.write_animation(path, FRAMES), ".mp4", id="mp4"),
]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_folder_that_cannot_be_made_is_said(tmp_path, write, suffix):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=rf"cannot write .*file/a{suffix}.*choose another place"):
        write(tmp_path / "file" / f"a{suffix}")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_folder_in_the_way_is_said(tmp_path, write, suffix):
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path / f"a{suffix}")
    assert names_in(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_an_unwritable_folder_is_said(tmp_path, monkeypatch, write, suffix):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # root, or a system without such modes

        def refused(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "mkstemp", refused)
    with pytest.raises(OutputError, match=rf"cannot write .*a{suffix}: Permission denied; choose another place"):
        write(folder / f"a{suffix}")
    assert not names_in(folder)


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
@pytest.mark.parametrize("name", ["bytes \udc80", "日本", "no%d pattern", "x" * 251])
def test_any_file_name_works(tmp_path, write, suffix, name):
    path = write(tmp_path / f"{name}{suffix}")
    assert path.stat().st_size > 50
    assert len(names_in(tmp_path)) == 1


@pytest.mark.parametrize("name", ["nul\0", "half \ud800 pair", "x" * 300])
def test_an_impossible_file_name_is_said(tmp_path, name):
    with pytest.raises(OutputError, match="cannot write") as caught:
        encode.write_png(tmp_path / f"{name}.png", FRAMES[0])
    str(caught.value).encode("utf-8")
    assert not names_in(tmp_path)


def test_drawing_first_leaves_the_cap_on_decoded_pixels():
    code = "import os, cfp_onnx.pictures; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == PIXEL_LIMIT


def rows_of_dots() -> list[diagram.DotRow]:
    top = diagram.DotRow("class", ["right"], [("", [diagram.Dot("a", "1", 1.0)])])
    low = [diagram.Dot("b", "33", 1.0), diagram.Dot("c", "5", 0.2), diagram.Dot("d", "18", 0.0, chosen=False)]
    return [top, diagram.DotRow("depth 1", ["conv"], [("conv", low)])]


def test_a_diagram_draws_each_dot_and_the_lines_whose_ends_are_there():
    alone = diagram.pyramid_diagram(rows_of_dots(), [], title="t")
    line = diagram.DotLine("a", "b", 1.0, "shortcut")
    linked = diagram.pyramid_diagram(rows_of_dots(), [line, diagram.DotLine("a", "elsewhere", 1.0)], title="t")
    ink = np.array(colours.INK)
    discs = (np.abs(alone[:, 215:].astype(int) - ink).sum(axis=-1) < 30).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(discs)
    sizes = sorted(s for s in stats[1:count, cv2.CC_STAT_AREA] if s > 150)
    assert len(sizes) == 3, "two chosen kernels and the class; the ring is no disc"
    assert sizes[0] < 0.6 * sizes[-1], "a weak kernel is a small disc"
    color = np.array(diagram._LINK_COLORS["shortcut"])
    assert not (np.abs(alone.astype(int) - color).sum(axis=-1) < 20).any()
    assert (np.abs(linked.astype(int) - color).sum(axis=-1) < 20).sum() > 100


@pytest.mark.parametrize(
    ("rows", "lines", "says"),
    [
        ([], [], "at least one dot"),
        ([diagram.DotRow("r", [], [("", [diagram.Dot("a", "", 1.5)])])], [], "outside"),
        (rows_of_dots(), [diagram.DotLine("a", "b", -0.1)], "outside"),
    ],
)
def test_a_diagram_of_nothing_or_of_wrong_numbers_is_refused(rows, lines, says):
    with pytest.raises(ValueError, match=says):
        diagram.pyramid_diagram(rows, lines, title="t")


def test_words_of_a_map_that_is_drawn_by_its_size():
    """A map of -3..-1 is handed over as 1..3 with its true extremes."""
    drawn = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3)
    found = scale.scale_of(drawn, low=0.0, high=3.0, unit="activation", scope="depth 1", extremes=(-3.0, -1.0))
    assert found.drawn
    assert "negative values are drawn by their size" in found.sentences
    assert not any("no colours" in s for s in found.sentences)
