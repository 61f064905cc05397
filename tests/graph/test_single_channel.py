"""Inputs without an axis of channels: a picture of H x W, a signal of T; and those that have one all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import network, saved

import cfp_onnx as cfp

FRAMES = {"two": np.array([0, 1]), "w": (4, 1, 3, 3, 3), "v": (4, 5)}
BATCH = {"one": np.array([1]), "w": (4, 1, 3, 3), "v": (4, 5)}
TAIL = "r = Relu (a)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, v)"
ONE = {"two": np.array([0, 1]), "w": (4, 1, 3, 3), "v": (4, 5)}
PICTURE = f"p = Unsqueeze (x, two)  a = Conv (p, w)  {TAIL}"
PICTURES = f"p = Unsqueeze (x, one)  a = Conv (p, w)  {TAIL}"
FLAT = {"row": np.array([1, -1]), "m": (42, 4), "v": (4, 5)}
DENSE = "p = Reshape (x, row)  a = MatMul (p, m)  r = Relu (a)  y = MatMul (r, v)"
TURNED = {"one": np.array([0]), "w": (4, 6, 3), "v": (4, 5)}
STEPS = f"t = Transpose <perm = [1, 0]> (x)  p = Unsqueeze (t, one)  a = Conv (p, w)  {TAIL}"
FEATURES = {"m": (6, 4), "v": (4, 5)}
VECTORS = "a = MatMul (x, m)  r = Relu (a)  y = MatMul (r, v)"
JOINED = {"m": (12, 4), "v": (4, 5)}
TWICE = "n = Neg (x)  p = Concat <axis = 1> (x, n)  a = MatMul (p, m)  r = Relu (a)  y = MatMul (r, v)"


@pytest.mark.parametrize(
    ("body", "weights", "shape", "axis", "channels"),
    [
        (PICTURE, ONE, (7, 6), None, {0}),
        (DENSE, FLAT, (7, 6), None, {0}),
        (STEPS, TURNED, (7, 6), 1, set(range(6))),
        (VECTORS, FEATURES, (7, 6), 1, set(range(6))),
        (TWICE, JOINED, (7, 6), 1, set(range(6))),
    ],
    ids=["H x W", "flattened", "T x C", "vectors", "joined with itself"],
)
def test_channels_of_an_input_of_two_axes(
    tmp_path: Path, body: str, weights: dict[str, object], shape: tuple[int, int], axis: int | None, channels: set[int]
) -> None:
    path = saved(network(body, weights, f"float[{shape[0]},{shape[1]}] x"), tmp_path)
    clip = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert cfp.topology(path).axes == {"x": axis}
    pyramid = cfp.explain(path, clip, depth=9, theta=0.0, device="cpu")
    named = {s.kernel for edge in pyramid.edges for link in edge.channels for s in link.sources if s.layer is None}
    assert named
    assert named <= channels  # those that speak against the class have no link
    shares = [sum(s.share for s in link.sources) for edge in pyramid.edges for link in edge.channels]
    assert shares == pytest.approx([1.0] * len(shares))


@pytest.mark.parametrize(
    ("body", "weights", "shape"),
    [(PICTURE, FRAMES, (5, 7, 6)), (PICTURES, BATCH, (2, 7, 6))],
    ids=["T x H x W", "N x H x W"],
)
def test_rows_of_grey_pictures_are_no_channels(
    tmp_path: Path, body: str, weights: dict[str, object], shape: tuple[int, ...]
) -> None:
    path = saved(network(body, weights, f"float[{','.join(map(str, shape))}] x"), tmp_path)
    clip = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert cfp.topology(path).axes == {"x": None}
    pyramid = cfp.explain(path, clip, depth=9, theta=0.0, device="cpu")
    named = {s.kernel for edge in pyramid.edges for link in edge.channels for s in link.sources if s.layer is None}
    assert named == {0}
