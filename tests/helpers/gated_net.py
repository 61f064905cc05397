"""A small network with a gate and a shortcut whose every kernel map is a tensor of its own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

FRAMES = {"clip": np.random.default_rng(7).standard_normal((1, 2, 3, 5, 5)).astype(np.float32)}


def network(rng: np.random.Generator, batch: int | str) -> onnx.ModelProto:
    """Conv, ReLU, gate, shortcut around a conv, mean, three classes; every kernel map is a tensor `relu*`."""
    shapes = {"w1": (6, 2, 3, 3, 3), "wg": (6, 6, 1, 1, 1), "w2": (6, 6, 1, 3, 3), "w3": (8, 6, 1, 1, 1)}
    weights = {"b4": np.zeros(3, np.float32)}
    for name, shape in {**shapes, "w4": (3, 8)}.items():
        weights[name] = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) / 2)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["clip", "w1"], ["c1"], "one", pads=[1] * 6),
        helper.make_node("Relu", ["c1"], ["relu1"], "relu_one"),
        helper.make_node("GlobalAveragePool", ["relu1"], ["s"], "squeeze"),
        helper.make_node("Conv", ["s", "wg"], ["e"], "excite"),
        helper.make_node("Sigmoid", ["e"], ["gate"], "sigmoid"),
        helper.make_node("Mul", ["relu1", "gate"], ["gated"], "gating"),
        helper.make_node("Conv", ["gated", "w2"], ["c2"], "two", pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Add", ["c2", "gated"], ["sum"], "shortcut"),
        helper.make_node("Conv", ["sum", "w3"], ["c3"], "three"),
        helper.make_node("Relu", ["c3"], ["relu3"], "relu_three"),
        helper.make_node("GlobalAveragePool", ["relu3"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["logits"], "head", transB=1),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("clip", kind, [batch, 2, 3, 5, 5])],
        [helper.make_tensor_value_info("logits", kind, [batch, 3])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
