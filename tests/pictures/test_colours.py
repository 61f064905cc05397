"""A tube over its frames: planted values have the colours of the formula, and nothing else has any."""

from __future__ import annotations

import numpy as np
import pytest
from planted_pictures import grey_frames, planted

from cfp_onnx.pictures import colours

INFERNO_ENDS = [(0, 0, 4), (252, 255, 164)]

"""First and last colour of matplotlib's inferno."""


def lightness(rgb):
    """CIE 1976 L* of sRGB colours."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


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


def test_a_scale_of_two_signs_has_a_colour_for_each_and_frames_without_any(rng):
    frames = rng.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    tube = np.zeros((1, 4, 4), np.float32)
    tube[0, 0, :3] = 2.0, -2.0, 1.0
    drawn = colours.overlay(frames, tube, low=-2, high=2, opacity=1).astype(float)
    assert tuple(drawn[0, 0, 0]) == colours.FOR
    assert tuple(drawn[0, 0, 1]) == colours.AGAINST
    assert np.ptp(drawn[0, 1:], axis=-1).max() == 0, "grey"
    tube[0, 0, 2] = 0
    bare = colours.overlay(frames, tube, low=-2, high=2, opacity=1).astype(float)
    half = (bare[0, 0, 2] + colours.FOR) / 2
    np.testing.assert_allclose(drawn[0, 0, 2], half, atol=1)
    assert not colours.is_signed(0, 2)
    assert not colours.is_signed(-1, 2)


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
