"""Observation, graphs with probes and sessions, held against the plain runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from text_net import network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError
from cfp_onnx.model import Model, load
from cfp_onnx.runtime.model_graph import EXTERNAL_FROM
from cfp_onnx.runtime.probe import Probe

CPU = runtime.Device("cpu", 1)


BODY = "a = Conv <pads=[1,1,1,1]> (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nf = Flatten (g)\ny = Gemm (f, v)"


WEIGHTS = {"w": (16, 3, 3, 3), "v": (16, 5)}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load(saved(network(BODY, WEIGHTS), tmp_path))


def plain(path: Path, feeds: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """The runtime on a file, with tensors of it as outputs."""
    proto = onnx.load(path)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, feeds)


def test_every_shape_is_the_one_that_the_runtime_makes(model: Model) -> None:
    feeds = runtime.random_feeds(model)
    program = runtime.observe(model, feeds)
    names = ["a", "r", "g", "f", "y"]
    values = plain(model.path, feeds, names)
    assert {n: program.shapes[n] for n in names} == {n: v.shape for n, v in zip(names, values, strict=True)}


def test_a_probe_adds_outputs_and_changes_none(model: Model) -> None:
    feeds = runtime.random_feeds(model)
    graph = runtime.Graph.of(model)
    assert set(graph.weights) == {"w"}, f"weights of {EXTERNAL_FROM} bytes and more go from memory"
    probe = Probe(model.opset)
    probe.outputs.append(probe.reduce("ReduceMean", "r", (0, 2, 3), keep=False))
    session = graph.with_probe(probe).session(CPU)
    y, means = runtime.run(session, ["y", *probe.outputs], feeds)
    r, own = plain(model.path, feeds, ["r", "y"])
    np.testing.assert_allclose(y, own, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means, r.mean(axis=(0, 2, 3)), rtol=1e-6)
    only = graph.with_probe(probe, keep_outputs=False).session(CPU)
    assert [o.name for o in only.get_outputs()] == probe.outputs


def test_no_names_are_no_outputs(model: Model) -> None:
    assert runtime.run(runtime.plain_session(model, CPU), [], runtime.random_feeds(model)) == []


def test_inputs_that_do_not_fit_are_refused_in_one_sentence(model: Model) -> None:
    with pytest.raises(RunError, match="onnxruntime failed on this input"):
        runtime.run(runtime.plain_session(model, CPU), ["y"], {"x": np.zeros((1, 3, 6), np.float32)})


def test_an_operator_that_the_runtime_does_not_have_is_refused(tmp_path: Path) -> None:
    path = saved(network("a = local.None (x)\ny = Flatten (a)", {}), tmp_path)
    with pytest.raises(ModelError, match="onnxruntime cannot run this model"):
        runtime.plain_session(load(path), CPU)
