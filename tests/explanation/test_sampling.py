"""Sampling at places of a grid: what each kernel is worth while the grid stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from removal import lost_by_removal
from text_net import network, saved

from cfp_onnx import explain

NET = """a = Conv (x, w)
s = ReduceMean (x, places)
t = Conv (s, turn)
h = Tanh (t)
r = Reshape (h, two)
g = AffineGrid (r, size)
b = GridSample <mode="{mode}", align_corners={corners}> (a, g)
c = Conv (b, v)
f = Flatten (c)
y = MatMul (f, z)"""
WEIGHTS: dict[str, Any] = {
    "w": (4, 3, 1, 1), "places": np.array([2, 3]), "turn": (6, 3, 1, 1), "two": np.array([1, 2, 3]),
    "size": np.array([1, 4, 5, 7]), "v": (5, 4, 3, 3), "z": (75, 3),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("corners", [0, 1])
def test_relevance_is_what_the_score_loses(mode: str, corners: int, tmp_path: Path) -> None:
    model = network(NET.format(mode=mode, corners=corners), WEIGHTS, opset=20)
    clip = np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)
    pyramid = explain(saved(model, tmp_path), clip, target=1, depth="all", class_step="contribution")
    assert pyramid.coverage.complete
    assert pyramid.run.holds == ("grids",)
    assert "the places at which a sampling looks" in str(pyramid)

    lost = lost_by_removal(model, clip, 1)
    assert len(lost) == 4
    np.testing.assert_allclose(pyramid.layer("a").relevance, lost, atol=1e-4 * max(map(abs, lost)))
    assert any(explain(saved(model, tmp_path), clip, target=1, depth="all", rule="zplus").layer("a").relevance)
