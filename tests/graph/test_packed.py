"""Weights of a few bits each: the numbers with which the runtime multiplies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from cfp_onnx import runtime
from cfp_onnx.graph.layers import find_parts
from cfp_onnx.model import load

KERNELS, CHANNELS, SIZE = 5, 40, 16


def model(bits: int, zero: str, *, biased: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(bits)
    blocks = -(-CHANNELS // SIZE)
    held: dict[str, Any] = {
        "q": rng.integers(0, 256, (KERNELS, blocks, SIZE * bits // 8)).astype(np.uint8),
        "s": (rng.random((KERNELS, blocks)) + 0.1).astype(np.float32),
    }
    if zero == "packed":
        held["z"] = rng.integers(0, 256, (KERNELS, -(-blocks * bits // 8))).astype(np.uint8)
    if zero == "float":
        held["z"] = (rng.random((KERNELS, blocks)) * (1 << bits)).astype(np.float32)
    if biased:
        held["b"] = rng.standard_normal(KERNELS).astype(np.float32)
    names = ["x", "q", "s", "z" if "z" in held else "", "", "b" if biased else ""]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        "MatMulNBits", names, ["y"], "fc", domain="com.microsoft", K=CHANNELS, N=KERNELS, bits=bits, block_size=SIZE
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, [None, CHANNELS])],
        [helper.make_tensor_value_info("y", 1, None)], [numpy_helper.from_array(v, k) for k, v in held.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("bits", "zero"), [(4, ""), (4, "packed"), (4, "float"), (8, ""), (8, "packed"), (2, ""), (2, "packed")]
)
def test_weights_are_those_of_the_runtime(bits: int, zero: str, tmp_path: Path, *, biased: bool) -> None:
    proto = model(bits, zero, biased=biased)
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.concatenate([np.eye(CHANNELS), np.zeros((1, CHANNELS))]).astype(np.float32)
    [y] = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    [part] = find_parts(runtime.observe(load(tmp_path / "m.onnx"), {"x": x}))
    np.testing.assert_allclose(part.weights(), (y[:-1] - y[-1]).T, atol=1e-4)
    np.testing.assert_allclose(part.bias(), y[-1], atol=1e-6)
