"""Tubes of whole explanations: against a twin, on clips where the answer is known, and on inputs of every form."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import slow_evidence
import twin
from position_nets import CHECKED
from small_nets import Net
from walk_nets import by_name

from benchmarks.demo_model import DEMO, DEMO_CLIP
from benchmarks.motion import clips
from benchmarks.tubes.maps import Explainer
from benchmarks.tubes.measures import energy, share
from cfp_onnx import explain
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.model import load
from cfp_onnx.pyramid import resampling, tubes
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.tube_collector import PER_LAYER, clip_size, kernels_with_tubes

Array = npt.NDArray[Any]


def test_kernels_with_a_tube_are_the_chosen_and_the_strongest_against() -> None:
    relevance = np.array([5.0, -1, 3, -4, 0, -2, -3, 4])
    kernels, omitted = kernels_with_tubes(relevance, np.array([0, 7, 2]))
    assert kernels.tolist()[:3] == [0, 7, 2]
    assert set(kernels.tolist()[3:]) == {3, 6, 5}
    assert omitted == 0
    many, omitted = kernels_with_tubes(np.arange(100.0), np.arange(100)[::-1])
    assert many.tolist() == list(range(99, 99 - PER_LAYER, -1))
    assert omitted == 100 - PER_LAYER


@pytest.mark.parametrize(
    ("shape", "axis", "size"),
    [
        ((1, 3, 16, 40, 30), 1, (16, 40, 30)),
        ((1, 16, 40, 30, 3), 4, (16, 40, 30)),
        ((1, 3, 40, 30), 1, (1, 40, 30)),
        ((2, 50, 4), 2, (1, 1, 50)),
        ((1, 12), 1, None),
        ((1, 2, 3, 4, 5, 6), 1, None),
    ],
)
def test_the_clips_size_is_the_inputs_without_batch_and_channels(
    shape: tuple[int, ...], axis: int, size: resampling.Size | None
) -> None:
    assert clip_size(shape, axis) == size


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


SMALL = {
    "image": by_name("plain stack"),
    "curve": Net(
        "signal", "x=1,3,20",
        "c1 = Conv <pads=[1,1]> (x, w1)\nr1 = Relu (c1)\nc2 = Conv <strides=[2]> (r1, w2)\nf = Relu (c2)",
        {"w1": (5, 3, 3), "w2": (4, 5, 3)}, 21, 4,
    ),
    "video": by_name("(2+1)D"),
    "none": by_name("mlp"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_tubes_and_pictures_suit_the_input(kind: str, tmp_path: Path) -> None:
    net = SMALL[kind]
    x = net.feeds()["x"]
    found = explain(saved(net.model(), tmp_path), x, depth="all", device="cpu")
    assert found.media is not None
    assert found.media.kind == kind
    if kind == "none":
        assert found.tubes is None
        return
    size = (1,) * (5 - x.ndim) + x.shape[2:]
    assert found.media.size == found.tubes.size == size
    if kind == "curve":
        np.testing.assert_array_equal(found.media.curve, x[0])
    else:
        assert found.media.frames.shape == (*size, 3)
    assert {t.at(size).shape for t in found.tubes.items} == {size}
    assert all(np.isfinite(t.values).all() for t in found.tubes.items)
    own = found.class_tube(signed=True)
    assert np.abs(own).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(found.class_tube(), np.maximum(own, 0))
    assert all((np.diff(c) > 0).all() for t in found.tubes.items for c in t.centres)


@pytest.mark.parametrize("rule", ["positional", "zplus", "published", "mean"])
def test_asking_for_tubes_changes_nothing_else(rule: str, tmp_path: Path) -> None:
    net = by_name("residual 21")
    path, x = saved(net.model(), tmp_path), net.feeds()["x"]
    bare, full = (
        explain(path, x, rule=rule, depth="all", theta=0.3, device="cpu", tubes=t, kernel_relevance=t)
        for t in (False, True)
    )
    assert bare.tubes is None
    assert full.tubes is not None
    for one, two in zip(bare.layers, full.layers, strict=True):
        assert one.name == two.name
        scale = max(map(abs, one.relevance), default=0)
        assert two.relevance == pytest.approx(one.relevance, rel=1e-6, abs=1e-6 * scale)
    assert [(e.layer, e.kernel) for e in bare.edges] == [(e.layer, e.kernel) for e in full.edges]
    for one, two in zip(bare.edges, full.edges, strict=True):
        assert [c.channel for c in one.channels] == [c.channel for c in two.channels]
        assert [c.weight for c in two.channels] == pytest.approx([c.weight for c in one.channels], rel=1e-6)


def test_maps_are_the_twins_relevance_and_the_kernels_own_maps(tmp_path: Path) -> None:
    """Per clip pixel, and against the classes that compete on this clip; of layers, the mean of three neighbours."""
    net = by_name("residual 21")
    model, feeds = net.model(), net.feeds()
    path = saved(model, tmp_path)
    found = explain(path, feeds["x"], depth="all", theta=0, device="cpu", kernel_relevance=True)
    assert found.tubes is not None
    engine = Engine(load(path), feeds)
    values = twin.evaluate(model, feeds)
    truth = slow_evidence.places(model, feeds, found.target["index"])
    heard = 0.0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] == 0:
            continue
        tensor = feature_of(engine.topology, layer, engine.target).tensor
        own = found.tubes.find("relevance", layer=layer.name)
        cell = 64 / own.values.size
        expected = slow_evidence.box(truth[tensor].sum(axis=1), (1, 3, 3)) / 9 / cell
        heard = max(heard, float(expected.max()))
        np.testing.assert_allclose(own.values, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
        mine = [t.values for t in found.tubes.of("relevance", "layer") if t.depth == own.depth]
        whole = found.tubes.find("relevance", depth=own.depth).values
        np.testing.assert_allclose(whole, sum(mine), rtol=1e-5, atol=1e-7)
        for t in found.tubes.items:
            if t.layer == layer.name and t.kernel is not None:
                source = values[tensor] if t.kind == "activation" else truth[tensor] / cell
                size = float(np.abs(source).max())
                np.testing.assert_allclose(t.values, source[:, t.kernel], rtol=1e-3, atol=1e-5 * size + 1e-9)
    assert heard > 0
    assert len(found.tubes.of("activation", "kernel")) == len(found.tubes.of("relevance", "kernel")) > 3


POINTWISE = Net("pointwise", "x=1,3,6,6", "c1 = Conv (x, w1)\nf = Relu (c1)", {"w1": (4, 3, 1, 1)}, 21, 4)
COARSE = Net(
    "coarse", "x=1,3,12,12",
    "c1 = Conv <strides=[4,4]> (x, w1)\nr1 = Relu (c1)\nc2 = Conv <strides=[3,3]> (r1, w2)\nf = Relu (c2)",
    {"w1": (4, 3, 4, 4), "w2": (4, 4, 3, 3)}, 21, 4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("net", "value", "said"),
    [
        (POINTWISE, 0.0, "the class has no tube of its own: no relevance came down to the clip or to its first layers"),
        (POINTWISE, 2.0, "the class has no tube of its own: relevance is the same everywhere"),
    ],
)
def test_where_no_map_of_the_class_can_be_made_it_is_said(net: Net, value: float, said: str, tmp_path: Path) -> None:
    clip = np.full(net.feeds()["x"].shape, value, np.float32)
    found = explain(saved(net.model(), tmp_path), clip, device="cpu")
    assert found.tubes.notes[0] == said
    assert not found.tubes.of("evidence", "class")
    with pytest.raises(KeyError, match=said):
        found.class_tube()
    assert f"tubes: {said}." in str(found)
    page = found.save(tmp_path / "out", animation="none").read_text("utf-8")
    assert said in page
    assert not list((tmp_path / "out" / "tubes").glob("class_evidence*"))


def test_depths_below_four_by_four_places_have_no_map(tmp_path: Path) -> None:
    found = explain(saved(COARSE.model(), tmp_path), COARSE.feeds()["x"], depth="all", device="cpu")
    assert not found.tubes.of("relevance", "depth")
    assert found.class_tube().max() == 1, "the clip itself has places"
    assert found.tubes.notes[0].startswith("depth 1 does not say where: maps of 1 x 1 x 1 places")
    for depth, grid in ((1, "1 x 1 x 1"), (2, "1 x 3 x 3")):
        with pytest.raises(KeyError, match=f"depth {depth} does not say where: maps of {grid} places"):
            found.class_tube(depth)
    with pytest.raises(KeyError, match="no class tube of depth 3 was recorded"):
        found.class_tube(3)


def test_layers_that_only_steer_have_no_map_of_the_class(pyramid: Pyramid) -> None:
    assert pyramid.tubes.notes[0] == "depths 3, 4 do not say where: layers that only steer"
    for depth in (3, 4):
        with pytest.raises(KeyError, match="depths 3, 4 do not say where"):
            pyramid.class_tube(depth)


def test_frames_that_the_network_takes_one_by_one_are_all_in_the_tube(tmp_path: Path) -> None:
    """Frames along the batch axis; a flash in one of them is drawn in that one."""
    case = next(c for c in CHECKED if c.name == "frames as batch")
    clip = np.zeros(case.shape, np.float32)
    clip[0, 4] = 1
    found = explain(saved(case.model(), tmp_path), clip, depth="all", theta=0, device="cpu")
    assert found.tubes is not None
    shown = [t for t in found.tubes.items if t.depth == 2]
    assert shown
    assert {len(t.centres[0]) for t in shown} == {6}
    flashes = [t for t in shown if t.kind == "activation"]
    assert flashes
    for t in flashes:
        by_frame = t.at(found.tubes.size).sum(axis=(1, 2))
        assert by_frame.argmax() == 4
        assert by_frame[[0, 1, 2, 3, 5]].max() == 0


FIRST = clips.TEST_SEED + 300


@pytest.fixture(scope="module")
def demo() -> Explainer:
    return Explainer(load(DEMO))


def test_the_class_tube_lies_on_the_mover(demo: Explainer) -> None:
    found = []
    for seed in range(FIRST, FIRST + 5):
        one = clips.make_clip(seed)
        found.append(energy(demo(one.frames, one.label).class_tube(), one.mask))
    assert np.mean(found) > 6
    assert min(found) > 2.5


def test_of_two_movers_the_class_tube_lies_on_its_own(demo: Explainer) -> None:
    found = []
    for seed in range(FIRST, FIRST + 5):
        two = clips.make_two_movers(seed)
        for side, label in enumerate(two.labels):
            drawn = demo(two.frames, label).class_tube()
            found.append(share(drawn, two.masks[side], two.masks[1 - side]))
    assert np.mean(found) > 0.9


def test_the_built_in_clip_has_tubes_of_every_depth() -> None:
    found = explain(DEMO, DEMO_CLIP, depth=3, device="cpu")
    assert found.tubes is not None
    assert found.media is not None
    assert found.media.kind == "video"
    assert found.tubes.size == found.media.size == (16, 40, 40)
    depths = {layer.depth for layer in found.layers if layer.depth > 0 and any(layer.relevance)}
    assert depths == {1, 2, 3}
    assert {t.depth for t in found.tubes.of("relevance", "depth")} == {1, 2}, "a gate has no places"
    assert [t.depth for t in found.tubes.of("evidence", "class")] == [0]
    chosen = {(k.layer, k.kernel) for d in depths for k in found.kernels(d)}
    assert chosen <= {(t.layer, t.kernel) for t in found.tubes.of("activation", "kernel")}
    for kind, depth in [*itertools.product(("activation", "relevance"), (1, 2)), ("activation", 3), ("evidence", 0)]:
        scale = found.tubes.scale(kind, depth)
        mine = [t.values for t in found.tubes.items if (t.kind, t.depth) == (kind, depth)]
        above = max(float((v > scale.high).mean()) for v in mine)
        assert above <= (tubes.SATURATED if kind == "relevance" else 0.0)
        assert any((v >= scale.high).any() for v in mine)


@pytest.mark.parametrize("rule", ["positional", "zplus", "published", "mean"])
def test_a_classifier_alone_is_explained_without_tubes(rule: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """One convolution or dense layer is the whole network: there is no layer below it to draw."""
    weights = onnx.numpy_helper.from_array(rng.standard_normal((6, 3, 2, 2)).astype(np.float32), "w")
    ports = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in (("x", (1, 3, 4, 5)), ("y", (1, 6, 3, 4)))
    ]
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], "only")]
    graph = onnx.helper.make_graph(nodes, "alone", ports[:1], ports[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    x = rng.standard_normal((1, 3, 4, 5)).astype(np.float32)
    path = tmp_path / "alone.onnx"
    onnx.save(model, path)
    found = explain(path, x, rule=rule, device="cpu")
    assert found.tubes is not None
    assert not found.tubes.of("relevance", "depth")
    assert found.edges
    assert found.save(tmp_path / "out").is_file()
