"""Embeddings: an output without classes is explained along a direction, and asks for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from text_net import Array, network

import cfp_onnx as cfp
from cfp_onnx.errors import CfpError, TargetError, UsageError

BODY = "a = Conv (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nf = Flatten (g)\nz = Gemm (f, v)\n"
LENGTHS = {
    "ReduceL2": "l = ReduceL2 <keepdims=1> (z, k)\ny = Div (z, l)",
    "clipped": "n = ReduceL2 <keepdims=1> (z, k)\nl = Max (n, tiny)\ne = Expand (l, shape)\ny = Div (z, e)",
    "written out": "q = Mul (z, z)\ns = ReduceSum <keepdims=1> (q, k)\nl = Sqrt (s)\ny = Div (z, l)",
    "one operator": "y = LpNormalization <axis=1, p=2> (z)",
}
WEIGHTS: dict[str, Any] = {
    "w": (4, 3, 1, 1), "v": (4, 12), "k": np.array([1]), "tiny": np.array([1e-12]), "shape": np.array([1, 12]),
}  # fmt: skip


def written(tail: str, folder: Path) -> tuple[Path, Array]:
    """The network's file, and the weights of its last layer, (4, 12)."""
    model = network(BODY + tail, {k: v for k, v in WEIGHTS.items() if k in {"w", "v"} or f"{k})" in tail})
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx", numpy_helper.to_array(next(i for i in model.graph.initializer if i.name == "v"))


def values(file: Path, x: Array) -> tuple[Array, Array]:
    """The features, and the last layer's output before it is scaled, by the reference evaluator."""
    model = onnx.load(file)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "fz")
    f, z = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    return f[0], z[0]


def explained(file: Path, x: Array, **options: Any) -> cfp.Pyramid:
    return cfp.explain(file, x, device="cpu", tubes=False, depth="all", **options)


def depth1(found: cfp.Pyramid) -> Array:
    (layer,) = (one for one in found.layers if one.depth == 1)
    return np.asarray(layer.relevance)


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal((1, 3, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("name", LENGTHS)
def test_an_embedding_is_explained_along_its_own_direction(name: str, x: Array, tmp_path: Path) -> None:
    file, v = written(LENGTHS[name], tmp_path)
    f, z = values(file, x)
    found = explained(file, x, direction="own")
    np.testing.assert_allclose(depth1(found), f * (v @ (z / np.linalg.norm(z))), rtol=1e-4, atol=1e-6)
    assert found.target.score == pytest.approx(1.0, rel=1e-4)
    assert found.target.title == "output 'y' along the direction"
    assert found.target.top == ()
    assert found.run.against is None
    assert "class 0" not in str(found)


@pytest.mark.parametrize("kind", ["numbers", "npy", "json"])
def test_a_direction_is_a_file_or_numbers(kind: str, x: Array, rng: np.random.Generator, tmp_path: Path) -> None:
    file, v = written(LENGTHS["ReduceL2"], tmp_path)
    f, z = values(file, x)
    direction = rng.standard_normal(12)
    np.save(tmp_path / "d.npy", direction)
    (tmp_path / "d.json").write_text(json.dumps(direction.tolist()), encoding="utf-8")
    given = {"numbers": direction, "npy": tmp_path / "d.npy", "json": str(tmp_path / "d.json")}[kind]
    found = explained(file, x, direction=given)
    unit = direction / np.linalg.norm(direction)
    np.testing.assert_allclose(depth1(found), f * (v @ unit), rtol=1e-4, atol=1e-6)
    assert found.target.score == pytest.approx(unit @ z / np.linalg.norm(z), rel=1e-4)


def test_an_embedding_names_no_class_and_asks_for_a_direction(x: Array, tmp_path: Path) -> None:
    file, v = written(LENGTHS["ReduceL2"], tmp_path)
    with pytest.raises(TargetError) as caught:
        explained(file, x)
    assert "a vector of length 1 with 12 numbers, as an embedding, and has no classes" in str(caught.value)
    assert "--direction own" in str(caught.value)
    f, _ = values(file, x)
    found = explained(file, x, target=3, class_step="contribution")
    np.testing.assert_allclose(depth1(found), f * v[:, 3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kernels", "tail", "labels", "said"),
    [
        (64, "y = Flatten (g)", None, True),
        (64, "y = Flatten (g)", tuple(f"n{i}" for i in range(64)), False),
        (64, "f = Flatten (g)\ny = Softmax (f)", None, False),
        (5, "y = Flatten (g)", None, False),
    ],
)
def test_features_are_told_of_a_direction(
    kernels: int, tail: str, labels: tuple[str, ...] | None, said: bool, x: Array, tmp_path: Path
) -> None:
    body = f"a = Conv (x, w)\nr = Relu (a)\nb = Conv (r, v)\ns = Relu (b)\ng = GlobalAveragePool (s)\n{tail}"
    onnx.save(network(body, {"w": (4, 3, 1, 1), "v": (kernels, 4, 1, 1)}), tmp_path / "net.onnx")
    found = explained(tmp_path / "net.onnx", x, labels=labels)
    assert any("use --direction own" in note for note in found.target.notes or ()) == said


def test_scores_that_are_no_embedding_need_no_direction(x: Array, tmp_path: Path) -> None:
    for tail in ("y = Identity (z)", "y = Softmax (z)"):
        assert explained(written(tail, tmp_path)[0], x).target.title is None


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"direction": np.ones(5)}, TargetError, "the direction has 5 values, the output has 12"),
        ({"direction": np.zeros(12)}, TargetError, "has no direction: its length is 0.0"),
        ({"direction": "nowhere.npy"}, UsageError, "cannot read a direction from nowhere.npy"),
        ({"direction": "own", "target": 3}, UsageError, "a class and a direction were given"),
        ({"direction": "own", "against": "best"}, UsageError, "a direction is set against nothing"),
        ({"direction": "own", "rule": "mean"}, UsageError, "rule mean knows classes only .*; choose positional"),
    ],
)
def test_a_direction_that_cannot_be_followed_is_refused(
    options: dict[str, Any], kind: type[CfpError], says: str, x: Array, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        explained(written(LENGTHS["ReduceL2"], tmp_path)[0], x, **options)
