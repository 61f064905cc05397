"""The pooled walks on a network small enough to follow by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import cfp_onnx as cfp

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 4, 4, 4] clip) => (float[1, 2] logits)
<float[4, 3, 1, 1, 1] w1, float[2, 4, 3, 3, 3] w2, float[2, 2] w3>
{
  a = Conv(clip, w1)
  r = Relu(a)
  b = Conv<pads = [1, 1, 1, 1, 1, 1]>(r, w2)
  s = Relu(b)
  p = GlobalAveragePool(s)
  f = Flatten(p)
  logits = Gemm<transB = 1>(f, w3)
}
"""


def network(path: Path, rng: np.random.Generator, w3: list[list[float]]) -> Path:
    """Two convolutions and a dense head with the given class weights."""
    model = onnx.parser.parse_model(TEXT)
    values = {
        "w1": rng.standard_normal((4, 3, 1, 1, 1)),
        "w2": rng.standard_normal((2, 4, 3, 3, 3)),
        "w3": np.array(w3),
    }
    for name, value in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, path)
    return path


def test_raising_theta_only_removes(tmp_path: Path, rng: np.random.Generator) -> None:
    file = network(tmp_path / "n.onnx", rng, [[1.0, 0.5], [-1.0, 0.2]])
    clip = rng.standard_normal((1, 3, 4, 4, 4)).astype(np.float32)
    kept: list[set[tuple[str, int]]] = []
    for theta in (0.0, 0.5, 0.9):
        pyramid = cfp.explain(file, clip, rule="published", theta=theta, depth="all", target=0)
        kept.append({(n, k) for rows in pyramid.levels.values() for n, k, _ in rows})
    assert kept[0] >= kept[1] >= kept[2]


@pytest.mark.parametrize("rule", ["published", "mean", "positional", "active"])
def test_a_class_that_nothing_speaks_for_has_no_children(tmp_path: Path, rng: np.random.Generator, rule: str) -> None:
    file = network(tmp_path / "n.onnx", rng, [[0.0, 0.0], [0.0, 0.0]])
    clip = rng.standard_normal((1, 3, 4, 4, 4)).astype(np.float32)
    pyramid = cfp.explain(file, clip, rule=rule, depth="all", target=0)
    assert not any(rows for rows in pyramid.levels.values())
    assert all(np.allclose(layer.relevance, 0.0) for layer in pyramid.layers if layer.depth > 0)


def test_published_follows_its_formula(tmp_path: Path, rng: np.random.Generator) -> None:
    file = network(tmp_path / "n.onnx", rng, [[1.0, 0.0], [-1.0, 0.25]])
    clip = rng.standard_normal((1, 3, 4, 4, 4)).astype(np.float32)
    pyramid = cfp.explain(file, clip, rule="published", theta=0.6, depth="all", target=0)
    model = onnx.load(file)
    w = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    hidden = np.maximum(np.einsum("oc,cthw->othw", w["w1"][:, :, 0, 0, 0], clip[0]), 0.0)
    products = w["w2"].mean(axis=(2, 3, 4))[0] * hidden.mean(axis=(1, 2, 3))
    v = products / products.sum()
    v = (v - v.min()) / (v.max() - v.min())
    edge = next(e for e in pyramid.edges if e.layer == "b" and e.kernel == 0)
    assert {c.channel for c in edge.channels} == set(np.flatnonzero(v >= 0.6).tolist())
    assert [c.weight for c in edge.channels] == pytest.approx([v[c.channel] for c in edge.channels], abs=1e-5)
