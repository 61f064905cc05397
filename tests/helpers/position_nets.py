# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Networks whose weights are all alike, so that the pixels that move an element are known by a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from small_nets import Net


@dataclass(frozen=True)
class Case:
    """A network without biases whose weights are all alike and positive.

    Attributes:
        name: What it covers.
        shape: Input shape, batch 1.
        body: Nodes up to ``f``.
        weights: Shape of a weight, or a value.
        head: Features of ``f``.
        stride: Clip pixels between neighbours of the coarsest layer.
        tail: Nodes from ``f`` to ``y`` where a pool does not do.
        margin: Pixels at the border whose elements are left out: windows that end there are cut.
        slack: Pixels by which a coordinate may differ: windows of an upsampling have no middle of their own.
    """

    name: str
    shape: tuple[int, ...]
    body: str
    weights: Mapping[str, Any]
    head: int
    stride: int = 1
    tail: str | None = None
    margin: int = 2
    slack: float = 1e-6

    def model(self) -> onnx.ModelProto:
        """The network, its batch open."""
        alike = {
            k: np.full(v, 1 / np.prod(v[1:]), np.float64) if isinstance(v, tuple) else v
            for k, v in self.weights.items()
        }
        inputs = "x=" + ",".join(["N", *map(str, self.shape[1:])])
        body = self.body if self.tail is None else f"{self.body}\n{self.tail}"
        return Net(self.name, inputs, body, alike, 21, self.head if self.tail is None else None).model()


def windows(name: str, layer: str, *, stride: int = 1, margin: int = 2, rank: int = 2, kernels: int = 2) -> Case:
    """A 3 x 3 layer, the windows in question, and a 3 x 3 layer again."""
    side, pads = "3," * (rank - 1) + "3", "1," * (2 * rank - 1) + "1"
    body = f"c1 = Conv <pads=[{pads}]> (x, w1)\nr1 = Relu (c1)\np = {layer}\nc2 = Conv <pads=[{pads}]> (p, w2)\nf = Relu (c2)"
    cube = tuple(int(n) for n in side.split(","))
    weights = {"w1": (kernels, 1, *cube), "w2": (3, kernels, *cube)}
    sizes = {1: (37,), 2: (19, 22), 3: (12, 9, 10)}[rank]
    return Case(name, (1, 1, *sizes), body, weights, 3, stride, None, margin)


CASES: tuple[Case, ...] = (
    windows("valid 3 x 2", "Conv (r1, v)"),
    windows("stride 2, odd", "Conv <strides=[2,2], pads=[1,1,1,1]> (r1, v)", stride=2),
    windows("stride 2, even", "Conv <strides=[2,2], pads=[1,1,1,1]> (r1, v)", stride=2),
    windows("asymmetric pads", "Conv <strides=[2,1], pads=[2,0,1,1]> (r1, v)", stride=2),
    windows("dilated", "Conv <dilations=[2,3], pads=[2,3,2,0]> (r1, v)", margin=4),
    windows("same upper", 'Conv <strides=[2,3], auto_pad="SAME_UPPER"> (r1, v)', stride=3, margin=3),
    windows("same lower", 'Conv <strides=[2,3], auto_pad="SAME_LOWER"> (r1, v)', stride=3, margin=3),
    windows("max pool with ceil", "MaxPool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1> (r1)", stride=2),
    windows("max pool, even and padded", "MaxPool <kernel_shape=[2,2], strides=[2,2], pads=[1,0,0,1]> (r1)", stride=2),
    windows("mean pool", "AveragePool <kernel_shape=[3,2], strides=[3,2], pads=[1,0,1,0], ceil_mode=1> (r1)", stride=3, margin=3),
    windows("explicit pad", "Pad (r1, pd)"),
    windows("reflected pad", 'Pad <mode="reflect"> (r1, pd)', margin=5),
    windows("crop", "Slice (r1, from, to, hw)", margin=7),
    windows("grouped", "Conv <group=2, pads=[0,1,2,0]> (r1, vg)"),
    windows("one axis", "Conv <strides=[3], pads=[1,2]> (r1, v1)", stride=3, rank=1, margin=3),
    windows("one axis, pooled", "MaxPool <kernel_shape=[4], strides=[4]> (r1)", stride=4, rank=1, margin=4),
    windows("three axes", "Conv <strides=[2,1,1], pads=[1,0,1,0,1,1]> (r1, v3)", stride=2, rank=3),
    Case(
        "(2+1)D", (1, 1, 12, 11, 10),
        "a = Conv <pads=[0,1,1,0,1,1], strides=[1,2,2]> (x, wa)\nra = Relu (a)\nb = Conv <pads=[1,0,0,1,0,0], strides=[2,1,1]> (ra, wb)\nf = Relu (b)",
        {"wa": (2, 1, 1, 3, 3), "wb": (3, 2, 3, 1, 1)}, 3, 2,
    ),
    Case(
        "residual", (1, 1, 30, 29),
        "a = Conv <pads=[1,1,1,1], strides=[2,2]> (x, wa)\nra = Relu (a)\nb = Conv <pads=[1,1,1,1], strides=[2,2]> (ra, wb)\nrb = Relu (b)\nc = Conv <pads=[1,1,1,1]> (rb, wc)\n"
        "d = Conv <strides=[2,2]> (ra, wd)\ns = Add (c, d)\nf = Relu (s)",
        {"wa": (2, 1, 3, 3), "wb": (3, 2, 3, 3), "wc": (3, 3, 3, 3), "wd": (3, 2, 1, 1)}, 3, 4,
    ),
    Case(
        "branches", (1, 1, 17, 18),
        "a = Conv <pads=[1,1,1,1]> (x, wa)\nra = Relu (a)\nb = Conv (ra, wb)\nc = Conv <pads=[2,2,2,2]> (ra, wc)\np = MaxPool <kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1]> (ra)\n"
        "k = Concat <axis=1> (b, c, p)\nrk = Relu (k)\nd = Conv <strides=[2,2]> (rk, wd)\nf = Relu (d)",
        {"wa": (2, 1, 3, 3), "wb": (2, 2, 1, 1), "wc": (2, 2, 5, 5), "wd": (3, 6, 3, 3)}, 3, 2,
    ),
    Case(
        "channels last", (1, 18, 17, 1),
        "t = Transpose <perm=[0,3,1,2]> (x)\na = Conv <pads=[1,1,1,1], strides=[2,1]> (t, wa)\nu = Transpose <perm=[0,2,3,1]> (a)\nru = Relu (u)\nv = MatMul (ru, wv)\nrv = Relu (v)\n"
        "t2 = Transpose <perm=[0,3,1,2]> (rv)\nb = Conv <pads=[0,1,2,1]> (t2, wb)\nf = Relu (b)",
        {"wa": (2, 1, 3, 3), "wv": (2, 3), "wb": (3, 3, 3, 3)}, 3, 2,
    ),
    Case(
        "height and width exchanged", (1, 1, 16, 13),
        "a = Conv <pads=[1,1,1,1]> (x, wa)\nra = Relu (a)\nt = Transpose <perm=[0,1,3,2]> (ra)\nb = Conv <strides=[1,2]> (t, wb)\nf = Relu (b)",
        {"wa": (2, 1, 3, 3), "wb": (3, 2, 1, 3)}, 3, 2,
    ),
    Case(
        "transposed convolution", (1, 1, 16, 15),
        "a = Conv <pads=[1,1,1,1], strides=[2,2]> (x, wa)\nra = Relu (a)\nb = ConvTranspose <strides=[2,2], pads=[1,1,1,1]> (ra, wb)\nf = Relu (b)",
        {"wa": (2, 1, 3, 3), "wb": (2, 3, 4, 4)}, 3, 2, slack=0.5 + 1e-6,
    ),
    Case(
        "transposed convolution, odd", (1, 1, 17, 15),
        "a = Conv <strides=[3,3]> (x, wa)\nra = Relu (a)\nb = ConvTranspose <strides=[3,3]> (ra, wb)\nf = Relu (b)",
        {"wa": (2, 1, 3, 3), "wb": (2, 3, 3, 3)}, 3, 3, slack=1 + 1e-6, margin=4,
    ),
    Case(
        "upsampled", (1, 1, 12, 13),
        "a = Conv <pads=[1,1,1,1]> (x, wa)\nra = Relu (a)\nb = Resize <mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"> (ra, , scales)\nc = Conv (b, wc)\nf = Relu (c)",
        {"wa": (2, 1, 3, 3), "scales": [1.0, 1.0, 2.0, 2.0], "wc": (3, 2, 1, 1)}, 3,
    ),
    Case(
        "pieces to channels", (1, 1, 18, 20),
        "a = Conv <pads=[1,1,1,1]> (x, wa)\nra = Relu (a)\nd = SpaceToDepth <blocksize=2> (ra)\nb = Conv (d, wb)\nrb = Relu (b)\ne = DepthToSpace <blocksize=2> (rb)\nc = Conv (e, wc)\nf = Relu (c)",
        {"wa": (2, 1, 3, 3), "wb": (8, 8, 1, 1), "wc": (3, 2, 1, 1)}, 3, 2, slack=1e-6,
    ),
    Case(
        "tokens", (1, 1, 24, 20),
        "a = Conv <strides=[4,4]> (x, wa)\nra = Relu (a)\nk = Reshape (ra, three)\nt = Transpose <perm=[0,2,1]> (k)\nb = MatMul (t, wb)\nrb = Relu (b)\nc = MatMul (rb, wc)\nf = Relu (c)",
        {"wa": (4, 1, 4, 4), "three": [0, 4, -1], "wb": (4, 5), "wc": (5, 3), "one": [1], "wy": (3, 5)}, 3, 4,
        "p = ReduceMean <keepdims=0> (f, one)\ny = Gemm (p, wy)", margin=0,
    ),
    Case(
        "class token before the others", (1, 1, 24, 20),
        "a = Conv <strides=[4,4]> (x, wa)\nra = Relu (a)\nk = Reshape (ra, three)\nt0 = Transpose <perm=[0,2,1]> (k)\nn = Shape <start=0, end=1> (x)\nnn = Concat <axis=0> (n, rest)\ncl = Expand (cls, nn)\n"
        "t = Concat <axis=1> (cl, t0)\nb = MatMul (t, wb)\nrb = Relu (b)\nc = MatMul (rb, wc)\nf = Relu (c)",
        {"wa": (4, 1, 4, 4), "three": [0, 4, -1], "one": [1], "rest": [1, 4], "cls": np.full((1, 1, 4), -1.0), "wb": (4, 5), "wc": (5, 3), "wy": (3, 5)}, 3, 4,
        "p = ReduceMean <keepdims=0> (f, one)\ny = Gemm (p, wy)", margin=0,
    ),
    Case(
        "frames as batch", (1, 6, 1, 12, 11),
        "m = Reshape (x, merged)\na = Conv <pads=[1,1,1,1], strides=[2,2]> (m, wa)\nra = Relu (a)\nk = Reshape (ra, cut)\nt = Transpose <perm=[0,2,1,3,4]> (k)\nb = Conv <pads=[1,0,0,1,0,0]> (t, wb)\nf = Relu (b)",
        {"merged": [-1, 1, 12, 11], "cut": [-1, 6, 2, 6, 6], "wa": (2, 1, 3, 3), "wb": (3, 2, 3, 1, 1)}, 3, 2,
    ),
)  # fmt: skip


EXTRA: Mapping[str, Mapping[str, Any]] = {
    "valid 3 x 2": {"v": (2, 2, 3, 2)},
    "stride 2, odd": {"v": (2, 2, 3, 3)},
    "stride 2, even": {"v": (2, 2, 4, 4)},
    "asymmetric pads": {"v": (2, 2, 3, 4)},
    "dilated": {"v": (2, 2, 3, 2)},
    "same upper": {"v": (2, 2, 3, 4)},
    "same lower": {"v": (2, 2, 4, 3)},
    "explicit pad": {"pd": [0, 0, 2, 1, 0, 0, 0, 3]},
    "reflected pad": {"pd": [0, 0, 2, 1, 0, 0, 0, 3]},
    "crop": {"from": [3, 1], "to": [17, -2], "hw": [2, 3]},
    "grouped": {"vg": (2, 1, 3, 2)},
    "one axis": {"v1": (2, 2, 5)},
    "three axes": {"v3": (2, 2, 3, 2, 3)},
}


CHECKED = [replace(c, weights={**c.weights, **EXTRA.get(c.name, {})}) for c in CASES]
