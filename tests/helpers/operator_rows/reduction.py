# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rows of reductions."""

from __future__ import annotations

import numpy as np

from operator_rows.row import Row, steering

ROWS: tuple[Row, ...] = (
    *(Row(op, f"b = {op} (p, axes)", {"axes": [2, 3]}) for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")),
    Row("CumSum", "b = CumSum <exclusive=1> (p, axis)", {"axis": np.int64(2)}),
    *steering("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
    Row("ReduceLogSum", "a = Exp (q)\nr = ReduceLogSum (a, axes)\nb = Mul (p, r)", {"axes": [1, 2, 3]}, steers=True),
)


CASES: tuple[Row, ...] = (
    Row("ReduceMax", "a = ReduceMax (p, axes)\nb = Mul (p, a)", {"axes": [1]}, case="channels", steers=True),
    Row(
        "ReduceMean",
        "a = ReduceMean <keepdims=0> (p, axes)\nb = Unsqueeze (a, axes)",
        {"axes": [2]},
        case="axis dropped",
    ),
    Row("ReduceMean", "b = ReduceMean <axes=[2,3]> (p)", opset=13, case="opset 13", reference="onnxruntime"),
    Row("ReduceSum", "b = ReduceSum <axes=[-1]> (p)", opset=11, case="opset 11", reference="onnxruntime"),
    Row("ReduceMax", "b = ReduceMax <axes=[2,3]> (p)", opset=12, case="opset 12", reference="onnxruntime"),
    Row("CumSum", "b = CumSum <reverse=1> (p, axis)", {"axis": np.int64(-1)}, case="from behind"),
    Row("CumSum", "a = CumSum (p, axis)\nb = Mul (q, a)", {"axis": np.int64(1)}, case="channels", steers=True),
    Row("ReduceMin", "a = ReduceMin (q, axes)\nb = Mul (p, a)", {"axes": [1]}, case="channels", steers=True),
    Row("ReduceMean", "b = ReduceMean <noop_with_empty_axes=1> (p)", opset=18, case="of nothing"),
    Row(
        "ReduceL2",
        "a = ReduceL2 (p, places)\nm = ReduceMean (a, one)\nn = Add (m, w)\nd = Div (a, n)\nc = Mul (p, d)\nb = Add (c, p)",
        {"places": [2, 3], "one": [1], "w": 0.5},
        case="global response normalisation",
        steers=True,
    ),
)
