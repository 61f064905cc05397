"""A small network of convolutions, always with the same weights but for an edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

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
