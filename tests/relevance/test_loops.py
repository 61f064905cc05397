"""Relevance of layers in a loop is the sum of their slopes over all trips: finite differences in float64.

The trips are judged by the runtime (`tests/model/test_loops.py`); here each trip's map is changed on its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from loop_nets import NETS
from slope_walk import relevance, slopes
from small_nets import Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import features_of
from cfp_onnx.model import load


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_relevance_is_the_slope_over_all_trips(net: Net, tmp_path: Path) -> None:
    feeds = net.feeds()
    engine = engine_of(net.model(), feeds, tmp_path)
    model, found = ir.to_proto(engine.program.model.graph), relevance(engine, feeds, 1)
    heard = 0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] > 0:
            features = features_of(engine.topology, layer, engine.target)
            expected = np.sum([slopes(model, feeds, f, 1) for f in features], axis=0)
            scale = np.abs(expected).max()
            heard += scale > 1e-4
            np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=1e-4 * scale + 1e-7)
    assert heard > 1


def test_the_depth_of_a_walk_does_not_change_what_a_loop_gets(tmp_path: Path) -> None:
    """Trips follow one another through layers of the loop that may lie deeper than asked for."""
    net = next(n for n in NETS if n.name == "Loop, its last state")
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    whole = engine.relevance(net.feeds(), 1)
    for depth in range(1, max(engine.depths.values()) + 1):
        for index, found in engine.relevance(net.feeds(), 1, depth=depth).items():
            np.testing.assert_allclose(found, whole[index], rtol=1e-4, atol=1e-7)


def test_rules_that_do_not_pass_loops_say_so(tmp_path: Path) -> None:
    net = next(n for n in NETS if n.name == "Scan, its last state")
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    with pytest.raises(UsageError, match="rule zplus does not pass recurrent layers"):
        engine.relevance(net.feeds(), 1, rule="zplus")


@pytest.mark.shared
@pytest.mark.slow
def test_a_cell_that_a_framework_wrote_as_a_loop(shared_dir: Path) -> None:
    file = shared_dir / "models" / "wild2" / "lstm_classifier.onnx"
    feeds = {"input": np.random.default_rng(0).standard_normal((286, 1, 1)).astype(np.float32)}
    engine = Engine(load(file), feeds, device=runtime.Device("cpu"))
    assert [(layer.kernels, len(layer.parts)) for layer in engine.topology.layers] == [(32, 286), (64, 285), (2, 1)]
    assert engine.coverage.complete
    plain = engine.plain(feeds)["output"]
    session = runtime.Graph.of(engine.program.model).session(runtime.Device("cpu"), optimise=False)
    np.testing.assert_allclose(runtime.run(session, ["output"], feeds)[0], plain, atol=1e-6)
