"""What is read off small whole networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from text_net import NESTED, NESTED_WEIGHTS, engine_of, network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError, TargetError, UnsupportedOperatorError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import load


def layer_of(topology: Topology, output: str) -> KernelLayer:
    return next(layer for layer in topology.layers if layer.output == output)


def wires(engine: Engine, output: str) -> list[list[tuple[str | None, int, str]]]:
    """For each input channel of the layer with that output: (layer's output, kernel, via)."""
    layer = layer_of(engine.topology, output)
    names = {one.index: one.output for one in engine.topology.layers}
    found = engine.topology.sources(layer, range(layer.channels))
    return [[(names.get(s.layer) if s.layer is not None else None, s.kernel, s.via) for s in one] for one in found]


def test_a_channel_shuffle_is_followed_exactly(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            v = Reshape (a, five)
            t = Transpose <perm=[0,2,1,3,4]> (v)
            s = Reshape (t, four)
            b = Conv <group=3> (s, v3)
            g = GlobalAveragePool (b)
            y = Flatten (g)""",
            {"w": (6, 3, 1, 1), "five": [1, 2, 3, 6, 6], "four": [1, 6, 6, 6], "v3": (6, 2, 1, 1)},
        ),
        tmp_path,
    )
    assert wires(engine, "b") == [[("a", k, "chain")] for k in (0, 3, 1, 4, 2, 5)]
    assert engine.coverage.complete


def test_a_flattened_map_keeps_its_kernels(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            "a = Conv (x, w)\nr = Relu (a)\nf = Flatten (r)\ny = Gemm (f, v)",
            {"w": (4, 3, 3, 3), "v": (64, 5)},
        ),
        tmp_path,
    )
    assert wires(engine, "y") == [[("a", k // 16, "chain")] for k in range(64)]
    assert engine.classes() == (5, 1)


def test_a_padded_shortcut_joins_some_channels(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            b = Conv <strides=[2,2]> (a, v)
            p = AveragePool <kernel_shape=[1,1], strides=[2,2]> (a)
            k = Pad (p, pads)
            s = Add (b, k)
            c = Conv (s, u)
            g = GlobalAveragePool (c)
            y = Flatten (g)""",
            {"w": (4, 3, 1, 1), "v": (6, 4, 1, 1), "pads": [0, 1, 0, 0, 0, 1, 0, 0], "u": (5, 6, 1, 1)},
        ),
        tmp_path,
    )
    found = wires(engine, "c")
    assert [sorted(str(w[0]) for w in one) for one in found] == [["b"], *[["a", "b"]] * 4, ["b"]]
    assert found[1] == [("b", 1, "chain"), ("a", 0, "shortcut")]
    assert [s.kind for s in engine.topology.shortcuts] == ["padded"]


def test_shares_of_nested_adds_sum_to_one(tmp_path: Path) -> None:
    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    layer = layer_of(engine.topology, "d")
    for k, found in enumerate(engine.topology.sources(layer, range(4))):
        assert {(engine.topology.layers[s.layer or 0].output, s.kernel) for s in found} == {
            ("a", k),
            ("b", k),
            ("c", k),
        }
        assert sum(s.share for s in found) == pytest.approx(1)
        assert {s.share for s in found} == {0.5, 0.25}
    assert [s.kind for s in engine.topology.shortcuts] == ["identity", "identity"]


def test_measured_shares_sum_to_one_and_follow_the_addends(tmp_path: Path) -> None:
    from cfp_onnx.graph.topology import shared_states

    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    means = {"b": 1.0, "r": 3.0, "c": 1.0, "t": 1.0}
    states = shared_states(engine.topology, lambda n: np.full((1, 1, 1, 1), means[n]))
    for found in engine.topology.sources(layer_of(engine.topology, "d"), range(4), states):
        share = {engine.topology.layers[s.layer or 0].output: s.share for s in found}
        assert share == pytest.approx({"c": 0.5, "b": 0.125, "a": 0.375})


def test_a_gate_is_named_and_takes_no_share(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            m = GlobalAveragePool (a)
            e = Conv (m, v)
            s = Sigmoid (e)
            p = Mul (a, s)
            d = Conv (p, z)
            g = GlobalAveragePool (d)
            y = Flatten (g)""",
            {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "z": (5, 4, 1, 1)},
        ),
        tmp_path,
    )
    layer = layer_of(engine.topology, "d")
    for k, found in enumerate(engine.topology.sources(layer, range(4))):
        assert [(s.kernel, s.share, s.via) for s in found] == [(k, 1.0, "chain"), (k, 0.0, "gate")]
    assert [g.paths for g in engine.topology.gates] == [((0,), (1,))]


UNKNOWN = """a = Conv (x, w)
u = Cos (a)
b = Conv (u, v)
g = GlobalAveragePool (b)
y = Flatten (g)"""


UNKNOWN_WEIGHTS = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1)}


def test_an_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match="Cos") as caught:
        engine_of(network(UNKNOWN, UNKNOWN_WEIGHTS), tmp_path)
    assert (caught.value.operator, caught.value.node) == ("Cos", "u")


def test_an_unknown_operator_is_a_recorded_barrier_on_request(tmp_path: Path) -> None:
    engine = engine_of(network(UNKNOWN, UNKNOWN_WEIGHTS), tmp_path, barriers=True)
    coverage = engine.coverage
    assert coverage.operators_unknown == ("Cos",)
    assert coverage.channels < 1
    assert not coverage.complete


def test_an_unknown_operator_off_the_channel_paths_does_not_matter(tmp_path: Path) -> None:
    model = network(
        "a = Conv (x, w)\ng = GlobalAveragePool (a)\ny = Flatten (g)\nu = Cos (k)",
        {"w": (4, 3, 1, 1), "k": 1.0},
    )
    assert engine_of(model, tmp_path).coverage.complete


def test_a_group_that_contradicts_the_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ModelError, RunError), match="group"):
        engine_of(
            network("a = Conv <group=3> (x, w)\ng = GlobalAveragePool (a)\ny = Flatten (g)", {"w": (6, 3, 1, 1)}),
            tmp_path,
        )


def test_a_batch_norm_in_training_mode_is_refused(tmp_path: Path) -> None:
    body = """a = Conv (x, w)
    n, p, q = BatchNormalization <training_mode=1> (a, s, o, m, v)
    g = GlobalAveragePool (n)
    y = Flatten (g)"""
    weights = {"w": (4, 3, 1, 1), "s": (4,), "o": (4,), "m": (4,), "v": np.ones(4)}
    with pytest.raises(ModelError, match="training mode"):
        engine_of(network(body, weights), tmp_path)


def test_two_classifiers_are_told_apart_by_their_output(tmp_path: Path) -> None:
    model = network(
        "a = Conv (x, w)\ng = GlobalAveragePool (a)\nf = Flatten (g)\ny = Gemm (f, v)\nz = Gemm (f, u)",
        {"w": (4, 3, 1, 1), "v": (4, 5), "u": (4, 7)},
    )
    model.graph.output.append(helper.make_empty_tensor_value_info("z"))
    loaded = load(saved(model, tmp_path))
    feeds = runtime.random_feeds(loaded)
    assert Engine(loaded, feeds, device=runtime.Device("cpu")).classes()[0] == 5
    assert Engine(loaded, feeds, device=runtime.Device("cpu"), output="z").classes()[0] == 7
    with pytest.raises(TargetError, match="no output 'q'"):
        Engine(loaded, feeds, device=runtime.Device("cpu"), output="q")


def test_a_network_without_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no kernels"):
        engine_of(network("a = Relu (x)\ny = Flatten (a)", {}), tmp_path)
