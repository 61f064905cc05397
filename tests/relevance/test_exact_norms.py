# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Where a network is linear behind its norms, relevance is what the margin loses by a kernel's removal, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin
from live_nets import ALONG, END, HEAD, NETS
from small_nets import Array, Net, engine_of

from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.relevance.exact_norms import SUMS
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.positional import Positional
from cfp_onnx.runtime.probe import Probe


def linear(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """What makes ``n1`` of ``c1``, with a weighted mean over the places and a dense layer behind."""
    base = {"w1": (6, 3, 1, 1), "b1": (6,), "weight": (5, 4)}
    whole = f"c1 = Conv (x, w1, b1)\n{body}\nf = Mul (n1, weight)"
    return Net(name, "x=1,3,5,4", whole, {**base, **weights}, opset, 6)


def linear_tokens(name: str, body: str, weights: Mapping[str, Any], opset: int = 21) -> Net:
    """What makes ``m`` (1, tokens, 6) of the tokens ``t`` (1, 12, 6), with their mean and a dense layer behind."""
    whole = f"t = MatMul (x, w1)\n{body}\np = ReduceMean <keepdims=0> (m, one_)\ny = Gemm (p, w3)"
    return Net(name, "x=1,12,5", whole, {"w1": (5, 6), "w3": (6, 4), "one_": [1], **weights}, opset)


SLOPED = {
    "layer, as TensorFlow writes it", "layer, mean of squares less square of mean", "L2, written out", "L2", "L1",
    "global response", "local response",
}  # fmt: skip
"""Norms of `NETS` that count by their slope."""


def alone(net: Net) -> Net:
    """The norm of a network of `NETS`, with nothing but linear steps behind it."""
    body = net.body.removeprefix("c1 = Conv (x, w1, b1)\n").removesuffix(f"\n{HEAD}")
    own = {k: v for k, v in net.weights.items() if k not in {"w1", "b1", "w2", "b2"}}
    return linear(net.name, body, own, net.opset)


PYTORCH_GROUPS = (
    "r = Reshape (c1, three_)\ni = InstanceNormalization (r, ones_, zeros_)\nu = Reshape (i, four_)\n"
    "k = Mul (u, s)\nn1 = Add (k, o)"
)
PYTORCH_GROUPED = {
    "three_": [1, 2, -1], "four_": [1, 6, 5, 4], "ones_": np.ones(2), "zeros_": np.zeros(2), "s": (6, 1, 1), "o": (6, 1, 1),
}  # fmt: skip
LAYER = {"s_": (6,), "o_": (6,)}

EXACT: tuple[Net, ...] = (
    *(alone(n) for n in NETS if n.name.startswith("norm ") and n.name.removeprefix("norm ") not in SLOPED),
    linear("groups, as PyTorch writes them", PYTORCH_GROUPS, PYTORCH_GROUPED),
    linear("one group over all", "n1 = GroupNormalization <num_groups=1> (c1, s_, o_)", LAYER),
    linear(
        "layer, a constant on both sides",
        f"m = ReduceMean <axes=[1]> (c1)\nd = Sub (c1, m)\nq = Pow (d, two)\nv = ReduceMean <axes=[1]> (q)\ne = Add (eps, v)\n"
        f"r = Pow (e, half)\nu = Div (d, r)\n{END}",
        ALONG, 13,
    ),
    linear(
        "an addend of a trunk",
        "c2 = Conv (x, w2, b2)\nt = Add (c2, c1)\nn1 = LayerNormalization <axis=1> (t, s_, o_)",
        {"w2": (6, 3, 1, 1), "b2": (6,), "s_": (6, 5, 4), "o_": (6, 5, 4)},
    ),
    linear(
        "an addend that is taken off",
        "c2 = Conv (x, w2, b2)\nt = Sub (c2, c1)\nn1 = GroupNormalization <num_groups=2> (t, s_, o_)",
        {"w2": (6, 3, 1, 1), "b2": (6,), **LAYER},
    ),
    linear(
        "a trunk of two sums, scaled",
        "c2 = Conv (x, w2, b2)\nc3 = Conv (x, w3, b3)\nk3 = Mul (c3, scales)\nt = Add (c2, c1)\nt2 = Add (t, k3)\n"
        "n1 = RMSNormalization <axis=1> (t2, s_)",
        {"w2": (6, 3, 1, 1), "b2": (6,), "w3": (6, 3, 1, 1), "b3": (6,), "scales": (6, 1, 1), "s_": (6, 5, 4)}, 23,
    ),
    linear(
        "two readers",
        "a = GroupNormalization <num_groups=3> (c1, s_, o_)\nb = InstanceNormalization (c1, s_, o_)\nab = Add (a, b)\nn1 = Sub (ab, c1)",
        LAYER,
    ),
    linear(
        "a mean of sums", "c2 = Conv (x, w2, b2)\nt = Mean (c2, c1)\nn1 = InstanceNormalization (t, s_, o_)",
        {"w2": (6, 3, 1, 1), "b2": (6,), **LAYER},
    ),
    linear_tokens("tokens, layer", "m = LayerNormalization (t, s_, o_)", LAYER),
    linear_tokens(
        "a class token and places",
        "c = Concat <axis=1> (first, t)\np_ = Add (c, places)\nm = LayerNormalization (p_, s_, o_)",
        {"first": (1, 1, 6), "places": (1, 13, 6), **LAYER},
    ),
    linear_tokens(
        "patches, reshaped to tokens",
        "r = Transpose <perm=[0,2,1]> (t)\nq = Reshape (r, grid)\nb = Reshape (q, back)\nz = Transpose <perm=[0,2,1]> (b)\n"
        "m = LayerNormalization (z, s_, o_)",
        {"grid": [1, 6, 3, 4], "back": [1, 6, 12], **LAYER},
    ),
    linear_tokens(
        "groups over transposed heads",
        "h = Reshape (t, heads)\nz = Transpose <perm=[0,3,2,1]> (h)\ng = Reshape (z, flat)\nn = LayerNormalization (g, wide, wideo)\n"
        "back = Reshape (n, apart)\ntt = Transpose <perm=[0,3,2,1]> (back)\nm = Reshape (tt, tokens_)",
        {"heads": [1, 12, 2, 3], "flat": [1, 3, 24], "apart": [1, 3, 2, 12], "tokens_": [1, 12, 6], "wide": (24,), "wideo": (24,)},
    ),
)  # fmt: skip


def falls(net: Net, feature: Feature, index: int) -> Array:
    """What the margin loses when each kernel's map is set to 0."""
    model, feeds = net.model(), net.feeds()
    values = twin.evaluate(model, feeds)
    value = values[feature.tensor]
    found = []
    for kernel in range(value.shape[feature.axis]):
        changed = value.copy()
        np.moveaxis(changed, feature.axis, 0)[kernel] = 0
        found.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"], index))
    return margin(values["y"], index) - np.array(found)


def margin(scores: Array, index: int) -> float:
    flat = np.asarray(scores, np.float64).reshape(-1)
    return float(flat[index] - np.delete(flat, index).mean())


@pytest.mark.parametrize("net", EXACT, ids=lambda net: net.name)
def test_relevance_is_what_a_removal_takes(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    found = engine.relevance(net.feeds(), 1, hold=())
    layers = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    assert layers
    for layer in layers:
        expected = falls(net, feature_of(engine.topology, layer, engine.target), 1)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=1e-4 * scale + 1e-6, err_msg=layer.name)


def nodes(engine: Engine, sums: int | None) -> list[str]:
    """Operators that the whole walk appends."""
    probe = Probe(engine.model.opset)
    walk = Walk(
        engine.topology, engine.target, depths=engine.depths, depth=None, probe=probe,
        rule=lambda walk: Positional(walk, sums=sums),
    )  # fmt: skip
    walk.run()
    return [node.op_type for node in probe.nodes]


def test_only_norms_near_enough_are_exact(tmp_path: Path) -> None:
    trunk = "\n".join(f"t{k} = Add (t{k - 1}, c{k + 1})" for k in range(1, SUMS + 2))
    convolutions = "\n".join(f"c{k} = Conv (x, w{k}, b{k})" for k in range(2, SUMS + 3))
    body = f"{convolutions}\nt0 = Identity (c1)\n{trunk}\nn1 = LayerNormalization <axis=1> (t{SUMS + 1}, s_, o_)"
    weights = {f"{n}{k}": (6, 3, 1, 1) if n == "w" else (6,) for k in range(2, SUMS + 3) for n in "wb"}
    net = linear("a long trunk", body, {**weights, "s_": (6, 5, 4), "o_": (6, 5, 4)})
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    found = engine.relevance(net.feeds(), 1)
    right = []
    for layer in (layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0):
        expected = falls(net, feature_of(engine.topology, layer, engine.target), 1)
        right.append(bool(np.abs(found[layer.index] - expected).max() < 1e-4 * np.abs(expected).max()))
    assert right == [False, False] + [True] * SUMS


@pytest.mark.parametrize("net", [n for n in NETS if "norm" not in n.name], ids=lambda net: net.name)
def test_networks_without_norms_cost_nothing_more(net: Net, tmp_path: Path) -> None:
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    assert nodes(engine, SUMS) == nodes(engine, None)
