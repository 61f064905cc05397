"""With nothing held and norms by their slope, relevance is gradient times activation: finite differences in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_nets import NETS
from slope_walk import relevance, slopes
from small_nets import Net, engine_of

from cfp_onnx.graph.features import feature_of


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_with_nothing_held_relevance_is_the_slope_of_the_whole_network(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    found = relevance(engine, net.feeds(), 1)
    layers = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    assert layers
    heard = 0
    for layer in layers:
        feature = feature_of(engine.topology, layer, engine.target)
        expected = slopes(net.model(), net.feeds(), feature, 1)
        scale = np.abs(expected).max()
        heard += scale > 1e-4
        assert layer.index in found, layer.name
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=2e-4 * scale + 1e-6, err_msg=layer.name)
    assert heard, "the layers steer nothing"
