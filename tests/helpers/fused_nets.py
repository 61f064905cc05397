# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small networks with the fused operators that exporters and optimisers write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from small_nets import Net

QKV = {"wq": (6, 6), "wk": (6, 6), "wv": (6, 6)}
PRODUCTS = "q = MatMul (t, wq)\nk = MatMul (t, wk)\nv = MatMul (t, wv)\n"
LATER = np.triu(np.ones((12, 12), bool), 2)
KEYS = np.arange(12) % 4 != 1


def tokens(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """What makes ``m`` of the tokens ``t`` (1, 12, 6), between dense layers."""
    whole = (
        "a = MatMul (x, w1)\nab = Add (a, b1)\nt = Relu (ab)\n"
        f"{body}\nd = MatMul (m, w2)\ne = Relu (d)\np = ReduceMean <keepdims=0> (e, one_)\ny = Gemm (p, w3)"
    )
    base = {"w1": (5, 6), "b1": (6,), "w2": (6, 5), "w3": (5, 4), "one_": [1]}
    return Net(name, "x=1,12,5", whole, {**base, **weights}, opset)


def attention(name: str, body: str, weights: Mapping[str, Any], opset: int = 23) -> Net:
    """ONNX's own attention of ``q``, ``k`` and ``v``."""
    return tokens(f"Attention, {name}", f"{PRODUCTS}{body}", {**QKV, **weights}, opset)


def multi(name: str, call: str, weights: Mapping[str, Any], before: str = PRODUCTS) -> Net:
    """An attention of onnxruntime with its inputs apart."""
    return tokens(
        f"MultiHeadAttention, {name}",
        f"{before}m = com.microsoft.MultiHeadAttention <num_heads=2{call}",
        {**QKV, **weights},
    )


def weighted(name: str, call: str, weights: Mapping[str, Any]) -> Net:
    """An attention of onnxruntime with its layers inside."""
    own = {"w": (6, 18), "b": (18,), **weights}
    return tokens(f"Attention with layers, {name}", f"m = com.microsoft.Attention <num_heads=2{call}", own)


def grouped(name: str, call: str, weights: Mapping[str, Any], before: str = PRODUCTS) -> Net:
    """An attention of onnxruntime with fewer heads of keys; its lengths say that nothing is cached."""
    own = {
        "wq": (6, 16),
        "wk": (6, 16),
        "wv": (6, 16),
        "w2": (16, 5),
        "last": np.array([11], np.int32),
        "total": np.array(12, np.int32),
        **weights,
    }
    return tokens(f"GroupQueryAttention, {name}", f"{before}m{call}", own)


def skipped(name: str, call: str, weights: Mapping[str, Any], op: str = "SkipLayerNormalization") -> Net:
    """A sum and the norm behind it."""
    body = f"u = MatMul (t, wu)\nm{call.format(op=f'com.microsoft.{op}')}"
    return tokens(f"{op}, {name}", body, {"wu": (6, 6), "s": (6,), "o": (6,), "b": (6,), **weights})


SIMPLE = "SkipSimplifiedLayerNormalization"

NETS: tuple[Net, ...] = (
    attention("flat", "m = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v)", {}),
    attention("heads apart",
              "q4 = Reshape (q, split)\nk4 = Reshape (k, split)\nv4 = Reshape (v, split)\nqh = Transpose <perm=[0,2,1,3]> (q4)\n"
              "kh = Transpose <perm=[0,2,1,3]> (k4)\nvh = Transpose <perm=[0,2,1,3]> (v4)\nah = Attention <scale=0.4> (qh, kh, vh)\n"
              "at = Transpose <perm=[0,2,1,3]> (ah)\nm = Reshape (at, joined)",
              {"split": [1, 12, 2, 3], "joined": [1, 12, 6]}),
    attention("shared keys", "m = Attention <q_num_heads=2, kv_num_heads=1> (q, k, v)", {"wk": (6, 3), "wv": (6, 3)}),
    attention("keys in groups", "m = Attention <q_num_heads=6, kv_num_heads=2> (q, k, v)", {"wk": (6, 2), "wv": (6, 2)}, 24),
    attention("causal", "m = Attention <q_num_heads=3, kv_num_heads=3, is_causal=1> (q, k, v)", {}),
    attention("a mask that chooses", "m = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, mask)", {"mask": ~LATER}),
    attention("a row without keys", "m = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, mask)",
              {"mask": ~LATER & (np.arange(12) != 5)[:, None]}),
    attention("a mask that is added", "m = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, mask)", {"mask": (1, 2, 12, 12)}),
    attention("a mask with minus infinity", "m = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, mask)",
              {"mask": np.where(LATER, -np.inf, 0.5).astype(np.float32)}),
    attention("a mask made of the clip",
              "h = ReduceMax <keepdims=0> (x, two_)\nh4 = Reshape (h, wide)\nhe = Expand (h4, square)\ng = Greater (he, low)\nm = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, g)",
              {"two_": [2], "wide": [1, 1, 1, 12], "square": [1, 1, 12, 12], "low": 0.4}),
    attention("a cap", "m = Attention <q_num_heads=2, kv_num_heads=2, softcap=0.7> (q, k, v)", {}),
    multi("apart", "> (q, k, v)", {}),
    multi("a bias and a scale", ", scale=0.3> (q, k, v, b)", {"b": (18,)}),
    multi("values of another size", "> (q, k, v)", {"wv": (6, 8), "w2": (8, 5)}),
    multi("keys and values as heads", "> (q, kh, vh, b)", {"b": (18,), "split": [1, 12, 2, 3]},
          f"{PRODUCTS}k4 = Reshape (k, split)\nv4 = Reshape (v, split)\nkh = Transpose <perm=[0,2,1,3]> (k4)\nvh = Transpose <perm=[0,2,1,3]> (v4)\n"),
    multi("keys that are masked", "> (q, k, v, , mask)", {"mask": KEYS[None].astype(np.int32)}),
    multi("lengths", "> (q, k, v, , mask)", {"mask": np.array([9], np.int32)}),
    multi("a mask for each query", ", mask_filter_value=-9.0> (q, k, v, , mask)", {"mask": (~LATER)[None].astype(np.int32)}),
    multi("a bias of its scores", "> (q, k, v, , , bias)", {"bias": (1, 2, 12, 12)}),
    multi("one direction and a bias of its scores", ", unidirectional=1> (q, k, v, , , bias)", {"bias": (1, 1, 12, 12)}),
    multi("a mask made of the clip", "> (q, k, v, , g)", {"two_": [2], "low": 0.4},
          f"{PRODUCTS}h = ReduceMax <keepdims=0> (x, two_)\ngb = Greater (h, low)\ng = Cast <to=6> (gb)\n"),
    weighted("plain", "> (t, w, b)", {}),
    weighted("a scale and sizes", ", scale=0.7, qkv_hidden_sizes=[6,6,8]> (t, w, b)", {"w": (6, 20), "b": (20,), "w2": (8, 5)}),
    weighted("one direction", ", unidirectional=1> (t, w, b)", {}),
    weighted("keys that are masked", "> (t, w, b, mask)", {"mask": KEYS[None].astype(np.int32)}),
    weighted("lengths", "> (t, w, b, mask)", {"mask": np.array([9], np.int32)}),
    weighted("a mask for each query", "> (t, w, b, mask)", {"mask": (~LATER)[None].astype(np.int32)}),
    weighted("a bias of its scores", "> (t, w, b, , , bias)", {"bias": (1, 2, 12, 12)}),
    grouped("whole", " = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=2> (q, k, v, , , last, total)", {}),
    grouped("shared keys, both directions", " = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=1, causal=0> (q, k, v, , , last, total)",
            {"wk": (6, 8), "wv": (6, 8)}),
    grouped("packed, a scale and a cap", " = com.microsoft.GroupQueryAttention <num_heads=6, kv_num_heads=2, scale=0.9, softcap=0.8> (u, , , , , last, total)",
            {"wu": (6, 80), "w2": (48, 5)}, "u = MatMul (t, wu)\n"),
    grouped("a bias of its scores", " = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=2> (q, k, v, , , last, total, , , , bias)",
            {"bias": (1, 2, 12, 12)}),
    skipped("plain", " = {op} (t, u, s, o)", {}),
    skipped("no offset, epsilon", " = {op} <epsilon=0.1> (t, u, s)", {}),
    skipped("a bias, and its sum goes on", "0, , , sum = {op} (t, u, s, o, b)\nm = Add (m0, sum)", {}),
    skipped("places that are added", " = {op} (u, places, s, o)", {"places": (1, 12, 6)}),
    skipped("plain", " = {op} (t, u, s)", {}, SIMPLE),
    skipped("a bias, and its sum goes on", "0, , , sum = {op} (t, u, s, b)\nm = Add (m0, sum)", {}, SIMPLE),
)  # fmt: skip
"""The networks."""

TURNED = "u = MatMul (t, wq)\n"

OTHERS: tuple[Net, ...] = (
    tokens("rotary, flat", f"{TURNED}m = RotaryEmbedding <num_heads=3> (u, cos, sin, at)",
           {**QKV, "cos": (12, 1), "sin": (12, 1), "at": np.arange(12)[None]}, 23),
    tokens("rotary, heads apart, pairs side by side, in part",
           f"{TURNED}u4 = Reshape (u, split)\nuh = Transpose <perm=[0,2,1,3]> (u4)\n"
           "r = RotaryEmbedding <interleaved=1, rotary_embedding_dim=4> (uh, cos, sin)\n"
           "rt = Transpose <perm=[0,2,1,3]> (r)\nm = Reshape (rt, joined)",
           {**QKV, "cos": (1, 12, 2), "sin": (1, 12, 2), "split": [1, 12, 1, 6], "joined": [1, 12, 6]}, 23),
    tokens("rotary of onnxruntime",
           f"{TURNED}m = com.microsoft.RotaryEmbedding <num_heads=1> (u, at, cos, sin)",
           {**QKV, "cos": (16, 3), "sin": (16, 3), "at": np.arange(12)[None] + 2}),
    tokens("rotary of onnxruntime, from a place on",
           f"{TURNED}m = com.microsoft.RotaryEmbedding <num_heads=1, interleaved=1> (u, at, cos, sin)",
           {**QKV, "cos": (16, 3), "sin": (16, 3), "at": [3]}),
    tokens("sampled by a grid",
           "g = Slice (x, zero, two, last)\ngt = Tanh (g)\ng4 = Reshape (gt, places)\nr = Transpose <perm=[0,2,1]> (t)\n"
           "r4 = Reshape (r, image)\ns = GridSample <mode=\"linear\", padding_mode=\"border\"> (r4, g4)\n"
           "s3 = Reshape (s, flat)\nm = Transpose <perm=[0,2,1]> (s3)",
           {"zero": [0], "two": [2], "last": [2], "places": [1, 4, 3, 2], "image": [1, 6, 3, 4], "flat": [1, 6, 12]}),
    tokens("sampled by a grid, cubic, zeros outside",
           "g = Slice (x, zero, two, last)\ng4 = Reshape (g, places)\nr = Transpose <perm=[0,2,1]> (t)\n"
           "r4 = Reshape (r, image)\ns = GridSample <mode=\"cubic\", align_corners=1> (r4, g4)\n"
           "s3 = Reshape (s, flat)\nm = Transpose <perm=[0,2,1]> (s3)",
           {"zero": [0], "two": [2], "last": [2], "places": [1, 4, 3, 2], "image": [1, 6, 3, 4], "flat": [1, 6, 12]}),
    tokens("patches that are put together",
           "r = Transpose <perm=[0,2,1]> (t)\ns = Col2Im (r, image, block)\ns3 = Reshape (s, flat)\nm = Transpose <perm=[0,2,1]> (s3)",
           {"w1": (5, 12), "b1": (12,), "w2": (3, 5), "image": [5, 4], "block": [2, 2], "flat": [1, 3, 20]}),
    tokens("a Fourier transform",
           "t4 = Unsqueeze (t, behind)\nf = DFT (t4, , front)\nm = ReduceSum <keepdims=0> (f, behind)",
           {"behind": [3], "front": np.int64(1)}),
    tokens("a deformed convolution",
           "g = MatMul (x, wo)\nr = Transpose <perm=[0,2,1]> (g)\no = Reshape (r, wide)\nq = Transpose <perm=[0,2,1]> (t)\n"
           "i = Reshape (q, image)\ns = DeformConv <pads=[0,0,1,1]> (i, taps, o)\ns3 = Reshape (s, flat)\nm = Transpose <perm=[0,2,1]> (s3)",
           {"wo": (5, 8), "wide": [1, 8, 3, 4], "image": [1, 6, 3, 4], "taps": (6, 6, 2, 2), "flat": [1, 6, 12]}),
)  # fmt: skip
"""Networks with operators of other kinds."""

PACKED: tuple[tuple[Net, Net], ...] = (
    (multi("all packed", "> (u, , , b)", {"wu": (6, 18), "b": (18,), "five": [1, 12, 2, 3, 3]}, "z = MatMul (t, wu)\nu = Reshape (z, five)\n"),
     multi("all packed", "> (q, k, v, b)", {"wu": (6, 18), "b": (18,), "five": [1, 12, 2, 3, 3], "flat": [1, 12, 6], "one3": [1, 1, 1]},
           "z = MatMul (t, wu)\nu = Reshape (z, five)\nq5, k5, v5 = Split <axis=3> (u, one3)\nq = Reshape (q5, flat)\nk = Reshape (k5, flat)\nv = Reshape (v5, flat)\n")),
    (multi("keys and values packed", "> (q, u)", {"wu": (6, 12), "five": [1, 12, 2, 2, 3]},
           "q = MatMul (t, wq)\nz = MatMul (t, wu)\nu = Reshape (z, five)\n"),
     multi("keys and values packed", "> (q, k, v)", {"wu": (6, 12), "five": [1, 12, 2, 2, 3], "flat": [1, 12, 6], "one2": [1, 1]},
           "q = MatMul (t, wq)\nz = MatMul (t, wu)\nu = Reshape (z, five)\nk5, v5 = Split <axis=3> (u, one2)\nk = Reshape (k5, flat)\nv = Reshape (v5, flat)\n")),
)  # fmt: skip
"""Networks with packed inputs, which the runtime has no kernel for on the CPU, and the same with the inputs apart."""

REFUSED: tuple[tuple[Net, str], ...] = (
    (attention("a cache", "m, pk, pv = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v, , past, past)", {"past": (1, 2, 4, 3)}), "has a cache of past keys and values"),
    (attention("its scores", "m, , , z = Attention <q_num_heads=2, kv_num_heads=2> (q, k, v)\nzz = ReduceSum (z)", {}), "gives its scores as an output"),
    (tokens("Attention with layers, its cache", "m, past = com.microsoft.Attention <num_heads=2> (t, w, b)\npp = ReduceSum (past)", {"w": (6, 18), "b": (18,)}),
     "gives its keys and values as an output"),
    (tokens("Attention with layers, weights made of the clip", "c = ReduceMean <keepdims=0> (x)\nwc = Mul (w, c)\nm = com.microsoft.Attention <num_heads=2> (t, wc, b)", {"w": (6, 18), "b": (18,)}),
     "has weights that depend on the model's input"),
    (grouped("rotated", " = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=2, do_rotary=1> (q, k, v, , , last, total, cos, cos)", {"wq": (6, 32), "wk": (6, 32), "wv": (6, 32), "cos": (16, 8), "w2": (32, 5)}), "rotates its queries and keys"),
    (grouped("a window", " = com.microsoft.GroupQueryAttention <num_heads=2, kv_num_heads=2, local_window_size=3> (q, k, v, , , last, total)", {}), "has a window"),
    (multi("starts and ends", "> (q, k, v, , mask)", {"mask": np.array([12, 0, 12, 0, 12], np.int32)}), "has a mask of shape (5,)"),
)  # fmt: skip
"""Networks with a form that is not understood, and what the message says of it."""
