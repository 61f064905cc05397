"""Rows of layers and of products of two activations."""

from __future__ import annotations

import numpy as np

from operator_rows.row import BACK, EIGHT, SCALE, Row, numbers, octets

ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
kt = Transpose <perm=[0,2,1]> (k)
e = MatMul (u, kt)
s = Softmax <axis=-1> (e)
b = MatMul (s, v)"""

EINSUM_ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
e = Einsum <equation="b i d, b j d -> b i j"> (u, k)
s = Softmax <axis=-1> (e)
b = Einsum <equation="bij,bjd->bid"> (s, v)"""

FUSED_ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
e = com.microsoft.FusedMatMul <transB=1, alpha=0.5> (u, k)
s = Softmax <axis=-1> (e)
b = MatMul (s, v)"""


ROWS: tuple[Row, ...] = (
    Row("Conv", "b = Conv <group=2, pads=[1,1,1,1]> (p, w)", {"w": numbers(6, 2, 3, 3)}, channels=6),
    Row(
        "ConvTranspose",
        "b = ConvTranspose <group=2, strides=[2,2]> (p, w)",
        {"w": numbers(4, 3, 2, 2)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "Gemm",
        "a = Flatten (p)\nb = Gemm <transB=1> (a, w, c)",
        {"w": numbers(6, 144), "c": numbers(6)},
        6,
        "dense",
    ),
    Row("MatMul", "a = Transpose <perm=[0,2,3,1]> (p)\nb = MatMul (a, w)", {"w": numbers(4, 6)}, 6, "dense"),
    Row(
        "Einsum",
        EINSUM_ATTENTION,
        {"wk": numbers(4, 4), "wq2": numbers(4, 4), "wv": numbers(4, 4), "flat": [1, 4, 36]},
        reads="dense",
    ),
    Row(
        "ConvInteger",
        "i, s, z = DynamicQuantizeLinear (p)\na = ConvInteger (i, w, z)\nc = Cast <to=1> (a)\nd = Mul (s, ws)\n"
        "b = Mul (c, d)",
        {"w": octets(6, 4, 3, 3).view(np.uint8), "ws": 0.01},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "MatMulInteger",
        "t = Transpose <perm=[0,2,3,1]> (p)\ni, s, z = DynamicQuantizeLinear (t)\na = MatMulInteger (i, w, z)\n"
        "c = Cast <to=1> (a)\nd = Mul (s, ws)\nb = Mul (c, d)",
        {"w": octets(4, 6), "ws": 0.01},
        channels=6,
        reads="dense",
    ),
    Row(
        "QLinearConv",
        EIGHT + "k = QLinearConv (i, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": octets(6, 4, 3, 3), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
    ),
    Row(
        "com.microsoft::QLinearConv",
        EIGHT + "k = com.microsoft.QLinearConv <channels_last=0> (i, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": octets(6, 4, 3, 3), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "QLinearMatMul",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\nk = QLinearMatMul (t, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": octets(4, 6), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedConv",
        'b = com.microsoft.FusedConv <activation="Relu"> (p, w, c)',
        {"w": numbers(6, 4, 3, 3), "c": numbers(6)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedGemm",
        'a = Flatten (p)\nb = com.microsoft.FusedGemm <activation="LeakyRelu", activation_alpha=0.1> (a, w, c)',
        {"w": numbers(144, 6), "c": numbers(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedMatMul",
        "a = Transpose <perm=[0,2,3,1]> (p)\nb = com.microsoft.FusedMatMul <alpha=2.0> (a, w)",
        {"w": numbers(4, 6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QGemm",
        EIGHT + "a = Flatten (i)\nk = com.microsoft.QGemm <transB=1> (a, s, z, w, ws, wz, , s, z)" + BACK,
        {**SCALE, "w": octets(6, 144), "ws": 0.001, "wz": np.int8(0)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::MatMulIntegerToFloat",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\nb = com.microsoft.MatMulIntegerToFloat (t, w, s, ws, z, wz, c)",
        {**SCALE, "w": octets(4, 6), "ws": 0.01, "wz": np.int8(0), "c": numbers(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::MatMulNBits",
        "t = Transpose <perm=[0,2,3,1]> (p)\nb = com.microsoft.MatMulNBits <K=4, N=6, bits=4, block_size=16> (t, w, s)",
        {"w": np.arange(48, dtype=np.uint8).reshape(6, 1, 8) * 5 + 3, "s": numbers(6, 1)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::DynamicQuantizeMatMul",
        "t = Transpose <perm=[0,2,3,1]> (p)\nb = com.microsoft.DynamicQuantizeMatMul (t, w, ws, wz, c)",
        {"w": octets(4, 6), "ws": 0.01, "wz": np.int8(0), "c": numbers(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
)


CASES: tuple[Row, ...] = (
    Row(
        "com.microsoft::FusedMatMul",
        FUSED_ATTENTION,
        {"wk": numbers(4, 4), "wq2": numbers(4, 4), "wv": numbers(4, 4), "flat": [1, 4, 36]},
        reads="dense",
        reference="onnxruntime",
        case="attention",
    ),
    Row(
        "MatMul",
        ATTENTION,
        {"wk": numbers(4, 4), "wq2": numbers(4, 4), "wv": numbers(4, 4), "flat": [1, 4, 36]},
        reads="dense",
        case="attention",
    ),
    Row("MatMul", "b = MatMul (w, p)", {"w": numbers(6, 6)}, case="positions mixed by a constant on the left"),
)
