# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small ReLU networks in which norms, attention and gates steer, in the spellings that exporters write.

Gates are HardSigmoid, wide enough never to saturate, or ReLU, so that a share of a value is a slope everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from small_nets import Net

HEAD = "r1 = Relu (n1)\nc2 = Conv (r1, w2, b2)\nf = Relu (c2)"
WEIGHTS = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 1, 1), "b2": (4,)}


def norm(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """A norm that makes ``n1`` of ``c1``, between convolutions."""
    return Net(f"norm {name}", "x=1,3,5,4", f"c1 = Conv (x, w1, b1)\n{body}\n{HEAD}", {**WEIGHTS, **weights}, opset, 4)


def tokens(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """What makes ``m`` of the tokens ``t`` (1, 12, 6), between dense layers."""
    whole = (
        "a = MatMul (x, w1)\nab = Add (a, b1)\nt = Relu (ab)\n"
        f"{body}\nd = MatMul (m, w2)\ne = Relu (d)\np = ReduceMean <axes=[1], keepdims=0> (e)\ny = Gemm (p, w3)"
    )
    if opset >= 18:
        whole = whole.replace("ReduceMean <axes=[1], keepdims=0> (e)", "ReduceMean <keepdims=0> (e, one_)")
    base = {"w1": (5, 6), "b1": (6,), "w2": (6, 5), "w3": (5, 4), "one_": [1]}
    if opset < 18:
        del base["one_"]
    return Net(f"tokens {name}", "x=1,12,5", whole, {**base, **weights}, opset)


def gated(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """What makes ``n1`` of ``c0``, a rectified map."""
    whole = f"ca = Conv (x, w1, b1)\nc0 = Relu (ca)\n{body}\n{HEAD}"
    return Net(f"gate {name}", "x=1,3,5,4", whole, {**WEIGHTS, **weights}, opset, 4)


ALONG = {"eps": 1e-5, "two": 2.0, "half": 0.5, "s": (6, 1, 1), "o": (6, 1, 1), "one": np.array(1.0)}
CENTRED = "m = ReduceMean <axes=[1]> (c1)\nd = Sub (c1, m)\n"
END = "k = Mul (u, s)\nn1 = Add (k, o)"
QKV = {"wq": (6, 6), "wk": (6, 6), "wv": (6, 6), "scale": 0.4}
PRODUCTS = "q = MatMul (t, wq)\nk = MatMul (t, wk)\nv = MatMul (t, wv)\n"
SQUEEZED = {"we1": (3, 6, 1, 1), "be1": (3,), "we2": (6, 3, 1, 1), "be2": (6,)}
SQUEEZE = "z = GlobalAveragePool (c0)\ne1 = Conv (z, we1, be1)\nq = Relu (e1)\ne2 = Conv (q, we2, be2)\n"
HARD = "HardSigmoid <alpha=0.02, beta=0.5>"

NETS: tuple[Net, ...] = (
    norm("instance", "n1 = InstanceNormalization (c1, s_, o_)", {"s_": (6,), "o_": (6,)}),
    norm("group", "n1 = GroupNormalization <num_groups=2> (c1, s_, o_)", {"s_": (6,), "o_": (6,)}),
    norm("layer", "n1 = LayerNormalization <axis=1> (c1, s_, o_)", {"s_": (6, 5, 4), "o_": (6, 5, 4)}),
    norm("RMS", "n1 = RMSNormalization <axis=1> (c1, s_)", {"s_": (6, 5, 4)}, 23),
    norm("local response", "n1 = LRN <size=3, alpha=1.5, beta=0.75, bias=0.8> (c1)", {}),
    norm("L2", "n1 = LpNormalization <axis=1, p=2> (c1)", {}),
    norm("L1", "n1 = LpNormalization <axis=1, p=1> (c1)", {}),
    norm("mean and variance", "n1 = MeanVarianceNormalization <axes=[1,2,3]> (c1)", {}),
    norm(
        "layer, Pow Sqrt Div",
        f"{CENTRED}q = Pow (d, two)\nv = ReduceMean <axes=[1]> (q)\ne = Add (v, eps)\nr = Sqrt (e)\nu = Div (d, r)\n{END}",
        ALONG, 13,
    ),
    norm(
        "layer, Mul Sqrt Reciprocal",
        f"{CENTRED}q = Mul (d, d)\nv = ReduceMean <axes=[1]> (q)\ne = Add (v, eps)\nr = Sqrt (e)\ni = Reciprocal (r)\n"
        f"u = Mul (d, i)\n{END}",
        ALONG, 13,
    ),
    norm(
        "layer, power of -1/2",
        f"{CENTRED}q = Mul (d, d)\nv = ReduceMean <axes=[1]> (q)\ne = Add (v, eps)\nr = Pow (e, minus)\nu = Mul (r, d)\n{END}",
        {**ALONG, "minus": -0.5}, 13,
    ),
    norm(
        "layer, one over Sqrt",
        f"{CENTRED}q = Mul (d, d)\nv = ReduceMean <axes=[1]> (q)\ne = Add (v, eps)\nr = Sqrt (e)\ni = Div (one, r)\n"
        f"u = Mul (d, i)\n{END}",
        ALONG, 13,
    ),
    norm(
        "layer, as TensorFlow writes it",
        f"{CENTRED}q = Mul (d, d)\nv = ReduceMean <axes=[1]> (q)\ne = Add (v, eps)\nr = Sqrt (e)\ni = Reciprocal (r)\n"
        "g = Mul (i, s)\nu = Mul (c1, g)\nw = Mul (m, g)\nb = Sub (o, w)\nn1 = Add (u, b)",
        ALONG, 13,
    ),
    norm(
        "layer, mean of squares less square of mean",
        "m = ReduceMean <axes=[1]> (c1)\nq = Mul (c1, c1)\nv = ReduceMean <axes=[1]> (q)\nw = Mul (m, m)\nz = Sub (v, w)\n"
        f"e = Add (z, eps)\nr = Sqrt (e)\nd = Sub (c1, m)\nu = Div (d, r)\n{END}",
        ALONG, 13,
    ),
    norm(
        "instance, written out",
        "m = ReduceMean <axes=[2,3]> (c1)\nd = Sub (c1, m)\nq = Mul (d, d)\nv = ReduceMean <axes=[2,3]> (q)\n"
        f"e = Add (v, eps)\nr = Sqrt (e)\nu = Div (d, r)\n{END}",
        ALONG, 13,
    ),
    norm(
        "group, written out over a Reshape",
        "five = Reshape (c1, five_)\nm = ReduceMean <axes=[2,3,4]> (five)\nd = Sub (five, m)\nq = Mul (d, d)\n"
        "v = ReduceMean <axes=[2,3,4]> (q)\ne = Add (v, eps)\nr = Sqrt (e)\nw = Div (d, r)\nu = Reshape (w, four_)\n"
        f"{END}",
        {**ALONG, "five_": [1, 2, 3, 5, 4], "four_": [1, 6, 5, 4]}, 13,
    ),
    norm(
        "RMS, sum of squares",
        f"q = ReduceSumSquare <axes=[1]> (c1)\nv = Mul (q, sixth)\ne = Add (v, eps)\nr = Sqrt (e)\nu = Div (c1, r)\n{END}",
        {**ALONG, "sixth": 1 / 6}, 13,
    ),
    norm("L2, written out", f"q = ReduceL2 <axes=[1]> (c1)\ne = Clip (q, eps)\nu = Div (c1, e)\n{END}", ALONG, 13),
    norm(
        "global response",
        "q = ReduceL2 <axes=[2,3]> (c1)\nm = ReduceMean <axes=[1]> (q)\ne = Add (m, eps)\ng = Div (q, e)\nw = Mul (c1, g)\n"
        "k = Mul (w, s)\nb = Add (k, o)\nn1 = Add (b, c1)",
        ALONG, 13,
    ),
    norm(
        "over three axes, transposed",
        "t = Transpose <perm=[0,2,3,1]> (c1)\nl = LayerNormalization <axis=-1> (t, s_, o_)\n"
        "n1 = Transpose <perm=[0,3,1,2]> (l)",
        {"s_": (6,), "o_": (6,)},
    ),
    tokens("attention", f"{PRODUCTS}kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\n"
           "w = Softmax <axis=-1> (z)\nm = MatMul (w, v)", QKV),
    tokens("attention with a mask that is added",
           f"{PRODUCTS}kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\nzm = Add (z, mask)\n"
           "w = Softmax <axis=-1> (zm)\nm = MatMul (w, v)",
           {**QKV, "mask": np.triu(np.full((12, 12), -30.0), 1)}),
    tokens("attention with a mask that chooses",
           f"{PRODUCTS}kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\nzm = Where (mask, z, low)\n"
           "w = Softmax <axis=-1> (zm)\nm = MatMul (w, v)",
           {**QKV, "mask": np.tril(np.ones((12, 12), bool)), "low": -1e4}),
    tokens("attention of two heads",
           f"{PRODUCTS}q4 = Reshape (q, split)\nk4 = Reshape (k, split)\nv4 = Reshape (v, split)\n"
           "qh = Transpose <perm=[0,2,1,3]> (q4)\nkh = Transpose <perm=[0,2,3,1]> (k4)\nvh = Transpose <perm=[0,2,1,3]> (v4)\n"
           "qs = Mul (qh, scale)\ns = MatMul (qs, kh)\nw = Softmax <axis=-1> (s)\nmh = MatMul (w, vh)\n"
           "mt = Transpose <perm=[0,2,1,3]> (mh)\nm = Reshape (mt, joined)",
           {**QKV, "split": [1, 12, 2, 3], "joined": [1, 12, 6]}),
    tokens("attention with shared keys",
           "q = MatMul (t, wq)\nk = MatMul (t, wk)\nv = MatMul (t, wv)\nq4 = Reshape (q, split)\nk4 = Reshape (k, few)\n"
           "v4 = Reshape (v, few)\nqh = Transpose <perm=[0,2,1,3]> (q4)\nkh = Transpose <perm=[0,2,3,1]> (k4)\n"
           "vh = Transpose <perm=[0,2,1,3]> (v4)\nke = Expand (kh, wide_k)\nve = Expand (vh, wide_v)\ns = MatMul (qh, ke)\n"
           "w = Softmax <axis=-1> (s)\nmh = MatMul (w, ve)\nmt = Transpose <perm=[0,2,1,3]> (mh)\nm = Reshape (mt, joined)",
           {"wq": (6, 6), "wk": (6, 3), "wv": (6, 3), "split": [1, 12, 2, 3], "few": [1, 12, 1, 3],
            "wide_k": [1, 2, 3, 12], "wide_v": [1, 2, 12, 3], "joined": [1, 12, 6]}),
    tokens("attention, Softmax written out",
           f"{PRODUCTS}kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\n"
           "top = ReduceMax <axes=[-1]> (z)\nzz = Sub (z, top)\nex = Exp (zz)\nsum = ReduceSum (ex, last)\nw = Div (ex, sum)\n"
           "m = MatMul (w, v)", {**QKV, "last": [-1]}, 13),
    tokens("attention by Einsum",
           f"{PRODUCTS}s = Einsum <equation=\"bqc,bkc->bqk\"> (q, k)\nz = Mul (s, scale)\nw = Softmax <axis=-1> (z)\n"
           "m = Einsum <equation=\"bqk,bkc->bqc\"> (w, v)", QKV),
    tokens("cosine attention",
           f"{PRODUCTS}qn = LpNormalization <axis=-1, p=2> (q)\nkn = LpNormalization <axis=-1, p=2> (k)\n"
           "kt = Transpose <perm=[0,2,1]> (kn)\ns = MatMul (qn, kt)\nz = Mul (s, scale)\nw = Softmax <axis=-1> (z)\n"
           "m = MatMul (w, v)", QKV),
    tokens("attention with a shortcut and a norm",
           "n = LayerNormalization (t, s_, o_)\nq = MatMul (n, wq)\nk = MatMul (n, wk)\nv = MatMul (n, wv)\n"
           "kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\nw = Softmax <axis=-1> (z)\n"
           "mm = MatMul (w, v)\nm = Add (mm, t)", {**QKV, "s_": (6,), "o_": (6,)}),
    tokens("class attention: one query",
           "q1 = Gather <axis=1> (t, first)\nq = MatMul (q1, wq)\nk = MatMul (t, wk)\nv = MatMul (t, wv)\n"
           "kt = Transpose <perm=[0,2,1]> (k)\ns = MatMul (q, kt)\nz = Mul (s, scale)\nw = Softmax <axis=-1> (z)\n"
           "mm = MatMul (w, v)\nm = Add (mm, q1)", {**QKV, "first": [0]}),
    gated("squeeze and excitation", f"{SQUEEZE}s = {HARD} (e2)\nn1 = Mul (c0, s)", SQUEEZED),
    gated("gate on the left", f"{SQUEEZE}s = {HARD} (e2)\nn1 = Mul (s, c0)", SQUEEZED),
    gated("divided", f"{SQUEEZE}s = {HARD} (e2)\nn1 = Div (c0, s)", SQUEEZED),
    gated("linear unit",
          f"a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\ng = {HARD} (b)\nn1 = Mul (a, g)",
          {"wa": (6, 6, 1, 1), "ba": (6,), "wb": (6, 6, 1, 1), "bb": (6,)}),
    gated("places and channels",
          f"{SQUEEZE}s = {HARD} (e2)\nk = Mul (c0, s)\nmean = ReduceMean (k, ch)\ntop = ReduceMax (k, ch)\n"
          f"cat = Concat <axis=1> (mean, top)\nsp = Conv <pads=[1,1,1,1]> (cat, wp, bp)\nsg = {HARD} (sp)\nn1 = Mul (k, sg)",
          {**SQUEEZED, "ch": [1], "wp": (1, 2, 3, 3), "bp": (1,)}),
    gated("mixture of two branches",
          "a = Conv (c0, wa)\nb = Conv <pads=[1,1,1,1]> (c0, wb)\nsum = Add (a, b)\nz = GlobalAveragePool (sum)\n"
          "e1 = Conv (z, we1, be1)\nq = Relu (e1)\nea = Conv (q, we2, be2)\neb = Conv (q, we3, be3)\nua = Unsqueeze (ea, ax)\n"
          "ub = Unsqueeze (eb, ax)\nst = Concat <axis=1> (ua, ub)\nw = Softmax <axis=1> (st)\npa, pb = Split <axis=1, num_outputs=2> (w)\n"
          "sa = Squeeze (pa, ax)\nsb = Squeeze (pb, ax)\nxa = Mul (a, sa)\nxb = Mul (b, sb)\nn1 = Add (xa, xb)",
          {**SQUEEZED, "wa": (6, 6, 1, 1), "wb": (6, 6, 3, 3), "we3": (6, 3, 1, 1), "be3": (6,), "ax": [1]}),
    gated("of the map's own places",
          f"m = ReduceMean (c0, hw)\nd = Sub (c0, m)\ng = {HARD} (d)\nn1 = Mul (c0, g)", {"hw": [2, 3]}),
)  # fmt: skip
"""The networks."""
