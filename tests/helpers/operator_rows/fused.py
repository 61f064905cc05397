"""Rows of fused operators, which are taken apart before anything is traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from operator_rows.row import Row, numbers

TOKENS = "f = Reshape (p, flat)\nt = Transpose <perm=[0,2,1]> (f)\n"
PRODUCTS = "k = MatMul (t, wk)\nu = MatMul (t, wq2)\nv = MatMul (t, wv)\n"
WEIGHTS = {"wk": numbers(4, 4), "wq2": numbers(4, 4), "wv": numbers(4, 4), "flat": [1, 4, 36]}
WIDE = {"wk": numbers(4, 8), "wq2": numbers(4, 16), "wv": numbers(4, 8), "flat": [1, 4, 36]}
LENGTHS = {"ends": np.array([35], np.int32), "total": np.array(36, np.int32)}
TURNS = {"cos": numbers(36, 2), "sin": numbers(36, 2), "flat": [1, 4, 36]}
OTHER = "g = Reshape (q, flat)\nj = Transpose <perm=[0,2,1]> (g)\n"


def tokens(op: str, body: str, constants: dict[str, Any], **options: Any) -> Row:
    """An operator between the tokens ``t`` (1, 36, 4) and a dense layer."""
    return Row(op, TOKENS + body, constants, reads="dense", reference="onnxruntime", **options)


def steps(op: str, gates: int) -> Row:
    """A recurrent layer over the columns of ``p``, (6, 6, 4) with its steps first."""
    return Row(
        op,
        f"g = ReduceMean <keepdims=0> (p, zero)\nt = Transpose <perm=[1,2,0]> (g)\nu = {op} <hidden_size=4> (t, w, r)\n"
        "s = Transpose <perm=[2,0,1,3]> (u)\nb = Reshape (s, flat)",
        {"zero": [0], "w": numbers(1, 4 * gates, 4), "r": numbers(1, 4 * gates, 4), "flat": [6, 6, 4]},
        reads="dense",
        reference="onnxruntime",
    )


ROWS: tuple[Row, ...] = (
    tokens("Attention", f"{PRODUCTS}b = Attention <q_num_heads=2, kv_num_heads=2> (u, k, v)", WEIGHTS, opset=23),
    tokens(
        "com.microsoft::Attention",
        "b = com.microsoft.Attention <num_heads=2> (t, w, o)",
        {"w": numbers(4, 12), "o": numbers(12), "flat": [1, 4, 36]},
    ),
    tokens(
        "com.microsoft::MultiHeadAttention",
        f"{PRODUCTS}b = com.microsoft.MultiHeadAttention <num_heads=2> (u, k, v, o)",
        {**WEIGHTS, "o": numbers(12)},
    ),
    tokens(
        "com.microsoft::GroupQueryAttention",
        PRODUCTS + "b = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=1, causal=0> "
        "(u, k, v, , , ends, total)",
        {**WIDE, **LENGTHS},
        channels=16,
    ),
    Row(
        "Col2Im",
        "e = Unsqueeze (p, two)\nf = Expand (e, five)\ng = Reshape (f, flat)\nb = Col2Im (g, image, block)",
        {"two": [2], "five": [1, 4, 4, 6, 6], "flat": [1, 16, 36], "image": [7, 7], "block": [2, 2]},
    ),
    Row(
        "DFT",
        "e = Unsqueeze (p, last_)\nf = DFT (e, , three)\nb = ReduceSum <keepdims=0> (f, last_)",
        {"last_": [4], "three": np.int64(3)},
    ),
    Row(
        "DeformConv",
        "o = Conv (q, turn)\nb = DeformConv (p, taps, o)",
        {"turn": numbers(2, 4, 1, 1), "taps": numbers(4, 4, 1, 1)},
        steers=True,
    ),
    Row(
        "GridSample",
        "s = Slice (q, zero, two, one)\nh = Tanh (s)\ng = Transpose <perm=[0,2,3,1]> (h)\nb = GridSample (p, g)",
        {"zero": [0], "one": [1], "two": [2]},
        steers=True,
    ),
    tokens(
        "RotaryEmbedding",
        "u = MatMul (t, wq2)\nb = RotaryEmbedding <num_heads=2> (u, cos, sin, at)",
        {**TURNS, "wq2": numbers(4, 8), "at": np.arange(36)[None]},
        opset=23,
        channels=8,
    ),
    tokens(
        "com.microsoft::RotaryEmbedding",
        "u = MatMul (t, wq2)\nb = com.microsoft.RotaryEmbedding <num_heads=2, interleaved=1> (u, at, cos, sin)",
        {**TURNS, "wq2": numbers(4, 8), "at": [0]},
        channels=8,
    ),
    steps("LSTM", 4),
    steps("GRU", 3),
    steps("RNN", 1),
    tokens(
        "com.microsoft::SkipLayerNormalization",
        f"{OTHER}b = com.microsoft.SkipLayerNormalization (t, j, s, o)",
        {"flat": [1, 4, 36], "s": numbers(4), "o": numbers(4)},
    ),
    tokens(
        "com.microsoft::SkipSimplifiedLayerNormalization",
        f"{OTHER}b = com.microsoft.SkipSimplifiedLayerNormalization (t, j, s)",
        {"flat": [1, 4, 36], "s": numbers(4)},
    ),
)


CASES: tuple[Row, ...] = (
    tokens(
        "com.microsoft::SkipLayerNormalization",
        f"{OTHER}c, , , m = com.microsoft.SkipLayerNormalization (t, j, s, o, k)\nb = Add (c, m)",
        {"flat": [1, 4, 36], "s": numbers(4), "o": numbers(4), "k": numbers(4)},
        case="its sum goes on",
    ),
)
