"""Fused operators and the nodes in their place: the same numbers as the runtime's own kernels, every channel traced."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fused_nets import NETS, OTHERS, PACKED, REFUSED
from live_nets import NETS as LIVE
from recurrent_nets import FORMS
from small_nets import Array, Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.errors import UnsupportedOperatorError
from cfp_onnx.graph.topology import build
from cfp_onnx.model import EXPANSIONS, Program, load

CPU = runtime.Device("cpu")


def observed(net: Net, folder: Path) -> Program:
    path = folder / "net.onnx"
    onnx.save(net.model(), path)
    return runtime.observe(load(path), net.feeds())


def plain(net: Net, folder: Path) -> Array:
    """What the runtime makes of the file as it is."""
    onnx.save(net.model(), folder / "plain.onnx")
    return runtime.run(runtime.plain_session(load(folder / "plain.onnx"), CPU), ["y"], net.feeds())[0]


def written(program: Program, net: Net) -> Array:
    """What it makes of the nodes in the place of fused ones."""
    return runtime.run(runtime.Graph.of(program.model).session(CPU), ["y"], net.feeds())[0]


@pytest.mark.parametrize("net", [*NETS, *OTHERS], ids=lambda net: net.name)
def test_the_nodes_in_its_place_compute_what_the_kernel_does(net: Net, tmp_path: Path) -> None:
    program = observed(net, tmp_path)
    assert not {n.op for n in program.nodes if n.name != "s/shares"} & set(EXPANSIONS)
    np.testing.assert_allclose(written(program, net), plain(net, tmp_path), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", [n for n in NETS if "GroupQuery" not in n.name], ids=lambda net: net.name)
def test_two_clips_at_once(net: Net, tmp_path: Path) -> None:
    twice = {k: np.concatenate([v] * 2) if k in {"mask", "bias"} and len(v) == 1 else v for k, v in arrays(net).items()}
    wide = {k: [2, *v[1:]] if isinstance(v, list) and len(v) > 1 else twice.get(k, v) for k, v in net.weights.items()}
    both = replace(net, inputs="x=2,12,5", weights=wide)
    np.testing.assert_allclose(written(observed(both, tmp_path), both), plain(both, tmp_path), rtol=1e-4, atol=1e-5)


def arrays(net: Net) -> dict[str, Array]:
    return {k: v for k, v in net.weights.items() if isinstance(v, np.ndarray) and v.ndim}


@pytest.mark.parametrize(("net", "apart"), PACKED, ids=lambda net: net.name)
def test_packed_inputs_are_the_same_as_inputs_apart(net: Net, apart: Net, tmp_path: Path) -> None:
    np.testing.assert_allclose(written(observed(net, tmp_path), net), plain(apart, tmp_path), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_every_channel_and_layer_is_traced(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    assert engine.coverage.complete
    assert set(engine.depths) == {layer.index for layer in engine.topology.layers}


def test_layers_inside_are_named_after_the_node(tmp_path: Path) -> None:
    net = next(n for n in NETS if n.name == "Attention with layers, plain")
    program = observed(net, tmp_path)
    topology = build(program, channel_axes={"x": 2})
    inside = [layer for layer in topology.layers if layer.weight == "w"]
    assert [layer.name for layer in inside] == ["m/q", "m/k", "m/v"]
    assert [layer.kernels for layer in inside] == [6, 6, 6]
    weights = next(v for t in net.model().graph.initializer if t.name == "w" for v in [onnx.numpy_helper.to_array(t)])
    for place, layer in enumerate(inside):
        np.testing.assert_array_equal(layer.parts[0].weights(), weights[:, 6 * place : 6 * place + 6].T)


@pytest.mark.parametrize(("net", "says"), REFUSED, ids=lambda x: x.name if isinstance(x, Net) else "")
def test_what_is_not_understood_is_named(net: Net, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=re.escape(f"at node 'm' {says}, which is not understood")):
        engine_of(net.model(), net.feeds(), tmp_path)


def test_every_expansion_has_a_network() -> None:
    used = {(n.domain, n.op_type) for net in (*NETS, *OTHERS, *FORMS, *LIVE) for n in net.model().graph.node}
    assert {tuple(op.rpartition("::")[::2]) for op in EXPANSIONS} <= used
