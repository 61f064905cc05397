"""Sentences about a scale, and numbers as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from cfp_onnx.pictures import scale


def sentences(tube, low=0.0, high=12.3, *, scope="depth 2", constant=False, extremes=None):
    options = {"scope": scope, "constant": constant, "extremes": extremes}
    return scale.scale_of(np.asarray(tube), low=low, high=high, unit="activation", **options).sentences


def test_the_legend_states_scale_and_map():
    assert sentences([0.25, 3.2]) == ("one scale for depth 2: 0 to 12.3; this map 0.25 to 3.2",)
    assert sentences([0.25, 3.2], scope="") == ("scale: 0 to 12.3; this map 0.25 to 3.2",)
    assert sentences([0.25, 3.2], extremes=(-0.1, 4.0))[0].endswith("this map -0.1 to 4")


def test_the_legend_says_which_values_look_alike():
    assert sentences([-0.1, 3.2])[1:] == ("below 0 nothing is drawn",)
    assert sentences([0, 20])[1:] == ("above 12.3 the last colour",)
    assert sentences([-2, -1])[1:] == ("nothing of this map is above 0: no colours",)
    assert sentences([0, 1], high=0.0)[1:] == ("a scale without extent: nothing is drawn",)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (12.345, "12.3"), (0.1, "0.1"), (-0.0999, "-0.0999"), (1234.5, "1234"), (99999, "99999"),
     (3.0, "3"), (1e-7, "1e-07"), (1.234e8, "1.23e+08"), (0.001, "0.001")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value, text):
    written = scale.number_text(value)
    assert written == text
    assert float(written) == pytest.approx(value, rel=5e-3)


def test_words_of_a_map_that_is_drawn_by_its_size():
    """A map of -3..-1 is handed over as 1..3 with its true extremes."""
    drawn = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3)
    found = scale.scale_of(drawn, low=0.0, high=3.0, unit="activation", scope="depth 1", extremes=(-3.0, -1.0))
    assert found.drawn
    assert "negative values are drawn by their size" in found.sentences
    assert not any("no colours" in s for s in found.sentences)
