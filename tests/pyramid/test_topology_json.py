"""Topology as JSON and GraphML: what the contract names, on a network with every kind of joint."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import networkx as nx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.pyramid.topology_json import topology_json, write_graphml


def node(op, inputs, output, name, **attributes):
    return helper.make_node(op, inputs, [output], name=name, **attributes)


@pytest.fixture
def everything(tmp_path, rng):
    """Branches into a Concat, a depthwise layer, a gate, a shortcut, fibers behind a Split, a head."""
    nodes = [
        node("Conv", ["x", "w/a"], "a", "left", kernel_shape=[1, 1]),
        node("Conv", ["x", "w/b"], "b", "right", pads=[1] * 4),
        node("Concat", ["a", "b"], "ab", "join", axis=1),
        node("Conv", ["ab", "w/dw"], "dw", "depthwise", group=8, pads=[1] * 4),
        node("GlobalAveragePool", ["dw"], "squeezed", "squeeze"),
        node("Conv", ["squeezed", "w/gate"], "excite", "excite"),
        node("Sigmoid", ["excite"], "open", "sigmoid"),
        node("Mul", ["dw", "open"], "gated", "gate"),
        node("Add", ["gated", "ab"], "sum", "shortcut"),
        helper.make_node("Split", ["sum", "four"], ["s0", "s1"], name="split", axis=1),
        node("Conv", ["s0", "w/f0"], "f0", "fiber0"),
        node("Conv", ["s1", "w/f1"], "f1", "fiber1"),
        node("Concat", ["f0", "f1"], "f", "fibers", axis=1),
        node("GlobalAveragePool", ["f"], "pooled", "pool"),
        node("Flatten", ["pooled"], "flat", "flat"),
        node("Gemm", ["flat", "w/head"], "y", "head\x01<&>", transB=1),
    ]
    sizes = {
        "w/a": (4, 3, 1, 1), "w/b": (4, 3, 3, 3), "w/dw": (8, 1, 3, 3), "w/gate": (8, 8, 1, 1),
        "w/f0": (2, 4, 1, 1), "w/f1": (2, 4, 1, 1), "w/head": (5, 4),
    }  # fmt: skip
    weights = [numpy_helper.from_array(rng.standard_normal(v).astype(np.float32), k) for k, v in sizes.items()]
    weights.append(numpy_helper.from_array(np.array([4, 4], np.int64), "four"))
    graph = helper.make_graph(
        nodes,
        "everything",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        weights,
    )
    file = tmp_path / "everything.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return cfp.topology(file)


def test_json_says_what_the_network_is(everything):
    value = json.loads(json.dumps(topology_json(everything), allow_nan=False))
    assert (value["schema"], value["schema_version"]) == ("cfp-onnx/topology", 1)
    assert set(value["model"]) == {"file", "sha256", "producer", "opset"}
    assert value["coverage"] == {"channels": 1.0, "layers": 1.0, "operators_unknown": []}
    layers = {x["name"]: x for x in value["layers"]}
    assert list(layers) == ["left", "right", "depthwise", "excite", "fiber0", "head\x01<&>"]
    assert set(layers["left"]) == {
        "name", "op", "weight", "nodes", "kernels", "channels", "groups", "kernel_shape", "depth", "family",
    }  # fmt: skip
    assert [x["family"] for x in layers.values()] == [
        "pointwise",
        "plain",
        "depthwise",
        "pointwise",
        "grouped",
        "dense",
    ]
    assert layers["right"]["kernel_shape"] == [3, 3]
    assert layers["right"]["weight"] == "w/b"
    assert layers["head\x01<&>"]["depth"] == 0
    assert layers["fiber0"]["depth"] == 1
    wires = {w["layer"]: w["from"] for w in value["wires"]}
    assert wires["left"] == [{"layer": None, "input": "x", "via": "chain"}]
    assert {(f["layer"], f["via"]) for f in wires["depthwise"]} == {("left", "branch"), ("right", "branch")}
    assert ("excite", "gate") in {(f["layer"], f["via"]) for f in wires["fiber0"]}
    assert "shortcut" in {f["via"] for f in wires["fiber0"]}
    assert value["branches"] == [{"node": "join", "kind": "concat", "paths": [["left"], ["right"]]}]
    assert [(g["node"], g["kind"]) for g in value["gates"]] == [("gate", "gate")]
    assert [(s["node"], s["kind"]) for s in value["shortcuts"]] == [("shortcut", "identity")]
    assert value["fibers"] == [
        {"layer": "depthwise", "groups": 8, "split": False},
        {"layer": "fiber0", "groups": 2, "split": True},
    ]


def test_every_reference_is_a_layer(everything):
    value = topology_json(everything)
    names = {x["name"] for x in value["layers"]}
    read = {f["layer"] for w in value["wires"] for f in w["from"]} - {None}
    joined = {n for kind in ("branches", "shortcuts", "gates") for j in value[kind] for p in j["paths"] for n in p}
    assert read | joined | {w["layer"] for w in value["wires"]} <= names


def test_graphml_comes_back_as_the_same_graph(everything, tmp_path):
    file = write_graphml(everything, tmp_path / "new" / "net.graphml")
    ET.parse(file)
    back = nx.read_graphml(file, force_multigraph=True)
    graph = everything.topology.graph
    assert (back.number_of_nodes(), back.number_of_edges()) == (
        graph.number_of_nodes(),
        graph.number_of_edges(),
    )
    assert "head\\x01<&>" in back
    assert back.nodes["depthwise"]["kernels"] == 8
    assert back.nodes["depthwise"]["kernel_shape"] == "3x3"
    assert {d["via"] for *_, d in back.edges(data=True)} == {"chain", "branch", "shortcut", "gate"}


def test_an_unwritable_place_is_refused(everything, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(cfp.OutputError, match="cannot write"):
        write_graphml(everything, tmp_path / "file" / "net.graphml")
