"""Layers that a rule does not reach have unknown relevance and are not covered, rule by rule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from text_net import network, saved

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.model import load

TOKENS = "float[1,6,4] x"
SQUARED = """d = MatMul (x, w)  t = Transpose <perm = [0, 2, 1]> (d)  s = MatMul (t, d)  r = Relu (s)
m = ReduceMean <keepdims = 0> (r, one)  y = MatMul (m, v)"""
NORMED = """d = MatMul (x, w)  l = ReduceL2 <keepdims = 1> (d, two)  n = Div (d, l)
t = Transpose <perm = [0, 2, 1]> (n)
s = MatMul (n, t)  r = Relu (s)  e = MatMul (r, u)  m = ReduceMean <keepdims = 0> (e, one)  y = MatMul (m, v)"""
WEIGHTS = {"w": (4, 5), "u": (6, 5), "v": (5, 3), "one": [1], "two": [2]}


@pytest.mark.parametrize("rule", ["positional", "active", "zplus", "mean", "published"])
@pytest.mark.parametrize("body", [SQUARED, NORMED], ids=["second moments", "cosines"])
def test_a_layer_whose_values_arrive_has_relevance_or_is_said_to_be_lost(body: str, rule: str, tmp_path: Path) -> None:
    weights = {k: v for k, v in WEIGHTS.items() if f"{k})" in body}
    path = saved(network(body, weights, TOKENS), tmp_path)
    feeds = runtime.random_feeds(load(path))
    pyramid = cfp.explain(path, feeds, rule=rule, depth="all", tubes=False, device="cpu")
    first = next(layer for layer in pyramid.layers if layer.name == "d")
    if first.paths == "none":
        assert all(math.isnan(r) for r in first.relevance)
        assert pyramid.coverage["layers"] < 1
        assert pyramid.coverage["channels"] < 1
        assert "unknown" in str(pyramid)
    else:
        assert any(r != 0 for r in first.relevance)
        assert pyramid.coverage["layers"] == 1
    assert (first.paths == "none") == (body == NORMED and rule in {"zplus", "mean", "published"})
