"""The result as people hold it: printed, shown in notebooks, asked, converted, and loaded again."""

from __future__ import annotations

import base64
import copy
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import cv2
import networkx as nx
import numpy as np
import pytest

import cfp_onnx as cfp
from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader, TopClass
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes
from cfp_onnx.pyramid.values import Edge, Kernel, LayerResult, Link, LinkSource

HOSTILE = "<script>alert('1')</script>&\"\n\x00\x1b[31m\udcff\u202e"


def explained(**options):
    data = resources.files("cfp_onnx") / "data"
    with resources.as_file(data / "demo.onnx") as model, resources.as_file(data / "demo_clip.npz") as clip:
        return cfp.explain(model, clip, device="cpu", **options)


@pytest.fixture(scope="module")
def pyramid():
    return explained(depth="all")


@pytest.fixture(scope="module")
def saved(pyramid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    report = pyramid.save(folder, drawings=(), animation="none")
    assert report == folder / "report.html"
    return folder


def invented(**changes):
    """Two layers at one depth, an input, and a kernel that feeds another twice."""
    layers = (
        LayerResult("a", "Conv", "wa", ("a",), 3, 1, 1, (3,), "plain", 2, (4.0, -1.0, 2.0)),
        LayerResult("b", "Conv", "wb", ("b",), 2, 3, 1, (3,), "plain", 1, (0.5, 0.25)),
        LayerResult("b2", "Conv", "wb2", ("b2",), 2, 3, 1, (3,), "plain", 1, (80.0, 70.0)),
        LayerResult("head", "Gemm", "wh", ("head",), 2, 4, 1, (), "dense", 0, (0.0, 9.0)),
    )
    twice = (LinkSource("a", 0, 0.75, "chain"), LinkSource("a", 0, 0.25, "shortcut"))
    parts = {
        "model": ModelHeader(file="m.onnx", sha256="00", producer="", opset=20),
        "input": InputHeader(file=None, sha256="11", shape=(1, 1, 8), layout="NCL"),
        "run": RunHeader(
            rule="positional", class_step="contrast", theta=0.6, top_k=None, depth=2,
            provider="CPUExecutionProvider", output_difference=0.0, undefined=0,
        ),
        "target": TargetHeader(output="y", index=1, label=None, score=9.0, top=(TopClass(1, None, 9.0),)),
        "coverage": CoverageHeader(channels=1.0, layers=1.0, operators_unknown=()),
        "layers": layers,
        "levels": {1: (Kernel("b", 0, 0.5), Kernel("b", 1, 0.25), Kernel("b2", 0, 80.0)), 2: (Kernel("a", 0, 4.0),)},
        "edges": (
            Edge("head", 1, (Link(0, 1.0, (LinkSource("b", 0, 1.0),)), Link(2, 0.5, (LinkSource("b2", 0, 1.0),)))),
            Edge("b", 0, (Link(0, 0.75, twice),)),
            Edge("a", 0, (Link(0, -0.5, (LinkSource(None, 0, 1.0),)),)),
        ),
    }  # fmt: skip
    return cfp.Pyramid(**{**parts, **changes})


# ----------------------------------------------------------------------------------------------- showing


def test_text_is_the_tree_that_people_read(pyramid, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    text = str(pyramid)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0].startswith("model")
    assert "class 1 right" in lines
    assert any(line.startswith("├── depth 1") for line in lines)
    assert any("└── depth 13" in line for line in lines)
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line != line.rstrip()]
    strongest = pyramid.kernels(1)[0]
    assert f"kernel {strongest.kernel}" in text
    assert strongest.layer in text


def test_text_prints_nothing_itself_even_where_rich_sees_a_notebook(pyramid, monkeypatch, capsys):
    import rich.console

    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    shown = []
    monkeypatch.setattr("rich.jupyter.display", lambda *a: shown.append(a))
    assert "depth 1" in str(pyramid)
    assert not shown
    assert capsys.readouterr() == ("", "")


def test_repr_is_short_and_says_what_it_is(pyramid):
    assert repr(pyramid) == "<Pyramid of class 1 'right': rule positional, 16 layers, 13 depths, 35 chosen kernels>"
    assert repr(invented()).startswith("<Pyramid of class 1: rule positional, 4 layers")


class Markup(HTMLParser):
    """Collects tags, attributes and text, and insists that every element is closed in order."""

    VOID = ("img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.words, self.styles = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles.append(dict(attrs).get("style", ""))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_notebooks_get_a_small_picture_and_the_strongest_kernels(pyramid):
    text = pyramid._repr_html_()
    assert len(text) < 700_000
    page = Markup(text)
    (image,) = page.images
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    assert image["alt"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] > 400
    assert picture.shape[1] > 600
    words = " ".join(page.words)
    assert "class 1 right" in words
    assert "12 of 13 depths" in words
    k = pyramid.kernels(13)[0]
    assert f"{k.layer}:{k.kernel}" in words
    assert not [s for s in page.styles if "color" in s or "background" in s], "a notebook's own colours hold"


def test_a_notebooks_picture_stays_small_on_noise(pyramid, rng):
    media = replace(pyramid.media, size=(16, 160, 160), frames=rng.integers(0, 256, (16, 160, 160, 3), np.uint8))
    assert len(replace(pyramid, media=media)._repr_html_()) < 700_000


def test_a_notebook_compares_kernels_within_a_layer_only():
    words = " ".join(Markup(invented()._repr_html_()).words)
    assert "b:0, b2:0, b:1" in words


def test_hostile_names_stay_text(pyramid):
    layers = tuple(replace(x, name=HOSTILE + x.name) for x in pyramid.layers)
    levels = {d: tuple(k._replace(layer=HOSTILE + k.layer) for k in found) for d, found in pyramid.levels.items()}
    run, target = replace(pyramid.run, rule=HOSTILE), replace(pyramid.target, label=HOSTILE)
    hostile = replace(pyramid, layers=layers, levels=levels, run=run, target=target)
    text = hostile._repr_html_()
    assert set(Markup(text).tags) <= {"div", "p", "b", "img", "table", "tr", "th", "td"}
    assert "alert" in text
    assert "<script" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    text.encode()
    printed = str(hostile)
    assert "\x00" not in printed
    assert "\x1b" not in printed
    assert "\u202e" not in printed


def test_without_tubes_a_notebook_shows_the_table_alone():
    page = Markup(invented()._repr_html_())
    assert not page.images
    assert "table" in page.tags


# ---------------------------------------------------------------------------------------------- asking


def test_kernels_of_a_depth_and_of_all_from_the_class_down(pyramid):
    depths = sorted(pyramid.levels)
    assert depths == list(range(1, 14))
    assert pyramid.kernels() == tuple(k for d in depths for k in pyramid.kernels(depth=d))
    assert pyramid.kernels(99) == ()
    for kernel in pyramid.kernels():
        layer = pyramid.layer(kernel.layer)
        assert layer.relevance[kernel.kernel] == kernel.relevance
        assert kernel.relevance >= 0.6 * max(layer.relevance) * (1 - 1e-6)


def test_layer_by_name(pyramid):
    assert pyramid.layer("node_linear").op == "Gemm"
    with pytest.raises(KeyError, match=r"no layer 'nowhere' was walked; layers are: .*node_linear"):
        pyramid.layer("nowhere")
    many = replace(pyramid, layers=tuple(replace(pyramid.layers[0], name=f"n{i}") for i in range(500)))
    with pytest.raises(KeyError, match="and 480 more") as caught:
        many.layer("nowhere")
    assert len(str(caught.value)) < 500


def test_tubes_of_kernels_layers_and_depths(pyramid):
    size = (16, 40, 40)
    for tube in pyramid.tubes.items:
        found = pyramid.class_tube(tube.depth) if tube.layer is None else pyramid.tube(tube.layer, tube.kernel)
        assert found.dtype == np.float32
        assert found.shape == size
        np.testing.assert_array_equal(found, tube.at(size))
    chosen = pyramid.kernels(1)[0]
    np.testing.assert_array_equal(
        pyramid.tube(chosen.layer, chosen.kernel), pyramid.tube(chosen.layer, chosen.kernel, kind="activation")
    )


def test_missing_tubes_are_named(pyramid):
    chosen = pyramid.kernels(1)[0]
    with pytest.raises(KeyError, match="no layer 'nowhere' was walked"):
        pyramid.tube("nowhere", 1)
    with pytest.raises(KeyError, match=f"no activation tube of kernel 9999 of .* recorded there: .*{chosen.kernel}"):
        pyramid.tube(chosen.layer, 9999)
    with pytest.raises(KeyError, match="explain with kernel_relevance=True"):
        pyramid.tube(chosen.layer, chosen.kernel, kind="relevance")
    with pytest.raises(KeyError, match=r"no class tube of depth 99 was recorded; depths recorded: 1, 2, 5, .*13"):
        pyramid.class_tube(99)
    with pytest.raises(KeyError, match="explain with tubes=True"):
        replace(pyramid, tubes=None).class_tube(1)


# ------------------------------------------------------------------------------------------- converting


def test_the_graph_points_with_the_data(pyramid):
    graph = pyramid.to_networkx()
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.number_of_edges() == sum(len(c.sources) for e in pyramid.edges for c in e.channels)
    head = ("node_linear", pyramid.target["index"])
    assert graph.out_degree(head) == 0
    assert graph.in_degree(head) > 0
    for kernel in pyramid.kernels():
        node = graph.nodes[kernel.layer, kernel.kernel]
        assert node["chosen"] is True
        assert node["relevance"] == kernel.relevance
        assert node["depth"] == pyramid.layer(kernel.layer).depth
    for source, reader in graph.edges():
        if source[0] is not None:
            assert graph.nodes[source]["depth"] > graph.nodes[reader]["depth"]


def test_every_link_is_an_edge_with_its_numbers():
    graph = invented().to_networkx()
    assert dict(graph.nodes["a", 0]) == {"chosen": True, "depth": 2, "relevance": 4.0}
    assert dict(graph.nodes["head", 1]) == {"chosen": False, "depth": 0, "relevance": 9.0}
    assert dict(graph.nodes[None, 0]) == {"chosen": False}
    found = sorted(graph.get_edge_data(("a", 0), ("b", 0)).values(), key=lambda e: e["share"])
    assert found == [
        {"weight": 0.75, "channel": 0, "share": 0.25, "via": "shortcut"},
        {"weight": 0.75, "channel": 0, "share": 0.75, "via": "chain"},
    ]
    assert graph.has_edge((None, 0), ("a", 0))
    assert not graph.has_edge(("a", 0), (None, 0))


def test_every_kernel_is_a_row_of_the_table(pyramid):
    pytest.importorskip("pandas")
    frame = pyramid.to_frame()
    assert list(frame.columns) == ["layer", "op", "depth", "kernel", "relevance", "share", "chosen"]
    assert len(frame) == sum(x.kernels for x in pyramid.layers)
    assert frame["chosen"].sum() == len(pyramid.kernels())
    layer = pyramid.layer(pyramid.kernels(1)[0].layer)
    mine = frame[frame["layer"] == layer.name]
    assert mine["relevance"].tolist() == list(layer.relevance)
    assert mine["share"].max() == 1.0
    assert (mine["depth"] == 1).all()
    assert (mine["op"] == "Conv").all()
    assert mine[mine["chosen"]]["kernel"].tolist() == sorted(k.kernel for k in pyramid.kernels(1))
    silent = invented(layers=(replace(invented().layers[0], relevance=(0.0, -1.0, 0.0)),)).to_frame()
    assert silent["share"].tolist() == [0.0, 0.0, 0.0]


def test_a_table_without_pandas_says_what_to_type(pyramid, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        pyramid.to_frame()


# ------------------------------------------------------------------------------------ saving and loading


def test_a_folder_holds_report_numbers_and_tubes(saved):
    assert {f.name for f in saved.iterdir()} == {"report.html", "pyramid.json", "tubes.npz", "tubes"}
    assert {f.name for f in (saved / "tubes").iterdir()} == {"class.png"}
    assert json.loads((saved / "pyramid.json").read_text())["schema"] == "cfp-onnx/pyramid"


@pytest.mark.parametrize("what", ["folder", "file", "text"])
def test_what_is_loaded_equals_what_was_saved(pyramid, saved, what):
    place = {"folder": saved, "file": saved / "pyramid.json", "text": str(saved)}[what]
    loaded = cfp.load_pyramid(place)
    assert loaded == pyramid
    assert loaded.to_json() == pyramid.to_json()
    assert len(loaded.tubes.items) == len(pyramid.tubes.items)
    for mine, theirs in zip(loaded.tubes.items, pyramid.tubes.items, strict=True):
        assert replace(mine, values=0, centres=()) == replace(theirs, values=0, centres=())
        for a, b in zip((mine.values, *mine.centres), (theirs.values, *theirs.centres), strict=True):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes()
    assert (loaded.tubes.size, loaded.tubes.notes) == (pyramid.tubes.size, pyramid.tubes.notes)
    assert loaded.media.frames.tobytes() == pyramid.media.frames.tobytes()
    assert replace(loaded.media, frames=None) == replace(pyramid.media, frames=None)


def test_what_was_loaded_prints_shows_and_saves_again(pyramid, saved, tmp_path):
    loaded = cfp.load_pyramid(saved)
    assert str(loaded) == str(pyramid)
    assert loaded._repr_html_() == pyramid._repr_html_()
    loaded.save(tmp_path, drawings=(), animation="none")
    assert (tmp_path / "pyramid.json").read_bytes() == (saved / "pyramid.json").read_bytes()
    assert cfp.load_pyramid(tmp_path) == pyramid


def test_without_tubes_report_and_numbers_are_there_all_the_same(tmp_path):
    plain = explained(depth=1, tubes=False)
    assert plain.tubes is None
    assert plain.media is None
    plain.save(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"report.html", "pyramid.json"}
    loaded = cfp.load_pyramid(tmp_path)
    assert loaded == plain
    assert loaded.tubes is None
    assert "<img" not in loaded._repr_html_()
    with pytest.raises(UsageError, match="no tubes to draw"):
        plain.save(tmp_path, drawings=[cfp.Drawing("activation", "kernel")])


def test_a_json_alone_is_a_pyramid_without_tubes(pyramid, saved, tmp_path):
    (tmp_path / "mine.json").write_bytes((saved / "pyramid.json").read_bytes())
    loaded = cfp.load_pyramid(tmp_path / "mine.json")
    assert loaded == pyramid
    assert loaded.tubes is None
    assert loaded.media is None


def test_tubes_of_another_pyramid_are_left_alone(pyramid, saved, tmp_path):
    (tmp_path / "tubes.npz").write_bytes((saved / "tubes.npz").read_bytes())
    other = replace(pyramid, target=replace(pyramid.target, index=2))
    (tmp_path / "other.json").write_text(json.dumps(other.to_json()))
    assert cfp.load_pyramid(tmp_path / "other.json").tubes is None


def _sentence(path):
    with pytest.raises(UsageError) as caught:
        cfp.load_pyramid(path)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert len(text) < 400
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"null", b"[]", b"3", b"[" * 100_000, b"{" + b'"a":{' * 100_000, b'{"a": NaN}',
     b'{"schema": "cfp-onnx/topology", "schema_version": 1}', b'{"schema": "cfp-onnx/pyramid", "schema_version": 2}',
     b'{"schema": "cfp-onnx/pyramid", "schema_version": 1}', b'{"schema": "cfp-onnx/pyramid"}', b"9" * 5000],
    ids=lambda x: repr(x[:24]),
)  # fmt: skip
def test_files_that_are_no_pyramids(tmp_path, content):
    (tmp_path / "pyramid.json").write_bytes(content)
    assert "pyramid.json" in _sentence(tmp_path)


def test_places_where_nothing_is(tmp_path):
    assert "No such file" in _sentence(tmp_path)
    assert "No such file" in _sentence(tmp_path / "nowhere.json")
    _sentence("\0")


def _paths(value, here=()):
    """Places of all keys, one example for each list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*here, key)
            yield from _paths(item, (*here, key))
    elif isinstance(value, list) and value:
        yield from _paths(value[0], (*here, 0))


NEEDED = [p for p in _paths(invented().to_json()) if p[0] not in {"schema", "schema_version"}]


def _holder(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


@pytest.mark.parametrize("path", NEEDED, ids=lambda p: ".".join(map(str, p)))
def test_no_key_may_be_missing_or_something_else(tmp_path, path):
    whole = invented().to_json()
    file = tmp_path / "pyramid.json"
    file.write_text(json.dumps(whole))
    assert cfp.load_pyramid(file) == invented()
    broken = copy.deepcopy(whole)
    del _holder(broken, path)[path[-1]]
    file.write_text(json.dumps(broken))
    assert repr(path[-1]) in _sentence(file)
    for wrong in ({"x": 1}, True, [[]]):
        broken = copy.deepcopy(whole)
        _holder(broken, path)[path[-1]] = wrong
        file.write_text(json.dumps(broken))
        _sentence(file)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("levels", 0, "kernels", 0, "kernel"), 7),
        (("levels", 0, "kernels", 0, "kernel"), -1),
        (("levels", 0, "kernels", 0, "layer"), "nowhere"),
        (("levels", 0, "kernels", 0, "kernel"), 0.5),
        (("edges", 0, "kernel"), 3),
        (("edges", 1, "channels", 0, "sources", 0, "kernel"), 99),
        (("layers", 0, "relevance"), [1.0]),
        (("layers", 0, "relevance"), [1.0, "NaN", 2.0]),
        (("layers", 0, "relevance"), [1.0, float("nan"), 2.0]),
        (("layers", 0, "relevance"), [1.0, float("inf"), 2.0]),
        (("layers", 0, "relevance"), [1.0, 10**400, 2.0]),
        (("layers", 1, "name"), "a"),
        (("target", "score"), float("nan")),
        (("target", "top"), [[1, None]]),
        (("coverage", "operators_unknown"), [3]),
    ],
    ids=str,
)
def test_numbers_that_contradict_each_other(tmp_path, path, wrong):
    value = invented().to_json()
    _holder(value, path)[path[-1]] = wrong
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    _sentence(tmp_path)


def test_a_float_too_large_for_any_number_is_refused(tmp_path):
    text = json.dumps(invented().to_json()).replace("80.0", "1e999")
    (tmp_path / "pyramid.json").write_text(text)
    assert "1e999" in _sentence(tmp_path)


# ------------------------------------------------------------------------------------------ damaged tubes


@pytest.fixture
def small(tmp_path):
    """A folder with a pyramid whose tubes are small."""
    centres = (np.zeros(1), np.zeros(1), np.arange(8, dtype=np.float64))
    tube = Tube("relevance", 1, None, None, np.ones((1, 1, 8), np.float32), centres)
    media = Media("curve", (1, 1, 8), curve=np.zeros((1, 8), np.float32), note="n")
    found = invented(tubes=Tubes((1, 1, 8), (tube,), ("left out",)), media=media)
    found.save(tmp_path, drawings=())
    assert cfp.load_pyramid(tmp_path).tubes.notes == ("left out",)
    return tmp_path


def _rewritten(folder, **changes):
    with np.load(folder / "tubes.npz") as found:
        arrays = {k: found[k] for k in found.files}
    for key, value in changes.items():
        arrays.pop(key) if value is None else arrays.update({key: value})
    np.savez(folder / "tubes.npz", **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"values_0": None},
        {"t_0": None},
        {"index": None},
        {"index": np.array("{")},
        {"index": np.array("[]")},
        {"index": np.array('{"format": 99}')},
        {"values_0": np.full((1, 1, 8), np.nan, np.float32)},
        {"values_0": np.ones((1, 8), np.float32)},
        {"values_0": np.ones((1, 1, 8), np.int32)},
        {"values_0": np.array([["text"]])},
        {"w_0": np.arange(7.0)},
        {"w_0": np.arange(8.0)[::-1]},
        {"w_0": np.full(8, np.inf)},
        {"curve": np.zeros((1, 5), np.float32)},
        {"curve": np.full((1, 8), np.nan, np.float32)},
        {"frames": np.zeros((1, 1, 8), np.uint8)},
    ],
    ids=lambda c: f"{next(iter(c))}-{np.asarray(next(iter(c.values()))).dtype}",
)
def test_damaged_tubes_are_one_sentence(small, changes):
    _rewritten(small, **changes)
    assert "tubes.npz" in _sentence(small)


def test_every_truncation_and_many_flipped_bytes_are_one_sentence(small, rng):
    file = small / "tubes.npz"
    whole = file.read_bytes()
    for length in rng.integers(0, len(whole), 60):
        file.write_bytes(whole[:length])
        assert "tubes.npz" in _sentence(small)
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        said = ""
        try:
            cfp.load_pyramid(small)
        except UsageError as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + bytes(40)])
def test_other_files_of_that_name(small, content):
    (small / "tubes.npz").write_bytes(content)
    assert "tubes.npz" in _sentence(small)
