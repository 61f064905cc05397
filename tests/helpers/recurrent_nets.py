# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small networks with recurrent layers, in every form that ONNX names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from small_nets import Net

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    name: str, op: str, options: str = "", inputs: str = "w, r, b", *, reads: str = "steps", before: str = "",
    weights: Mapping[str, Any] | None = None, directions: int = 1, opset: int = 21,
) -> Net:  # fmt: skip
    """A recurrent layer of four units between dense layers with Relu, over nine steps.

    Args:
        name: What it covers.
        op: LSTM, GRU or RNN.
        options: Further attributes, each with a comma in front.
        inputs: What it reads beside the steps.
        reads: What is read of it: all ``steps``, the ``last`` units, the last ``cell``, or ``all`` of these.
        before: Further nodes in front of it.
        weights: Further weights.
        directions: 1 or 2.
        opset: Version of ONNX's own operator set.
    """
    gates, d, h = GATES[op], directions, 4
    outs = {"steps": "u", "last": ", v", "cell": ", , c", "all": "u, v, c" if op == "LSTM" else "u, v"}[reads]
    parts = []
    if "u" in outs:
        parts.append(
            "ut = Transpose <perm=[2,0,1,3]> (u)\nuf = Reshape (ut, flat)\nud = MatMul (uf, w2)\nue = Relu (ud)\npu = ReduceMean <axes=[1], keepdims=0> (ue)"
        )
    parts += [
        f"{k}t = Transpose <perm=[1,0,2]> ({k})\n{k}f = Reshape ({k}t, one)\n{k}d = MatMul ({k}f, w{k})\np{k} = Relu ({k}d)"
        for k in "vc"
        if k in outs.split(", ")
    ]
    names = [n for n in ("pu", "pv", "pc") if any(p.rstrip().endswith(n) or f"{n} =" in p for p in parts)]
    join = f"p = Concat <axis=1> ({', '.join(names)})"
    body = (
        f"a = MatMul (x, w1)\nab = Add (a, b1)\ntb = Relu (ab)\nt = Transpose <perm=[1,0,2]> (tb)\n{before}\n"
        f"{outs} = {op} <hidden_size={h}{options}> (t, {inputs})\n" + "\n".join(parts) + f"\n{join}\ny = MatMul (p, w3)"
    )
    base = {
        "w1": (5, 6), "b1": (6,), "w": (d, gates * h, 6), "r": (d, gates * h, h), "b": (d, 2 * gates * h),
        "flat": [1, 9, d * h], "one": [1, d * h], "w2": (d * h, 5), "wv": (d * h, 5), "wc": (d * h, 5),
        "w3": (5 * len(names), 4),
    }  # fmt: skip
    used = {k: v for k, v in {**base, **(weights or {})}.items() if k in body}
    if opset >= 18:
        body = body.replace("ReduceMean <axes=[1], keepdims=0> (ue)", "ReduceMean <keepdims=0> (ue, one_)")
        used["one_"] = [1]
    return Net(f"{op}, {name}", "x=1,9,5", body, used, opset)


STATES = {"h0": (1, 1, 4), "c0": (1, 1, 4)}
LENGTH = np.array([9], np.int32)
SHORT = np.array([6], np.int32)

FORMS: tuple[Net, ...] = (
    *(net
    for op in ("LSTM", "GRU", "RNN")
    for net in (
        recurrent("plain", op),
        recurrent("without biases", op, inputs="w, r"),
        recurrent("its last units", op, reads="last"),
        recurrent("all outputs", op, reads="all"),
        recurrent("backwards", op, ', direction="reverse"', reads="all"),
        recurrent("both directions", op, ', direction="bidirectional"', reads="all", directions=2),
        recurrent("both directions, an old operator set", op, ', direction="bidirectional"', directions=2, opset=9),
        recurrent("an initial state", op, inputs="w, r, b, , h0", weights=STATES, opset=11),
        recurrent("an initial state made of the clip", op, inputs="w, r, b, , h1",
                  before="m = ReduceMax <keepdims=0> (x, one_)\nk = MatMul (m, wk)\nkr = Relu (k)\nh1 = Reshape (kr, s)",
                  weights={"wk": (5, 4), "s": [1, 1, 4]}),
        recurrent("whole sequences", op, inputs="w, r, b, n", weights={"n": LENGTH}),
        recurrent("sequences that end early", op, inputs="w, r, b, n", weights={"n": SHORT}, reads="all"),
        recurrent("sequences that end early, backwards", op, ', direction="reverse"', "w, r, b, n", weights={"n": SHORT}, reads="all"),
    )),
    recurrent("its last cell", "LSTM", reads="cell"),
    recurrent("lengths made of the clip", "RNN", ', direction="reverse"', "w, r, b, n", reads="all",
              before="m = ReduceMax (x)\nms = Reshape (m, one1)\nmz = Mul (ms, nought)\nmn = Add (mz, seven)\nn = Cast <to=6> (mn)",
              weights={"one1": [1], "nought": 0.0, "seven": 7.0}),
    recurrent("peepholes", "LSTM", inputs="w, r, b, , h0, c0, seen", weights={**STATES, "seen": (1, 12)}, reads="all"),
    recurrent("peepholes, both directions", "LSTM", ', direction="bidirectional"', "w, r, b, , h0, c0, seen",
              weights={"h0": (2, 1, 4), "c0": (2, 1, 4), "seen": (2, 12)}, directions=2),
    recurrent("cells made of the clip", "LSTM", inputs="w, r, b, , h1, h1",
              before="m = ReduceMax <keepdims=0> (x, one_)\nk = MatMul (m, wk)\nkr = Relu (k)\nh1 = Reshape (kr, s)",
              weights={"wk": (5, 4), "s": [1, 1, 4]}, reads="all"),
    recurrent("forgets what it takes", "LSTM", ", input_forget=1"),
    recurrent("other activations", "LSTM", ', activations=["HardSigmoid", "Softsign", "Affine"], activation_alpha=[0.3, 0.8], activation_beta=[0.4, 0.1]'),
    recurrent("scaled Tanh", "LSTM", ', activations=["Sigmoid", "ScaledTanh", "Elu"], activation_alpha=[1.2, 0.7], activation_beta=[0.8]'),
    recurrent("the product is reset", "GRU", ", linear_before_reset=1"),
    recurrent("the product is reset, both directions, a state", "GRU", ', linear_before_reset=1, direction="bidirectional"', "w, r, b, , h0",
              weights={"h0": (2, 1, 4)}, directions=2),
    recurrent("other activations", "GRU", ', activations=["HardSigmoid", "Softplus"]'),
    recurrent("Relu", "RNN", ', activations=["Relu"]'),
    recurrent("another activation in each direction", "RNN", ', activations=["LeakyRelu", "ThresholdedRelu"], activation_alpha=[0.2, 0.1], direction="bidirectional"',
              directions=2),
)  # fmt: skip
"""The networks."""

REFUSED: tuple[tuple[Net, str], ...] = (
    (recurrent("a clip", "LSTM", ", clip=0.5"), "clips what its activations read"),
    (recurrent("weights made of the clip", "GRU", inputs="wm, r, b", before="m = ReduceMax (x)\nms = Reshape (m, one1)\nwm = Mul (w, ms)",
               weights={"one1": [1]}), "has weights that depend on the model's input"),
)  # fmt: skip
"""Networks with a form that is not followed, and what the message says of it."""
