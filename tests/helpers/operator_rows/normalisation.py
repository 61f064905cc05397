# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rows of batch norm and of norms with statistics of the input."""

from __future__ import annotations

import numpy as np

from operator_rows.row import EIGHT, SCALE, Row, alone, numbers

ROWS: tuple[Row, ...] = (
    *alone("Softmax", "LogSoftmax", "Hardmax"),
    Row(
        "com.microsoft::QLinearSoftmax",
        EIGHT
        + "k = com.microsoft.QLinearSoftmax <axis=1, opset=13> (i, s, z, fine, low)\nb = DequantizeLinear (k, fine, low)",
        {**SCALE, "fine": 1 / 256, "low": np.uint8(0)},
        reference="onnxruntime",
    ),
    Row(
        "BatchNormalization",
        "b = BatchNormalization (p, g, o, m, v)",
        {"g": numbers(4), "o": numbers(4), "m": numbers(4), "v": np.ones(4)},
    ),
    Row("LayerNormalization", "b = LayerNormalization <axis=1> (p, g)", {"g": numbers(4, 6, 6)}),
    Row("RMSNormalization", "b = RMSNormalization <axis=1> (p, g)", {"g": numbers(4, 6, 6)}, opset=23),
    Row(
        "SimplifiedLayerNormalization",
        "b = SimplifiedLayerNormalization <axis=-1> (p, g)",
        {"g": numbers(6)},
        reference="onnxruntime",
    ),
    Row("InstanceNormalization", "b = InstanceNormalization (p, g, o)", {"g": numbers(4), "o": numbers(4)}),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=2> (p, g, o)",
        {"g": numbers(4), "o": numbers(4)},
        reference="onnxruntime",
    ),
    Row("LRN", "b = LRN <size=3, alpha=0.5> (p)"),
    Row("LpNormalization", "b = LpNormalization <axis=1> (p)"),
    Row("MeanVarianceNormalization", "b = MeanVarianceNormalization (p)", reference="onnxruntime"),
)


CASES: tuple[Row, ...] = (
    Row("Softmax", "b = Softmax <axis=1> (p)", case="over channels"),
    Row("Softmax", "b = Softmax <axis=2> (p)", opset=11, case="over all axes behind"),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=4> (p, g, o)",
        {"g": numbers(4), "o": numbers(4)},
        reference="onnxruntime",
        case="one channel a group",
    ),
    Row(
        "LayerNormalization",
        "t = Transpose <perm=[0,2,3,1]> (p)\nb = LayerNormalization (t, g)",
        {"g": numbers(4)},
        reads="dense",
        case="channels last",
    ),
    Row(
        "InstanceNormalization",
        "a = Reshape (p, two)\nc = InstanceNormalization (a, g, o)\nb = Reshape (c, four)",
        {"two": [1, 2, -1], "four": [1, 4, 6, 6], "g": np.ones(2), "o": np.zeros(2)},
        case="group norm as PyTorch exports it",
    ),
    Row(
        "BatchNormalization",
        "b = BatchNormalization <epsilon=0.1> (p, g, o, m, v)",
        {"g": numbers(4), "o": numbers(4), "m": numbers(4), "v": np.ones(4)},
        opset=9,
        reference="onnxruntime",
        case="opset 9",
    ),
    Row("LogSoftmax", "b = LogSoftmax (p)", opset=11, case="opset 11", reference="onnxruntime"),
    Row(
        "com.microsoft::QLinearSoftmax",
        EIGHT
        + "k = com.microsoft.QLinearSoftmax <axis=2, opset=11> (i, s, z, fine, low)\nb = DequantizeLinear (k, fine, low)",
        {**SCALE, "fine": 1 / 256, "low": np.uint8(0)},
        reference="onnxruntime",
        case="over all axes behind",
    ),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=2> (p, g, o)",
        {"g": numbers(2), "o": numbers(2)},
        opset=18,
        case="opset 18",
        reference="onnxruntime",
    ),
    Row("LpNormalization", "b = LpNormalization <p=1> (p)", case="absolute values, last axis"),
    Row(
        "MeanVarianceNormalization",
        "b = MeanVarianceNormalization <axes=[1]> (p)",
        case="over channels",
        reference="onnxruntime",
    ),
    Row(
        "InstanceNormalization",
        "b = InstanceNormalization <epsilon=0.01> (p, g, o)",
        {"g": numbers(4), "o": numbers(4)},
        opset=6,
        case="opset 6",
        reference="onnxruntime",
    ),
)
