"""Which output is explained, and what of it: what an ArgMax reads, and of several outputs the one with classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from text_net import Array, network

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.errors import TargetError, UnsupportedOperatorError
from cfp_onnx.model import load

BODY = """a = Conv (x, w)
r = Relu (a)
g = GlobalAveragePool (r)
f = Flatten (g)
z = Gemm (f, v)
"""
WEIGHTS: dict[str, Any] = {"w": (4, 3, 1, 1), "v": (4, 5)}
TYPES = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def written(folder: Path, tail: str, outputs: str, name: str = "net.onnx", **weights: Any) -> Path:
    """The network with other outputs, as ``float y, int64 i``."""
    model = network(BODY + tail, WEIGHTS | weights)
    del model.graph.output[:]
    for kind, output in (one.split() for one in outputs.split(", ")):
        model.graph.output.append(helper.make_tensor_value_info(output, TYPES[kind], None))
    onnx.save(model, folder / name)
    return folder / name


def explained(file: Path, x: Array, **options: Any) -> cfp.Pyramid:
    return cfp.explain(file, x, device="cpu", tubes=False, depth="all", **options)


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal((1, 3, 6, 6)).astype(np.float32)


def plain(file: Path, x: Array, output: str) -> Array:
    """An output as the runtime gives it for the file as it is."""
    session = runtime.plain_session(load(file), runtime.Device("cpu"))
    return np.asarray(session.run([output], {"x": x})[0])


PICKS = {
    "ArgMax": ("i = ArgMax <axis=1, keepdims=0> (z)", "int64 i", {}, "z"),
    "of a Softmax": ("s = Softmax (z)\ni = ArgMax <axis=1> (s)", "int64 i", {}, "s"),
    "places of TopK": ("t, i = TopK <axis=1> (z, k)", "int64 i", {"k": np.array([2])}, "z"),
    "values of TopK": ("t, i = TopK <axis=1> (z, k)", "float t", {"k": np.array([2])}, "z"),
    "highest": ("s = Softmax (z)\nt = ReduceMax <keepdims=0> (s, k)", "float t", {"k": np.array([1])}, "s"),
    "Hardmax": ("t = Hardmax <axis=1> (z)", "float t", {}, "z"),
    "looked up": ("j = ArgMax <axis=1, keepdims=0> (z)\ni = Gather (k, j)", "int64 i", {"k": np.arange(5) + 7}, "z"),
    "refused below a threshold": (
        ("s = Softmax (z)\nm = ReduceMax <keepdims=0> (s, k)\nl = Less (m, h)\nj = ArgMax <axis=1, keepdims=0> (s)\n"
        "i = Where (l, n, j)"), "int64 i", {"k": np.array([1]), "h": np.array([0.2]), "n": np.array([-1])}, "s",
    ),
    "right or wrong": (
        "j = ArgMax <axis=1, keepdims=0> (z)\ne = Equal (j, k)\nc = Cast <to=1> (e)\nt = ReduceMean <keepdims=0> (c)",
        "float t", {"k": np.array([2])}, "z",
    ),
    "yes or no": ("s = Sigmoid (z)\nb = Greater (s, h)", "bool b", {"h": np.array([0.5])}, "s"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKS)
def test_what_an_output_picks_from_is_explained(name: str, x: Array, tmp_path: Path) -> None:
    tail, output, weights, scored = PICKS[name]
    picks = written(tmp_path, tail, output, **weights)
    scores = written(tmp_path, tail, f"float {scored}", "scores.onnx", **weights)
    found, expected = explained(picks, x), explained(scores, x)
    values = plain(scores, x, scored)[0]
    assert found.target.output == output.split()[1]
    assert found.target.index == int(values.argmax())
    assert found.target.score == pytest.approx(values.max(), rel=1e-5)
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert any(one.relevance)
        np.testing.assert_allclose(one.relevance, other.relevance, rtol=1e-5, atol=1e-7)
    note = f"output {found.target.output!r} is made by "
    assert any(n.startswith(note) and "the scores that it reads" in n for n in found.to_json()["target"]["notes"])
    assert note in str(found)


HEADS = {
    "label beside probabilities": ("s = Softmax (z)\ni = ArgMax <axis=1> (s)", "int64 i, float s", "s"),
    "features beside scores": ("q = Identity (f)", "float q, float z", "z"),
    "a value beside classes": ("q = Gemm (f, u)", "float q, float z", "z"),
    "a map beside classes": ("m = Conv (r, m1)", "float m, float z", "z"),
    "boxes beside their scores": (
        ("m = Conv (r, m1)\nh = Conv (r, m4)\nk2 = Reshape (h, s4)\nb = Transpose <perm=[0,2,1]> (k2)\n"
        "k1 = Reshape (m, s3)\nc = Transpose <perm=[0,2,1]> (k1)"), "float b, float c", "c",
    ),
    "two of a kind": ("q = Gemm (f, v2)", "float q, float z", "q"),
    "a softmax beside other numbers": ("q = Gemm (f, v2)\ns = Softmax (z)", "float q, float s", "s"),
    "by its name": ("embedding = Gemm (f, v9)", "float embedding, float z", "z"),
}  # fmt: skip
MORE = {
    "u": (4, 1), "m1": (3, 4, 1, 1), "m4": (4, 4, 1, 1), "v2": (4, 5), "v9": (4, 9),
    "s4": np.array([1, 4, 36]), "s3": np.array([1, 3, 36]),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_of_several_outputs_the_one_with_classes_is_explained(name: str, x: Array, tmp_path: Path) -> None:
    tail, outputs, best = HEADS[name]
    used = {k: v for k, v in MORE.items() if f"{k})" in tail}
    file = written(tmp_path, tail, outputs, **used)
    found = explained(file, x)
    assert found.target.output == best
    other = next(o for o in outputs.replace(",", "").split()[1::2] if o != best)
    said = f"output {best!r} is explained, of 2; --output takes {other} too"
    assert said in (found.target.notes or ())
    assert said in " ".join(str(found).split())
    chosen = explained(file, x, output=best)
    assert said not in (chosen.target.notes or ())
    assert chosen.target.index == found.target.index


@pytest.mark.parametrize("outputs", ["float z, int64 i", "int64 i, float z"])
def test_scores_come_before_what_only_picks_from_them(outputs: str, x: Array, tmp_path: Path) -> None:
    file = written(tmp_path, "i = ArgMax <axis=1, keepdims=0> (z)", outputs)
    found = explained(file, x)
    assert found.target.output == "z"
    assert found.target.score == pytest.approx(plain(file, x, "z").max(), rel=1e-6)
    assert explained(file, x, output="i").target.output == "i"


def test_an_operator_behind_the_last_layer_blocks_only_what_is_made_of_it(x: Array, tmp_path: Path) -> None:
    file = written(tmp_path, "o = Cos (z)", "float o, float z")
    found = explained(file, x)
    assert found.target.output == "z"
    assert found.coverage.complete
    with pytest.raises(UnsupportedOperatorError) as caught:
        explained(file, x, output="o")
    assert caught.value.operator == "Cos"
    assert str(caught.value).endswith("or explain z with --output")
    alone = written(tmp_path, "o = Cos (z)", "float o")
    with pytest.raises(UnsupportedOperatorError, match="operator Cos at node 'o' cannot be followed"):
        explained(alone, x)


def test_an_output_without_scores_is_refused_with_those_that_have_some(x: Array, tmp_path: Path) -> None:
    file = written(tmp_path, "n = Shape (x)\nm = Identity (n)", "int64 m, float z")
    with pytest.raises(TargetError, match=r"output 'm' of .* holds no scores .*; choose z with --output"):
        explained(file, x, output="m")
    alone = written(tmp_path, "n = Shape (x)\nm = Identity (n)\nl = Identity (n)", "int64 m, int64 l")
    with pytest.raises(TargetError, match=r"nor does any other \(l\); export the network so that the scores"):
        explained(alone, x)
    with pytest.raises(TargetError, match="has no output 'q'; its outputs are: m, l"):
        explained(alone, x, output="q")
