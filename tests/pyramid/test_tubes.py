"""Tubes: interpolation by a naive authority, mass, scales; and whole explanations, the demonstration's included."""

from __future__ import annotations

import itertools
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import twin
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import tubes as benchmark
from benchmarks.motion import clips
from cfp_onnx import explain
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.model import load
from cfp_onnx.pyramid import media, resampling, tubes
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.tube_collector import PER_LAYER, clip_size, kernels_with_tubes
from cfp_onnx.relevance.zplus import ABSORBED
from tests.graph.test_positions import CHECKED
from tests.relevance.test_field_walk import Net, by_name

Array = npt.NDArray[Any]


# -------------------------------------------------------------------------------------- interpolation


def at_one(values: Array, centres: list[Array], place: tuple[float, ...]) -> float:
    """Linear between neighbours, axis by axis, the outermost value beyond: the definition, one number at a time."""
    corners = []
    for known, x in zip(centres, place, strict=True):
        below = [i for i, c in enumerate(known) if c <= x]
        if not below:
            corners.append([(0, 1.0)])
        elif below[-1] == len(known) - 1:
            corners.append([(len(known) - 1, 1.0)])
        else:
            i = below[-1]
            share = (x - known[i]) / (known[i + 1] - known[i])
            corners.append([(i, 1 - share), (i + 1, share)])
    total = 0.0
    for corner in itertools.product(*corners):
        index, weights = zip(*corner, strict=True)
        total += float(values[index]) * float(np.prod(weights))
    return total


def random_centres(rng: np.random.Generator, n: int) -> Array:
    return np.cumsum(rng.uniform(0.2, 3, n)) - 2


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 4)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_tube_is_linear_between_centres_and_constant_beyond(
    seed: int, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape).astype(np.float32)
    centres = [random_centres(rng, n) for n in shape]
    places = [rng.uniform(-5, 12, n) for n in wanted]
    found = resampling.resample(values, centres, places)
    assert found.shape == wanted
    assert found.dtype == np.float32
    for index in np.ndindex(*wanted):
        expected = at_one(values, centres, tuple(float(p[i]) for p, i in zip(places, index, strict=True)))
        assert found[index] == pytest.approx(expected, abs=1e-5)


def tube(values: Array, centres: Any, **options: Any) -> tubes.Tube:
    given = {"kind": "relevance", "depth": 1, "layer": None, "kernel": None} | options
    return tubes.Tube(**given, values=np.asarray(values, np.float32), centres=centres)


def test_over_the_clip_pixel_i_is_at_i() -> None:
    ramp = np.array([1.0, 5.0, 9.0]).reshape(1, 1, 3)
    one = tube(ramp, (np.zeros(1), np.array([2.0]), np.array([0.5, 2.5, 4.5])))
    found = one.at((2, 3, 7))
    assert found.shape == (2, 3, 7)
    np.testing.assert_allclose(found, np.broadcast_to([1, 2, 4, 6, 8, 9, 9], (2, 3, 7)))


# ------------------------------------------------------------------------------------------------ mass


def grid(strides: tuple[int, ...], counts: tuple[int, ...], shifts: tuple[float, ...]) -> tuple[Array, Array, Array]:
    a, b, c = (s * np.arange(n) + d for s, n, d in zip(strides, counts, shifts, strict=True))
    return a, b, c


def inner(rng: np.random.Generator, counts: tuple[int, ...]) -> Array:
    """Sums with nothing at the outer places."""
    values = np.zeros(counts, np.float32)
    values[1:-1, 1:-1, 1:-1] = rng.uniform(0, 1, [n - 2 for n in counts])
    return values


THREE = st.tuples(*[st.integers(1, 4)] * 3)
COUNTS = st.tuples(*[st.integers(3, 5)] * 3)
SHIFTS = st.tuples(*[st.floats(0, 1.5)] * 3)


@given(st.integers(0, 2**32 - 1), THREE, COUNTS, SHIFTS)
@settings(max_examples=60, deadline=None)
def test_a_density_over_the_clip_holds_the_mass_of_its_elements(
    seed: int, strides: tuple[int, ...], counts: tuple[int, ...], shifts: tuple[float, ...]
) -> None:
    """Where the outer places hold none: hats of a whole stride sum to the stride over the pixels."""
    rng = np.random.default_rng(seed)
    total, centres = inner(rng, counts), grid(strides, counts, shifts)
    size = tuple(s * n + 2 for s, n in zip(strides, counts, strict=True))
    drawn = tube(resampling.density(total, centres, size), centres).at((size[0], size[1], size[2]))
    assert drawn.sum(dtype=np.float64) == pytest.approx(float(total.sum()), rel=1e-4)


def test_an_axis_that_a_layer_does_not_tell_apart_spreads_over_the_whole_clip() -> None:
    centres = (np.array([3.5]), np.arange(4.0), np.arange(5.0))
    total = np.ones((1, 4, 5), np.float32)
    found = resampling.density(total, centres, (8, 4, 5))
    np.testing.assert_allclose(found, 1 / 8)
    assert tube(found, centres).at((8, 4, 5)).sum() == pytest.approx(20)


@given(st.integers(0, 2**32 - 1), SHIFTS)
@settings(max_examples=30, deadline=None)
def test_maps_of_one_depth_add_up_whatever_their_grids(seed: int, shifts: tuple[float, ...]) -> None:
    """Fine in time and coarse in space, and the other way round: the sum is fine in both and loses nothing."""
    rng = np.random.default_rng(seed)
    size = (16, 16, 16)
    one, other = grid((1, 4, 4), (16, 4, 4), (0, *shifts[1:])), grid((4, 1, 2), (4, 16, 8), (shifts[0], 0, 0))
    sums = [inner(rng, (16, 4, 4)), inner(rng, (4, 16, 8))]
    maps = [(resampling.density(total, c, size), c) for total, c in zip(sums, (one, other), strict=True)]
    values, centres = resampling.add_maps(maps)
    assert [len(c) for c in centres] == [16, 16, 8]
    drawn = tube(values, centres).at(size).sum(dtype=np.float64)
    assert drawn == pytest.approx(sum(float(s.sum()) for s in sums), rel=0.05)


def test_maps_on_one_grid_are_added_element_by_element(rng: np.random.Generator) -> None:
    centres = grid((2, 2, 2), (3, 4, 5), (0.5, 0.5, 0.5))
    a, b = (rng.standard_normal((3, 4, 5)).astype(np.float32) for _ in range(2))
    values, found = resampling.add_maps([(a, centres), (b, tuple(c + 1e-12 for c in centres))])  # type: ignore[list-item]
    np.testing.assert_allclose(values, a + b, rtol=1e-6)
    assert all(np.allclose(x, y) for x, y in zip(found, centres, strict=True))


# ------------------------------------------------------------------------------------ a set of tubes

POINT = (np.zeros(1), np.zeros(1), np.arange(3.0))


def line(*values: float, **options: Any) -> tubes.Tube:
    return tube(np.array(values).reshape(1, 1, 3), POINT, **options)


def test_each_kind_and_depth_has_one_scale_from_nothing_to_its_largest_value() -> None:
    items = [line(0, 1, 2), line(5, 1, 0, layer="a"), line(9, 0, 0, depth=2), line(7, 0, 0, kind="activation")]
    found = tubes.mark_constant((1, 1, 3), items)
    assert found.scale("relevance", 1) == tubes.Scale(0.0, 5.0, "relevance")
    assert found.scale("relevance", 2).high == 9
    assert found.scale("activation", 1) == tubes.Scale(0.0, 7.0, "activation")
    assert found.scale("activation", 2).high == 0
    assert tubes.mark_constant((1, 1, 3), [line(-3, -2, -1)]).scale("relevance", 1).high == 0


@pytest.mark.parametrize(
    ("values", "constant"),
    [((4, 4, 4), True), ((0, 0, 0), True), ((0, 1e-3, 0), True), ((0, 2e-2, 0), False), ((-50, 0, -50), False)],
)
def test_what_does_not_vary_is_marked_and_kept_as_it_is(values: tuple[float, ...], constant: bool) -> None:
    """Less than 1e-4 of the scale, which a stronger kernel sets here."""
    one = line(*values, layer="a", kernel=1)
    found = tubes.mark_constant((1, 1, 3), [one, line(0, 100, 0, layer="a", kernel=2), line(0, 1e9, 0, depth=2)])
    assert [t.constant for t in found.items] == [constant, False, False]
    np.testing.assert_array_equal(found.items[0].values, one.values)


def test_a_tube_is_found_by_kernel_layer_or_depth_and_missed_by_name() -> None:
    items = [line(1, 2, 3), line(2, 2, 3, layer="a"), line(3, 2, 3, layer="a", kernel=4), line(4, 2, 3, depth=2)]
    found = tubes.mark_constant((1, 1, 3), items, ["one left out"])
    firsts = {
        1: found.find("relevance", depth=1),
        2: found.find("relevance", layer="a"),
        3: found.find("relevance", layer="a", kernel=4),
        4: found.find("relevance", depth=2),
    }
    assert {k: float(t.values.flat[0]) for k, t in firsts.items()} == {1: 1, 2: 2, 3: 3, 4: 4}
    assert [len(found.of("relevance", unit)) for unit in tubes.UNITS] == [1, 1, 2]
    assert found.notes == ("one left out",)
    for options, named in (
        ({"depth": 3}, "depth 3"),
        ({"layer": "b"}, "layer 'b'"),
        ({"layer": "a", "kernel": 5}, "'a':5"),
        ({"layer": "a", "depth": 2}, "layer 'a'"),
    ):
        with pytest.raises(KeyError, match=re.escape(f"no relevance tube of {named}")):
            found.find("relevance", **options)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="no activation tube"):
        found.find("activation", depth=1)


def test_a_layers_activation_is_the_mean_of_its_kernels_by_their_weights() -> None:
    kernels = [line(1, 0, 0, kind="activation", layer="a", kernel=k) for k in range(2)]
    kernels[1] = line(0, 4, 0, kind="activation", layer="a", kernel=1)
    found = tubes.weighted_activation([(kernels[0], 3.0), (kernels[1], 1.0)], layer="a")
    np.testing.assert_allclose(found.values.reshape(-1), [3 / 4, 1, 0])
    assert (found.kind, found.layer, found.kernel, found.depth) == ("activation", "a", None, 1)
    assert tubes.weighted_activation([(kernels[0], 0.0)], layer=None).values.max() == 0
    with pytest.raises(ValueError, match="no tubes"):
        tubes.weighted_activation([], layer=None)


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


# ------------------------------------------------------------------------------------------------ media


@pytest.mark.parametrize("low", [-3.0, 0.5, -9.0])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_array_is_stretched_from_black_to_white(channels: int, low: float, rng: np.random.Generator) -> None:
    array = rng.uniform(low, low + 5, (2, channels, 4, 6, 5)).astype(np.float32)
    frames = media.stretched_frames(array, {"C": 1, "T": 2, "H": 3, "W": 4})
    assert frames.shape == (4, 6, 5, 3)
    assert frames.dtype == np.uint8
    seen = array[0, : 3 if channels >= 3 else 1]
    expected = (seen - seen.min()) / (seen.max() - seen.min()) * 255
    for colour in range(3):
        np.testing.assert_allclose(frames[..., colour], expected[colour % len(expected)], atol=0.51)


def test_a_picture_with_its_channels_last_is_one_frame() -> None:
    array = np.zeros((1, 4, 5, 3), np.float32)
    array[0, 1, 2] = 1
    frames = media.stretched_frames(array, {"C": 3, "H": 1, "W": 2})
    assert frames.shape == (1, 4, 5, 3)
    assert frames[0, 1, 2].tolist() == [255] * 3
    assert media.stretched_frames(np.full((1, 3, 4, 5), 7.0), {"C": 1, "H": 2, "W": 3}).max() == 0


# ------------------------------------------------------------------------------------- whole explanations


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
    assert all(t.values.min() >= 0 for t in found.tubes.items if t.kind == "relevance")
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


def test_tubes_are_the_twins_relevance_and_the_kernels_own_maps(tmp_path: Path) -> None:
    """Per clip pixel, and against the classes that compete on this clip."""
    net = by_name("plain stack")
    model, feeds = net.model(), net.feeds()
    path = saved(model, tmp_path)
    found = explain(path, feeds["x"], depth="all", theta=0, device="cpu", kernel_relevance=True)
    assert found.tubes is not None
    engine = Engine(load(path), feeds)
    values, target = twin.evaluate(model, feeds), found.target["index"]
    pi = np.exp(values["y"][0]) * (np.arange(5) != target)
    truth = twin.zplus(model, feeds, target=target, others=pi / pi.sum(), absorbing=ABSORBED)
    cell = {"c1": 1.0, "c2": 4.0, "c3": 4.0}
    heard = 0.0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] == 0:
            continue
        tensor = feature_of(engine.topology, layer, engine.target).tensor
        own = found.tubes.find("relevance", layer=layer.name)
        expected = truth.places(tensor) / cell[layer.parts[0].output]
        heard = max(heard, float(expected.max()))
        np.testing.assert_allclose(own.values, expected, rtol=1e-3, atol=1e-5 * expected.max())
        np.testing.assert_array_equal(own.values, found.tubes.find("relevance", depth=own.depth).values)
        for t in found.tubes.items:
            if t.layer == layer.name and t.kernel is not None:
                source = values[tensor] if t.kind == "activation" else truth.found[tensor] / cell[layer.parts[0].output]
                np.testing.assert_allclose(t.values, source[:, t.kernel], rtol=1e-3, atol=1e-5 * source.max() + 1e-9)
    assert heard > 0
    assert len(found.tubes.of("activation", "kernel")) == len(found.tubes.of("relevance", "kernel")) > 3


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


# ------------------------------------------------------------------------------- the demonstration network

FIRST = clips.TEST_SEED + 300


@pytest.fixture(scope="module")
def demo() -> benchmark.Explainer:
    with resources.as_file(resources.files("cfp_onnx") / "data" / "demo.onnx") as path:
        return benchmark.Explainer(load(path))


def deepest(pyramid: Pyramid) -> Array:
    assert pyramid.tubes is not None
    last = max(pyramid.tubes.of("relevance", "depth"), key=lambda t: t.depth)
    return last.at(pyramid.tubes.size)


def test_the_class_tube_lies_on_the_mover(demo: benchmark.Explainer) -> None:
    found = []
    for seed in range(FIRST, FIRST + 5):
        one = clips.make_clip(seed)
        found.append(benchmark.energy(deepest(demo(one.frames, one.label)), one.mask))
    assert np.mean(found) > 6
    assert min(found) > 2.5


def test_of_two_movers_the_class_tube_lies_on_its_own(demo: benchmark.Explainer) -> None:
    found = []
    for seed in range(FIRST, FIRST + 5):
        two = clips.make_two_movers(seed)
        for side, label in enumerate(two.labels):
            drawn = deepest(demo(two.frames, label))
            found.append(benchmark.share(drawn, two.masks[side], two.masks[1 - side]))
    assert np.mean(found) > 0.8


def test_the_built_in_clip_has_tubes_of_every_depth() -> None:
    data = resources.files("cfp_onnx") / "data"
    with resources.as_file(data / "demo.onnx") as model, resources.as_file(data / "demo_clip.npz") as clip:
        found = explain(model, clip, depth=3, device="cpu")
    assert found.tubes is not None
    assert found.media is not None
    assert found.media.kind == "video"
    assert found.tubes.size == found.media.size == (16, 40, 40)
    depths = {layer.depth for layer in found.layers if layer.depth > 0 and any(layer.relevance)}
    assert depths
    assert {t.depth for t in found.tubes.of("relevance", "depth")} == depths
    chosen = {(k.layer, k.kernel) for d in depths for k in found.kernels(d)}
    assert chosen <= {(t.layer, t.kernel) for t in found.tubes.of("activation", "kernel")}
    for kind, depth in itertools.product(tubes.KINDS, depths):
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
