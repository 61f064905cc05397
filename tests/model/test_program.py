"""Constants on demand and number types, held against the runtime's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from text_net import network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError
from cfp_onnx.model import Program, constants, load

BODY = """t = Transpose <perm=[1,0]> (k)
c = Mul (t, two)
n = Shape (x)
a = Conv (x, w)
g = GlobalAveragePool (a)
f = Flatten (g)
z = Gemm (f, c)
h = Cast <to=10> (z)
i = ArgMax <axis=1> (h)
q = QuantizeLinear (z, s, o)
l = Greater (z, two)
y = Identity (z)"""
WEIGHTS = {"k": (5, 4), "two": 2.0, "w": (4, 3, 1, 1), "s": 0.1, "o": np.int8(3)}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    model = load(saved(network(BODY, WEIGHTS), tmp_path))
    return runtime.observe(model, runtime.random_feeds(model))


def test_a_constant_expression_has_the_value_that_the_runtime_gives(program: Program) -> None:
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in network(BODY, WEIGHTS).graph.initializer}
    assert program.is_constant("c")
    np.testing.assert_array_equal(program.constant("c"), weights["k"].T * np.float32(2))
    assert program.stem("c") == "k"
    assert program.constant("n").tolist() == [1, 3, 6, 6]


def test_what_depends_on_the_input_is_no_constant(program: Program) -> None:
    assert not program.is_constant("a")
    assert program.constant_or_none("a") is None
    assert program.constant_or_none("") is None
    with pytest.raises(ModelError, match="'a' depends on the input"):
        program.constant("a")
    assert [n.outputs[0] for n in program.nodes] == ["a", "g", "f", "z", "h", "i", "q", "l", "y"]


def test_number_types_are_those_of_the_runtime(program: Program) -> None:
    names = ["a", "z", "h", "i", "q", "l"]
    graph = runtime.Graph.of(program.model)
    graph.proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    values = runtime.run(graph.session(runtime.Device("cpu")), names, runtime.random_feeds(program.model))
    assert {n: v.dtype.name for n, v in zip(names, values, strict=True)} == {n: program.dtypes[n] for n in names}


def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "c = Expand (two, many)\na = Conv (x, w)\nb = Add (a, c)\ny = Flatten (b)"
    weights = {"w": (4, 3, 1, 1), "two": 2.0, "many": np.array([1, 4, 6, 6])}
    model = load(saved(network(body, weights), tmp_path))
    program = runtime.observe(model, runtime.random_feeds(model))
    monkeypatch.setattr(constants, "RESOLVE_LIMIT", 8 * 143)
    with pytest.raises(ModelError, match="would take 1152 bytes"):
        program.constant("c")
    monkeypatch.setattr(constants, "RESOLVE_LIMIT", 8 * 144)
    assert program.constant("c").shape == (1, 4, 6, 6)
