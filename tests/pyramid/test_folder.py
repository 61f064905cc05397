"""What an explanation leaves in a folder: pictures, films and arrays of tubes, and a page that stays small."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.cli import main as cli
from cfp_onnx.errors import OutputError, UsageError
from cfp_onnx.files.whole import write_bytes, write_json, write_text
from cfp_onnx.pyramid import drawings, page_payload, tube_pictures, tubes
from cfp_onnx.pyramid.drawings import Drawing
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes, mark_constant
from cfp_onnx.report.pyramid_page import render_pyramid

PAIRS = [(kind, unit) for kind in ("activation", "relevance") for unit in ("kernel", "layer", "depth")]


@pytest.fixture(scope="module")
def demo():
    data = resources.files("cfp_onnx") / "data"
    with resources.as_file(data / "demo.onnx") as model, resources.as_file(data / "demo_clip.npz") as clip:
        yield str(model), str(clip)


@pytest.fixture(scope="module")
def pyramid(demo):
    """Two depths are enough for every form of drawing; `kernel_relevance` records those of kernels too."""
    return cfp.explain(*demo, depth=2, device="cpu", kernel_relevance=True)


def _weighted_chain(path, shape, weights, *, pool=True):
    """Convolutions (or, without a pool, dense layers) with ReLU and a head."""
    nodes, here = [], "x"
    for i in range(len(weights) - 1):
        op = "Conv" if pool else "MatMul"
        more = {"pads": [1] * (2 * (len(shape) - 2))} if pool else {}
        nodes += [
            helper.make_node(op, [here, f"w{i}"], [f"c{i}"], name=f"layer{i}", **more),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        here = f"r{i}"
    if pool:
        nodes += [
            helper.make_node("GlobalAveragePool", [here], ["g"], name="pool"),
            helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        ]
        here = "f"
    nodes.append(helper.make_node("MatMul", [here, f"w{len(weights) - 1}"], ["y"], name="head"))
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _picture(path):
    found = cv2.imread(str(path))
    assert found is not None
    assert min(found.shape[:2]) > 100
    assert len(np.unique(found @ np.array([1, 256, 65536]))) > 50
    return found


def _film_length(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


# --------------------------------------------------------------------------------------------- drawings


@pytest.fixture(scope="module")
def drawn(pyramid, tmp_path_factory):
    """A folder with one tube of each kind and unit at each depth."""
    folder = tmp_path_factory.mktemp("drawn")
    pyramid.save(folder, drawings=[Drawing(kind, unit, 1) for kind, unit in PAIRS], animation="none")
    assert len(list((folder / "tubes").glob("*.npz"))) == 2 * len(PAIRS)
    return folder / "tubes"


def _unit(stem):
    return "kernel" if "_kernel" in stem else "layer" if stem.count("_") > 1 else "depth"


@pytest.mark.parametrize(("kind", "unit"), PAIRS)
def test_every_kind_of_every_unit_is_drawn_and_kept_as_an_array(pyramid, drawn, kind, unit):
    stems = [f.stem for f in sorted(drawn.glob(f"*_{kind}.npz")) if _unit(f.stem) == unit]
    assert [s.split("_")[0] for s in stems] == ["depth1", "depth2"]
    for stem in stems:
        _picture(drawn / f"{stem}.png")
        _picture(drawn / f"{stem}_stack.png")
        with np.load(drawn / f"{stem}.npz") as found:
            assert sorted(found.files) == ["high", "low", "tube"]
            values, low, high = found["tube"], float(found["low"]), float(found["high"])
        assert values.shape == (16, 40, 40)
        assert values.dtype == np.float32
        assert low == 0.0
        depth = int(stem.split("_")[0].removeprefix("depth"))
        assert high == pyramid.tubes.scale(kind, depth).high
        if unit == "depth" and kind == "relevance":
            np.testing.assert_array_equal(values, pyramid.class_tube(depth))
        elif unit == "layer" and kind == "relevance":
            (layer,) = [x for x in pyramid.layers if x.depth == depth]
            np.testing.assert_array_equal(values, pyramid.tube(layer.name))
        elif unit == "kernel":
            strongest = pyramid.kernels(depth)[0]
            np.testing.assert_array_equal(values, pyramid.tube(strongest.layer, strongest.kernel, kind=kind))
        else:
            (layer,) = [x for x in pyramid.layers if x.depth == depth]
            chosen = pyramid.kernels(depth)
            shares = np.array([k.relevance for k in chosen]) / max(layer.relevance)
            each = np.stack([pyramid.tube(k.layer, k.kernel) for k in chosen])
            expected = np.tensordot(shares, each, 1) / shares.sum()
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_films_have_a_picture_for_every_frame(pyramid, tmp_path, suffix):
    few = replace(pyramid, tubes=replace(pyramid.tubes, items=pyramid.tubes.of("relevance", "depth")[:1]))
    few.save(tmp_path, drawings=[Drawing("relevance", "depth", 1)], animation=suffix)
    (film,) = (tmp_path / "tubes").glob(f"*.{suffix}")
    assert film.stem == "depth1_relevance"
    assert _film_length(film) == 16


def test_an_unknown_animation_is_named_before_anything_is_written(pyramid, tmp_path):
    with pytest.raises(UsageError, match="unknown animation 'avi'; choose one of mp4, gif, none"):
        pyramid.save(tmp_path / "out", animation="avi")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("fire", "kernel"), "'fire'"), (("activation", "pixel"), "'pixel'"), (("activation", "kernel", 0), "at least 1")],
)
def test_a_drawing_that_is_none_is_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        Drawing(*arguments)


def test_relevance_of_kernels_must_have_been_recorded(pyramid, tmp_path):
    plain = [t for t in pyramid.tubes.items if t.kind == "activation" or t.kernel is None]
    without = replace(pyramid, tubes=replace(pyramid.tubes, items=tuple(plain)))
    with pytest.raises(UsageError, match=r"kernel_relevance=True .*--tube relevance:kernel"):
        without.save(tmp_path / "out", drawings=[Drawing("relevance", "kernel")])
    assert not (tmp_path / "out").exists()


def test_by_default_the_class_and_the_strongest_kernel_of_each_depth_are_drawn(pyramid, tmp_path):
    told = []
    pyramid.save(tmp_path, animation="none", progress=lambda *a: told.append(a))
    stems = {f.stem for f in (tmp_path / "tubes").glob("*.npz")}
    expected = {"depth1_relevance", "depth2_relevance"}
    for depth in (1, 2):
        k = pyramid.kernels(depth)[0]
        expected.add(f"depth{depth}_{k.layer}_kernel{k.kernel}_activation")
    assert stems == expected
    assert told == [("drawing tubes", n, 4) for n in range(4)]
    _picture(tmp_path / "tubes" / "class.png")


def test_the_same_tube_asked_for_twice_is_drawn_once(pyramid):
    ones = drawings.tubes_to_draw(pyramid.tubes, [Drawing("relevance", "depth", 1)] * 2, pyramid.to_json())
    assert [t.depth for t in ones] == [1, 2]


def test_deep_networks_have_an_overview_of_so_many_depths():
    centres = tuple(np.arange(n, dtype=float) for n in (2, 4, 4))
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    items = tuple(Tube("relevance", d, None, None, values, centres) for d in range(1, 152))
    frames = np.zeros((2, 40, 40, 3), np.uint8)
    sheet = tube_pictures.TubePictures(
        Tubes((2, 40, 40), items), Media("video", (2, 40, 40), frames), "class 1", "none"
    )
    assert sheet.levels(tube_pictures.OVERVIEW_DEPTHS).shape[0] < 4000
    kept = drawings.evenly_spaced([t.depth for t in items], tube_pictures.OVERVIEW_DEPTHS)
    assert (kept[0], kept[-1], len(kept)) == (1, 151, 16)


# ------------------------------------------------------------------------------- inputs of other forms


def test_pictures_of_a_picture(tmp_path, rng):
    weights = [rng.standard_normal((5, 3, 3, 3)), rng.standard_normal((4, 5, 3, 3)), rng.standard_normal((4, 3))]
    model = _weighted_chain(tmp_path / "flat.onnx", (1, 3, 24, 24), weights)
    found = cfp.explain(model, rng.standard_normal((1, 3, 24, 24)).astype(np.float32), device="cpu")
    found.save(tmp_path / "out")
    suffixes = sorted("".join(f.suffixes) for f in (tmp_path / "out" / "tubes").iterdir() if f.name != "class.png")
    assert set(suffixes) == {".npz", ".png"}
    assert not list((tmp_path / "out").rglob("*_stack*"))
    for file in (tmp_path / "out" / "tubes").glob("*.npz"):
        assert np.load(file)["tube"].shape == (1, 24, 24)
        _picture(file.with_suffix(".png"))
    _picture(tmp_path / "out" / "tubes" / "class.png")
    assert "data:image/png" in found._repr_html_()
    assert cfp.load_pyramid(tmp_path / "out").media.kind == "image"


def test_pictures_of_a_signal(tmp_path, rng):
    weights = [rng.standard_normal((5, 2, 3)), rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 3))]
    model = _weighted_chain(tmp_path / "wave.onnx", (1, 2, 64), weights)
    signal = rng.standard_normal((1, 2, 64)).astype(np.float32)
    found = cfp.explain(model, signal, device="cpu")
    found.save(tmp_path / "out")
    names = sorted(f.name for f in (tmp_path / "out" / "tubes").iterdir())
    assert {Path(n).suffix for n in names} == {".npz", ".png"}
    assert len(names) % 2 == 0
    for file in (tmp_path / "out" / "tubes").glob("*.npz"):
        assert np.load(file)["tube"].shape == (1, 1, 64)
        _picture(file.with_suffix(".png"))
    np.testing.assert_array_equal(cfp.load_pyramid(tmp_path / "out").media.curve, signal[0])
    assert "<img" not in found._repr_html_()


def test_without_space_there_are_report_and_numbers_only(tmp_path, rng):
    model = _weighted_chain(
        tmp_path / "dense.onnx", (1, 6), [rng.standard_normal((6, 5)), rng.standard_normal((5, 3))], pool=False
    )
    features = rng.standard_normal((1, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", features)
    found = cfp.explain(model, features, device="cpu")
    assert found.tubes is None
    found.save(tmp_path / "out")
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"report.html", "pyramid.json"}
    arguments = ["explain", str(model), str(tmp_path / "x.npy"), "-o", str(tmp_path / "asked"), "--tube", "activation"]
    assert cli.main(arguments) == 2
    assert not (tmp_path / "asked").exists()


# ------------------------------------------------------------------------------------------- file names


HOSTILE = [
    "../../etc/passwd", "/net/layer1/conv", "net/layer1/conv", "net.layer1.conv", "a b", "a-b", "CON", "", ".", "..",
    "x" * 300, "x" * 301, "\udcff", "ü", "名前", "a\x00b", "a\nb", "-", "--", "a_kernel1", "a", "a-0123abcd", "a:b",
]  # fmt: skip


def test_names_of_files_are_safe_and_differ():
    tubes = [
        Tube("activation", d, layer, k, np.zeros(1), ()) for layer in HOSTILE for k in (None, 1, 11) for d in (1, 2)
    ]
    tubes += [Tube("relevance", d, None, None, np.zeros(1), ()) for d in (1, 2)]
    stems = [tube_pictures.file_stem(t) for t in tubes]
    assert len(set(stems)) == len(stems)
    for stem in stems:
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        assert len(stem) < 120
    assert tube_pictures.file_stem(tubes[0]) == tube_pictures.file_stem(replace(tubes[0]))


# ----------------------------------------------------------------------------------- writing and failing


def test_a_folder_that_cannot_be_made_gets_nothing(pyramid, tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(OutputError, match=r"cannot write .*report\.html"):
        pyramid.save(tmp_path / "file" / "out", drawings=(), animation="none")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    file = write_text(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_bytes(file, b"new")
    monkeypatch.undo()
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "old"


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_what_files_refuse(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(tmp_path / "a\0b", b"")
    with pytest.raises(OutputError, match="NaN or infinity"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert write_text(tmp_path / "b", "\udcff").read_text() == "\\udcff"
    assert [f.name for f in tmp_path.iterdir()] == ["b"]


# ------------------------------------------------------------------------------------- the page's weight


def _big(rng, layers=320, kernels=1000, chosen=50, links=20):
    """A pyramid of a size that no page could hold whole: 320 000 links and kernels, 64 MB of maps."""
    names = [f"/net/stage{i // 10}/block{i % 10}/branch/conv_{i}/Conv" for i in range(layers)]
    relevance = np.sort(rng.random((layers, kernels)))[:, ::-1]
    rows = [
        {
            "name": name, "op": "Conv", "weight": f"{name}.weight", "nodes": [name], "kernels": kernels,
            "channels": kernels, "groups": 1, "kernel_shape": [3, 3, 3], "family": "plain", "depth": layers - i,
            "relevance": relevance[i].tolist(),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    weights = rng.random((layers, chosen, links))

    def edge(i, k):
        channels = [
            {"channel": c, "weight": float(weights[i, k, c]),
             "sources": [{"layer": names[i - 1] if i else None, "kernel": c, "share": 1.0, "via": "chain"}]}
            for c in range(links)
        ]  # fmt: skip
        return {"layer": names[i], "kernel": k, "channels": channels}

    value = {
        "schema": "cfp-onnx/pyramid", "schema_version": 1,
        "model": {"file": "big.onnx", "sha256": "0", "producer": "", "opset": 20},
        "input": {"file": "clip", "sha256": "1", "shape": [1, 3, 16, 112, 112], "layout": "NCTHW"},
        "run": {"rule": "positional", "class_step": "contrast", "theta": 0.6, "top_k": None, "depth": "all"},
        "target": {"output": "y", "index": 3, "label": "ü", "score": 1.0, "top": [[3, "ü", 1.0]]},
        "coverage": {"channels": 1.0, "layers": 1.0, "operators_unknown": []},
        "layers": rows,
        "levels": [
            {"depth": layers - i, "kernels": [
                {"layer": names[i], "kernel": k, "relevance": float(relevance[i, k])} for k in range(chosen)
            ]}
            for i in reversed(range(layers))
        ],
        "edges": [edge(i, k) for i in range(layers) for k in range(chosen)],
    }  # fmt: skip
    centres = tuple(np.linspace(0, n - 1, m) for n, m in ((16, 8), (112, 56), (112, 56)))
    volumes = rng.random((8, 8, 56, 56)).astype(np.float32)
    tubes = Tubes(
        (16, 112, 112),
        tuple(
            Tube("activation", layers - i, name, k, volumes[k], centres)
            for i, name in enumerate(names)
            for k in range(8)
        ),
        ("said before",),
    )
    frames = rng.integers(0, 256, (16, 112, 112, 3), np.uint8)
    return value, tubes, Media("video", (16, 112, 112), frames)


@pytest.fixture(scope="module")
def big():
    return _big(np.random.default_rng(7))


def test_a_page_stays_within_its_bytes_and_says_what_it_left_out(big):
    value, tubes, media = big
    page = page_payload.report_html(value, topology=None, tubes=tubes, media=media, facts={})
    assert len(page.encode()) <= 8 * 10**6
    held = page_payload.payload(value, None, tubes, media, {})
    assert len(render_pyramid(held)) > 8 * 10**6, "the budget is halved at least once"
    notes = " ".join(held["tubes"]["notes"])
    assert "said before" in notes
    total = sum(len(e["channels"]) for e in value["edges"])
    kept = sum(len(e["channels"]) for e in held["pyramid"]["edges"])
    assert 14_000 < kept <= page_payload.REPORT_LINKS
    assert f"{total - kept} weaker links are left out of this page" in notes
    drawn = len(held["tubes"]["maps"])
    assert 0 < drawn < len(tubes.items)
    assert f"{len(tubes.items) - drawn} more tubes did not fit into this page" in notes
    assert "weaker links are left out" in page
    strongest = {m["layer"] for m in held["tubes"]["maps"][:100] if m["kernel"] == 0}
    assert len(strongest) == min(100, len(value["layers"])), "the first of each layer before any second"


def test_the_strongest_links_are_kept(big):
    value, _, _ = big
    edges = value["edges"]
    ranks = page_payload._ranks(value["levels"])
    kept, dropped = page_payload._strongest_links(edges, 20_000, ranks)
    assert dropped == sum(len(e["channels"]) for e in edges) - sum(len(e["channels"]) for e in kept)
    for before, after in zip(edges, kept, strict=True):
        assert (before["layer"], before["kernel"]) == (after["layer"], after["kernel"])
        weights = sorted((abs(c["weight"]) for c in before["channels"]), reverse=True)
        assert [abs(c["weight"]) for c in after["channels"]] == weights[: len(after["channels"])]
    assert page_payload._strongest_links(edges[:3], 10**6, ranks) == (edges[:3], 0)
    signed = [{"layer": "a", "kernel": 0, "channels": [{"weight": w} for w in (0.1, -5.0, 2.0)]}]
    assert [c["weight"] for c in page_payload._strongest_links(signed, 2, {})[0][0]["channels"]] == [-5.0, 2.0]


def test_where_kernels_outnumber_links_each_layers_strongest_keep_theirs(big):
    value, _, _ = big
    head = {"layer": "head", "kernel": 3, "channels": [{"channel": 0, "weight": 0.0, "sources": []}]}
    kept, _ = page_payload._strongest_links([head, *value["edges"]], 641, page_payload._ranks(value["levels"]))
    assert sum(len(e["channels"]) for e in kept) == 641
    assert kept[0]["layer"] == "head"
    assert {e["kernel"] for e in kept[1:]} == {0, 1}


@pytest.mark.parametrize("shape", [(3, 300, 301), (16, 112, 112), (1, 1, 70_001), (1, 1, 131_073), (2, 2, 40_001)])
def test_averaging_keeps_the_mean_and_the_centres(rng, shape):
    values = rng.random(shape).astype(np.float32)
    centres = tuple(np.arange(n, dtype=np.float64) for n in shape)
    tube = Tube("activation", 1, "a", 0, values, centres)
    small = page_payload._averaged(tube)
    assert small.values.size <= page_payload.REPORT_MAP
    assert small.values.dtype == np.float32
    assert small.values.shape == tuple(map(len, small.centres))
    sizes = []
    for axis, (before, after) in enumerate(zip(centres, small.centres, strict=True)):
        assert (np.diff(after) > 0).all()
        edges = np.searchsorted(before, after)
        assert before[0] <= after[0] <= before[-1]
        assert edges[-1] <= shape[axis]
        # centres of runs of neighbours: from them the runs' lengths follow, and all elements are in one
        lengths, start = [], 0.0
        for centre in after:
            length = round(2 * (centre - start) + 1)
            lengths.append(length)
            start += length
        assert sum(lengths) == shape[axis]
        sizes.append(np.array(lengths, np.float64))
    weights = sizes[0][:, None, None] * sizes[1][:, None] * sizes[2]
    np.testing.assert_allclose((small.values * weights).sum() / weights.sum(), values.mean(dtype=np.float64), rtol=1e-5)


def test_a_small_map_is_kept_as_it_is(rng):
    tube = Tube("activation", 1, "a", 0, rng.random((4, 8, 8)).astype(np.float32), tuple(map(np.arange, (4, 8, 8))))
    assert page_payload._averaged(tube) is tube


def test_a_map_in_the_page_is_its_share_of_the_depths_scale(pyramid):
    held = page_payload.payload(pyramid.to_json(), None, pyramid.tubes, pyramid.media, {})
    one = held["tubes"]["maps"][0]
    assert (one["kind"], one["depth"], one["layer"]) == ("relevance", 1, None)
    tube = pyramid.tubes.find("relevance", depth=1)
    high = pyramid.tubes.scale("relevance", 1).high
    levels = np.frombuffer(base64.b64decode(one["data"]), np.uint8).reshape(one["shape"])
    np.testing.assert_allclose(levels / 255, np.clip(tube.values / high, 0, 1), atol=0.5 / 255 + 1e-6)
    assert (one["min"], one["max"]) == (float(tube.values.min()), float(tube.values.max()))
    json.dumps(held, allow_nan=False)


def test_a_long_signal_is_thinned_without_losing_its_peaks(rng):
    curve = rng.standard_normal((2, 400_000)).astype(np.float32)
    curve[0, 123_456], curve[1, 399_999] = 50.0, -70.0
    shown = page_payload._media(Media("curve", (1, 1, 400_000), curve=curve))["curve"]
    assert len(shown) == 2
    assert sum(map(len, shown)) <= page_payload.REPORT_SAMPLES
    assert (max(shown[0]), min(shown[1])) == (50.0, -70.0)
    short = curve[:, :1000]
    same = page_payload._media(Media("curve", (1, 1, 1000), curve=short))["curve"]
    np.testing.assert_allclose(same, short, atol=1e-5)


def test_large_frames_are_shrunk_for_the_page(rng):
    frames = rng.integers(0, 256, (16, 400, 400, 3), np.uint8)
    shown = page_payload._media(Media("video", (16, 400, 400), frames))["frames"]
    assert len(shown) == 16
    assert sum(map(len, shown)) <= page_payload.REPORT_FRAMES * 4 / 3 + 1000


# ------------------------------------------------------------------------------------- the command line


def _explain(demo, out, *more):
    return cli.main(["explain", *demo, "-o", str(out), "--depth", "1", "--animation", "none", "--device", "cpu", *more])


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("--tube", "activation", "--tube-top", "2"), {"kernel_activation": 2}),
        (("--tube", "relevance:kernel", "--tube-top", "1"), {"kernel_relevance": 1}),
        (("--tube", "relevance", "--tube", "activation:layer"), {"relevance": 1, "activation": 1}),
    ],
)
def test_tubes_asked_for_on_the_command_line(demo, tmp_path, capsys, options, kinds):
    assert _explain(demo, tmp_path, *options) == 0
    found: dict[str, int] = {}
    for file in (tmp_path / "tubes").glob("*.npz"):
        key = ("kernel_" if "_kernel" in file.stem else "") + file.stem.rsplit("_", 1)[1]
        found[key] = found.get(key, 0) + 1
    assert found == kinds
    assert str(tmp_path / "report.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tube", "heat"), "'heat' must be activation or relevance"),
        (("--tube", "activation:"), "'activation:' must be"),
        (("--tube", "relevance:pixel"), "must be activation or relevance"),
        (("--tube", "activation", "--tube-top", "0"), "not a whole number"),
        (("--animation", "avi"), "avi"),
    ],
)
def test_wrong_tubes_are_one_sentence_and_exit_2(demo, tmp_path, capsys, options, said):
    assert _explain(demo, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_tubes_need_a_folder(demo, capsys):
    assert cli.main(["explain", *demo, "--tube", "activation"]) == 2
    error = capsys.readouterr().err.strip()
    assert "--tube needs a folder" in error
    assert len(error.splitlines()) == 1


def test_a_kernel_that_is_never_above_zero_is_drawn_by_its_size():
    """The array keeps the sign; scale and page show the size."""
    line = Tube(
        "activation", 1, "signed", 0, np.array([[[-3.0, -1.0]]], np.float32), (np.zeros(1), np.zeros(1), np.arange(2.0))
    )
    found = mark_constant((1, 1, 2), [line])
    assert found.scale("activation", 1).high == 3
    maps, _ = page_payload._maps(found, 2**20, [])
    assert np.frombuffer(base64.b64decode(maps[0]["data"]), np.uint8).tolist() == [255, 85]
    assert (maps[0]["min"], maps[0]["max"]) == (-3.0, -1.0)
    np.testing.assert_array_equal(tubes.drawn_values(line.values, "activation"), [[[3.0, 1.0]]])
    np.testing.assert_array_equal(tubes.drawn_values(line.values, "relevance"), line.values)
