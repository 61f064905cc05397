"""Operators that are a fixed linear map of what they read: a kernel is worth what the score loses without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from removal import lost_by_removal
from text_net import network, saved

from cfp_onnx import explain

RNG = np.random.default_rng(8)
DEFORMED = "h = Conv <pads=[1,1,1,1]> (x, turn)\no = Mul (h, wide)\n"

MAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "matrices on the right": (
        "e = Reshape (a, two)\nh = MatMul (e, u)\nb = Reshape (h, four)",
        {"two": [1, 2, 2, 36], "u": (2, 36, 36), "four": [1, 4, 6, 6]},
    ),
    "matrices on the left": (
        "e = Reshape (a, two)\nh = MatMul (u, e)\nb = Reshape (h, four)",
        {"two": [1, 2, 2, 36], "u": (1, 2, 2, 2), "four": [1, 4, 6, 6]},
    ),
    "matrices that all read the same": (
        "e = Reshape (a, two)\nh = MatMul (e, u)\nb = Reshape (h, four)",
        {"two": [1, 1, 36, 4], "u": (2, 4, 2), "four": [1, 4, 6, 6]},
    ),
    "heads of an einsum": (
        ("e = Reshape (a, two)\nh = Einsum <equation=\"bhkt,hkn->bthn\"> (e, u)\ng = Reshape (h, rows)\n"
        "i = Transpose <perm=[0,2,1]> (g)\nb = Reshape (i, four)"),
        {"two": [1, 2, 2, 36], "u": (2, 2, 2), "rows": [1, 36, 4], "four": [1, 4, 6, 6]},
    ),
    "a gemm that adds what it reads": (
        "e = GlobalAveragePool (a)\nf = Flatten (e)\nh = Gemm <beta=0.5> (f, u, f)\nb = Reshape (h, four)",
        {"u": (4, 4), "four": [1, 4, 1, 1]},
    ),
    **{
        f"a Fourier transform, {name}": (
            f"e = Unsqueeze (a, behind)\n{body}\nb = ReduceSum <keepdims=0> (f, behind)",
            {"behind": [4], "eight": np.int64(8), "three": np.int64(3), "axis": np.int64(2), "spins": (1, 4, 6, 4, 2)},
        )
        for name, body in {
            "whole": "f = DFT (e, , three)", "half, longer": "f = DFT <onesided=1> (e, eight, axis)",
            "inverse": "f = DFT <inverse=1> (e, , axis)",
            "half, and back": (
                "g = DFT <onesided=1> (e, , three)\nh = Mul (g, spins)\nf = DFT <inverse=1, onesided=1> (h, , three)"
            ),
            "and back": "g = DFT <onesided=1> (e, , three)\nh = Mul (g, spins)\nf = DFT <inverse=1> (h, , three)",
        }.items()
    },
    "rows that are added": (
        ("e = Transpose <perm=[2,0,1,3]> (a)\nh = ScatterND <reduction=\"add\"> (z, places, e)\n"
        "b = Transpose <perm=[1,2,0,3]> (h)"),
        {"z": np.zeros((6, 1, 4, 6)), "places": [[0], [3], [3], [-1], [3], [0]]},
    ),
    "elements that are added": (
        "b = ScatterElements <reduction=\"add\", axis=3> (a, places, a)",
        {"places": np.broadcast_to([0, 0, 5, -1, 2, 0], (1, 4, 6, 6))},
    ),
    "elements that are added, each at its own place": (
        "e = Slice (a, none, three, axis)\nb = ScatterElements <reduction=\"add\", axis=3> (a, places, e)",
        {"places": np.argsort(RNG.random((1, 4, 6, 6)))[..., :3], "none": [0], "three": [3], "axis": [3]},
    ),
    "patches": (
        ("e = Concat <axis=1> (a, a, a, a)\nf = Reshape (e, flat)\n"
        "b = Col2Im <strides=[1,2], pads=[0,1,1,0], dilations=[2,1]> (f, image, block)"),
        {"flat": [1, 16, 36], "image": [7, 11], "block": [2, 2]},
    ),
    "a line of patches": (
        "f = Reshape (a, flat)\ni = Col2Im (f, image, block)\nb = Unsqueeze (i, behind)",
        {"flat": [1, 8, 18], "image": [19], "block": [2], "behind": [3]},
    ),
    **{
        f"a constant grid, {mode}, {border}, {corners}": (
            f"b = GridSample <mode=\"{mode}\", padding_mode=\"{border}\", align_corners={corners}> (a, places)",
            {"places": RNG.uniform(-2, 2, (1, 5, 7, 2))},
        )
        for mode in ("linear", "nearest") for border in ("zeros", "border", "reflection") for corners in (0, 1)
    },
    "a constant grid of three axes": (
        "e = Reshape (a, solid)\nh = GridSample <padding_mode=\"border\"> (e, places)\nb = Reshape (h, four)",
        {"solid": [1, 4, 2, 3, 6], "places": RNG.uniform(-1.5, 1.5, (1, 2, 2, 5, 3)), "four": [1, 4, 4, 5]},
    ),
    "a deformed convolution with constant offsets": (
        "b = DeformConv <pads=[1,1,1,1], offset_group=2> (a, t, o)",
        {"t": (5, 4, 3, 3), "o": RNG.uniform(-2, 2, (1, 36, 6, 6))},
    ),
    "a deformed convolution": (
        ("h = Conv <strides=[2,2], pads=[1,1,0,0]> (x, turn)\no = Mul (h, wide)\n"
        "b = DeformConv <pads=[1,0,0,1], strides=[2,1], dilations=[1,2]> (a, t, o)"),
        {"turn": (18, 3, 3, 3), "wide": 0.3, "t": (5, 4, 3, 3)},
    ),
    "a deformed convolution, groups, a mask and a bias": (
        DEFORMED + "i = Conv <pads=[1,1,1,1]> (x, masks)\nm = Sigmoid (i)\n"
        "b = DeformConv <pads=[1,1,1,1], group=2, offset_group=2> (a, t, o, bias, m)",
        {"turn": (36, 3, 3, 3), "wide": 0.3, "masks": (18, 3, 3, 3), "t": (6, 2, 3, 3), "bias": (6,)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_relevance_is_what_the_score_loses(name: str, tmp_path: Path) -> None:
    body, weights = MAPS[name]
    weights = {"w": (4, 3, 1, 1), **weights}
    clip = np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)
    text = f"a = Conv (x, w)\n{body}\n"
    whole = text + "r = ReduceMean <keepdims=0> (b, places_)\ny = MatMul (r, last)"
    channels = weights["t"][0] if "t" in weights else 4
    model = network(whole, {**weights, "places_": [2, 3], "last": (channels, 3)}, opset=22)
    pyramid = explain(saved(model, tmp_path), clip, target=1, depth="all", class_step="contribution")
    assert pyramid.coverage.complete

    lost = lost_by_removal(model, clip, 1)
    assert max(map(abs, lost)) > 0.01
    np.testing.assert_allclose(pyramid.layer("a").relevance, lost, atol=1e-4 * max(map(abs, lost)))
    assert any(explain(saved(model, tmp_path), clip, target=1, depth="all", rule="zplus").layer("a").relevance)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_transform_before_the_first_layer_stands_in_no_way(axis: int, tmp_path: Path) -> None:
    body = """e = Unsqueeze (x, behind)
f = DFT <onesided=1> (e, , axis)
r = ReduceSumSquare <keepdims=0> (f, behind)
a = Conv (r, w)
c = Relu (a)
p = GlobalAveragePool (c)
q = Flatten (p)
y = MatMul (q, last)"""
    weights = {"behind": [3], "axis": np.int64(axis), "w": (5, 4 if axis == 1 else 6, 3), "last": (5, 3)}
    model = network(body, weights, "float[1,6,12] x")
    clip = np.random.default_rng(5).standard_normal((1, 6, 12)).astype(np.float32)
    path = saved(model, tmp_path)
    pyramid = explain(path, {"x": clip}, target=1, depth="all")
    [y] = onnxruntime.InferenceSession(path).run(None, {"x": clip})
    assert pyramid.target.score == pytest.approx(float(y[0, 1]), rel=1e-5)
    assert pyramid.coverage.complete
    assert any(pyramid.layer("a").relevance)
