# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small networks with every kind of operator that a walk may meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from small_nets import Net, Norm, bn


def activated(op: str, opset: int = 22) -> Net:
    """An activation between convolutions, and behind a batch norm."""
    body = f"c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\na1 = {op} (c1)\nc2 = Conv (a1, w2, b2)\n{bn('n2', 'c2')}\nf = {op} (n2)"
    weights = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (5, 6, 2, 2), "b2": (5,), "n2": Norm(5)}
    return Net(f"activation {op}", "x=1,3,6,6", body, weights, opset, 5)


def pooling(kind: str, attributes: str, opset: int = 21) -> Net:
    """A pool between convolutions."""
    body = (
        f"c1 = Conv (x, w1, b1)\na1 = Relu (c1)\np1 = {kind} <{attributes}> (a1)\nc2 = Conv (p1, w2, b2)\nf = Relu (c2)"
    )
    return Net(
        f"{kind} {attributes} {opset}", "x=1,3,9,8", body,
        {"w1": (6, 3, 2, 2), "b1": (6,), "w2": (5, 6, 1, 1), "b2": (5,)}, opset, 5,
    )  # fmt: skip


def convolved(attributes: str, weight: tuple[int, ...], inputs: str, opset: int = 21, op: str = "Conv") -> Net:
    """A convolution with some attributes between pointwise ones."""
    spatial = len(weight) - 2
    ones = (1,) * spatial
    out = weight[0] if op == "Conv" else weight[1] * (2 if "group=2" in attributes else 1)
    body = f"c0 = Conv (x, w0, b0)\na0 = Relu (c0)\nc1 = {op} <{attributes}> (a0, w1, b1)\na1 = Relu (c1)\nc2 = Conv (a1, w2, b2)\nf = Relu (c2)"
    channels = weight[1] * (2 if "group=2" in attributes else 1) if op == "Conv" else weight[0]
    weights = {
        "w0": (channels, 3, *ones),
        "b0": (channels,),
        "w1": weight,
        "b1": (out,),
        "w2": (4, out, *ones),
        "b2": (4,),
    }
    return Net(f"{op} {attributes} {weight} {opset}", inputs, body, weights, opset, 4)


RESIDUAL = (
    f"c1 = Conv <pads=[1,1,1,1]> (x, w1)\n{bn('n1', 'c1')}\nr1 = Relu (n1)\n"
    f"c2 = Conv <pads=[1,1,1,1]> (r1, w2)\n{bn('n2', 'c2')}\ns2 = Add (n2, r1)\nr2 = Relu (s2)\n"
    f"c3 = Conv <pads=[1,1,1,1], strides=[2,2]> (r2, w3)\n{bn('n3', 'c3')}\nr3 = Relu (n3)\n"
    f"c4 = Conv <pads=[1,1,1,1]> (r3, w4)\n{bn('n4', 'c4')}\nd = Conv <strides=[2,2]> (r2, wd)\n{bn('nd', 'd')}\n"
    "s4 = Add (nd, n4)\nf = Relu (s4)"
)


RESIDUAL_WEIGHTS = {
    "w1": (6, 3, 3, 3), "n1": Norm(6), "w2": (6, 6, 3, 3), "n2": Norm(6), "w3": (8, 6, 3, 3), "n3": Norm(8),
    "w4": (8, 8, 3, 3), "n4": Norm(8), "wd": (8, 6, 1, 1), "nd": Norm(8),
}  # fmt: skip


INCEPTION = (
    "c0 = Conv <pads=[1,1,1,1]> (x, w0, b0)\nr0 = Relu (c0)\np0 = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (r0)\n"
    "ca = Conv (p0, wa)\nra = Relu (ca)\ncb = Conv (p0, wb)\nrb = Relu (cb)\ncc = Conv <pads=[1,1,1,1]> (rb, wc)\nrc = Relu (cc)\n"
    "pd = MaxPool <kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1]> (p0)\ncd = Conv (pd, wd)\nrd = Relu (cd)\n"
    "cat = Concat <axis=1> (ra, rc, rd)\ncf = Conv (cat, wf, bf)\nf = Relu (cf)"
)


INCEPTION_WEIGHTS = {
    "w0": (6, 3, 3, 3), "b0": (6,), "wa": (3, 6, 1, 1), "wb": (4, 6, 1, 1), "wc": (5, 4, 3, 3), "wd": (2, 6, 1, 1),
    "wf": (6, 10, 1, 1), "bf": (6,),
}  # fmt: skip


SE = (
    "c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\nr1 = Relu (c1)\nz = GlobalAveragePool (r1)\ne1 = Conv (z, we1, be1)\nq = Relu (e1)\n"
    "e2 = Conv (q, we2, be2)\ns = Sigmoid (e2)\nm = Mul (r1, s)\nc2 = Conv (m, w2, b2)\nf = Relu (c2)"
)


SE_WEIGHTS = {
    "w1": (8, 3, 3, 3), "b1": (8,), "we1": (2, 8, 1, 1), "be1": (2,), "we2": (8, 2, 1, 1), "be2": (8,), "w2": (6, 8, 1, 1), "b2": (6,),
}  # fmt: skip


def select(op: str) -> Net:
    """Elements taken from one of two branches."""
    call = "Where (mask, r1, r2)" if op == "Where" else f"{op} (r1, r2)"
    body = f"c1 = Conv (x, w1, b1)\nr1 = Elu (c1)\nc2 = Conv (x, w2, b2)\nr2 = Tanh (c2)\nm = {call}\nc3 = Conv (m, w3, b3)\nf = Relu (c3)"
    weights: dict[str, Any] = {
        "w1": (6, 3, 1, 1),
        "b1": (6,),
        "w2": (6, 3, 1, 1),
        "b2": (6,),
        "w3": (4, 6, 1, 1),
        "b3": (4,),
    }
    if op == "Where":
        weights["mask"] = np.indices((6, 6)).sum(0) % 3 == 0
    return Net(f"select {op}", "x=1,3,6,6", body, weights, 21, 4)


GATE_WEIGHTS = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 1, 1), "b2": (4,)}


def gated(name: str, body: str, weights: Mapping[str, Any]) -> Net:
    """A gate that makes ``n1`` of ``c0``, between convolutions; the first is left as it is, so that signs differ."""
    whole = f"c0 = Conv (x, w1, b1)\n{body}\nr1 = Relu (n1)\nc2 = Conv (r1, w2, b2)\nf = Relu (c2)"
    return Net(f"gate {name}", "x=1,3,5,4", whole, {**GATE_WEIGHTS, **weights}, 18, 4)


EXCITED = {"we1": (3, 6, 1, 1), "be1": (3,), "we2": (6, 3, 1, 1), "be2": (6,)}


TWO = {"wa": (6, 6, 1, 1), "ba": (6,), "wb": (6, 6, 1, 1), "bb": (6,), "hw": [2, 3], "ch": [1]}


SQUEEZE = "z = GlobalAveragePool (c0)\ne1 = Conv (z, we1, be1)\nq = Relu (e1)\ne2 = Conv (q, we2, be2)\n"


SIMPLE = (
    "m = ReduceMean (c0, hw)\nd = Sub (c0, m)\nq = {square}\nv = ReduceMean (q, hw)\nl = Add (v, small)\nv4 = Mul (l, four)\n"
    "e = Div (q, v4)\nh = Add (e, half)\ns = Sigmoid (h)\nn1 = Mul (c0, s)"
)


GATES: tuple[Net, ...] = (
    gated("GLU", "a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\ns = Sigmoid (b)\nn1 = Mul (a, s)", TWO),
    gated("GLU of one layer, split", "a = Conv (c0, wide)\nl, r = Split <axis=1, num_outputs=2> (a)\ns = Sigmoid (r)\nn1 = Mul (l, s)",
          {"wide": (12, 6, 1, 1)}),
    gated("GEGLU", "a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\ng = Mul (b, slow)\nt = Tanh (g)\nu = Mul (b, t)\nn1 = Mul (a, u)", {**TWO, "slow": 1.7}),
    gated("bilinear", "a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\nn1 = Mul (a, b)", TWO),
    gated("own places, square as a power", SIMPLE.format(square="Pow (d, two)"),
          {"hw": [2, 3], "small": 1e-4, "four": 4.0, "half": 0.5, "two": 2.0}),
    gated("own places, square as a product", SIMPLE.format(square="Mul (d, d)"),
          {"hw": [2, 3], "small": 1e-4, "four": 4.0, "half": 0.5}),
    gated("channels and places",
          "z = GlobalAveragePool (c0)\nt = GlobalMaxPool (c0)\nza = Conv (z, we1)\nta = Conv (t, we1)\nzr = Relu (za)\ntr = Relu (ta)\n"
          "zb = Conv (zr, we2)\ntb = Conv (tr, we2)\nzt = Add (zb, tb)\ns = Sigmoid (zt)\nk = Mul (c0, s)\nmean = ReduceMean (k, ch)\n"
          "top = ReduceMax (k, ch)\ncat = Concat <axis=1> (mean, top)\nsp = Conv <pads=[1,1,1,1]> (cat, wp)\nsg = Sigmoid (sp)\nn1 = Mul (k, sg)",
          {"we1": (3, 6, 1, 1), "we2": (6, 3, 1, 1), "wp": (1, 2, 3, 3), "ch": [1]}),
    gated("global response",
          "q = ReduceL2 (c0, hw)\nm = ReduceMean (q, ch)\ne = Add (m, small)\ng = Div (q, e)\nw = Mul (c0, g)\nk = Mul (w, s)\nb = Add (k, o)\nn1 = Add (b, c0)",
          {"hw": [2, 3], "ch": [1], "small": 1e-6, "s": (6, 1, 1), "o": (6, 1, 1)}),
    gated("excitation with SiLU inside",
          "z = GlobalAveragePool (c0)\ne1 = Conv (z, we1, be1)\ns1 = Sigmoid (e1)\nq = Mul (e1, s1)\ne2 = Conv (q, we2, be2)\ns = Sigmoid (e2)\nn1 = Mul (s, c0)", EXCITED),
    gated("excitation by one Sigmoid more and a shift", f"{SQUEEZE}s = Sigmoid (e2)\nk = Mul (c0, s)\nn1 = Add (k, e2)", EXCITED),
    gated("excitation by HardSigmoid, divided", f"{SQUEEZE}s = HardSigmoid <alpha=0.1, beta=0.6> (e2)\nn1 = Div (c0, s)", EXCITED),
    gated("Softmax over places", "b = Conv (c0, wo)\nb3 = Reshape (b, flat_)\ns3 = Softmax <axis=2> (b3)\nc3 = Reshape (c0, flat_)\nk = Mul (c3, s3)\n"
          "p = ReduceSum (k, last)\nu = Unsqueeze (p, last)\nt = Conv (u, wa, ba)\nn1 = Add (c0, t)",
          {"wo": (1, 6, 1, 1), "wa": (6, 6, 1, 1), "ba": (6,), "flat_": [1, -1, 20], "last": [2]}),
    gated("mixture of two stacked branches",
          f"{SQUEEZE}a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\nea = Conv (q, wc)\nua = Unsqueeze (ea, ch)\nub = Unsqueeze (e2, ch)\nst = Concat <axis=1> (ua, ub)\n"
          "w = Softmax <axis=1> (st)\nfa = Unsqueeze (a, ch)\nfb = Unsqueeze (b, ch)\nfs = Concat <axis=1> (fa, fb)\nk = Mul (fs, w)\nn1 = ReduceSum <keepdims=0> (k, ch)",
          {**EXCITED, **TWO, "wc": (6, 3, 1, 1)}),
    gated("mixture, Softmax written out",
          f"{SQUEEZE}a = Conv (c0, wa, ba)\nb = Conv (c0, wb, bb)\nea = Conv (q, wc)\nxa = Exp (ea)\nxb = Exp (e2)\nsum = Add (xa, xb)\npa = Div (xa, sum)\npb = Div (xb, sum)\n"
          "ka = Mul (a, pa)\nkb = Mul (b, pb)\nn1 = Add (ka, kb)",
          {**EXCITED, **TWO, "wc": (6, 3, 1, 1)}),
    gated("Sigmoid written out", "b = Conv (c0, wa, ba)\nn = Neg (b)\ne = Exp (n)\ni = Add (e, one_)\ns = Div (one_, i)\nn1 = Mul (c0, s)",
          {"wa": (6, 6, 1, 1), "ba": (6,), "one_": 1.0}),
    gated("lengths and products of a map",
          "h = Relu (c0)\nl1 = ReduceL1 (c0, hw)\nss = ReduceSumSquare (c0, hw)\nle = ReduceLogSumExp (c0, hw)\nlo = Log (ss)\nre = Reciprocal (ss)\n"
          "a = Add (l1, le)\nb = Add (lo, re)\ns0 = Add (a, b)\ns = HardSigmoid <alpha=0.0002> (s0)\nn1 = Mul (h, s)", {"hw": [1, 2, 3]}),
)  # fmt: skip
"""Networks whose gates squash, mix, or are made of the map itself."""


def normalised(call: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """A normalisation of ``c1`` between convolutions."""
    body = f"c1 = Conv (x, w1, b1)\nn1 = {call}\nr1 = Relu (n1)\nc2 = Conv (r1, w2, b2)\nf = Relu (c2)"
    return Net(
        f"norm {call} {opset}", "x=1,3,6,5", body,
        {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 1, 1), "b2": (4,), **weights}, opset, 4,
    )  # fmt: skip


NETS: tuple[Net, ...] = (
    Net(
        "plain stack", "x=1,3,8,8",
        f"c1 = Conv <pads=[1,1,1,1]> (x, w1)\n{bn('n1', 'c1')}\nr1 = Relu (n1)\nc2 = Conv <strides=[2,2]> (r1, w2)\n{bn('n2', 'c2')}\n"
        "r2 = Relu (n2)\nc3 = Conv (r2, w3)\nf = Relu (c3)",
        {"w1": (6, 3, 3, 3), "n1": Norm(6), "w2": (7, 6, 3, 3), "n2": Norm(7), "w3": (5, 7, 1, 1)}, 21, 5,
    ),
    *(Net(f"residual {o}", "x=1,3,8,8", RESIDUAL, RESIDUAL_WEIGHTS, o, 8) for o in (9, 11, 13, 18, 21)),
    *(Net(f"inception {o}", "x=1,3,9,8", INCEPTION, INCEPTION_WEIGHTS, o, 6) for o in (9, 11, 13, 15, 16, 18, 21)),
    Net(
        "padded shortcut", "x=1,3,8,8",
        "c0 = Conv (x, w0, b0)\nr0 = Relu (c0)\nc1 = Conv <strides=[2,2], pads=[1,1,1,1]> (r0, w1, b1)\n"
        "a = AveragePool <kernel_shape=[1,1], strides=[2,2]> (r0)\nk = Pad (a, zero_pads)\ns = Add (c1, k)\nr1 = Relu (s)\n"
        "c2 = Conv (r1, w2, b2)\nf = Relu (c2)",
        {"w0": (4, 3, 1, 1), "b0": (4,), "w1": (6, 4, 3, 3), "b1": (6,), "w2": (5, 6, 1, 1), "b2": (5,), "zero_pads": [0, 0, 0, 0, 0, 2, 0, 0]},
        21, 5,
    ),
    Net(
        "shuffle", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv <group=2> (r1, w2, b2)\nr2 = Relu (c2)\nv5 = Reshape (r2, five)\n"
        "t = Transpose <perm=[0,2,1,3,4]> (v5)\nv4 = Reshape (t, four)\nc3 = Conv <group=4, pads=[1,1,1,1]> (v4, w3, b3)\nr3 = Relu (c3)\n"
        "c4 = Conv <group=8> (r3, w4)\nf = Relu (c4)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 4, 1, 1), "b2": (8,), "five": [1, 2, 4, 6, 6], "four": [1, 8, 6, 6],
         "w3": (8, 2, 3, 3), "b3": (8,), "w4": (8, 1, 2, 2)}, 21, 8,
    ),
    Net(
        "fibers", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\ns1, s2 = Split <axis=1> (r1, half)\nd1 = Conv (s1, wa, ba)\nd2 = Conv (s2, wb, bb)\n"
        "k = Concat <axis=1> (d1, d2)\nr2 = Relu (k)\nc3 = Conv (r2, w3)\nf = Relu (c3)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "half": [4, 4], "wa": (3, 4, 3, 3), "ba": (3,), "wb": (3, 4, 3, 3), "bb": (3,), "w3": (4, 6, 1, 1)}, 21, 4,
    ),
    Net("se", "x=1,3,6,6", SE, SE_WEIGHTS, 21, 6),
    Net("se 9", "x=1,3,6,6", SE, SE_WEIGHTS, 9, 6),
    Net(
        "(2+1)D", "x=1,3,4,6,6",
        f"c1 = Conv <pads=[0,1,1,0,1,1]> (x, w1)\n{bn('n1', 'c1')}\nr1 = Relu (n1)\nc2 = Conv <pads=[1,0,0,1,0,0]> (r1, w2)\n{bn('n2', 'c2')}\n"
        f"r2 = Relu (n2)\nc3 = Conv <pads=[0,1,1,0,1,1], strides=[1,2,2]> (r2, w3)\nr3 = Relu (c3)\nc4 = Conv <pads=[1,0,0,1,0,0], strides=[2,1,1]> (r3, w4)\n"
        "p = MaxPool <kernel_shape=[1,3,3], strides=[1,2,2], pads=[0,1,1,0,1,1]> (c4)\nf = Relu (p)",
        {"w1": (6, 3, 1, 3, 3), "n1": Norm(6), "w2": (5, 6, 3, 1, 1), "n2": Norm(5), "w3": (6, 5, 1, 3, 3), "w4": (4, 6, 3, 1, 1)}, 21, 4,
    ),
    *(activated(op) for op in ("LeakyRelu", "Gelu", "Sigmoid", "HardSwish", "HardSigmoid", "Softplus", "Elu", "Tanh", "Selu", "Mish", "Exp", "Abs", "ThresholdedRelu", "Celu", "Softsign")),
    Net(
        "SiLU written out", "x=1,3,6,6",
        f"c1 = Conv (x, w1, b1)\ns1 = Sigmoid (c1)\na1 = Mul (c1, s1)\nc2 = Conv (a1, w2, b2)\n{bn('n2', 'c2')}\ns2 = Sigmoid (n2)\nf = Mul (s2, n2)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (5, 6, 2, 2), "b2": (5,), "n2": Norm(5)}, 21, 5,
    ),
    Net(
        "ReLU6 and affine", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nm1 = Mul (c1, k)\na1 = Add (o, m1)\nr1 = Clip (a1, low, high)\nc2 = Conv (r1, w2, b2)\nd = Div (c2, two)\ne = Sub (one, d)\nf = Clip (e, low, high)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (5, 6, 2, 2), "b2": (5,), "k": (6, 1, 1), "o": (6, 1, 1), "low": 0.0, "high": 6.0, "two": 2.0, "one": 1.0}, 21, 5,
    ),
    pooling("AveragePool", "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=0"),
    pooling("AveragePool", "kernel_shape=[3,3], strides=[2,2], pads=[1,0,1,1], count_include_pad=1"),
    pooling("AveragePool", "kernel_shape=[3,2], strides=[2,2], ceil_mode=1"),
    pooling("AveragePool", "kernel_shape=[2,2], strides=[2,2], pads=[1,0,0,1], count_include_pad=1, ceil_mode=1"),
    pooling("AveragePool", "kernel_shape=[3,2], strides=[2,3], auto_pad=\"SAME_UPPER\""),
    pooling("AveragePool", "kernel_shape=[3,2], strides=[2,2], pads=[1,0,1,0]", 9),
    pooling("MaxPool", "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1"),
    pooling("MaxPool", "kernel_shape=[3,2], strides=[2,2], ceil_mode=1", 11),
    pooling("MaxPool", "kernel_shape=[2,3], strides=[1,2], dilations=[2,1], pads=[1,1,0,1]", 13),
    pooling("MaxPool", "kernel_shape=[2,3], strides=[1,2], dilations=[2,1], pads=[1,1,0,1]"),
    pooling("MaxPool", "kernel_shape=[3,2], strides=[2,2], auto_pad=\"SAME_LOWER\""),
    convolved("strides=[3,2], pads=[1,0,2,1]", (5, 6, 3, 2), "x=1,3,9,8"),
    convolved("strides=[3,2], pads=[0,0,0,0]", (5, 6, 2, 1), "x=1,3,9,8"),
    convolved("dilations=[2,3], pads=[2,1,0,3]", (5, 6, 2, 2), "x=1,3,9,8"),
    convolved("strides=[2,2], auto_pad=\"SAME_UPPER\"", (5, 6, 3, 2), "x=1,3,9,8"),
    convolved("strides=[2,3], auto_pad=\"SAME_LOWER\"", (5, 6, 3, 2), "x=1,3,9,8"),
    convolved("strides=[2,2], pads=[3,3,3,3]", (5, 6, 2, 2), "x=1,3,9,8", 9),
    convolved("pads=[3,3,2,3]", (5, 6, 2, 2), "x=1,3,5,4", 9),
    convolved("group=2, strides=[2,1], pads=[1,1,1,1]", (6, 2, 3, 3), "x=1,3,9,8"),
    convolved("strides=[2], pads=[1,1]", (5, 6, 3), "x=1,3,9"),
    convolved("strides=[2,1,2], pads=[1,0,1,1,0,0]", (4, 5, 3, 2, 3), "x=1,3,5,4,5"),
    convolved("strides=[2,2], pads=[1,0,0,1], output_padding=[1,1]", (6, 4, 3, 3), "x=1,3,5,4", op="ConvTranspose"),
    convolved("group=2, strides=[3,2], dilations=[1,2]", (6, 2, 2, 3), "x=1,3,5,4", op="ConvTranspose"),
    Net(
        "mlp", "x=1,12",
        "a = MatMul (x, w1)\nb = Add (a, b1)\nr = Relu (b)\nc = Gemm <transB=1> (r, w2, b2)\ns = Tanh (c)\nd = MatMul (s, w3)\ny = Softmax (d)",
        {"w1": (12, 9), "b1": (9,), "w2": (7, 9), "b2": (7,), "w3": (7, 5)},
    ),
    Net(
        "flatten head", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv (r1, w2, b2)\nr2 = Relu (c2)\nk = Flatten (r2)\ng = Gemm <alpha=0.5> (k, w3, b3)\nh = Relu (g)\ny = Gemm <transB=1> (h, w4, b4)",
        {"w1": (5, 3, 2, 2), "b1": (5,), "w2": (4, 5, 2, 2), "b2": (4,), "w3": (64, 9), "b3": (9,), "w4": (6, 9), "b4": (6,)},
    ),
    Net(
        "conv head and mean over time", "x=1,3,6,4,4",
        "c1 = Conv <pads=[1,1,1,1,1,1]> (x, w1, b1)\nr1 = Relu (c1)\np = AveragePool <kernel_shape=[2,4,4], strides=[1,1,1]> (r1)\nd = Dropout (p)\nl = Conv (d, w2, b2)\nq = Squeeze (l, hw)\ny = ReduceMean <keepdims=0> (q, t)",
        {"w1": (7, 3, 3, 3, 3), "b1": (7,), "w2": (5, 7, 1, 1, 1), "b2": (5,), "hw": [3, 4], "t": [2]},
    ),
    Net(
        "two dense classes, one output", "x=1,3,4,4",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\np = ReduceMean <keepdims=0> (r1, hw)\nd = Gemm (p, w2, b2)\ny = Sigmoid (d)",
        {"w1": (7, 3, 2, 2), "b1": (7,), "w2": (7, 1), "b2": (1,), "hw": [2, 3]},
    ),
    normalised("InstanceNormalization (c1, s, o)", {"s": (6,), "o": (6,)}),
    normalised("InstanceNormalization (c1, s, o)", {"s": (6,), "o": (6,)}, 9),
    normalised("GroupNormalization <num_groups=2> (c1, s, o)", {"s": (6,), "o": (6,)}),
    normalised("GroupNormalization <num_groups=3> (c1, s, o)", {"s": (3,), "o": (3,)}, 18),
    normalised("LayerNormalization <axis=1> (c1, s, o)", {"s": (6, 6, 5), "o": (6, 6, 5)}, 17),
    normalised("LayerNormalization (c1, s)", {"s": (5,)}),
    normalised("RMSNormalization <axis=1> (c1, s)", {"s": (6, 6, 5)}, 23),
    normalised("LRN <size=3, alpha=0.5, beta=0.75, bias=1.5> (c1)", {}),
    normalised("LRN <size=5, alpha=0.5> (c1)", {}, 9),
    Net(
        "attention block", "x=1,3,4,4",
        "c1 = Conv (x, w1, b1)\nfl = Reshape (c1, flat_)\nt = Transpose <perm=[0,2,1]> (fl)\nn = LayerNormalization (t, s, o)\nk = MatMul (n, wk)\nq = MatMul (n, wq)\nv = MatMul (n, wv)\nkt = Transpose <perm=[0,2,1]> (k)\n"
        "e = MatMul (q, kt)\nsc = Mul (e, half)\na = Softmax <axis=-1> (sc)\nm = MatMul (a, v)\no_ = MatMul (m, wo)\nr = Add (o_, t)\nn2 = LayerNormalization (r, s2, o2)\nh = MatMul (n2, wh)\nhb = Add (h, bh)\ng = Gelu (hb)\nz = MatMul (g, wz)\nr2 = Add (r, z)\n"
        "p = ReduceMean <keepdims=0> (r2, one)\ny = Gemm (p, wy, by)",
        {"w1": (6, 3, 1, 1), "b1": (6,), "flat_": [1, 6, 16], "s": np.ones(6), "o": (6,), "wk": (6, 6), "wq": (6, 6), "wv": (6, 6), "wo": (6, 6), "half": 0.5,
         "s2": np.ones(6), "o2": (6,), "wh": (6, 10), "bh": (10,), "wz": (10, 6), "one": [1], "wy": (6, 5), "by": (5,)},
    ),
    Net(
        "layer norm written out",
        "x=1,3,4,4",
        """c1 = Conv (x, w1, b1)
        t = Transpose <perm=[0,2,3,1]> (c1)
        m = ReduceMean <axes=[-1]> (t)
        d = Sub (t, m)
        q = Pow (d, two)
        v = ReduceMean <axes=[-1]> (q)
        e = Add (v, eps)
        r = Sqrt (e)
        n = Div (d, r)
        k = Mul (n, s)
        l = Add (k, o)
        h = MatMul (l, w2)
        r2 = Relu (h)
        p = ReduceMean <axes=[1,2], keepdims=0> (r2)
        y = Gemm (p, w3)""",
        {"w1": (6, 3, 2, 2), "b1": (6,), "two": 2.0, "eps": 1e-5, "s": (6,), "o": (6,), "w2": (6, 4), "w3": (4, 5)},
        13,
    ),
    Net(
        "group norm as PyTorch exports it",
        "x=1,3,4,4",
        """c1 = Conv (x, w1, b1)
        a = Reshape (c1, three)
        n = InstanceNormalization (a, one3, zero3)
        c = Reshape (n, four)
        k = Mul (c, s)
        l = Add (k, o)
        r = Relu (l)
        c2 = Conv (r, w2, b2)
        f = Relu (c2)""",
        {"w1": (6, 3, 1, 1), "b1": (6,), "three": [0, 3, -1], "four": [1, 6, 4, 4], "one3": np.ones(3), "zero3": np.zeros(3),
         "s": (6, 1, 1), "o": (6, 1, 1), "w2": (4, 6, 1, 1), "b2": (4,)},
        13,
        4,
    ),
    Net(
        "three addends, one negated, and a slope per channel",
        "x=1,3,6,6",
        """c1 = Conv (x, w1, b1)
        r1 = PRelu (c1, a1)
        c2 = Conv (r1, w2, b2)
        n2 = Neg (c2)
        c3 = Conv (r1, w3, b3)
        s = Sum (n2, c3, r1)
        d = Sub (s, c2)
        f = Relu (d)""",
        {"w1": (5, 3, 1, 1), "b1": (5,), "a1": (5, 1, 1), "w2": (5, 5, 1, 1), "b2": (5,), "w3": (5, 5, 1, 1), "b3": (5,)},
        21,
        5,
    ),
    Net(
        "spatial gate and a mean over channels",
        "x=1,3,6,6",
        """c1 = Conv (x, w1, b1)
        r1 = Relu (c1)
        m = ReduceMean (r1, one)
        t = ReduceMax (r1, one)
        k = Concat <axis=1> (m, t)
        e = Conv <pads=[1,1,1,1]> (k, w2, b2)
        g = Sigmoid (e)
        p = Mul (r1, g)
        c3 = Conv (p, w3, b3)
        q = Add (c3, m)
        f = Relu (q)""",
        {"w1": (5, 3, 1, 1), "b1": (5,), "one": [1], "w2": (1, 2, 3, 3), "b2": (1,), "w3": (4, 5, 1, 1), "b3": (4,)},
        21,
        4,
    ),
    Net(
        "two inputs", "x=1,3,6,6 u=1,2,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv (u, w2, b2)\nr2 = Relu (c2)\nk = Concat <axis=1> (r1, r2)\nc3 = Conv (k, w3, b3)\nr3 = Relu (c3)\nl = Add (r3, r1)\nf = Relu (l)",
        {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (5, 2, 3, 3), "b2": (5,), "w3": (4, 9, 1, 1), "b3": (4,)}, 21, 4,
    ),
    Net(
        "NDHWC", "x=1,3,6,6,3",
        "t0 = Transpose <perm=[0,4,1,2,3]> (x)\nc1 = Conv <pads=[1,1,1,1,1,1]> (t0, w1, b1)\nt1 = Transpose <perm=[0,2,3,4,1]> (c1)\na1 = Mul (t1, k)\nr1 = Relu (a1)\n"
        "t2 = Transpose <perm=[0,4,1,2,3]> (r1)\nc2 = Conv <strides=[1,2,2]> (t2, w2, b2)\nt3 = Transpose <perm=[0,2,3,4,1]> (c2)\nr2 = Relu (t3)\np = ReduceMean <keepdims=0> (r2, thw)\ny = MatMul (p, w3)",
        {"w1": (5, 3, 3, 3, 3), "b1": (5,), "k": (5,), "w2": (4, 5, 2, 2, 2), "b2": (4,), "thw": [1, 2, 3], "w3": (4, 6)},
    ),
    *(select(op) for op in ("Where", "Max", "Min")),
    Net(
        "broadcast addend and slices", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\ng = GlobalAveragePool (r1)\ne = Conv (g, w2, b2)\na = Add (e, r1)\nl = Slice <axes=[1,2], starts=[1,0], ends=[6,-1]> (a)\nc3 = Conv (l, w3, b3)\nf = Relu (c3)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 6, 1, 1), "b2": (6,), "w3": (4, 5, 2, 2), "b3": (4,)}, 9, 4,
    ),
    Net(
        "global max and gather", "x=1,3,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nt = Gather <axis=1> (r1, order)\nc2 = Conv (t, w2, b2)\nr2 = Elu (c2)\ng = GlobalMaxPool (r2)\nm = ReduceMax (r2, hw)\nk = Concat <axis=1> (g, m)\nd = Flatten (k)\ny = Gemm (d, w3)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "order": [5, 1, 1, 0, 2], "w2": (4, 5, 1, 1), "b2": (4,), "hw": [2, 3], "w3": (8, 5)},
    ),
    Net(
        "pixel shuffle and upsampling", "x=1,3,4,4",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nd = DepthToSpace <blocksize=2> (r1)\nc2 = Conv (d, w2, b2)\nr2 = Relu (c2)\nu = SpaceToDepth <blocksize=2> (r2)\nc3 = Conv (u, w3, b3)\nr3 = Relu (c3)\nv = Resize <mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"> (r3, , scales)\nc4 = Conv (v, w4, b4)\nf = Relu (c4)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (3, 2, 1, 1), "b2": (3,), "w3": (5, 12, 1, 1), "b3": (5,), "scales": [1.0, 1.0, 2.0, 2.0], "w4": (4, 5, 2, 2), "b4": (4,)}, 21, 4,
    ),
 Net("batchless squeeze","x=1,3,4,6,6","a = Conv (x, w)\nr = Relu (a)\nm = ReduceMean <keepdims=0> (r, ax)\ny = Gemm (m, v)",{"w":(5,3,2,2,2),"ax":[2,3,4],"v":(5,4)}),
 Net("tile","x=1,3,4,4","a = Conv (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nt = Tile (g, rep)\nk = Concat <axis=1> (r, t)\nc = Conv (k, v)\nf = Relu (c)",{"w":(5,3,1,1),"rep":[1,1,4,4],"v":(4,10,1,1)},21,4),
 Net("expand","x=1,3,4,4","a = Conv (x, w)\nr = Relu (a)\ng = ReduceMean <keepdims=0> (r, ax)\nu = Unsqueeze (g, ax)\nt = Expand (u, sh)\nk = Concat <axis=1> (t, r)\nc = Conv (k, v)\nf = Relu (c)",{"w":(5,3,1,1),"ax":[2,3],"sh":[1,5,4,4],"v":(4,10,1,1)},21,4),
 Net("matmul left","x=1,3,4,6","a = Conv (x, w)\nr = Relu (a)\nm = MatMul (l, r)\nq = Relu (m)\nc = Conv (q, v)\nf = Relu (c)",{"w":(5,3,1,1),"l":(3,4),"v":(4,5,1,1)},21,4),
 Net("mlp mixer","x=1,3,4,4","a = Conv (x, w)\nfl = Reshape (a, sh)\nm = MatMul (fl, l)\nq = Relu (m)\nn = MatMul (q, l2)\ns = Add (n, fl)\nt = Transpose <perm=[0,2,1]> (s)\nd = MatMul (t, v)\nz = Gelu (d)\np = ReduceMean <keepdims=0> (z, one)\ny = Gemm (p, w5)",{"w":(5,3,1,1),"sh":[1,5,16],"l":(16,7),"l2":(7,16),"v":(5,6),"one":[1],"w5":(6,4)}),
 Net("strided pointwise","x=1,3,7,8","a = Conv (x, w)\nr = Relu (a)\nc = Conv <strides=[3,2]> (r, v)\nq = Relu (c)\nd = Conv (q, u)\nf = Relu (d)",{"w":(5,3,1,1),"v":(4,5,1,1),"u":(4,4,1,1)},9,4),
 Net("dropout multi outputs","x=1,3,6,6","a = Conv (x, w)\nr = Relu (a)\nd, mk = Dropout (r)\nm, ix = MaxPool <kernel_shape=[2,2]> (d)\nc = Conv (m, v)\nf = Relu (c)",{"w":(5,3,1,1),"v":(4,5,1,1)},13,4),
 Net("logits 3d","x=1,3,6,6","a = Conv (x, w)\nr = Relu (a)\ny = Conv (r, v)",{"w":(5,3,3,3),"v":(4,5,2,2)}),
 Net("pool pad edge","x=1,3,6,6","a = Conv (x, w)\nr = Relu (a)\np = Pad <mode=\"reflect\"> (r, pd)\nc = Conv (p, v)\nf = Relu (c)",{"w":(5,3,1,1),"pd":[0,0,1,2,0,0,2,1],"v":(4,5,3,3)},21,4),
    *GATES,
)  # fmt: skip
"""The networks."""


def by_name(name: str) -> Net:
    """One of the networks."""
    return next(net for net in NETS if net.name == name)
