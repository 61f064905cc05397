"""Preprocessing as JSON; a wrong option is named."""

from __future__ import annotations

import pytest

from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.presets import PRESETS
from cfp_onnx.errors import UsageError


def test_options_travel_as_json():
    preprocess = Preprocess.from_json(
        {
            "frames": 8,
            "stride": 2,
            "size": [112, 96],
            "short_side": 128,
            "mean": [0.5],
            "std": [1, 1, 2],
            "color": "BGR",
        }
    )
    assert preprocess.size == (112, 96)
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    assert Preprocess.from_json({}) == Preprocess()
    for preset in PRESETS.values():
        assert Preprocess.from_json(preset.to_json()) == preset


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"fps": 3}, "fps"),
        ({"yields": True}, "yields"),
        ({"frames": True}, "frames"),
        ({"frames": 2.0}, "frames"),
        ({"stride": 0}, "stride"),
        ({"start": -1}, "start"),
        ({"start": None}, "start"),
        ({"size": [112]}, "size"),
        ({"size": 112}, "size"),
        ({"size": [0, 1]}, "size"),
        ({"mean": [1, 2]}, "mean"),
        ({"mean": [float("nan")]}, "mean"),
        ({"mean": "0.5"}, "mean"),
        ({"std": [0]}, "std"),
        ({"std": [True]}, "std"),
        ({"color": "rgb"}, "color"),
        ({"layout": 5}, "layout"),
        ({"interpolation": ["area"]}, "interpolation"),
    ],
)
def test_a_wrong_option_is_named(data, key):
    with pytest.raises(UsageError, match=f"'{key}'"):
        Preprocess.from_json(data)


def test_options_are_an_object():
    with pytest.raises(UsageError, match="JSON object"):
        Preprocess.from_json([1])


def test_without_metadata_it_is_the_default():
    assert Preprocess.of_metadata(None) == Preprocess.of_metadata({}) == Preprocess()
    assert Preprocess.of_metadata({"mean": [0.5], "size": [8, 9]}) == Preprocess(mean=(0.5,), size=(8, 9))
    with pytest.raises(UsageError, match="'fps'"):
        Preprocess.of_metadata({"fps": 3})
