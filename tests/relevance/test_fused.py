"""Relevance through fused operators is the slope of the whole network: finite differences in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fused_nets import NETS
from slope_walk import relevance, slopes
from small_nets import Net, engine_of

from cfp_onnx.graph.features import feature_of

STRAIGHT = [net for net in NETS if not net.name.endswith("a cap")]
"""Without a cap of the scores, a Tanh, which takes the secant as every smooth activation does."""


@pytest.mark.parametrize("net", STRAIGHT, ids=lambda net: net.name)
def test_relevance_is_the_slope_of_the_whole_network(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    model, found = ir.to_proto(engine.program.model.graph), relevance(engine, net.feeds(), 1)
    heard = 0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] <= 0:
            continue
        feature = feature_of(engine.topology, layer, engine.target)
        expected = slopes(model, net.feeds(), feature, 1)
        scale = np.abs(expected).max()
        heard += scale > 1e-4
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=2e-4 * scale + 1e-6, err_msg=layer.name)
    assert heard > 1
