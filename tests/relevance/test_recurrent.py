"""Relevance through recurrent layers is the slope of the whole network: finite differences of their own equations.

The networks are evaluated in float64 from the file as it is, with LSTM, GRU and RNN step by step as ONNX defines them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import twin
from recurrent_nets import FORMS, recurrent
from slope_walk import STEP, margin, relevance
from small_nets import Array, Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.relevance import links
from cfp_onnx.relevance.rules import RULES, FieldWalk
from cfp_onnx.runtime.probe import SEED

RECURRENT = ("LSTM", "GRU", "RNN")

STEEP = [net for net in FORMS if "ThresholdedRelu" not in net.body]
"""Without activations that jump, where a difference is no slope."""


@pytest.mark.parametrize("net", STEEP, ids=lambda net: net.name)
def test_relevance_is_the_slope_of_the_whole_network(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    found = relevance(engine, feeds, 1)
    heard = 0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] > 0:
            expected = slopes(model, feeds, where(engine, layer, model), layer.kernels)
            scale = np.abs(expected).max()
            heard += scale > 1e-4
            np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=1e-5 * scale + 1e-8)
    assert heard > 1


def where(engine: Engine, layer: KernelLayer, model: onnx.ModelProto) -> list[tuple[str, int | None]]:
    """Tensors of the file that hold a layer's kernels, and the axis of a recurrent layer's directions."""
    if layer.op not in RECURRENT:
        return [(feature_of(engine.topology, layer, engine.target).tensor, None)]
    node = next(n for n in model.graph.node if n.op_type == layer.op)
    return [(name, axis) for name, axis in zip(node.output, (1, 0, 0), strict=False) if name]


def slopes(
    model: onnx.ModelProto, feeds: Mapping[str, Array], tensors: Sequence[tuple[str, int | None]], kernels: int
) -> Array:
    """How the margin follows the factor of each kernel in all tensors that hold it."""
    values = twin.evaluate(model, feeds)
    found = []
    for kernel in range(kernels):
        sides = []
        for step in (STEP, -STEP):
            held = {name: values[name].copy() for name, _ in tensors}
            for name, axis in tensors:
                direction, unit = divmod(kernel, held[name].shape[-1])
                own = held[name] if axis is None else np.moveaxis(held[name], axis, 0)[direction]
                own[..., unit] *= 1 + step
            sides.append(margin(twin.evaluate(model, feeds, held=held)["y"], 1))
        found.append((sides[0] - sides[1]) / (2 * STEP))
    return np.array(found)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_held_gates_are_constants(op: str, tmp_path: Path) -> None:
    """With its gates kept, an LSTM or GRU is linear in what enters but for its own Tanh."""
    net = recurrent("held gates", op)
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    found = relevance(engine, feeds, 1, hold=["gates"])
    first = engine.topology.layers[0]
    values = twin.evaluate(model, feeds)
    gates = recorded(values["t"], {k: values[k] for k in "wrb"}, op)
    sides = []
    for kernel in range(first.kernels):
        pair = []
        for step in (STEP, -STEP):
            t = values["t"].copy()
            t[..., kernel] *= 1 + step
            u = recorded(t, {k: values[k] for k in "wrb"}, op, gates[1])[0]
            pair.append(margin(twin.evaluate(model, feeds, held={"u": u})["y"], 1))
        sides.append((pair[0] - pair[1]) / (2 * STEP))
    np.testing.assert_allclose(found[first.index], sides, rtol=0, atol=1e-5 * np.abs(sides).max())
    assert not np.allclose(found[first.index], relevance(engine, feeds, 1)[first.index], rtol=0.05)


def recorded(t: Array, p: Mapping[str, Array], op: str, gates: list[Array] | None = None) -> tuple[Array, list[Array]]:
    """Hidden units of every step, and the gates; with these given they are used as they are."""
    (w,), (r,), (b,) = p["w"], p["r"], p["b"]
    h = c = np.zeros((1, 4))
    used: list[Array] = []
    out = []
    for s in range(len(t)):
        x, recur = t[s] @ w.T + b[: len(w)], h @ r.T + b[len(w) :]
        g = 1 / (1 + np.exp(-(x + recur)))
        g = g if gates is None else gates[s]
        used.append(g)
        if op == "LSTM":
            c = g[:, 8:12] * c + g[:, :4] * np.tanh((x + recur)[:, 12:])
            h = g[:, 4:8] * np.tanh(c)
        else:
            new = np.tanh(x[:, 8:] + (g[:, 4:8] * h) @ r[8:].T + b[len(w) + 8 :])
            h = (1 - g[:, :4]) * new + g[:, :4] * h
        out.append(h[None])
    return np.stack(out), used


@pytest.mark.parametrize("op", RECURRENT)
def test_links_of_a_unit_add_up_to_what_it_hands_to_its_channels(op: str, tmp_path: Path) -> None:
    """Messages of all units to a channel are the relevance that the channel has as an input of the layer."""
    net = recurrent("links", op, ', direction="bidirectional"', directions=2)
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    layer = next(x for x in engine.topology.layers if x.op == op)
    expected = slopes(model, feeds, [("t", None)], layer.channels)
    total = messages_of(engine, layer, feeds).sum(axis=0)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def messages_of(engine: Engine, layer: KernelLayer, feeds: Mapping[str, Array]) -> Array:
    """(kernels, channels): messages of every unit to every channel."""
    probe = engine.field_probe("positional", None, Wanted(linked=(layer.index,)))
    messages = probe.links[layer.index, 0]
    names = list(dict.fromkeys(n for m in messages for n in (m.x, m.g)))
    values = runtime.run(probe.session, names, {**feeds, SEED: engine.seed(1, "contrast")})
    results, kernels = dict(zip(names, values, strict=True)), np.arange(layer.kernels)
    return np.asarray(sum(links.messages(m.part, results[m.x], results[m.g], kernels) for m in messages))


@pytest.mark.parametrize("rule", [name for name, row in RULES.items() if not row.recurrent])
def test_rules_that_do_not_pass_recurrent_layers_say_so(rule: str, tmp_path: Path) -> None:
    net = recurrent("another rule", "LSTM")
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    walk = engine.field_probe if isinstance(RULES[rule].walk, FieldWalk) else engine.statistics_session
    with pytest.raises(UsageError, match=f"rule {rule} does not pass recurrent layers, and 'u' is one; choose one of"):
        walk(rule, None)
