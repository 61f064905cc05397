"""Which tubes are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid import drawings
from cfp_onnx.pyramid.drawings import Drawing, DrawingOptions


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fire", "kernel"), "'fire'"),
        (("activation", "pixel"), "'pixel'"),
        (("activation", "kernel", 0), "at least 1"),
        (("evidence", "depth"), "'depth'"),
        (("activation", "class"), "'class'"),
    ],
)
def test_a_drawing_that_is_none_is_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        Drawing(*arguments)


def test_relevance_of_kernels_must_have_been_recorded(shallow, tmp_path):
    plain = [t for t in shallow.tubes.items if t.kind == "activation" or t.kernel is None]
    without = replace(shallow, tubes=replace(shallow.tubes, items=tuple(plain)))
    with pytest.raises(UsageError, match=r"kernel_relevance=True .*--tube relevance:kernel"):
        without.save(tmp_path / "out", drawings=[Drawing("relevance", "kernel")])
    assert not (tmp_path / "out").exists()


def test_the_same_tube_asked_for_twice_is_drawn_once(shallow):
    ones = drawings.tubes_to_draw(shallow.tubes, [Drawing("relevance", "depth", 1)] * 2, shallow.to_json())
    assert [t.depth for t in ones] == [1, 2]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("activation", ("activation", "kernel")),
        ("relevance", ("relevance", "depth")),
        ("relevance:kernel", ("relevance", "kernel")),
        ("activation:layer", ("activation", "layer")),
        ("evidence", ("evidence", "class")),
        ("evidence:class", ("evidence", "class")),
    ],
)
def test_kinds_of_tubes_as_they_are_typed(text, pair):
    assert drawings.tube_kind(text) == pair


@pytest.mark.parametrize(
    "text", ["", "heat", "activation:", "relevance:pixel", ":kernel", "evidence:kernel", "relevance:class"]
)
def test_what_is_no_kind_of_tube_is_named(text):
    with pytest.raises(UsageError, match=f"{text!r} must be evidence, activation or relevance"):
        drawings.tube_kind(text)


def test_options_of_a_drawing_are_what_they_ask_for():
    assert DrawingOptions().drawings is None
    assert not DrawingOptions().kernel_relevance
    asked = DrawingOptions((("relevance", "kernel"), ("activation", "layer")), tube_top=2, animation="gif")
    assert asked.drawings == (Drawing("relevance", "kernel", 2), Drawing("activation", "layer", 2))
    assert asked.kernel_relevance
    assert Drawing("activation", "kernel").limit == DrawingOptions().tube_top
    with pytest.raises(UsageError, match="unknown animation 'avi'"):
        DrawingOptions(animation="avi")


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_evenly_spaced_values_keep_the_first_and_the_last(count):
    kept = drawings.evenly_spaced(range(100), count)
    assert (kept[0], kept[-1], len(kept)) == (0, 99, count)
    gaps = np.diff(kept)
    assert gaps.max() - gaps.min() <= 1
    assert drawings.evenly_spaced([5, 6], count) == [5, 6]
