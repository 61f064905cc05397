# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small networks whose layers stand inside of Loop and Scan, and networks that read and write sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from small_nets import Net

TYPES = {"trips": np.array(7, np.int64), "yes": np.array(True), "nil": np.zeros((1, 4), np.float32)}
CELL = {"wx": (6, 4), "wh": (4, 4), "bh": (4,)}
BEFORE = "a = MatMul (x, w1)\nab = Add (a, b1)\nt = Relu (ab)\n"
STEPS = {"w1": (5, 6), "b1": (6,), "sq": [7, 1, 6]}
AFTER = "d = MatMul (f, w2)\ne = Relu (d)\ny = MatMul (e, w3)"
HEAD = {"w2": (4, 5), "w3": (5, 4)}
ADD = "xp = MatMul (xi, wx)\nhp = MatMul (h, wh)\ns0 = Add (xp, hp)\ns = Add (s0, bh)\nhn = Relu (s)"


def loop(name: str, body: str, call: str, then: str, **weights: Any) -> Net:
    """A Loop over the rows of ``t`` (7, 1, 6); what it makes is turned into ``f`` (1, 4)."""
    text = f"{BEFORE}ts = Reshape (t, sq)\n{call.replace('BODY', body)}\n{then}\n{AFTER}"
    own = {k: v for k, v in {**TYPES, **CELL, **STEPS, **HEAD, **weights}.items() if k in text}
    return Net(f"Loop, {name}", "x=1,7,5", text, own, 17)


LAST = (
    "b (int64 i, bool c, float[1,4] h) => (bool co, float[1,4] hn) { co = Identity (c)\nxi = Gather <axis=0> (ts, i)\n"
    + ADD
    + " }"
)
GIVES = (
    "b (int64 i, bool c, float[1,4] h) => (bool co, float[1,4] hn, float[1,4] o) { co = Identity (c)\nxi = Gather <axis=0> (ts, i)\n"
    + ADD
    + "\no = Identity (hn) }"
)
CHOOSES = (
    "b (int64 i, bool c, float[1,4] h) => (bool co, float[1,4] hn) { co = Identity (c)\nxi = Gather <axis=0> (ts, i)\n"
    "early = Less (i, three)\nxp = MatMul (xi, wx)\nr = If <then_branch = yesb () => (float[1,4] q1) { q1 = MatMul (h, wh) }, "
    "else_branch = nob () => (float[1,4] q2) { q2 = Neg (h) }> (early)\ns0 = Add (xp, r)\ns = Add (s0, bh)\nhn = Relu (s) }"
)
INNER = "n (int64 j, bool cc, float[1,4] g) => (bool cn, float[1,4] gn) { cn = Identity (cc)\ngp = MatMul (g, wh)\ngb = Add (gp, bh)\ngn = Relu (gb) }"
NESTED = (
    "b (int64 i, bool c, float[1,4] h) => (bool co, float[1,4] hn) { co = Identity (c)\nxi = Gather <axis=0> (ts, i)\nxp = MatMul (xi, wx)\n"
    f"hi = Loop <body = {INNER}> (two, yes, h)\ns = Add (xp, hi)\nhn = Relu (s) }}"
)
SEQUENCE = (
    "b (int64 i, bool c, float[1,4] h, seq(float[1,4]) l) => (bool co, float[1,4] hn, seq(float[1,4]) ln) { co = Identity (c)\n"
    "xi = SequenceAt (parts, i)\n" + ADD + "\nln = SequenceInsert (l, hn) }"
)
MEAN = "os = ReduceMean <axes=[0], keepdims=0> (all)\nf = Relu (os)"


def scan(name: str, options: str, reads: str = "ts", then: str = "f = Identity (last)", **weights: Any) -> Net:
    """A Scan over ``t``."""
    body = "b (float[1,4] h, float[1,6] xi) => (float[1,4] hn, float[1,4] o) { " + ADD + "\no = Identity (hn) }"
    text = f"{BEFORE}ts = Reshape (t, sq)\ntt = Transpose <perm=[1,0,2]> (ts)\nlast, all = Scan <num_scan_inputs=1, body = {body}{options}> (nil, {reads})\n{then}\n{AFTER}"
    own = {k: v for k, v in {**TYPES, **CELL, **STEPS, **HEAD, **weights}.items() if k in text}
    return Net(f"Scan, {name}", "x=1,7,5", text, own, 17)


NETS: tuple[Net, ...] = (
    loop("its last state", LAST, "f = Loop <body = BODY> (trips, yes, nil)", ""),
    loop("all steps", GIVES, "last, all = Loop <body = BODY> (trips, yes, nil)", MEAN),
    loop("ends when it says so", LAST.replace("co = Identity (c)", "co = Less (i, three)"), "f = Loop <body = BODY> (, yes, nil)", "", three=np.array(3, np.int64)),
    loop("as many trips as the input says", LAST, "m = ReduceMax <keepdims=0> (x)\nb2 = Greater (m, low)\nbi = Cast <to=7> (b2)\nn = Add (bi, three)\nf = Loop <body = BODY> (n, yes, nil)", "",
         three=np.array(3, np.int64), low=0.1),
    loop("a choice at each trip", CHOOSES, "f = Loop <body = BODY> (trips, yes, nil)", "", three=np.array(3, np.int64)),
    loop("a loop inside", NESTED, "f = Loop <body = BODY> (trips, yes, nil)", "", two=np.array(2, np.int64)),
    loop("sequences", SEQUENCE, "parts = SplitToSequence <axis=0, keepdims=0> (ts)\nnone = SequenceEmpty ()\nn = SequenceLength (parts)\nlast, seq = Loop <body = BODY> (n, yes, nil, none)",
         "all = ConcatFromSequence <axis=0, new_axis=1> (seq)\n" + MEAN),
    scan("its last state", ""),
    scan("all steps", "", then=MEAN),
    scan("backwards", ", scan_input_directions=[1], scan_output_directions=[1]", then="z = Concat <axis=0> (all, all)\nfr = Slice (z, zero, one, zero)\nf1 = Squeeze (fr, zero)\nf = Add (f1, last)", zero=[0], one=[1]),
    scan("along another axis", ", scan_input_axes=[1], scan_output_axes=[1]", "tt", "os = ReduceMean <axes=[1], keepdims=0> (all)\nf = Relu (os)"),
)  # fmt: skip
"""The networks."""

LONG = loop("too many trips", LAST.replace("Gather <axis=0> (ts, i)", "Squeeze (xs, zero)"), "xs = Slice (ts, zero, one, zero)\nf = Loop <body = BODY> (many, yes, nil)", "",
            many=np.array(600, np.int64), zero=[0], one=[1])  # fmt: skip
"""A loop that is not written out."""
