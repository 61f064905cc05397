"""The result as people hold it: printed, asked and converted."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from pyramids import explained, invented

import cfp_onnx as cfp
from cfp_onnx.errors import UsageError


def test_text_is_the_tree_that_people_read(pyramid, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    text = str(pyramid)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "class 1 right, rather than 4 clockwise (35 %), 5 counter_clockwise (25 %) and others"
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
        if tube.layer is None:
            found = pyramid.class_tube(tube.depth or None, signed=True)
            np.testing.assert_array_equal(pyramid.class_tube(tube.depth or None), np.maximum(found, 0))
        else:
            found = pyramid.tube(tube.layer, tube.kernel)
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


def test_a_folder_holds_report_numbers_and_tubes(saved):
    assert {f.name for f in saved.iterdir()} == {"report.html", "pyramid.json", "tubes.npz", "tubes"}
    assert {f.name for f in (saved / "tubes").iterdir()} == {"class.png"}
    assert json.loads((saved / "pyramid.json").read_text())["schema"] == "cfp-onnx/pyramid"


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
