"""With nothing held and norms by their slope, relevance is gradient times activation: finite differences in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from live_nets import NETS
from slope_walk import relevance
from small_nets import Array, Net, engine_of

from cfp_onnx.graph.features import Feature, feature_of

STEP = 1e-5


def margin(scores: Array, index: int) -> float:
    flat = np.asarray(scores, np.float64).reshape(-1)
    return float(flat[index] - np.delete(flat, index).mean())


def slopes(net: Net, feature: Feature, index: int) -> Array:
    """How the margin follows the factor of each kernel's map, around 1."""
    model, feeds = net.model(), net.feeds()
    value = twin.evaluate(model, feeds)[feature.tensor]
    found = []
    for kernel in range(value.shape[feature.axis]):
        sides = []
        for step in (STEP, -STEP):
            changed = value.copy()
            np.moveaxis(changed, feature.axis, 0)[kernel] *= 1 + step
            sides.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"], index))
        found.append((sides[0] - sides[1]) / (2 * STEP))
    return np.array(found)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_with_nothing_held_relevance_is_the_slope_of_the_whole_network(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    found = relevance(engine, net.feeds(), 1)
    layers = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    assert layers
    heard = 0
    for layer in layers:
        feature = feature_of(engine.topology, layer, engine.target)
        expected = slopes(net, feature, 1)
        scale = np.abs(expected).max()
        heard += scale > 1e-4
        assert layer.index in found, layer.name
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=2e-4 * scale + 1e-6, err_msg=layer.name)
    assert heard, "the layers steer nothing"
