"""The walk inside the graph against the float64 twin, on small random networks of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from small_nets import Net, engine_of
from walk_nets import NETS

from cfp_onnx.graph.features import feature_of
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.runtime.probe import Values


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_the_walk_in_the_graph_is_the_twins(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    values = Values(engine.topology, engine.field_probe("positional", None, hold=HOLDS).statistics.probe)
    axes = {
        n: a for n in engine.program.shapes if n in engine.topology.states and (a := values.channel_axis(n)) is not None
    }
    count = engine.classes()[0]
    positions = int(np.prod(engine.program.shapes[engine.target])) / count
    walked = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    heard = 0.0
    for rule in ("positional", "active"):
        for step in ("contrast", "contribution"):
            found = engine.relevance(feeds, count // 2, rule=rule, class_step=step, hold=HOLDS)
            truth = twin.fields(model, feeds, target=count // 2, rule=rule, class_step=step, channel_axes=axes)
            for layer in walked:
                feature = feature_of(engine.topology, layer, engine.target)
                where = f"{rule} {step}: {layer.name} at {feature.tensor}"
                if feature.tensor not in truth.fields:
                    assert layer.index not in found, f"{where}: the twin's walk does not come here"
                    continue
                expected = truth.relevance(feature.tensor, axis=feature.axis) / positions
                assert layer.index in found, f"{where}: not walked, expected {expected}"
                scale = np.abs(expected).max()
                heard = max(heard, scale)
                np.testing.assert_allclose(
                    found[layer.index], expected, rtol=0, atol=1e-4 * scale + 1e-12, err_msg=where
                )
    assert heard > 0
