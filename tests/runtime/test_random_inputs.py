"""Seeded inputs of plausible size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import RunError
from cfp_onnx.model import load


def test_random_inputs_are_the_same_each_time_and_keep_what_is_given(tmp_path: Path) -> None:
    model = load(
        saved(
            network("a = Conv (x, w)\ny = Flatten (a)", {"w": (4, 3, 1, 1)}, inputs='float["n",3,"h","w"] x'), tmp_path
        )
    )
    one, two = runtime.random_feeds(model), runtime.random_feeds(model)
    assert np.array_equal(one["x"], two["x"])
    assert one["x"].shape == (1, 3, 112, 112)
    assert runtime.random_feeds(model, {"x": (2, 3, 7, 9)})["x"].shape == (2, 3, 7, 9)


def test_sizes_that_nothing_fits_are_asked_for(tmp_path: Path) -> None:
    body = "k = Reshape (x, s)\na = Conv (k, w)\ny = Flatten (a)"
    weights = {"w": (4, 3, 1, 1), "s": np.array([1, 3, 5, 7])}
    model = load(saved(network(body, weights, inputs='float["n",3,"h","w"] x'), tmp_path))
    with pytest.raises(RunError, match=r"give --input-shape NAME=1,3,16,112,112"):
        runtime.random_feeds(model)
