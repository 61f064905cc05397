# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rows of sums, products and quotients."""

from __future__ import annotations

from operator_rows.row import EIGHT, SCALE, Row, numbers

ROWS: tuple[Row, ...] = (
    *(Row(op, f"b = {op} (p, q)") for op in ("Add", "Sub", "Sum", "Mul", "Max", "Min")),
    Row("Mean", "b = Mean (p)"),
    Row("Neg", "b = Neg (p)"),
    Row("Div", "a = Exp (q)\nb = Div (p, a)"),
    Row(
        "com.microsoft::QLinearAdd",
        EIGHT + "k = com.microsoft.QLinearAdd (i, s, z, j, s, z, wide, z)\nb = DequantizeLinear (k, wide, z)",
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearMul",
        EIGHT + "k = com.microsoft.QLinearMul (i, s, z, j, s, z, wide, z)\nb = DequantizeLinear (k, wide, z)",
        SCALE,
        reference="onnxruntime",
    ),
)


CASES: tuple[Row, ...] = (
    Row(
        "Mul",
        "g = GlobalAveragePool (p)\nh = Conv (g, w)\ns = Sigmoid (h)\nb = Mul (s, p)",
        {"w": numbers(4, 4, 1, 1)},
        case="squeeze and excitation",
    ),
    Row("Mul", "s = Sigmoid (p)\nb = Mul (p, s)", case="an activation written out"),
    Row("Mul", "b = Mul (p, w)", {"w": numbers(4, 1, 1)}, case="constant"),
    Row(
        "Div",
        "m = ReduceMean (p, axes)\nc = Sub (p, m)\nd = Mul (c, c)\nv = ReduceMean (d, axes)\ne = Add (v, one)\nf = Sqrt (e)\nb = Div (c, f)",
        {"axes": [1], "one": 1.0},
        case="a normalisation written out",
    ),
    Row("Add", "g = GlobalAveragePool (q)\nb = Add (g, p)", case="one addend broadcast"),
    Row("Add", "b = Add (p, w)", {"w": numbers(6)}, case="constant"),
    Row(
        "Add",
        "a = Slice (p, from, to, ax)\nk = Pad (a, pads)\nc = Add (k, q)\nd = Relu (c)\nf = Add (d, p)\nb = Relu (f)",
        {"from": [1], "to": [3], "ax": [1], "pads": [0, 1, 0, 0, 0, 1, 0, 0]},
        case="padded shortcut",
    ),
    Row("Sum", "c = Abs (q)\nb = Sum (p, q, c)", case="three"),
    Row("Mul", "b = Mul (p, p)", case="squared"),
    Row("Div", "a = Exp (p)\nb = Div (one, a)", {"one": 1.0}, case="reciprocal"),
    Row("Sub", "b = Sub (one, p)", {"one": 1.0}, case="from a constant"),
    Row("Mean", "b = Mean (p, q)", case="two"),
    Row("Mean", "b = Mean (p, w)", {"w": numbers(4, 1, 1)}, case="with a constant"),
)
