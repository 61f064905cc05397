"""A number that lies at an end of its integers was not cut off: 8-bit files say what the float file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from text_net import network, saved

from cfp_onnx import explain

Array = npt.NDArray[Any]

FLOAT = "a = Conv <pads=[1,1,1,1]> (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nf = Flatten (g)\ny = MatMul (f, v)"
SHAPE = "float[1,3,16,16] x"
CLIP = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
WEIGHTS = {"w": np.abs(np.random.default_rng(3).standard_normal((8, 3, 3, 3))) * 0.2, "v": (8, 5)}


def features() -> Array:
    """The pooled features of the float network."""
    model = network(FLOAT, WEIGHTS, SHAPE)
    model.graph.output.append(onnx.helper.make_tensor_value_info("g", 1, [1, 8, 1, 1]))
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(["g"], {"x": CLIP})[0])


def relevance(body: str, weights: dict[str, Any], folder: Path) -> Array:
    path = saved(network(body, weights, SHAPE), folder)
    return np.array(explain(path, CLIP, target=0, depth="all", tubes=False).layers[0].relevance)


@pytest.mark.parametrize(("zero", "kind"), [(-128, np.int8), (0, np.uint8), (-100, np.int8)])
def test_the_largest_number_counts(zero: int, kind: type, tmp_path: Path) -> None:
    top = np.float32(features().max() / (np.iinfo(kind).max - zero))
    ends = {"s": top, "z": kind(zero)}
    body = FLOAT.replace(
        "f = Flatten (g)", "q = QuantizeLinear (g, s, z)\nd = DequantizeLinear (q, s, z)\nf = Flatten (d)"
    )
    plain = relevance(FLOAT, WEIGHTS, tmp_path)
    found = relevance(body, {**WEIGHTS, **ends}, tmp_path)
    np.testing.assert_allclose(found, plain, atol=0.02 * np.abs(plain).max())


def test_what_is_cut_off_counts_nothing(tmp_path: Path) -> None:
    top = np.float32(np.median(features()) / 255)
    body = FLOAT.replace(
        "f = Flatten (g)", "q = QuantizeLinear (g, s, z)\nd = DequantizeLinear (q, s, z)\nf = Flatten (d)"
    )
    found = relevance(body, {**WEIGHTS, "s": top, "z": np.uint8(0)}, tmp_path)
    cut = features().reshape(-1) > 255.6 * top
    assert cut.any()
    assert not cut.all()
    assert not found[cut].any()
    assert found[~cut].all()


def test_integer_operators_say_the_same(tmp_path: Path) -> None:
    """The same numbers as QLinearConv: the largest element of the layer is no exception."""
    weights = np.rint(WEIGHTS["w"] / np.abs(WEIGHTS["w"]).max() * 127).astype(np.int8)
    scale = np.float32(np.abs(WEIGHTS["w"]).max() / 127)
    model = network("a = Conv <pads=[1,1,1,1]> (x, w)\ny = Flatten (a)", {"w": weights * scale}, SHAPE)
    peak = np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": CLIP})[0]).max()
    ends = {
        "w": weights * scale, "v": WEIGHTS["v"], "wq": weights, "ws": scale, "wz": np.int8(0),
        "xs": np.float32(1 / 255), "xz": np.uint8(0), "s": np.float32(peak / 255), "z": np.uint8(0),
    }  # fmt: skip
    tail = "g = GlobalAveragePool (d)\nf = Flatten (g)\ny = MatMul (f, v)"
    qdq = f"""xq = QuantizeLinear (x, xs, xz)
    xd = DequantizeLinear (xq, xs, xz)
    a = Conv <pads=[1,1,1,1]> (xd, w)
    q = QuantizeLinear (a, s, z)
    d = DequantizeLinear (q, s, z)
    {tail}"""
    integer = f"""xq = QuantizeLinear (x, xs, xz)
    q = QLinearConv <pads=[1,1,1,1]> (xq, xs, xz, wq, ws, wz, s, z)
    d = DequantizeLinear (q, s, z)
    {tail}"""
    one, two = (relevance(body, ends, tmp_path) for body in (qdq, integer))
    np.testing.assert_allclose(two, one, rtol=0.02, atol=0.02 * np.abs(one).max())
