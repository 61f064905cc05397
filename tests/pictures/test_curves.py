"""Curves: samples, peaks and the band are where the signal and the map say."""

from __future__ import annotations

import numpy as np
import pytest
from planted_pictures import WORDS, colourful, planted

from cfp_onnx.pictures import colours, curves


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


@pytest.mark.parametrize("signal", [np.zeros((1, 1)), np.full((3, 7), 5.0), np.array([[1.7e308, -1.7e308, 0.0]])])
def test_flat_short_and_huge_signals_are_drawn(signal):
    page = curves.curve(signal, np.zeros(signal.shape[1]), low=0, high=1, **WORDS)
    assert (page.astype(int) == colours.CURVE_COLOURS[len(signal) - 1]).all(axis=-1).sum() > 20


def test_curves_count_their_channels(texts):
    curves.curve(np.zeros((11, 30)), np.zeros(30), low=0, high=1, **WORDS)
    assert f"{len(colours.CURVE_COLOURS)} of 11 channels are drawn" in texts
