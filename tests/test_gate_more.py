"""The gate again: models, clips and limits of every shape that people have, and the verdicts they must get.

Each test is a case that once went wrong. Networks are small and random; what is the same and what is not follows from
how they were made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import cfp_onnx as cfp

Array = np.ndarray
FLOAT = onnx.TensorProto.FLOAT
SIDE = 12
Edit = Callable[[dict[str, Array]], None]


def network(
    file: Path,
    edit: Edit | None = None,
    *,
    kernels: tuple[int, ...] = (12, 16, 12),
    classes: int = 5,
    flat: tuple[int, int] = (0, -1),
    behind: str | None = None,
    opset: int = 17,
) -> Path:
    """Convolutions with Relus, a mean, and a classifier; always the same weights but for an edit.

    Args:
        file: Where it goes.
        edit: Changes the weights: ``w0``, ``b0``, ``w1`` ... and ``fc``.
        kernels: Of each convolution.
        classes: Scores.
        flat: What the means are reshaped to.
        behind: An operator behind the classifier.
        opset: Version of the operators.
    """
    rng = np.random.default_rng(7)
    values: dict[str, Array] = {}
    nodes, tensor, channels = [], "x", 3
    for i, count in enumerate(kernels):
        deviation = np.sqrt(2 / (9 * channels))
        values[f"w{i}"] = (rng.standard_normal((count, channels, 3, 3)) * deviation).astype(np.float32)
        values[f"b{i}"] = (rng.standard_normal(count) * 0.1).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [tensor, f"w{i}", f"b{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        tensor, channels = f"r{i}", count
    values["fc"] = (rng.standard_normal((channels, classes)) / np.sqrt(channels)).astype(np.float32)
    values["shape"] = np.array(flat)
    last = "y" if behind is None else "l"
    nodes += [
        helper.make_node("GlobalAveragePool", [tensor], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], [last], name="head"),
    ]
    if behind is not None:
        nodes.append(helper.make_node(behind, [last], ["y"]))
    if edit is not None:
        edit(values)
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", classes])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), file)
    return file


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three inputs of noise."""
    rng = np.random.default_rng(11)
    files = [tmp_path / f"clip{n}.npy" for n in range(3)]
    for file in files:
        np.save(file, rng.random((1, 3, SIDE, SIDE), np.float32))
    return files


# ------------------------------------------------------------------------------------- files that must be read


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_integers_are_read_under_every_opset(clips: list[Path], tmp_path: Path, opset: int) -> None:
    """The reference evaluator has DequantizeLinear from opset 19 on only; a file may be older."""
    made = cfp.baseline(network(tmp_path / "m.onnx", opset=opset), clips)

    def coarse(values: dict[str, Array]) -> None:
        scale = np.float32(np.abs(values["w1"]).max() / 127)
        values |= {"k": np.rint(values.pop("w1") / scale).astype(np.int8), "s": scale, "z": np.int8(0)}

    model = onnx.load(network(tmp_path / "q.onnx", coarse, opset=opset))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["k", "s", "z"], ["w1"]))
    onnx.save(model, tmp_path / "q.onnx")
    found = cfp.check(tmp_path / "q.onnx", made, folder=Path())
    assert found.ok, str(found)
    assert 0 < found.layers[1].weights < 0.02
