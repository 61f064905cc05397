"""Relevance of random networks of rectifiers is gradient times activation, by differences in float64."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relu_nets import drawn
from slope_walk import relevance, slopes
from small_nets import engine_of

from cfp_onnx.graph.features import feature_of


def conforms(seed: int) -> int:
    """Compare every kernel of a drawn network; how many have any relevance."""
    net = drawn(seed)
    model, feeds = net.model(), net.feeds()
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(model, feeds, Path(folder))
        found = relevance(engine, feeds, 1)
        heard = 0
        for layer in engine.topology.layers:
            if engine.depths.get(layer.index, 0) == 0:
                continue
            feature = feature_of(engine.topology, layer, engine.target)
            expected = slopes(model, feeds, feature, 1, step=1e-7)
            scale = np.abs(expected).max()
            where = f"{layer.name} of network {seed}"
            np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=1e-4 * scale + 1e-6, err_msg=where)
            heard += int((np.abs(expected) > 0).sum())
    return heard


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_relevance_of_networks_of_rectifiers_is_the_slope(seed: int) -> None:
    conforms(seed)


@pytest.mark.slow
def test_relevance_of_five_hundred_networks_of_rectifiers_is_the_slope() -> None:
    heard = sum(conforms(seed) for seed in range(500))
    assert heard > 5000
