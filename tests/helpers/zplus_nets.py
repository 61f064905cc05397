# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Small networks on which rule `zplus` is judged: those of the walk, and its own with negative factors and heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from small_nets import Net, Norm, bn
from walk_nets import NETS

Array = npt.NDArray[Any]


SIGNED = np.array([1.5, -0.7, 0.4, -1.2, 0.9, -0.3])
"""Scales of a batch norm, some of them negative."""


def signed_norm(name: str, size: int) -> dict[str, Any]:
    """A batch norm, some of whose scales are negative."""
    offsets = {f"{name}_{k}": np.linspace(-0.4, 0.5, size) for k in "om"}
    return {f"{name}_s": SIGNED[:size], f"{name}_v": np.linspace(0.5, 2, size), **offsets}


def headed(name: str, body: str, weights: Mapping[str, Any], *, features: int, inputs: str = "x=1,3,6,6") -> Net:
    """Layers up to ``f``, a global pool and a dense layer."""
    return Net(name, inputs, body, weights, 21, features)


FIRST = "c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\nr1 = Relu (c1)\n"


FIRST_WEIGHTS: dict[str, Any] = {"w1": (6, 3, 3, 3), "b1": (6,)}


LAST = "c3 = Conv (r2, w3, b3)\nf = Relu (c3)"


LAST_WEIGHTS: dict[str, Any] = {"w3": (4, 6, 1, 1), "b3": (4,)}


OWN: tuple[Net, ...] = (
    headed(
        "negative batch norm behind a convolution",
        f"{FIRST}c2 = Conv <group=2> (r1, w2)\n{bn('n2', 'c2')}\nr2 = Relu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 3, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "negative batch norm behind a strided convolution with a bias",
        f"{FIRST}c2 = Conv <strides=[2,2]> (r1, w2, b2)\n{bn('n2', 'c2')}\nr2 = Elu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "b2": (6,), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "batch norm of a convolution that is read twice",
        f"{FIRST}c2 = Conv (r1, w2)\n{bn('n2', 'c2')}\ns2 = Add (n2, c2)\nr2 = Relu (s2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "pre-activation: batch norm before the convolution",
        f"{FIRST}{bn('n1', 'r1')}\nq1 = Relu (n1)\nc2 = Conv (q1, w2)\ns2 = Add (c2, c2)\n{bn('n2', 's2')}\nr2 = Relu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, **signed_norm("n1", 6), "w2": (6, 6, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "factor and divisor per kernel",
        f"{FIRST}c2 = Conv (r1, w2)\nm2 = Mul (c2, k)\no2 = Add (m2, o)\nr2 = Relu (o2)\nc3 = Conv (r2, w3)\nd3 = Div (c3, e)\nf = Relu (d3)",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "k": SIGNED.reshape(6, 1, 1), "o": (6, 1, 1), "w3": (4, 6, 1, 1), "e": SIGNED[:4].reshape(1, 4, 1, 1)},
        features=4,
    ),
    headed(
        "one negative factor for all kernels",
        f"{FIRST}c2 = Conv (r1, w2)\nm2 = Mul (c2, k)\nr2 = Relu (m2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "k": -0.3, **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "means of what has both signs",
        "c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\np1 = AveragePool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,1], count_include_pad=1> (c1)\n"
        "c2 = Conv (p1, w2, b2)\ng2 = Neg (c2)\nq = AveragePool <kernel_shape=[2,2], strides=[1,1], pads=[0,1,1,0]> (g2)\nf = Tanh (q)",
        {**FIRST_WEIGHTS, "w2": (5, 6, 2, 2), "b2": (5,)}, features=5,
    ),
    headed(
        "negative values around a map",
        f"{FIRST}p = Pad (r1, pd, low)\nc2 = Conv (p, w2)\nr2 = Relu (c2)\n{LAST}",
        {**FIRST_WEIGHTS, "pd": [0, 0, 1, 1, 0, 0, 1, 1], "low": -1.0, "w2": (6, 6, 3, 3), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "the input is read again further up",
        f"{FIRST}c2 = Conv (r1, w2)\nr2 = Relu (c2)\nc3 = Conv <strides=[1,1]> (x, w3)\ns = Add (r2, c3)\nc4 = Conv (s, w4)\nf = Relu (c4)",
        {**FIRST_WEIGHTS, "w2": (6, 6, 1, 1), "w3": (6, 3, 1, 1), "w4": (4, 6, 1, 1)}, features=4,
    ),
    headed(
        "bottleneck with a depth-wise middle and a gate",
        "c1 = Conv (x, w1)\n" + bn("n1", "c1") + "\nr1 = Clip (n1, low, high)\nc2 = Conv <group=6, strides=[2,2], pads=[1,1,1,1]> (r1, w2)\n" + bn("n2", "c2")
        + "\nr2 = HardSwish (n2)\nz = GlobalAveragePool (r2)\ne = Conv (z, we)\ns = HardSigmoid (e)\nm = Mul (s, r2)\nc3 = Conv (m, w3)\n" + bn("n3", "c3") + "\nf = Relu (n3)",
        {"w1": (6, 3, 1, 1), **signed_norm("n1", 6), "low": 0.0, "high": 6.0, "w2": (6, 1, 3, 3), "n2": Norm(6), "we": (6, 6, 1, 1), "w3": (5, 6, 1, 1), **signed_norm("n3", 5)},
        features=5,
    ),
    Net(
        "two heads at two depths", "x=1,3,6,6",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\ng1 = GlobalAveragePool (r1)\nk1 = Flatten (g1)\ny1 = Gemm (k1, v1)\nc2 = Conv (r1, w2)\nr2 = Relu (c2)\n"
        "g2 = GlobalAveragePool (r2)\nk2 = Flatten (g2)\ny2 = Gemm (k2, v2)\ny = Add (y1, y2)",
        {"w1": (5, 3, 1, 1), "w2": (4, 5, 3, 3), "v1": (5, 5), "v2": (4, 5)},
    ),
    Net(
        "a head with a hidden layer beside it", "x=1,3,6,6",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\ng1 = GlobalAveragePool (r1)\nk1 = Flatten (g1)\ny1 = Gemm (k1, v1)\nh = Gemm (k1, w2)\nr2 = Relu (h)\ny2 = Gemm (r2, v2)\ny = Add (y1, y2)",
        {"w1": (5, 3, 1, 1), "w2": (5, 4), "v1": (5, 5), "v2": (4, 5)},
    ),
    Net(
        "branches of two frame rates, pooled and joined", "x=1,3,4,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv <strides=[2,1,1]> (x, w2, b2)\nr2 = Relu (c2)\ng1 = GlobalAveragePool (r1)\ng2 = GlobalAveragePool (r2)\n"
        "k = Concat <axis=1> (g1, g2)\nq = Flatten (k)\ny = Gemm (q, v)",
        {"w1": (5, 3, 1, 3, 3), "b1": (5,), "w2": (4, 3, 2, 3, 3), "b2": (4,), "v": (9, 5)},
    ),
    Net(
        "batch norm behind the pool, addends of pools", "x=1,3,6,6",
        f"c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv (x, w2, b2)\nr2 = Relu (c2)\ng1 = GlobalAveragePool (r1)\ng2 = GlobalAveragePool (r2)\nk = Add (g1, g2)\n{bn('n', 'k')}\n"
        "q = Flatten (n)\ny = Gemm (q, v)",
        {"w1": (5, 3, 1, 1), "b1": (5,), "w2": (5, 3, 3, 3), "b2": (5,), **signed_norm("n", 5), "v": (5, 5)},
    ),
    Net(
        "class token", "x=1,3,4,4",
        "c1 = Conv (x, w1)\nk0 = Reshape (c1, sh)\nt = Transpose <perm=[0,2,1]> (k0)\nr = Relu (t)\nk = Concat <axis=1> (cls, r)\nh = MatMul (k, w2)\nq = Relu (h)\nh2 = MatMul (q, w3)\nq2 = Relu (h2)\n"
        "p = ReduceMean <keepdims=0> (q2, one)\ny = Gemm (p, v)",
        {"w1": (5, 3, 1, 1), "sh": [1, 5, 16], "cls": -np.ones((1, 1, 5)), "w2": (5, 6), "w3": (6, 4), "one": [1], "v": (4, 5)},
    ),
    Net(
        "quantised and back", "x=1,3,6,6",
        "u1 = DequantizeLinear (k1, ws)\nc1 = Conv (x, u1, b1)\nr1 = Relu (c1)\nq1 = QuantizeLinear (r1, s1, z1)\nd1 = DequantizeLinear (q1, s1, z1)\nu2 = DequantizeLinear (k2, ws)\n"
        "c2 = Conv <pads=[1,1,1,1]> (d1, u2)\nq2 = QuantizeLinear (c2, s2, z2)\nd2 = DequantizeLinear (q2, s2, z2)\nm2 = MaxPool <kernel_shape=[2,2], strides=[2,2]> (d2)\nf = Relu (m2)",
        {"k1": np.random.default_rng(1).integers(-60, 60, (5, 3, 3, 3)).astype(np.int8), "k2": np.random.default_rng(2).integers(-60, 60, (4, 5, 3, 3)).astype(np.int8),
         "ws": np.float32(0.01), "b1": (5,), "s1": np.float32(0.031), "z1": np.uint8(0), "s2": np.float32(0.043), "z2": np.uint8(110)}, 21, 4,
    ),
)  # fmt: skip


SKIPPED = (
    *(f"residual {o}" for o in (9, 11, 13, 18)),
    *(f"inception {o}" for o in (9, 11, 13, 15, 16, 18)),
    *(
        f"activation {op}"
        for op in [
            "Selu",
            "Mish",
            "Exp",
            "Abs",
            "ThresholdedRelu",
            "Celu",
            "Softsign",
            "HardSigmoid",
            "Elu",
            "Tanh",
            "Softplus",
        ]
    ),
    *("se 9", "tile", "dropout multi outputs", "batchless squeeze", "logits 3d", "strided pointwise", "select Min"),
    *(
        "norm InstanceNormalization (c1, s, o) 9",
        "norm LRN <size=5, alpha=0.5> (c1) 9",
        "norm LayerNormalization (c1, s) 21",
    ),
    "norm GroupNormalization <num_groups=3> (c1, s, o) 18",
    "Conv pads=[3,3,2,3] (5, 6, 2, 2) 9",
)
"""Networks of the positional walk that say nothing new here."""


CHECKED = (*OWN, *(net for net in NETS if net.name not in SKIPPED))


def living(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights without dead ends: kernel 0 of every group fires for any input whose first channels do."""
    w = rng.standard_normal(shape).astype(np.float32)
    w[:, 0] = np.abs(w[:, 0]) + 0.1
    w[0] = np.abs(w[0]) + 0.1
    return w
