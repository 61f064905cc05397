"""Attention with a key and a value of its own beside those of the tokens (`add_bias_kv`, `add_zero_attn` of PyTorch).

Values are linear in the weights ``w``, so with attention held a kernel is worth what the score loses without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from removal import lost_by_removal
from text_net import network, saved

from cfp_onnx import explain

PRODUCTS = """wt = Transpose (w)
v0 = MatMul (x, wt)
q0 = MatMul (x, wq)
k0 = MatMul (x, wk)
"""

HEADS = """q1 = Reshape (q0, heads)
k1 = Reshape (k2, longer)
v1 = Reshape (v2, longer)
q = Transpose <perm=[1,0,2]> (q1)
kt = Transpose <perm=[1,2,0]> (k1)
v = Transpose <perm=[1,0,2]> (v1)
scores = MatMul (q, kt)
scaled = Mul (scores, scale)
a = Softmax <axis=-1> (scaled)
m = MatMul (a, v)
mt = Transpose <perm=[1,0,2]> (m)
o0 = Reshape (mt, joined)
"""

END = """o = MatMul (o0, wo)
g = ReduceMean <keepdims=0> (o, first)
y = MatMul (g, last)"""

CONSTANTS: dict[str, Any] = {
    "w": (6, 4), "wq": (4, 6), "wk": (4, 6), "wo": (6, 5), "last": (5, 3), "scale": 0.6,
    "bk": (1, 1, 6), "bv": (1, 1, 6),
    "none": np.zeros((1, 1, 6)), "heads": [5, 2, 3], "joined": [5, 1, 6], "first": [0],
}  # fmt: skip

BIAS = "k2 = Concat <axis=0> (k0, bk)\nv2 = Concat <axis=0> (v0, bv)\n"
FORMS = {
    "heads written out": (PRODUCTS + BIAS + HEADS + END, {"longer": [6, 2, 3]}),
    "and zeros": (
        PRODUCTS + BIAS.replace("bk)", "bk, none)").replace("bv)", "bv, none)") + HEADS + END,
        {"longer": [7, 2, 3]},
    ),
    "in front": (
        PRODUCTS + BIAS.replace("k0, bk", "bk, k0").replace("v0, bv", "bv, v0") + HEADS + END,
        {"longer": [6, 2, 3]},
    ),
    "one operator": (
        PRODUCTS + BIAS + "qa = Transpose <perm=[1,0,2]> (q0)\nka = Transpose <perm=[1,0,2]> (k2)\n"
        "va = Transpose <perm=[1,0,2]> (v2)\nma = com.microsoft.MultiHeadAttention <num_heads=2> (qa, ka, va)\n"
        "o0 = Transpose <perm=[1,0,2]> (ma)\n" + END,
        {},
    ),
    "ONNX's own operator": (
        PRODUCTS + BIAS + "qa = Transpose <perm=[1,0,2]> (q0)\nka = Transpose <perm=[1,0,2]> (k2)\n"
        "va = Transpose <perm=[1,0,2]> (v2)\nma = Attention <q_num_heads=2, kv_num_heads=2> (qa, ka, va)\n"
        "o0 = Transpose <perm=[1,0,2]> (ma)\n" + END,
        {},
    ),
    "learned queries": (
        PRODUCTS.replace("q0 = MatMul (x, wq)\n", "") + "ka = Transpose <perm=[1,0,2]> (k0)\n"
        "va = Transpose <perm=[1,0,2]> (v0)\nma = Attention <q_num_heads=2, kv_num_heads=2> (probe, ka, va)\n"
        "o0 = Transpose <perm=[1,0,2]> (ma)\n" + END,
        {"probe": (1, 3, 6)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_values_keep_their_worth(name: str, tmp_path: Path) -> None:
    text, more = FORMS[name]
    model = network(text, {**CONSTANTS, **more}, "float[5,1,4] x", opset=23)
    clip = np.random.default_rng(5).standard_normal((5, 1, 4)).astype(np.float32)
    pyramid = explain(
        saved(model, tmp_path), {"x": clip}, target=1, depth="all", class_step="contribution", hold=("attention",)
    )
    assert pyramid.coverage.complete
    lost = lost_by_removal(model, clip, 1)
    assert max(map(abs, lost)) > 0.01
    np.testing.assert_allclose(pyramid.layer("v0").relevance, lost, atol=1e-4 * max(map(abs, lost)))
