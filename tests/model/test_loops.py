"""Loops written out trip by trip: the runtime's own numbers, layers that stay one, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from loop_nets import LONG, NETS
from small_nets import Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.errors import UnsupportedOperatorError
from cfp_onnx.model import load
from cfp_onnx.model.loops import LOOPS
from cfp_onnx.model.sequences import SEQUENCES

CPU = runtime.Device("cpu")


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_the_trips_compute_what_the_loop_does(net: Net, tmp_path: Path) -> None:
    onnx.save(net.model(), tmp_path / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], net.feeds())
    program = runtime.observe(load(tmp_path / "net.onnx"), net.feeds())
    assert not {n.op for n in program.nodes} & {*LOOPS, *SEQUENCES, "If"}
    (found,) = runtime.run(runtime.Graph.of(program.model).session(CPU), ["y"], net.feeds())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_layer_of_a_loop_is_one_layer(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    assert sorted(layer.weight for layer in engine.topology.layers) == ["w1", "w2", "w3", "wh", "wx"]
    assert engine.coverage.complete
    assert set(engine.depths) == {layer.index for layer in engine.topology.layers}


def test_its_channels_come_from_outside_and_from_the_trip_before(tmp_path: Path) -> None:
    net = next(n for n in NETS if n.name == "Loop, its last state")
    topology = engine_of(net.model(), net.feeds(), tmp_path).topology
    layers = {layer.weight: layer for layer in topology.layers}
    for weight, sources in (("wx", ["w1"]), ("wh", ["wh", "wx"]), ("w2", ["wh", "wx"])):
        reader = layers[weight]
        for channel, found in enumerate(topology.sources(reader, range(reader.channels))):
            assert sorted(topology.layers[s.layer or 0].weight for s in found) == sources
            assert {s.kernel for s in found} == {channel}
            assert sum(s.share for s in found) == pytest.approx(1)


def test_a_loop_with_too_many_trips_is_named(tmp_path: Path) -> None:
    says = "takes 600 trips, more than the 512 that are written out"
    with pytest.raises(UnsupportedOperatorError, match=re.escape(says)):
        engine_of(LONG.model(), LONG.feeds(), tmp_path)
