"""Outputs with an answer at each of several places: the place is chosen, said, and the only one that is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from text_net import Array, engine_of, network

import cfp_onnx as cfp
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.explanation.places import asked_place

MAP = "a = Conv (x, w)\nr = Relu (a)\ny = Conv (r, v)"
WEIGHTS: dict[str, Any] = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1)}


def saved(model: onnx.ModelProto, folder: Path, *more: str) -> Path:
    """The file, with inner tensors as outputs too."""
    for name in more:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def values_of(model: onnx.ModelProto, x: Array, *names: str) -> list[Array]:
    """Tensors by the reference evaluator, in double precision."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.output[:]
    graph.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    return [np.asarray(v) for v in onnx.reference.ReferenceEvaluator(graph).run(list(names), {"x": x})]


def explained(file: Path, x: Array, **options: Any) -> cfp.Pyramid:
    return cfp.explain(file, x, device="cpu", tubes=False, depth="all", **options)


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal((1, 3, 6, 6)).astype(np.float32)


def test_a_map_of_classes_is_explained_where_the_class_is_strongest(x: Array, tmp_path: Path) -> None:
    model = network(MAP, WEIGHTS)
    r, y = values_of(model, x, "r", "y")
    k, row, column = (int(i) for i in np.unravel_index(int(y[0].argmax()), y.shape[1:]))
    found = explained(saved(model, tmp_path), x, class_step="contribution")
    assert (found.target.index, found.target.place, found.target.places) == (k, (row, column), (6, 6))
    assert found.target.score == pytest.approx(y.max(), rel=1e-5)
    v = numpy_helper.to_array(model.graph.initializer[1]).reshape(5, 4)
    by_hand = v[k] * r[0, :, row, column]
    (depth1,) = (layer for layer in found.layers if layer.depth == 1)
    np.testing.assert_allclose(depth1.relevance, by_hand, rtol=1e-4, atol=1e-6)
    assert str(found).splitlines()[0] == f"class {k} at place {row},{column} of 6x6"
    assert found.to_json()["target"]["place"] == [row, column]
    assert [c.score for c in found.target.top] == pytest.approx(np.sort(y[0, :, row, column])[::-1])


@pytest.mark.parametrize(("at", "row", "column", "words"), [
    ("2,5", 2, 5, "place 2,5 of 6x6"), ("pixel:17", 2, 5, "pixel 17 of 6x6"), (" 0, 0 ", 0, 0, "place 0,0 of 6x6"),
])  # fmt: skip
def test_a_place_can_be_named(at: str, row: int, column: int, words: str, x: Array, tmp_path: Path) -> None:
    model = network(MAP, WEIGHTS)
    r, y = values_of(model, x, "r", "y")
    found = explained(saved(model, tmp_path), x, at=at, class_step="contribution", target=3)
    assert found.target.score == pytest.approx(y[0, 3, row, column], rel=1e-4)
    v = numpy_helper.to_array(model.graph.initializer[1]).reshape(5, 4)
    (depth1,) = (layer for layer in found.layers if layer.depth == 1)
    np.testing.assert_allclose(depth1.relevance, v[3] * r[0, :, row, column], rtol=1e-4, atol=1e-6)
    assert found.target.title == f"class 3 at {words}"
    top = explained(tmp_path / "net.onnx", x, at=at)
    own = int(y[0, :, row, column].argmax())
    assert top.target.index == own
    assert (f"the model itself answers {own} at this place" in str(found)) == (own != 3)


def test_the_mean_over_all_places_can_be_asked_for(x: Array, tmp_path: Path) -> None:
    model = network(MAP, WEIGHTS)
    r, y = values_of(model, x, "r", "y")
    found = explained(saved(model, tmp_path), x, at="mean", class_step="contribution")
    k = int(y[0].mean(axis=(1, 2)).argmax())
    assert found.target.score == pytest.approx(y[0, k].mean(), rel=1e-4)
    assert (found.target.index, found.target.place) == (k, None)
    v = numpy_helper.to_array(model.graph.initializer[1]).reshape(5, 4)
    (depth1,) = (layer for layer in found.layers if layer.depth == 1)
    np.testing.assert_allclose(depth1.relevance, v[k] * r[0].mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    pooled = explained(tmp_path / "net.onnx", x, at="mean", rule="published")
    assert pooled.target.index == k


VIDEO = "float[1,3,4,6,6] x"
KINDS: dict[str, tuple[str, dict[str, Any], str, tuple[int, ...] | None]] = {
    "video, height and width pooled": (
        "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\ny = ReduceMean <keepdims=0> (c, k)",
        {"w": (4, 3, 1, 1, 1), "v": (5, 4, 1, 1, 1), "k": np.array([3, 4])}, VIDEO, None,
    ),
    "video, a map of time, height and width": (
        "a = Conv (x, w)\nr = Relu (a)\ny = Conv (r, v)", {"w": (4, 3, 1, 1, 1), "v": (5, 4, 1, 1, 1)}, VIDEO,
        (4, 6, 6),
    ),
    "pooled": (
        "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\ny = GlobalAveragePool (c)", WEIGHTS, "float[1,3,6,6] x", None,
    ),
    "picture, one row left": (
        "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\ny = ReduceMean <keepdims=0> (c, k)",
        {**WEIGHTS, "k": np.array([2])}, "float[1,3,6,6] x", (6,),
    ),
    "signal": (MAP, {"w": (4, 3, 1), "v": (5, 4, 1)}, "float[1,3,9] x", (9,)),
    "one class": ("a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\ny = Sigmoid (c)", {**WEIGHTS, "v": (1, 4, 1, 1)},
                  "float[1,3,6,6] x", (6, 6)),
    "letters": (
        "f = Flatten (x)\na = Gemm (f, w)\nr = Relu (a)\nc = Gemm (r, v)\nz = Reshape (c, k)\ny = Softmax <axis=2> (z)",
        {"w": (108, 6), "v": (6, 20), "k": np.array([1, 4, 5])}, "float[1,3,6,6] x", (4,),
    ),
    "time before the batch": (
        "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\ny = Transpose <perm=[2,0,1]> (c)",
        {"w": (4, 3, 1), "v": (5, 4, 1)}, "float[1,3,9] x", (9,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_places_are_averaged_only_where_a_video_network_has_pooled_height_and_width(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    body, weights, inputs, places = KINDS[name]
    model = network(body, weights, inputs)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = rng.standard_normal(shape).astype(np.float32)
    (y,) = values_of(model, x, "y")
    found = explained(saved(model, tmp_path), x)
    assert found.target.places == places
    axis = {"letters": 2, "time before the batch": 2}.get(name, 1)
    by_class = np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1)
    score = by_class.mean(axis=1).max() if places is None else by_class.max()
    assert found.target.score == pytest.approx(score, rel=1e-4)
    if by_class.shape[0] > 1:
        top = by_class.mean(axis=1) if places is None else by_class.max(axis=1)
        assert found.target.index == int(top.argmax())


def yolo(rng: np.random.Generator) -> tuple[onnx.ModelProto, Array]:
    """Boxes of 8 values at 36 + 9 places: four sizes in pixels, up to hundreds, and four scores."""
    scale = """a{n} = Conv <strides=[{s},{s}]> (x, w)
r{n} = Relu (a{n})
b{n} = Conv (r{n}, u{n})
p{n} = Mul (b{n}, pixels)
q{n} = Reshape (p{n}, s4)
c{n} = Conv (r{n}, v{n})
d{n} = Reshape (c{n}, s4)
"""
    body = scale.format(n=1, s=1) + scale.format(n=2, s=2)
    body += "q = Concat <axis=2> (q1, q2)\nd = Concat <axis=2> (d1, d2)\ne = Sigmoid (d)\ny = Concat <axis=1> (q, e)"
    weights = {"w": (4, 3, 1, 1), "pixels": np.array([300.0]), "s4": np.array([1, 4, -1])}
    weights |= {f"{k}{n}": (4, 4, 1, 1) for k in "uv" for n in (1, 2)}
    return network(body, weights), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)


def test_a_detector_answers_for_a_box_and_never_with_a_size(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x = yolo(rng)
    y, r1 = values_of(model, x, "y", "r1")
    assert y[0, :4].max() > 100
    column, box = (int(i) for i in np.unravel_index(int(y[0, 4:].argmax()), (4, 45)))
    found = explained(saved(model, tmp_path), x)
    assert (found.target.index, found.target.place) == (column + 4, (box,))
    assert 0 < found.target.score <= 1
    assert {c.class_index for c in found.target.top} == {4, 5, 6, 7}
    assert found.target.kernel == column
    assert str(found).splitlines()[0].startswith(f"class {column + 4} at place {box} of 45")
    assert {c.class_index for c in found.run.rivals or ()} <= {4, 5, 6, 7}
    scale = 1 if box < 36 else 2
    edges = [e for e in found.edges if e.kernel == column and e.layer in {f"c{n}" for n in (1, 2)}]
    assert [e.layer for e in edges] == [f"c{scale}"]
    named = explained(tmp_path / "net.onnx", x, labels=("bus", "car", "cat", "dog"), target="cat", at="box:3")
    assert (named.target.index, named.target.title) == (6, "class 6 cat at box 3 of 45")
    assert named.run["labels"] == "the 4 labels name the scores of each box, from value 4 of 8 on"
    width = explained(tmp_path / "net.onnx", x, target=1, at="box:7", class_step="contribution")
    assert width.target.score == pytest.approx(y[0, 1, 7], rel=1e-4)
    u = next(numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "u1").reshape(4, 4)
    by_hand = 300 * u[1] * r1.reshape(4, -1)[:, 7]
    reached = {layer.name: layer.relevance for layer in width.layers}
    np.testing.assert_allclose(reached["a1"], by_hand, rtol=1e-4, atol=1e-4)
    assert not any(reached["a2"])


def test_sizes_that_were_written_over_scores_are_told_by_their_values(rng: np.random.Generator, tmp_path: Path) -> None:
    """As exporters write ``y[:, :2] = y[:, :2] * pixels``."""
    body = """a = Conv (x, w)
r = Relu (a)
c = Conv (r, v)
f = Reshape (c, k)
s = Sigmoid (f)
h = Slice (s, begin, end, axis)
b = Mul (h, pixels)
y = ScatterElements <axis=1> (s, places, b)"""
    weights = {
        "w": (4, 3, 1, 1), "v": (5, 4, 1, 1), "k": np.array([1, 5, 36]), "begin": np.array([0]), "end": np.array([2]),
        "axis": np.array([1]), "pixels": np.array([400.0]),
        "places": np.broadcast_to(np.array([0, 1])[None, :, None], (1, 2, 36)).copy(),
    }  # fmt: skip
    model, x = network(body, weights), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    (y,) = values_of(model, x, "y")
    assert y[0, :2].max() > 100
    column, box = (int(i) for i in np.unravel_index(int(y[0, 2:].argmax()), (3, 36)))
    found = explained(saved(model, tmp_path), x)
    assert (found.target.index, found.target.place) == (column + 2, (box,))
    assert {c.class_index for c in found.target.top} == {2, 3, 4}
    named = explained(tmp_path / "net.onnx", x, labels=("bus", "car", "cat"), target="car")
    assert named.target.index == 3


def test_anchors_that_are_cut_and_joined_again_keep_their_kernels(rng: np.random.Generator, tmp_path: Path) -> None:
    body = """a = Conv (x, w)
r = Relu (a)
c = Conv (r, v)
h = Reshape (c, k)
t = Transpose <perm=[0,1,3,4,2]> (h)
s = Sigmoid (t)
xy, wh, p = Split <axis=4> (s, parts)
i = Mul (xy, pixels)
j = Mul (wh, pixels)
n = Concat <axis=4> (i, j, p)
y = Reshape (n, flat)"""
    weights = {
        "w": (4, 3, 1, 1), "v": (21, 4, 1, 1), "k": np.array([1, 3, 7, 6, 6]), "parts": np.array([2, 2, 3]),
        "pixels": np.array([400.0]), "flat": np.array([1, -1, 7]),
    }  # fmt: skip
    model, x = network(body, weights), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    (y,) = values_of(model, x, "y")
    box, column = (int(i) for i in np.unravel_index(int(y[0, :, 4:].argmax()), (108, 3)))
    found = explained(saved(model, tmp_path), x)
    assert (found.target.index, found.target.place, found.target.places) == (column + 4, (box,), (108,))
    kernel = box // 36 * 7 + column + 4
    assert [e.kernel for e in found.edges if e.layer == "c"] == [kernel]
    last = explained(tmp_path / "net.onnx", x, target=6, at="box:107")
    assert last.target.kernel == 20
    assert [e.kernel for e in last.edges if e.layer == "c"] == [20]


def test_channels_last_scores_are_read_where_they_lie(x: Array, tmp_path: Path) -> None:
    model = network(
        f"{MAP.replace('y =', 'c =')}\ns = Softmax <axis=1> (c)\ny = Transpose <perm=[0,2,3,1]> (s)", WEIGHTS
    )
    (y,) = values_of(model, x, "y")
    found = explained(saved(model, tmp_path), x, at="1,4")
    assert found.target.score == pytest.approx(y[0, 1, 4].max(), rel=1e-4)
    assert found.target.index == int(y[0, 1, 4].argmax())


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("6,0", "there is no place '6,0'; the output of m.onnx has 6 x 4 places, such as 3,2 or box:14"),
        ("3", "there is no place '3'"),
        ("box:24", "there is no place 24; the output of m.onnx has 24, 0 to 23"),
        ("here", "--at takes a place, such as 3,2 or box:14, or strongest or mean; not 'here'"),
        ("-1,0", "--at takes a place"),
    ],
)
def test_a_place_that_is_not_there_is_refused(at: str, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        asked_place(at, Classes(5, 1, (1, 5, 6, 4), (2, 3), dense=True), file="m.onnx")
    assert says in str(caught.value)


def test_a_network_without_places_has_none_to_choose(x: Array, tmp_path: Path) -> None:
    file = saved(network(f"{MAP.replace('y =', 'c =')}\ny = GlobalAveragePool (c)", WEIGHTS), tmp_path)
    with pytest.raises(TargetError, match="have no places, so there is none at 'box:3'; leave --at out"):
        explained(file, x, at="box:3")
    explained(file, x, at="strongest")


def test_a_rule_of_means_refuses_a_place(x: Array, tmp_path: Path) -> None:
    file = saved(network(MAP, WEIGHTS), tmp_path)
    with pytest.raises(
        UsageError, match=r"rule mean looks at means over all places .*; choose positional, or --at mean"
    ):
        explained(file, x, rule="mean", at="strongest")
    usual = explained(file, x, rule="mean")
    assert usual.target == explained(file, x, rule="mean", at="mean").target
    assert usual.target.title == f"class {usual.target.index}, mean over all places"


def test_relevance_without_a_place_is_that_of_the_strongest(x: Array, tmp_path: Path) -> None:
    model = network(MAP, WEIGHTS)
    engine = engine_of(model, tmp_path, feeds={"x": x})
    found = explained(tmp_path / "net.onnx", x, against="mean", target=2)
    relevance = engine.relevance({"x": x}, 2)
    for layer in found.layers:
        if layer.depth:
            index = next(i for i, one in enumerate(engine.topology.layers) if one.name == layer.name)
            np.testing.assert_allclose(relevance[index], layer.relevance, rtol=1e-4, atol=1e-6)


def test_a_dense_network_can_be_compared_and_checked(x: Array, tmp_path: Path) -> None:
    file = saved(network(MAP, WEIGHTS), tmp_path)
    np.save(tmp_path / "clip.npy", x)
    clip = tmp_path / "clip.npy"
    assert cfp.compare(file, file, clip, device="cpu").same
    cfp.baseline(file, clip, device="cpu").save(tmp_path / "baseline.json")
    assert cfp.check(file, tmp_path / "baseline.json", device="cpu").ok
    changed = network(MAP, WEIGHTS)
    tensor = changed.graph.initializer[1]
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    other = tmp_path / "other"
    other.mkdir()
    assert not cfp.check(saved(changed, other), tmp_path / "baseline.json", device="cpu").ok


def test_the_saved_result_keeps_its_place(x: Array, tmp_path: Path) -> None:
    file = saved(network(MAP, WEIGHTS), tmp_path)
    found = cfp.explain(file, x, device="cpu", at="2,5", target=3)
    found.save(tmp_path / "out")
    again = cfp.load_pyramid(tmp_path / "out")
    assert again.target == found.target
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<title>class 3 at place 2,5 of 6x6 - class feature pyramid</title>" in page
    assert json.loads((tmp_path / "out" / "pyramid.json").read_text(encoding="utf-8"))["target"]["places"] == [6, 6]
