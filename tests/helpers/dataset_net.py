"""A data set of arrays and a network of two layers that tells its classes by planted kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from text_net import network

from cfp_onnx.clips.manifest import Manifest, Row, write_manifest

CLASSES = ("rest", "walk", "run")
KERNELS = 8
PLANTED = 5
"""The one kernel of the second layer in which `walk` and `run` differ."""

BODY = """a = Conv <pads = [1, 1, 1, 1]> (x, w)  r = Relu (a)  b = Conv (r, u)  q = Relu (b)
g = GlobalAveragePool (q)  f = Flatten (g)  y = MatMul (f, v)"""


def model(inputs: str = "float[N,3,8,8] x") -> onnx.ModelProto:
    """`walk` and `run` read the same kernels but for the planted one, which speaks for `run` alone."""
    rng = np.random.default_rng(5)
    head = np.abs(rng.standard_normal((KERNELS, 3)))
    head[:, 2] = head[:, 1]
    head[PLANTED] = (0.0, -2.0, 2.0)
    weights = {"w": rng.standard_normal((6, 3, 3, 3)), "u": rng.standard_normal((KERNELS, 6, 1, 1)), "v": head}
    return network(BODY, weights, inputs)


def data_set(root: Path, clips: int = 6, seed: int = 1) -> Path:
    """Arrays of noise, as many of each class, and their manifest; two people made them."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, name in enumerate(CLASSES):
        for n in range(clips):
            np.save(root / f"{name}{n}.npy", rng.standard_normal((1, 3, 8, 8)).astype(np.float32))
            rows.append(Row(f"{name}{n}", f"{name}{n}.npy", label=label, name=name, group=f"P{n % 2}"))
    return write_manifest(Manifest("folder", str(root), tuple(rows), CLASSES), root / "m.parquet")


def saved(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), folder / "net.onnx")
    return folder / "net.onnx"
