"""Rows of pools."""

from __future__ import annotations

from operator_rows.row import BACK, EIGHT, SCALE, Row, alone

ROWS: tuple[Row, ...] = (
    Row("MaxPool", "b = MaxPool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,0]> (p)"),
    Row("AveragePool", "b = AveragePool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,0]> (p)"),
    *alone("GlobalAveragePool", "GlobalMaxPool"),
    Row(
        "com.microsoft::QLinearAveragePool",
        EIGHT + "k = com.microsoft.QLinearAveragePool <kernel_shape=[2,2]> (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearGlobalAveragePool",
        EIGHT + "k = com.microsoft.QLinearGlobalAveragePool <channels_last=0> (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
)


CASES: tuple[Row, ...] = (
    Row(
        "AveragePool",
        "b = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1, count_include_pad=1> (p)",
        opset=19,
        case="ceil mode",
        reference="onnxruntime",
    ),
    Row(
        "AveragePool",
        'b = AveragePool <kernel_shape=[3,3], auto_pad="SAME_UPPER"> (p)',
        opset=7,
        case="opset 7",
        reference="onnxruntime",
    ),
    Row("MaxPool", "b, i = MaxPool <kernel_shape=[2,2], dilations=[2,2]> (p)", case="dilated, with places"),
    Row(
        "com.microsoft::QLinearGlobalAveragePool",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\n"
        "k = com.microsoft.QLinearGlobalAveragePool <channels_last=1> (t, s, z, s, z)" + BACK,
        SCALE,
        reads="dense",
        reference="onnxruntime",
        case="channels last",
    ),
)
