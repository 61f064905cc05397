"""An operator that is registered as an affine map is part of the layer's weights for a comparison, with no other line.

`ImageScaler` is such an operator: the runtime has it, files of old operator sets use it, and this package does not know
it. The authority is the runtime itself, whose outputs say that the two files are one network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators import OPERATORS, View, operator
from cfp_onnx.matching import describe
from cfp_onnx.matching.units import Unit
from cfp_onnx.model import Node

Array = npt.NDArray[Any]
Write = Callable[[str, Sequence[onnx.NodeProto]], Path]

KERNELS = 4
SHIFTS = (0.5, -0.25, 1.0, 0.75)


@pytest.fixture
def image_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator, registered for one test."""
    monkeypatch.setattr("cfp_onnx.graph.operators.registry.OPERATORS", dict(OPERATORS))

    @operator("ImageScaler")
    def handler(node: Node, _view: View) -> fx.Effect:
        shifts = np.asarray(node.attributes["bias"], np.float64).reshape(1, -1, 1, 1)
        return fx.Affine(scale=lambda: np.asarray(float(node.attributes["scale"])), offset=lambda: shifts)


@pytest.fixture
def write(tmp_path: Path, rng: np.random.Generator) -> Write:
    """Writes a convolution, some nodes from ``c`` to ``d``, Relu and a classifier."""
    weights = {
        "conv.weight": rng.standard_normal((KERNELS, 3, 3, 3)).astype(np.float32),
        "fc.weight": rng.standard_normal((5, KERNELS)).astype(np.float32),
        "fc.bias": np.zeros(5, np.float32),
        "two": np.asarray(2.0, np.float32),
        "shifts": np.asarray(SHIFTS, np.float32).reshape(1, -1, 1, 1),
    }

    def make(name: str, between: Sequence[onnx.NodeProto]) -> Path:
        nodes = [
            helper.make_node("Conv", ["x", "conv.weight"], ["c"], "conv"),
            *between,
            helper.make_node("Relu", ["d"], ["r"], "relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], "fc", transB=1),
        ]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5))]
        tensors = [numpy_helper.from_array(a, n) for n, a in weights.items()]
        model = helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 9)]
        )
        model.ir_version = 4
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return make


def spelled() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["c", "two"], ["m"], "mul"),
        helper.make_node("Add", ["m", "shifts"], ["d"], "add"),
    ]


def scaler(scale: float) -> list[onnx.NodeProto]:
    return [helper.make_node("ImageScaler", ["c"], ["d"], "scaler", scale=scale, bias=SHIFTS)]


def unit_of(path: Path) -> Unit:
    engine = cfp.topology(path)
    found = describe.network(engine.topology, engine.output, engine.target, engine.depths)
    return next(u for u in found.units if u.name == "conv")


def test_without_a_handler_the_operator_is_refused(write: Write) -> None:
    with pytest.raises(cfp.UnsupportedOperatorError, match=r"operator ImageScaler at node .* cannot be followed"):
        cfp.topology(write("b.onnx", scaler(2.0)))


@pytest.mark.usefixtures("image_scaler")
def test_a_new_affine_operator_is_part_of_the_layer(write: Write) -> None:
    ours, theirs = unit_of(write("a.onnx", spelled())), unit_of(write("b.onnx", scaler(2.0)))
    assert np.array_equal(theirs.effective(), 2.0 * theirs.weights())
    assert np.array_equal(ours.effective(), theirs.effective())
    assert theirs.bias == pytest.approx(np.array(SHIFTS))
    assert theirs.before is not None
    assert theirs.before.tensor == "d"


@pytest.mark.usefixtures("image_scaler")
def test_a_new_affine_operator_reaches_compare(write: Write, rng: np.random.Generator) -> None:
    clip = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    a = write("a.onnx", spelled())
    found = cfp.compare(a, write("b.onnx", scaler(2.0)), clip, device="cpu", threads=1)
    assert found.same, str(found)
    assert [x.findings for x in found.layers if x.findings] == []
    other = cfp.compare(a, write("c.onnx", scaler(2.5)), clip, device="cpu", threads=1)
    assert not other.same
    assert other.first is not None
    assert other.first.layer == "conv"
