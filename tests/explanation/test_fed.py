"""What is fed is what was given: the score in the result is the runtime's own on the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fused_nets
import live_nets
import loop_nets
import numpy as np
import onnxruntime as ort
import pytest
import recurrent_nets
import walk_nets
import zplus_nets
from onnx import TensorProto, helper
from position_nets import CHECKED, Case
from small_nets import Net
from text_net import network, saved

import cfp_onnx as cfp
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.explanation.given import read_inputs

COLLECTED = {
    net.name: net
    for net in (
        *walk_nets.NETS,
        *walk_nets.GATES,
        *live_nets.NETS,
        *zplus_nets.OWN,
        *fused_nets.NETS,
        *recurrent_nets.FORMS,
        *loop_nets.NETS,
    )
}


def plain(path: Path, feeds: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The runtime's own answer, by itself."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return np.asarray(ort.InferenceSession(str(path), options).run(None, dict(feeds))[0])


def explained(path: Path, clip: Any, **options: Any) -> cfp.Pyramid:
    return cfp.explain(path, clip, tubes=False, depth=1, device="cpu", **options)


@pytest.mark.parametrize("net", COLLECTED.values(), ids=lambda net: net.name)
def test_the_score_is_the_runtimes_own(net: Net, tmp_path: Path) -> None:
    path, feeds = saved(net.model(), tmp_path), net.feeds()
    pyramid, answer = explained(path, feeds), plain(path, feeds)
    item = answer[0].reshape(len(answer[0]), -1).mean(axis=1)
    if pyramid.target.place is not None:
        item = answer[(0, slice(None), *pyramid.target.place)]
        assert item.max() == answer[0].max()
    assert pyramid.target.score == pytest.approx(item[pyramid.target.index], rel=1e-5, abs=1e-6)
    assert pyramid.target.index == int(np.argmax(item))
    assert {name: tuple(fed["shape"]) for name, fed in pyramid.input.fed.items()} == {
        name: feeds[name].shape for name in feeds
    }


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_of_several_items_that_are_treated_apart_the_first_is_explained(
    case: Case, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = saved(case.model(), tmp_path)
    clip = rng.standard_normal((3, *case.shape[1:])).astype(np.float32)
    pyramid = explained(path, clip)
    assert pyramid.target.score == pytest.approx(plain(path, {"x": clip})[0, pyramid.target.index], rel=1e-4)
    assert pyramid.input.fed["x"] == {
        "shape": list(case.shape), "source": "clip", "note": "the first of 3 items is explained",
    }  # fmt: skip


def test_a_further_output_may_hold_the_items_along_another_axis(tmp_path: Path, rng: np.random.Generator) -> None:
    model = network("m = MatMul (x, w)\na = Relu (m)\ny = MatMul (a, v)\nt = Transpose (a)", {"w": (6, 7), "v": (7, 4)},
                    "float[N,6] x")  # fmt: skip
    model.graph.output.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [7, "N"]))
    path, clip = saved(model, tmp_path), rng.standard_normal((3, 6)).astype(np.float32)
    pyramid, alone = explained(path, clip), explained(path, clip[:1])
    assert pyramid.input.fed["x"]["note"] == "the first of 3 items is explained"
    assert pyramid.layers == alone.layers


def test_items_that_share_one_rounding_are_items_all_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    body = (
        "q, s, z = DynamicQuantizeLinear (x)\nd = DequantizeLinear (q, s, z)\nc = Conv (d, w)\nr = Relu (c)\n"
        "g = GlobalAveragePool (r)\ny = Flatten (g)"
    )
    path = saved(network(body, {"w": (5, 3, 3, 3)}, "float[N,3,9,9] x"), tmp_path)
    clip = rng.standard_normal((3, 3, 9, 9)).astype(np.float32)
    clip[1] *= 3
    pyramid = explained(path, clip)
    assert pyramid.input.fed["x"]["note"] == "the first of 3 items is explained"
    alone = plain(path, {"x": clip[:1]})[0, pyramid.target.index]
    assert pyramid.target.score == pytest.approx(alone, rel=1e-5)
    assert plain(path, {"x": clip})[0, pyramid.target.index] != pytest.approx(alone, rel=1e-4)


UNBATCHED = {
    "vector": (network("u = Unsqueeze (x, axes)\ny = Gemm (u, w)", {"axes": [0], "w": (8, 6)}, "float[8] x"), (8,)),
    "picture": (
        network("u = Unsqueeze (x, axes)\nc = Conv (u, w)\nr = Relu (c)\ng = GlobalAveragePool (r)\ny = Flatten (g)",
                {"axes": [0], "w": (5, 3, 3, 3)}, "float[3,16,16] x"), (3, 16, 16),
    ),
    "frames in the batch": (
        network("c = Conv (x, w)\nr = Relu (c)\nm = ReduceMean (r, axes)\ny = Flatten (m)",
                {"axes": [0, 2, 3], "w": (5, 3, 3, 3)}, "float[8,3,9,9] x"), (8, 3, 9, 9),
    ),
    "an open number of steps": (
        network("m = MatMul (x, w)\nr = Relu (m)\nmean = ReduceMean (r, axes)\ny = MatMul (mean, v)",
                {"axes": [0], "w": (6, 7), "v": (7, 4)}, "float[N,1,6] x"), (9, 1, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBATCHED)
def test_an_input_without_a_batch_axis_is_fed_untouched(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model, shape = UNBATCHED[name]
    path, clip = saved(model, tmp_path), rng.standard_normal(shape).astype(np.float32)
    pyramid = explained(path, clip)
    answer = plain(path, {"x": clip})
    assert pyramid.target.score == pytest.approx(answer.reshape(-1)[pyramid.target.index], rel=1e-5)
    assert pyramid.input.fed == {"x": {"shape": list(shape), "source": "clip"}}


def test_channels_of_a_picture_without_a_batch_axis_are_its_first_axis(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = saved(UNBATCHED["picture"][0], tmp_path)
    clip = rng.standard_normal((3, 16, 16)).astype(np.float32)
    pyramid = cfp.explain(path, clip, theta=0.0, device="cpu")
    assert pyramid.input.layout == "CHW"
    assert pyramid.media.size == (1, 16, 16)
    (edge,) = pyramid.edges
    assert [[(s.layer, s.kernel, s.share) for s in c.sources] for c in edge.channels] == [
        [(None, c.channel, 1.0)] for c in edge.channels
    ]


def test_frames_along_the_first_axis_have_places_in_time(tmp_path: Path, rng: np.random.Generator) -> None:
    """Only frame 5 has anything in it: there the class's tube lies, and there the kernel fires."""
    body = (
        "c = Conv <pads=[1,1,1,1]> (x, w)\nr = Relu (c)\ng = GlobalAveragePool (r)\nf = Flatten (g)\n"
        "l = MatMul (f, v)\nq = Reshape (l, shape)\ny = ReduceMean <keepdims=0> (q, one)"
    )
    weights = {"w": (6, 3, 3, 3), "v": (6, 5), "shape": [1, 8, 5], "one": [1]}
    path = saved(network(body, weights, "float[8,3,12,12] x"), tmp_path)
    clip = np.zeros((8, 3, 12, 12), np.float32)
    clip[5, :, 2:6, 7:11] = rng.standard_normal((3, 4, 4))
    pyramid = cfp.explain(path, clip, device="cpu")
    assert pyramid.input.layout == "TCHW"
    assert (pyramid.media.kind, pyramid.media.size) == ("video", (8, 12, 12))
    assert pyramid.media.frames.shape == (8, 12, 12, 3)
    layer, kernel, _ = pyramid.kernels(depth=1)[0]
    fires = pyramid.tube(layer, kernel)
    assert np.abs(fires[[0, 1, 2, 3, 4, 6, 7]]).max() <= 1e-6 < np.abs(fires[5]).max()
    seen = np.abs(pyramid.class_tube()).sum(axis=(1, 2)) > 0  # smoothed over three frames
    np.testing.assert_array_equal(np.flatnonzero(seen), [4, 5, 6])


def test_a_fixed_batch_is_filled_with_copies_and_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    body = "c = Conv (x, w)\nr = Relu (c)\ng = GlobalAveragePool (r)\ny = Flatten (g)"
    path = saved(network(body, {"w": (5, 3, 3, 3)}, "float[4,3,9,9] x"), tmp_path)
    clip = rng.standard_normal((4, 3, 9, 9)).astype(np.float32)
    whole, one = explained(path, clip), explained(path, clip[:1])
    for pyramid in (whole, one):
        index = pyramid.target.index
        assert pyramid.target.score == pytest.approx(plain(path, {"x": clip})[0, index], rel=1e-5)
    assert whole.input.fed["x"]["note"] == "the first of 4 items, fed 4 times: the model takes 4 at once"
    assert one.input.fed["x"]["note"] == "one item, fed 4 times: the model takes 4 at once"
    assert "fed       x: clip (4x3x9x9), one item, fed 4 times" in str(one)


def test_a_first_axis_of_length_1_that_the_input_lacks_is_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    path = saved(UNBATCHED["picture"][0], tmp_path)
    clip = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
    pyramid = explained(path, clip)
    assert pyramid.target.score == pytest.approx(plain(path, {"x": clip[0]})[0, pyramid.target.index], rel=1e-5)
    assert pyramid.input.fed["x"]["note"] == "its first axis, of length 1, is left out"


def test_footage_goes_to_a_streaming_networks_frames_and_not_to_its_states(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    body = (
        "both = Concat <axis=2> (kept, x)\nc = Conv (both, w)\nr = Relu (c)\nm = ReduceMean <keepdims=0> (r, axes)\n"
        "y = MatMul (m, v)\nkept_out = Slice (both, one, three, two)"
    )
    weights = {"w": (6, 3, 3, 1, 1), "axes": [2, 3, 4], "v": (6, 5), "one": [1], "three": [3], "two": [2]}
    model = network(body, weights, "float[1,3,1,8,8] x, float[1,3,2,8,8] kept")
    model.graph.output.append(helper.make_tensor_value_info("kept_out", TensorProto.FLOAT, [1, 3, 2, 8, 8]))
    path = saved(model, tmp_path)
    footage = rng.integers(0, 256, (9, 8, 8, 3), np.uint8)
    pyramid = explained(path, footage)
    frame = (footage[4].transpose(2, 0, 1)[None, :, None] / np.float32(255)).astype(np.float32)
    answer = plain(path, {"x": frame, "kept": np.zeros((1, 3, 2, 8, 8), np.float32)})
    assert pyramid.target.score == pytest.approx(answer[0, pyramid.target.index], rel=1e-4)
    assert {name: fed["source"] for name, fed in pyramid.input.fed.items()} == {"x": "clip", "kept": "zeros"}


SHARED = (
    "c = Conv (x, w)\nm = ReduceMean (c, zero)\nd = Sub (c, m)\nr = Relu (d)\ng = GlobalAveragePool (r)\n"
    "f = Flatten (g)\n"
)


@pytest.mark.parametrize("rule", ["positional", "zplus", "active"])
def test_where_items_share_something_the_first_ones_score_is_explained(
    rule: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The whole array goes in, and relevance is that of a network which answers for the first item alone."""
    weights = {"w": (6, 3, 3, 3), "zero": [0], "v": (6, 5), "none": [0], "one": [1]}
    clip = rng.standard_normal((4, 3, 9, 9)).astype(np.float32)
    shared = saved(network(f"{SHARED}y = MatMul (f, v)", weights, "float[4,3,9,9] x"), tmp_path)
    pyramid = explained(shared, clip, rule=rule, top_k=6, theta=0.0)
    assert pyramid.target.score == pytest.approx(plain(shared, {"x": clip})[0, pyramid.target.index], rel=1e-5)
    assert "note" not in pyramid.input.fed["x"]
    first = f"{SHARED}s = Slice (f, none, one, none)\ny = MatMul (s, v)"
    alone = explained(
        saved(network(first, weights, "float[4,3,9,9] x"), tmp_path), clip, rule=rule, target=pyramid.target.index
    )
    for ours, theirs in zip(pyramid.layers, alone.layers, strict=True):
        np.testing.assert_allclose(ours.relevance, theirs.relevance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["positional", "zplus", "active", "mean", "published"])
def test_copies_in_a_batch_change_no_relevance(rule: str, tmp_path: Path, rng: np.random.Generator) -> None:
    net = next(net for net in COLLECTED.values() if "Add" in net.body and net.head and " " not in net.inputs)
    (tmp_path / "four").mkdir()
    model = net.model()
    one = explained(saved(model, tmp_path), net.feeds(), rule=rule)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    four = explained(saved(model, tmp_path / "four"), net.feeds(), rule=rule)
    assert four.input.shape[0] == 4
    assert four.target.score == pytest.approx(one.target.score, rel=1e-5)
    for ours, theirs in zip(four.layers, one.layers, strict=True):
        np.testing.assert_allclose(ours.relevance, theirs.relevance, rtol=1e-3, atol=1e-5)


def test_one_picture_is_not_repeated_where_the_first_axis_is_no_batch(tmp_path: Path) -> None:
    path = saved(UNBATCHED["picture"][0], tmp_path)
    with pytest.raises(ClipError, match=r"has shape \(1, 16, 16\), input 'x' takes \(3, 16, 16\)"):
        explained(path, np.zeros((1, 16, 16), np.float32))


STATE = network(
    "m = MatMul (x, w)\ng = ReduceSum <keepdims=0> (h, axes)\ns = Add (m, g)\na = Relu (s)\nz = MatMul (a, v)\n"
    "t = Mul (z, scale)\ny = Mul (t, mask)\nh_out = Identity (h)",
    {"axes": [0], "w": (6, 7), "v": (7, 4)},
    "float[1,6] x, float[2,1,7] h, float scale, float[1,4] mask",
)
STATE.graph.output.append(helper.make_tensor_value_info("h_out", TensorProto.FLOAT, [2, 1, 7]))


def test_inputs_that_the_clip_does_not_give_are_named_with_what_they_got(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path, clip = saved(STATE, tmp_path), rng.standard_normal((1, 6)).astype(np.float32)
    state = rng.standard_normal((2, 1, 7)).astype(np.float32)
    pyramid = explained(path, clip, inputs={"scale": 2, "h": state}, target=1)
    feeds = {"x": clip, "h": state, "scale": np.array(2, np.float32), "mask": np.ones((1, 4), np.float32)}
    assert pyramid.target.score == pytest.approx(plain(path, feeds)[0, 1], rel=1e-5)
    assert {name: fed["source"] for name, fed in pyramid.input.fed.items()} == {
        "x": "clip", "h": "given", "scale": "given", "mask": "ones",
    }  # fmt: skip
    assert {name: tuple(fed["shape"]) for name, fed in pyramid.input.fed.items()} == {
        "x": (1, 6), "h": (2, 1, 7), "scale": (), "mask": (1, 4),
    }  # fmt: skip
    named = explained(path, {"x": clip, "h": state, "scale": np.float32(2), "mask": np.ones((1, 4))}, target=1)
    assert named.input.fed["scale"] == {"shape": [], "source": "clip"}
    assert pyramid.input.shape == (1, 6)
    alone = explained(path, clip, inputs={"scale": 2}, target=1)
    assert alone.target.score == pytest.approx(plain(path, feeds | {"h": 0 * state})[0, 1], rel=1e-5)
    assert "h: zeros (2x1x7), nobody gave it, as before the first step; --input h=... does" in str(alone)


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"q": 1}, UsageError, "no input 'q'; its inputs are 'x', 'h', 'scale', 'mask'"),
        ({"h": np.zeros((2, 7))}, ClipError, r"has shape \(2, 7\), input 'h' takes \(2, 1, 7\)"),
        ({"scale": [1, 2]}, ClipError, r"input 'scale'"),
        ({"x": 0, "h": 0, "scale": 0, "mask": 0}, UsageError, "leave out the one that takes the clip"),
    ],
)
def test_what_does_not_fit_an_input_is_refused(
    inputs: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        explained(saved(STATE, tmp_path), np.ones((1, 6), np.float32), inputs=inputs)


def test_an_input_of_unknown_meaning_must_be_given(tmp_path: Path) -> None:
    model = network(
        "m = MatMul (x, w)\ng = Add (m, other)\ny = Relu (g)", {"w": (6, 7)}, "float[1,6] x, float[1,7] other"
    )
    with pytest.raises(ClipError, match=r"the model takes 2 inputs, .* is one clip"):
        explained(saved(model, tmp_path), np.ones((2, 9), np.float32))
    given = explained(tmp_path / "net.onnx", np.ones((1, 6), np.float32), inputs={"other": np.ones(7)})
    assert given.input.fed["other"]["source"] == "given"


def test_it_is_typed_as_numbers_or_files(tmp_path: Path) -> None:
    np.save(tmp_path / "h.npy", np.arange(3.0))
    found = read_inputs([("a", "16000"), ("b", "0.5,1"), ("h", str(tmp_path / "h.npy"))])
    assert found["a"].dtype.kind == "i"
    assert (int(found["a"]), found["b"].tolist(), found["h"].tolist()) == (16000, [0.5, 1.0], [0.0, 1.0, 2.0])
    for wrong, words in (([("a", "1"), ("a", "2")], "twice"), ([("a", "no.npy")], "is no number and no file")):
        with pytest.raises(UsageError, match=words):
            read_inputs(wrong)
    np.savez(tmp_path / "two.npz", np.zeros(1))
    with pytest.raises(UsageError, match="several arrays"):
        read_inputs([("a", str(tmp_path / "two.npz"))])


@pytest.mark.parametrize("rule", ["positional", "zplus", "active", "mean", "published"])
def test_kernel_relevance_without_tubes_asks_for_nothing_more(rule: str, tmp_path: Path) -> None:
    net = next(net for net in COLLECTED.values() if net.head)
    path, feeds = saved(net.model(), tmp_path), net.feeds()
    options: dict[str, Any] = {"rule": rule, "tubes": False, "device": "cpu"}
    wanted = cfp.explain(path, feeds, kernel_relevance=True, layer_evidence=True, **options)
    assert wanted.to_json() == cfp.explain(path, feeds, **options).to_json()


def test_a_page_says_what_every_input_got(tmp_path: Path) -> None:
    clip = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    pyramid = cfp.explain(saved(STATE, tmp_path), clip, inputs={"scale": 2}, device="cpu")
    page = pyramid.save(tmp_path / "out").read_text("utf-8")
    assert '"note":"nobody gave it, as before the first step; --input h=... does"' in page.replace('": ', '":')
    assert cfp.load_pyramid(tmp_path / "out").input.fed == pyramid.input.fed
