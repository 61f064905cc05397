"""Recurrent layers written out step by step: the runtime's own numbers, one layer each, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from recurrent_nets import FORMS, REFUSED, recurrent
from small_nets import Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.errors import UnsupportedOperatorError
from cfp_onnx.model import EXPANSIONS, load

CPU = runtime.Device("cpu")


@pytest.mark.parametrize("net", FORMS, ids=lambda net: net.name)
def test_the_steps_compute_what_the_kernel_does(net: Net, tmp_path: Path) -> None:
    onnx.save(net.model(), tmp_path / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], net.feeds())
    program = runtime.observe(load(tmp_path / "net.onnx"), net.feeds())
    assert not {n.op for n in program.nodes} & set(EXPANSIONS)
    (found,) = runtime.run(runtime.Graph.of(program.model).session(CPU), ["y"], net.feeds())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", FORMS, ids=lambda net: net.name)
def test_it_is_one_layer_with_its_units_as_kernels(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    found = [layer for layer in engine.topology.layers if layer.family == "recurrent"]
    directions = 2 if "bidirectional" in net.body else 1
    assert [(x.op, x.kernels, x.channels, x.weight) for x in found] == [
        (net.name.partition(",")[0], 4 * directions, 6, "w")
    ]
    assert engine.coverage.complete
    assert set(engine.depths) == {layer.index for layer in engine.topology.layers}


def test_a_unit_reads_the_features_below_and_is_read_above(tmp_path: Path) -> None:
    net = recurrent("wires", "LSTM", ', direction="bidirectional"', directions=2)
    topology = engine_of(net.model(), net.feeds(), tmp_path).topology
    below, layer, above, _ = topology.layers
    for reader, source in ((layer, below), (above, layer)):
        found = topology.sources(reader, range(reader.channels))
        assert [[(s.layer, s.kernel) for s in channel] for channel in found] == [
            [(source.index, k)] for k in range(source.kernels)
        ]


@pytest.mark.parametrize(("net", "says"), REFUSED, ids=lambda x: x.name if isinstance(x, Net) else "")
def test_what_is_not_followed_is_named(net: Net, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=re.escape(f"at node 'u' {says}, which is not understood")):
        engine_of(net.model(), net.feeds(), tmp_path)


def test_a_node_without_a_name_is_named_after_the_output_that_it_has(tmp_path: Path) -> None:
    net = recurrent("its last units", "GRU", reads="last")
    assert "v" in [layer.name for layer in engine_of(net.model(), net.feeds(), tmp_path).topology.layers]
