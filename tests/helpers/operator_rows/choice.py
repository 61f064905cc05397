"""Rows of operators that choose between inputs, and of those that only steer others."""

from __future__ import annotations

import numpy as np

from operator_rows.row import Row, compared, numbers

ROWS: tuple[Row, ...] = (
    Row(
        "Where",
        "b = Where (mask, p, q)",
        {"mask": np.indices((6, 6)).sum(0) % 2 == 0},
    ),
    Row("TopK", "a, i = TopK <axis=1> (q, one)\nb = Mul (p, a)", {"one": [1]}, steers=True),
    *compared("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"),
    Row(
        "Not",
        "a = Greater (q, half)\nc = Not (a)\nno = Neg (p)\nb = Where (c, p, no)",
        {"half": 0.5},
        steers=True,
    ),
    *(
        Row(
            op,
            f"a = Greater (q, half)\nc = Less (q, three)\nd = {op} (a, c)\nno = Neg (p)\nb = Where (d, p, no)",
            {"half": 0.5, "three": 3.0},
            steers=True,
        )
        for op in ("And", "Or")
    ),
    *(
        Row(op, f"a = {op} (q)\nno = Neg (p)\nb = Where (a, no, p)", steers=True, still=True)
        for op in ("IsNaN", "IsInf")
    ),
    *(
        Row(op, f"a = {op} <axis=1> (q)\nc = Cast <to=1> (a)\nb = Mul (p, c)", steers=True)
        for op in ("ArgMax", "ArgMin")
    ),
    Row(
        "OneHot",
        "m = ArgMax <axis=1, keepdims=0> (q)\nc = OneHot <axis=1> (m, four, ends)\nb = Mul (p, c)",
        {"four": np.int64(4), "ends": np.array([0.5, 2.0], np.float32)},
        steers=True,
    ),
    Row(
        "Xor",
        "a = Greater (q, half)\nc = Less (q, three)\nd = Xor (a, c)\nno = Neg (p)\nb = Where (d, p, no)",
        {"half": 0.5, "three": 3.0},
        steers=True,
    ),
    *(
        Row(
            op,
            f"a = Cast <to=6> (q)\nc = {op} (a, three)\nd = Cast <to=1> (c)\nb = Mul (p, d)",
            {"three": np.int32(3)},
            steers=True,
        )
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    Row("BitwiseNot", "a = Cast <to=6> (q)\nc = BitwiseNot (a)\nd = Cast <to=1> (c)\nb = Mul (p, d)", steers=True),
    Row(
        "NonMaxSuppression",
        "o = ReduceMean <keepdims=0> (q, first)\nf = Reshape (o, boxes)\ns = Reshape (q, scores)\n"
        "c = NonMaxSuppression (f, s, most, half, none)\nd = Cast <to=1> (c)\ne = ReduceMean (d)\nb = Mul (p, e)",
        {"first": [1], "boxes": [1, 9, 4], "scores": [1, 16, 9], "most": [3], "half": [0.5], "none": [0.0]},
        steers=True,
        reference="onnxruntime",
    ),
    *(
        Row(op, f"a = {op} (q)\nc = Mul (a, none)\nb = Add (p, c)", {"none": 0.0}, steers=True, still=True)
        for op in ("RandomNormalLike", "RandomUniformLike")
    ),
    Row(
        "NonZero",
        "a = Relu (q)\nc = NonZero (a)\nd = Cast <to=1> (c)\ne = ReduceMean (d)\nb = Mul (p, e)",
        steers=True,
    ),
    Row(
        "Shape",
        "a = Shape (q)\nc = Cast <to=1> (a)\nd = ReduceSum (c)\nb = Mul (p, d)",
        steers=True,
        still=True,
    ),
    Row("Size", "a = Size (q)\nc = Cast <to=1> (a)\nb = Mul (p, c)", steers=True, still=True),
    Row("ConstantOfShape", "a = Shape (q)\nc = ConstantOfShape (a)\nb = Add (p, c)", steers=True, still=True),
    Row(
        "EyeLike",
        "a = Reshape (q, grid)\nc = EyeLike (a)\nd = Reshape (c, full)\nb = Add (p, d)",
        {"grid": [24, 6], "full": [1, 4, 6, 6]},
        steers=True,
        still=True,
    ),
    Row(
        "Range",
        "a = Shape <start=3> (q)\nc = Squeeze (a)\nd = Range (zero, c, one)\ne = Cast <to=1> (d)\nb = Add (p, e)",
        {"zero": np.int64(0), "one": np.int64(1)},
        steers=True,
        still=True,
    ),
)


CASES: tuple[Row, ...] = (
    Row(
        "Where",
        "yes = Greater (q, half)\nb = Where (yes, p, half)",
        {"half": 0.5},
        case="condition from a layer",
    ),
    Row("Max", "b = Max (p, w)", {"w": numbers(4, 1, 1)}, case="with a vector"),
    Row("Min", "b = Min (p, six)", {"six": 6.0}, case="with a number"),
    Row("Max", "b = Max (p, q, w)", {"w": numbers(4, 1, 1)}, opset=8, case="three", reference="onnxruntime"),
)
