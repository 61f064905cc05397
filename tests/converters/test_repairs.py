"""What `converters/repairs.py` mends in an exporter's file, and what it refuses; no framework is needed."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from converter_files import contract, repairs
from converter_runs import run_plain
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_text import small


def test_lost_groups_are_set_from_the_weights(rng: np.random.Generator) -> None:
    w = rng.standard_normal((8, 2, 1, 3, 3)).astype(np.float32)
    model = small("g (float[N,4,5,6,7] x) => (float[N,8,5,4,5] y) { y = Conv <group = 1> (x, w) }", w=w)
    notes = repairs.repair(model, {"x": [1, 4, 5, 6, 7]})
    assert "groups of convolutions were lost" in notes[0]
    x = rng.standard_normal((2, 4, 5, 6, 7)).astype(np.float32)
    halves = [small("g (float[N,2,5,6,7] x) => (float[N,4,5,4,5] y) { y = Conv (x, w) }", w=v) for v in np.split(w, 2)]
    parts = [ReferenceEvaluator(m).run(None, {"x": h})[0] for m, h in zip(halves, np.split(x, 2, axis=1), strict=True)]
    got = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, np.concatenate(parts, axis=1), atol=1e-5)


def test_groups_behind_shape_arithmetic_are_found(rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 2, 1)).astype(np.float32)
    model = small(
        "g (float[N,4,6] x) => (float[N,4,6] y) {"
        " s = Shape <end = 1> (x) r = Concat <axis = 0> (s, rest) t = Reshape (x, r) y = Conv (t, w) }",
        w=w, rest=np.array([4, 6]),
    )  # fmt: skip
    assert repairs.repair(model, {"x": [1, 4, 6]})
    assert helper.get_attribute_value(model.graph.node[-1].attribute[0]) == 2


def test_weights_that_fit_no_groups_are_refused() -> None:
    model = small("g (float[N,5,9] x) => (float[N,4,7] y) { y = Conv (x, w) }", w=np.zeros((4, 2, 3), dtype=np.float32))
    with pytest.raises(contract.Refusal, match="no number of groups fits"):
        repairs.repair(model, {"x": [1, 5, 9]})


def test_pools_over_batch_and_channels_become_spatial(rng: np.random.Generator) -> None:
    model = small(
        "g (float[N,4,5,6,3] x) => (float[N,4,5,6,3] y) {"
        " y = MaxPool <kernel_shape = [1, 3, 3, 3, 1], strides = [1, 1, 1, 1, 1],"
        " pads = [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]> (x) }"
    )
    assert "pooling" in repairs.repair(model, {"x": [1, 4, 5, 6, 3]})[0]
    x = rng.standard_normal((2, 4, 5, 6, 3)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
    np.testing.assert_array_equal(run_plain(model, {"x": x}), windows.max(axis=(-3, -2, -1)))


def test_pools_over_channels_are_refused() -> None:
    model = small(
        "g (float[N,4,6,8] x) => (float[N,4,6,4] y) {"
        " y = MaxPool <kernel_shape = [1, 1, 1, 2], strides = [1, 1, 1, 2]> (x) }"
    )
    repairs.repair(model, {"x": [1, 4, 6, 8]})
    model.graph.node[0].CopyFrom(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 1, 1, 2]))
    with pytest.raises(contract.Refusal, match="pools over batch or channels"):
        repairs.repair(model, {"x": [1, 4, 6, 8]})


def test_training_mode_becomes_inference(rng: np.random.Generator) -> None:
    arrays = {n: rng.uniform(0.5, 1.5, 3).astype(np.float32) for n in ("scale", "bias", "mean", "var")}
    text = "g (float[N,3,5] x) => (float[N,3,5] y) {{ {} = BatchNormalization {} (x, scale, bias, mean, var) {} }}"
    trained = small(text.format("y, m, v", "<training_mode = 1>", ""), **arrays)
    assert "training mode" in repairs.repair(trained, {"x": [1, 3, 5]})[0]
    onnx.checker.check_model(trained)
    x = rng.standard_normal((2, 3, 5)).astype(np.float32)
    plain = small(text.format("y", "", ""), **arrays)
    got, want = (ReferenceEvaluator(m).run(None, {"x": x})[0] for m in (trained, plain))
    np.testing.assert_array_equal(got, want)
    read = small(text.format("z, m, v", "<training_mode = 1>", "y = Add (z, m)"), **arrays)
    with pytest.raises(contract.Refusal, match="statistics are read"):
        repairs.repair(read, {"x": [1, 3, 5]})


def test_weights_among_the_inputs_become_initializers_only() -> None:
    model = small(
        "g (float[N,2,5] x, float[3,2,1] w) => (float[N,3,5] y) { y = Conv (x, w) }",
        w=np.ones((3, 2, 1), dtype=np.float32),
    )
    assert "1 weights" in repairs.repair(model, {"x": [1, 2, 5]})[0]
    assert [port.name for port in model.graph.input] == ["x"]


def test_a_complement_of_the_error_function_is_written_out() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { a = Erfc (x) b = Relu (a) c = Erfc (b) y = Neg (c) }")
    repairs.repair(model, {"x": [1, 2]})
    repairs.refuse_broken(model)
    onnx.checker.check_model(model)
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.array([[0.5, -1.0]], np.float32)})
    want = [-math.erfc(max(0.0, math.erfc(x))) for x in (0.5, -1.0)]
    np.testing.assert_allclose(y[0], want, atol=1e-6)


def test_foreign_operators_are_refused() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = StatefulPartitionedCall (x) }")
    with pytest.raises(contract.Refusal, match="left StatefulPartitionedCall"):
        repairs.refuse_broken(model)


def test_stack_traces_and_documentation_are_stripped() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    for thing in (model, model.graph, model.graph.node[0], model.graph.input[0]):
        thing.doc_string = "File /home/somebody/model.py, line 3"
        thing.metadata_props.add(key="stack_trace", value="/home/somebody/model.py")
    repairs.clean(model)
    assert b"somebody" not in model.SerializeToString()
