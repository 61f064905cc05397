"""The class's own tube of one network in many forms of input, and the relevance of its kernels by the same walk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import slow_evidence
from live_nets import NETS
from small_nets import Net
from walk_nets import by_name

from cfp_onnx import explain
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.model import load

Array = npt.NDArray[Any]
BASE = by_name("residual 21")
BODY = BASE.body


def live(name: str) -> Net:
    """One of the networks in which something steers."""
    return next(net for net in NETS if net.name == name)


def tube_of(model: onnx.ModelProto, feeds: Any, folder: Path, **options: Any) -> Array:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return explain(path, feeds, device="cpu", **options).class_tube(signed=True)


def variant(inputs: str, prefix: str, *, batch: int = 1) -> onnx.ModelProto:
    """The same network, weights included, behind other inputs."""
    body = f"{prefix}\n{BODY.replace('(x, w1)', '(clip, w1)')}" if prefix else BODY
    tail = "\npooled = GlobalAveragePool (f)\nflat = Flatten (pooled)\ny = Gemm <transB=1> (flat, wy, by)"
    ports = ", ".join(f"float[{shape}] {name}" for name, shape in (i.split("=") for i in inputs.split()))
    text = f'<ir_version: 9, opset_import: ["" : 21]> net ({ports}) => (float[{batch},5] y) {{ {body}{tail} }}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(BASE.model().graph.initializer)
    return model


STRIDED = Net(
    "strided", "x=1,3,4,11,12",
    "c1 = Conv <pads=[1,1,1,1,1,1], strides=[1,2,2]> (x, w1)\nr1 = LeakyRelu (c1)\n"
    "v = Conv <strides=[1,2,2]> (x, w2)\nr2 = Relu (v)\nd = Conv <pads=[1,1,1,1,1,1], strides=[1,2,2]> (r1, w3)\n"
    "k = Conv (r2, w4)\nc = Concat <axis=1> (d, k)\nf = Relu (c)",
    {"w1": (4, 3, 3, 3, 3), "w2": (4, 3, 1, 5, 6), "w3": (4, 4, 3, 3, 3), "w4": (3, 4, 1, 2, 2)}, 21, 7,
)  # fmt: skip
"""Two branches that read the clip at strides of their own."""


SIGNAL = Net(
    "signal", "x=1,3,20",
    "c1 = Conv <pads=[1,1]> (x, w1)\nr1 = Relu (c1)\nc2 = Conv <strides=[2]> (r1, w2)\nf = Relu (c2)",
    {"w1": (5, 3, 3), "w2": (4, 5, 3)}, 21, 4,
)  # fmt: skip
STILL = (1, 0.0, 0.0)
NORMS = ("instance", "group", "layer", "RMS", "mean and variance")
RECIPES: tuple[tuple[Net, dict[str, tuple[int, float, float]]], ...] = (
    (by_name("plain stack"), {"r1": STILL}), (by_name("(2+1)D"), {"r1": STILL}), (BASE, {"r1": STILL}),
    (STRIDED, {"r1": (2, 0.0, 0.0), "r2": (2, 2.0, 2.5)}), (SIGNAL, {"r1": STILL}),
    *((live(f"norm {name}"), {"r1": STILL}) for name in NORMS),
    *((net, {"c0": STILL}) for net in NETS if net.name.startswith("gate ")),
)  # fmt: skip


@pytest.mark.parametrize(("net", "first"), RECIPES, ids=[net.name for net, _ in RECIPES])
def test_the_class_tube_is_the_recipe_on_the_twins_fields(
    net: Net, first: slow_evidence.Places, tmp_path: Path
) -> None:
    """Relevance at the clip and at each first layer behind its norm, with signs; norms, gates and means held."""
    model, feeds = net.model(), net.feeds()
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    found = explain(path, feeds["x"], depth=1, device="cpu")
    expected = slow_evidence.recipe(model, feeds, found.target["index"], first)
    np.testing.assert_allclose(found.class_tube(signed=True), expected, rtol=1e-3, atol=1e-5)


FORMS: dict[str, tuple[str, str, Any]] = {
    "channels last": (
        "x=1,8,8,3", "clip = Transpose <perm=[0,3,1,2]> (x)", lambda x: np.ascontiguousarray(np.moveaxis(x, 1, -1)),
    ),
    "rescaled inside": ("x=1,3,8,8", "clip = Mul (x, x2)", lambda x: x / 2),
    "two inputs": (
        "x=1,3,8,8 shift=1,3,1,1", "clip = Add (x, shift)",
        lambda x: {"x": x, "shift": np.zeros((1, 3, 1, 1), np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_input_changes_nothing(form: str, tmp_path: Path) -> None:
    x = BASE.feeds()["x"]
    plain = tube_of(BASE.model(), x, tmp_path)
    inputs, prefix, feed = FORMS[form]
    model = variant(inputs, prefix)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2.0), "x2"))
    np.testing.assert_allclose(tube_of(model, feed(x), tmp_path), plain, rtol=1e-3, atol=1e-4)
    assert plain.min() < 0 < plain.max()


def test_a_fixed_batch_of_two_says_what_one_says(tmp_path: Path) -> None:
    x = BASE.feeds()["x"]
    plain = tube_of(BASE.model(), x, tmp_path)
    two = tube_of(variant("x=2,3,8,8", "", batch=2), np.concatenate([x, x]), tmp_path)
    np.testing.assert_allclose(two, plain, rtol=1e-3, atol=1e-4)


def test_frames_on_the_batch_axis_are_frames_of_the_tube(tmp_path: Path) -> None:
    """Scores are averaged over six frames; what one frame says stands at that frame."""
    net = Net(
        "frames", "x=1,3,6,8,8",
        "turned = Transpose <perm=[0,2,1,3,4]> (x)\nframes = Reshape (turned, shape)\n"
        "c1 = Conv <pads=[1,1,1,1]> (frames, w1)\nr1 = Relu (c1)\np = GlobalAveragePool (r1)\nf = Flatten (p)\n"
        "each = Gemm <transB=1> (f, wy)\ny = ReduceMean <keepdims=1> (each, zero)",
        {"w1": (5, 3, 3, 3), "wy": (4, 5), "zero": np.array([0], np.int64), "shape": np.array([6, 3, 8, 8])},
    )  # fmt: skip
    model, feeds = net.model(), net.feeds()
    path = tmp_path / "frames.onnx"
    onnx.save(model, path)
    found = explain(path, feeds["x"], device="cpu")
    truth = slow_evidence.places(model, feeds, found.target["index"])
    maps = [truth["x"][0].sum(axis=0), truth["r1"].sum(axis=1)]
    expected = slow_evidence.evidence(maps)
    np.testing.assert_allclose(found.class_tube(signed=True), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", ["positional", "active", "mean"])
@pytest.mark.parametrize("net", [BASE, live("norm group")], ids=["batch norms", "group norm"])
def test_a_kernels_relevance_is_against_its_rivals_with_all_held(net: Net, rule: str, tmp_path: Path) -> None:
    """Per clip pixel, whatever rule chose the kernels."""
    model, feeds = net.model(), net.feeds()
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    found = explain(path, feeds["x"], rule=rule, theta=0, depth="all", device="cpu", kernel_relevance=True)
    truth = slow_evidence.places(model, feeds, found.target["index"])
    engine = Engine(load(path), feeds)
    features = {x.name: feature_of(engine.topology, x, engine.target) for x in engine.topology.layers}
    mine = found.tubes.of("relevance", "kernel")
    assert len({t.layer for t in mine}) > 1
    for one in mine:
        feature = features[one.layer]
        values = np.take(truth[feature.tensor], one.kernel, axis=feature.axis)
        expected = values.reshape(one.values.shape) * values.size / np.prod(found.tubes.size)
        np.testing.assert_allclose(one.values, expected, rtol=1e-3, atol=1e-5 * np.abs(truth[feature.tensor]).max())
