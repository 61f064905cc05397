"""A convolution whose weights are mixed from a bank: its kernels are the bank's, and its shares are gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from removal import lost_by_removal
from text_net import network, saved

from cfp_onnx import explain
from cfp_onnx.errors import UnsupportedOperatorError

SHARES = "p = GlobalAveragePool (x)\ns = Flatten (p)\nt = MatMul (s, route)\nr = Sigmoid (t)\n"
CONV = "c = Conv <pads=[1,1,1,1]{more}> ({source}, k{bias})\n"
END = "e = Relu (c)\ng = GlobalAveragePool (e)\nf = Flatten (g)\ny = MatMul (f, last)"

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "a product": ("m = Reshape (w, flat)\nh = MatMul (r, m)\nk = Reshape (h, whole)\n", {}),
    "a turned product": ("m = Reshape (w, flat)\nh = Gemm <transB=1> (r, n)\nk = Reshape (h, whole)\n", {}),
    "matrices on the left": (
        "m = Reshape (w, flat)\nn = Transpose (m)\nq = Transpose (r)\nh = MatMul (n, q)\nk = Reshape (h, whole)\n", {},
    ),
    "an einsum": (
        "m = Reshape (w, six)\nh = Einsum <equation=\"be,eoikl->boikl\"> (r, m)\nk = Reshape (h, whole)\n",
        {"six": [2, 4, 3, 3, 3]},
    ),
    "a sum over members": (
        ("m = Reshape (w, six)\nq = Reshape (r, five)\nn = Mul (m, q)\nh = ReduceSum <keepdims=0> (n, zero)\n"
        "k = Identity (h)\n"),
        {"six": [2, 4, 3, 3, 3], "five": [2, 1, 1, 1, 1], "zero": [0]},
    ),
    "members one by one": (
        ("m = Reshape (w, six)\nm0, m1 = Split <num_outputs=2> (m)\nr0, r1 = Split <axis=1, num_outputs=2> (r)\n"
        "k0 = Squeeze (m0, zero)\nk1 = Squeeze (m1, zero)\nq1 = Mul (k1, r1)\nq0 = Mul (r0, k0)\nk = Add (q1, q0)\n"),
        {"six": [2, 4, 3, 3, 3], "zero": [0]},
    ),
}  # fmt: skip
WEIGHTS: dict[str, Any] = {
    "w": (8, 3, 3, 3), "route": (3, 2), "flat": [2, 108], "whole": [4, 3, 3, 3], "last": (4, 3),
}  # fmt: skip


def mixed(name: str, *, source: str = "x", more: str = "", bias: str = "", **weights: Any) -> onnx.ModelProto:
    body, own = FORMS[name]
    text = SHARES + body + CONV.format(source=source, more=more, bias=bias) + END
    if "(r, n)" in body:
        text = text.replace("h = Gemm", "n = Transpose (m)\nh = Gemm")
    return network(text, {**WEIGHTS, **own, **weights}, opset=18)


def clip() -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)


def active(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same without its rectifier, so that a removal is what it costs."""
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Identity"
    return model


@pytest.mark.parametrize("name", FORMS)
def test_a_member_is_worth_what_the_score_loses_without_it(name: str, tmp_path: Path) -> None:
    model = active(mixed(name))
    pyramid = explain(saved(model, tmp_path), clip(), target=1, depth="all", class_step="contribution")
    assert pyramid.coverage.complete
    assert [layer.name for layer in pyramid.layers].count("c") == 1
    lost = lost_by_removal(model, clip(), 1)
    assert len(lost) == 8
    np.testing.assert_allclose(pyramid.layer("c").relevance, lost, atol=1e-4 * max(map(abs, lost)))


def test_shares_are_gates(tmp_path: Path) -> None:
    """A share that was not there would take away all that its members give."""
    model = active(mixed("a product"))
    path = saved(model, tmp_path)
    pyramid = explain(path, clip(), target=1, depth="all", class_step="contribution")
    lost = np.reshape(lost_by_removal(model, clip(), 1), (2, 4)).sum(axis=1)
    np.testing.assert_allclose(pyramid.layer("t").relevance, lost, atol=1e-4 * np.abs(lost).max())
    held = explain(path, clip(), target=1, depth="all", class_step="contribution", hold=("gates",))
    assert not any(held.layer("t").relevance)
    np.testing.assert_allclose(held.layer("c").relevance, pyramid.layer("c").relevance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_and_a_bias_that_is_mixed_too(groups: int, tmp_path: Path) -> None:
    model = mixed(
        "a product", source="a", more=f", group={groups}", bias=", o", w=(8, 4 // groups, 3, 3),
        flat=[2, 4 * 36 // groups], whole=[4, 4 // groups, 3, 3],
    )  # fmt: skip
    more = (("a", "Conv", ["x", "first"]), ("z", "MatMul", ["r", "biases"]), ("o", "Reshape", ["z", "four"]))
    for name, op, inputs in more:
        node = onnx.helper.make_node(op, inputs, [name], name)
        model.graph.node.insert(len(model.graph.node) - 5, node)
    for name, value in (
        ("first", np.ones((4, 3, 1, 1)) + np.arange(12).reshape(4, 3, 1, 1)),
        ("biases", np.ones((2, 4))),
    ):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([4]), "four"))
    path = saved(model, tmp_path)
    pyramid = explain(path, clip(), target=1, depth="all")
    assert pyramid.coverage.complete
    [y] = onnxruntime.InferenceSession(path).run(None, {"x": clip()})
    assert pyramid.target.score == pytest.approx(float(y[0, 1]), rel=1e-5)
    assert len(pyramid.layer("c").relevance) == 8


def test_weights_made_in_another_way_are_refused(tmp_path: Path) -> None:
    model = mixed("a product")
    next(n for n in model.graph.node if n.output[0] == "k").input[0] = "twice"
    model.graph.node.insert(6, onnx.helper.make_node("Mul", ["h", "h"], ["twice"], "twice"))
    with pytest.raises(UnsupportedOperatorError, match="Conv"):
        explain(saved(model, tmp_path), clip(), target=1, depth="all")
