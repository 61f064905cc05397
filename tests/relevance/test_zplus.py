# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rule `zplus` inside the graph against the float64 twin; what it conserves; links; the competing classes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import twin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walk_nets import (
    NETS,
    Net,
    Norm,
    bn,
    by_name,
    engine_of,
    ungrouped,
    weights_of,
    with_weights,
)

from cfp_onnx import explain, runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.relevance import links
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.zplus import ABSORBED, ZPlus
from cfp_onnx.runtime.probe import SEED, Probe, Values

Array = npt.NDArray[Any]

SIGNED = np.array([1.5, -0.7, 0.4, -1.2, 0.9, -0.3])
"""Scales of a batch norm, some of them negative."""


def signed_norm(name: str, size: int) -> dict[str, Any]:
    """A batch norm, some of whose scales are negative."""
    offsets = {f"{name}_{k}": np.linspace(-0.4, 0.5, size) for k in "om"}
    return {f"{name}_s": SIGNED[:size], f"{name}_v": np.linspace(0.5, 2, size), **offsets}


def headed(name: str, body: str, weights: Mapping[str, Any], *, features: int, inputs: str = "x=1,3,6,6") -> Net:
    """Layers up to ``f``, a global pool and a dense layer."""
    return Net(name, inputs, body, weights, 21, features)


FIRST = "c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\nr1 = Relu (c1)\n"
FIRST_WEIGHTS: dict[str, Any] = {"w1": (6, 3, 3, 3), "b1": (6,)}
LAST = "c3 = Conv (r2, w3, b3)\nf = Relu (c3)"
LAST_WEIGHTS: dict[str, Any] = {"w3": (4, 6, 1, 1), "b3": (4,)}

OWN: tuple[Net, ...] = (
    headed(
        "negative batch norm behind a convolution",
        f"{FIRST}c2 = Conv <group=2> (r1, w2)\n{bn('n2', 'c2')}\nr2 = Relu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 3, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "negative batch norm behind a strided convolution with a bias",
        f"{FIRST}c2 = Conv <strides=[2,2]> (r1, w2, b2)\n{bn('n2', 'c2')}\nr2 = Elu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "b2": (6,), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "batch norm of a convolution that is read twice",
        f"{FIRST}c2 = Conv (r1, w2)\n{bn('n2', 'c2')}\ns2 = Add (n2, c2)\nr2 = Relu (s2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "pre-activation: batch norm before the convolution",
        f"{FIRST}{bn('n1', 'r1')}\nq1 = Relu (n1)\nc2 = Conv (q1, w2)\ns2 = Add (c2, c2)\n{bn('n2', 's2')}\nr2 = Relu (n2)\n{LAST}",
        {**FIRST_WEIGHTS, **signed_norm("n1", 6), "w2": (6, 6, 3, 3), **signed_norm("n2", 6), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "factor and divisor per kernel",
        f"{FIRST}c2 = Conv (r1, w2)\nm2 = Mul (c2, k)\no2 = Add (m2, o)\nr2 = Relu (o2)\nc3 = Conv (r2, w3)\nd3 = Div (c3, e)\nf = Relu (d3)",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "k": SIGNED.reshape(6, 1, 1), "o": (6, 1, 1), "w3": (4, 6, 1, 1), "e": SIGNED[:4].reshape(1, 4, 1, 1)},
        features=4,
    ),
    headed(
        "one negative factor for all kernels",
        f"{FIRST}c2 = Conv (r1, w2)\nm2 = Mul (c2, k)\nr2 = Relu (m2)\n{LAST}",
        {**FIRST_WEIGHTS, "w2": (6, 6, 3, 3), "k": -0.3, **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "means of what has both signs",
        "c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)\np1 = AveragePool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,1], count_include_pad=1> (c1)\n"
        "c2 = Conv (p1, w2, b2)\ng2 = Neg (c2)\nq = AveragePool <kernel_shape=[2,2], strides=[1,1], pads=[0,1,1,0]> (g2)\nf = Tanh (q)",
        {**FIRST_WEIGHTS, "w2": (5, 6, 2, 2), "b2": (5,)}, features=5,
    ),
    headed(
        "negative values around a map",
        f"{FIRST}p = Pad (r1, pd, low)\nc2 = Conv (p, w2)\nr2 = Relu (c2)\n{LAST}",
        {**FIRST_WEIGHTS, "pd": [0, 0, 1, 1, 0, 0, 1, 1], "low": -1.0, "w2": (6, 6, 3, 3), **LAST_WEIGHTS}, features=4,
    ),
    headed(
        "the input is read again further up",
        f"{FIRST}c2 = Conv (r1, w2)\nr2 = Relu (c2)\nc3 = Conv <strides=[1,1]> (x, w3)\ns = Add (r2, c3)\nc4 = Conv (s, w4)\nf = Relu (c4)",
        {**FIRST_WEIGHTS, "w2": (6, 6, 1, 1), "w3": (6, 3, 1, 1), "w4": (4, 6, 1, 1)}, features=4,
    ),
    headed(
        "bottleneck with a depth-wise middle and a gate",
        "c1 = Conv (x, w1)\n" + bn("n1", "c1") + "\nr1 = Clip (n1, low, high)\nc2 = Conv <group=6, strides=[2,2], pads=[1,1,1,1]> (r1, w2)\n" + bn("n2", "c2")
        + "\nr2 = HardSwish (n2)\nz = GlobalAveragePool (r2)\ne = Conv (z, we)\ns = HardSigmoid (e)\nm = Mul (s, r2)\nc3 = Conv (m, w3)\n" + bn("n3", "c3") + "\nf = Relu (n3)",
        {"w1": (6, 3, 1, 1), **signed_norm("n1", 6), "low": 0.0, "high": 6.0, "w2": (6, 1, 3, 3), "n2": Norm(6), "we": (6, 6, 1, 1), "w3": (5, 6, 1, 1), **signed_norm("n3", 5)},
        features=5,
    ),
    Net(
        "two heads at two depths", "x=1,3,6,6",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\ng1 = GlobalAveragePool (r1)\nk1 = Flatten (g1)\ny1 = Gemm (k1, v1)\nc2 = Conv (r1, w2)\nr2 = Relu (c2)\n"
        "g2 = GlobalAveragePool (r2)\nk2 = Flatten (g2)\ny2 = Gemm (k2, v2)\ny = Add (y1, y2)",
        {"w1": (5, 3, 1, 1), "w2": (4, 5, 3, 3), "v1": (5, 5), "v2": (4, 5)},
    ),
    Net(
        "a head with a hidden layer beside it", "x=1,3,6,6",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\ng1 = GlobalAveragePool (r1)\nk1 = Flatten (g1)\ny1 = Gemm (k1, v1)\nh = Gemm (k1, w2)\nr2 = Relu (h)\ny2 = Gemm (r2, v2)\ny = Add (y1, y2)",
        {"w1": (5, 3, 1, 1), "w2": (5, 4), "v1": (5, 5), "v2": (4, 5)},
    ),
    Net(
        "branches of two frame rates, pooled and joined", "x=1,3,4,6,6",
        "c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv <strides=[2,1,1]> (x, w2, b2)\nr2 = Relu (c2)\ng1 = GlobalAveragePool (r1)\ng2 = GlobalAveragePool (r2)\n"
        "k = Concat <axis=1> (g1, g2)\nq = Flatten (k)\ny = Gemm (q, v)",
        {"w1": (5, 3, 1, 3, 3), "b1": (5,), "w2": (4, 3, 2, 3, 3), "b2": (4,), "v": (9, 5)},
    ),
    Net(
        "batch norm behind the pool, addends of pools", "x=1,3,6,6",
        f"c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\nc2 = Conv (x, w2, b2)\nr2 = Relu (c2)\ng1 = GlobalAveragePool (r1)\ng2 = GlobalAveragePool (r2)\nk = Add (g1, g2)\n{bn('n', 'k')}\n"
        "q = Flatten (n)\ny = Gemm (q, v)",
        {"w1": (5, 3, 1, 1), "b1": (5,), "w2": (5, 3, 3, 3), "b2": (5,), **signed_norm("n", 5), "v": (5, 5)},
    ),
    Net(
        "class token", "x=1,3,4,4",
        "c1 = Conv (x, w1)\nk0 = Reshape (c1, sh)\nt = Transpose <perm=[0,2,1]> (k0)\nr = Relu (t)\nk = Concat <axis=1> (cls, r)\nh = MatMul (k, w2)\nq = Relu (h)\nh2 = MatMul (q, w3)\nq2 = Relu (h2)\n"
        "p = ReduceMean <keepdims=0> (q2, one)\ny = Gemm (p, v)",
        {"w1": (5, 3, 1, 1), "sh": [1, 5, 16], "cls": -np.ones((1, 1, 5)), "w2": (5, 6), "w3": (6, 4), "one": [1], "v": (4, 5)},
    ),
    Net(
        "quantised and back", "x=1,3,6,6",
        "u1 = DequantizeLinear (k1, ws)\nc1 = Conv (x, u1, b1)\nr1 = Relu (c1)\nq1 = QuantizeLinear (r1, s1, z1)\nd1 = DequantizeLinear (q1, s1, z1)\nu2 = DequantizeLinear (k2, ws)\n"
        "c2 = Conv <pads=[1,1,1,1]> (d1, u2)\nq2 = QuantizeLinear (c2, s2, z2)\nd2 = DequantizeLinear (q2, s2, z2)\nm2 = MaxPool <kernel_shape=[2,2], strides=[2,2]> (d2)\nf = Relu (m2)",
        {"k1": np.random.default_rng(1).integers(-60, 60, (5, 3, 3, 3)).astype(np.int8), "k2": np.random.default_rng(2).integers(-60, 60, (4, 5, 3, 3)).astype(np.int8),
         "ws": np.float32(0.01), "b1": (5,), "s1": np.float32(0.031), "z1": np.uint8(0), "s2": np.float32(0.043), "z2": np.uint8(110)}, 21, 4,
    ),
)  # fmt: skip

SKIPPED = (
    *(f"residual {o}" for o in (9, 11, 13, 18)),
    *(f"inception {o}" for o in (9, 11, 13, 15, 16, 18)),
    *(
        f"activation {op}"
        for op in [
            "Selu",
            "Mish",
            "Exp",
            "Abs",
            "ThresholdedRelu",
            "Celu",
            "Softsign",
            "HardSigmoid",
            "Elu",
            "Tanh",
            "Softplus",
        ]
    ),
    *("se 9", "tile", "dropout multi outputs", "batchless squeeze", "logits 3d", "strided pointwise", "select Min"),
    *(
        "norm InstanceNormalization (c1, s, o) 9",
        "norm LRN <size=5, alpha=0.5> (c1) 9",
        "norm LayerNormalization (c1, s) 21",
    ),
    "norm GroupNormalization <num_groups=3> (c1, s, o) 18",
    "Conv pads=[3,3,2,3] (5, 6, 2, 2) 9",
)
"""Networks of the positional walk that say nothing new here."""

CHECKED = (*OWN, *(net for net in NETS if net.name not in SKIPPED))


@dataclass(frozen=True)
class Found:
    """What a run returned: layer index to relevance per kernel, summed map, and relevance of every element."""

    relevance: dict[int, Array]
    maps: dict[int, Array]
    volumes: dict[int, Array]


@functools.lru_cache(maxsize=2)
def prepared(engine: Engine, *, absorbing: bool = False) -> tuple[Any, tuple[dict[int, str], ...]]:
    """A session with the walk alone, and its outputs: relevance, maps, volumes."""
    probe = Probe(engine.model.opset)
    rule = functools.partial(ZPlus, absorbing=absorbing)
    steps = Walk(engine.topology, engine.target, depths=engine.depths, depth=None, rule=rule, probe=probe, places=True)
    steps.run()
    groups = (steps.relevance, steps.maps, steps.volumes)
    probe.outputs = list(dict.fromkeys(n for group in groups for n in group.values()))
    return engine.graph.with_probe(probe).session(engine.device), groups


def run(
    engine: Engine, feeds: Mapping[str, Array], target: int, seed: Array | None = None, *, absorbing: bool = False
) -> Found:
    """All that rule `zplus` says of all layers."""
    session, groups = prepared(engine, absorbing=absorbing)
    names = list(dict.fromkeys(n for group in groups for n in group.values()))
    seed = engine.seed(target, "contrast") if seed is None else seed
    results = dict(zip(names, runtime.run(session, names, {**feeds, SEED: seed}), strict=True))
    return Found(*({i: np.asarray(results[n], np.float64) for i, n in group.items()} for group in groups))


def axes_of(engine: Engine) -> dict[str, int | None]:
    values = Values(engine.topology, Probe(engine.model.opset))
    return {n: values.channel_axis(n) for n in engine.program.shapes if n in engine.topology.states}


def walked(engine: Engine) -> list[KernelLayer]:
    return [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]


def same(found: Array, expected: Array, where: str) -> None:
    assert found.shape == expected.shape, where
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max(initial=0) + 1e-12, err_msg=where)


@pytest.mark.parametrize("net", CHECKED, ids=lambda net: net.name)
def test_relevance_in_the_graph_is_the_twins(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    assert agrees(engine, model, feeds, range(engine.classes()[0])) > 0


def agrees(
    engine: Engine,
    model: onnx.ModelProto,
    feeds: Mapping[str, Array],
    targets: Iterable[int],
    *,
    absorbing: bool = False,
) -> float:
    """Compare all layers with the twin; the largest relevance of any element."""
    axes, heard = axes_of(engine), 0.0
    positions = int(np.prod(engine.program.shapes[engine.target])) / engine.classes()[0]
    for target in targets:
        found = run(engine, feeds, target, absorbing=absorbing)
        truth = twin.zplus(model, feeds, target=target, channel_axes=axes, absorbing=ABSORBED if absorbing else None)
        for layer in walked(engine):
            feature = feature_of(engine.topology, layer, engine.target)
            where = f"class {target}: {layer.name} at {feature.tensor}"
            if feature.tensor not in truth.found:
                assert layer.index not in found.relevance, f"{where}: the twin's walk does not come here"
                continue
            same(found.volumes[layer.index], truth.found[feature.tensor] / positions, where)
            same(found.relevance[layer.index], truth.kernels(feature.tensor, axis=feature.axis) / positions, where)
            same(found.maps[layer.index], truth.places(feature.tensor, axis=feature.axis) / positions, where)
            assert found.volumes[layer.index].min() >= 0, where
            heard = max(heard, float(found.volumes[layer.index].max()))
    return heard


BIASED = [
    net
    for net in CHECKED
    if net.name == "mlp"
    or net.name.startswith(
        ("flatten", "negative batch norm behind a strided", "inception 21", "ConvT", "Conv group", "attention",
         "NDHWC", "two inputs")
    )
]  # fmt: skip


@pytest.mark.parametrize("net", BIASED, ids=lambda net: net.name)
def test_biases_and_a_part_of_the_mean_keep_their_share_where_that_is_asked(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    classes = range(engine.classes()[0])
    assert agrees(engine, model, feeds, classes, absorbing=True) > 0
    totals = [
        sum(v.sum() for k in classes for v in run(engine, feeds, k, absorbing=a).maps.values()) for a in (False, True)
    ]
    assert totals[1] < totals[0]


def test_a_batch_norm_counts_as_the_convolution_it_is_folded_into(tmp_path: Path) -> None:
    net = next(n for n in OWN if n.name == "negative batch norm behind a convolution")
    model, feeds = net.model(), net.feeds()
    w = weights_of(model)
    factor = w["n2_s"] / np.sqrt(w["n2_v"] + 1e-5)
    folded = Net(
        "folded", net.inputs, net.body.replace("(r1, w2)", "(r1, w2, b2)").replace(bn("n2", "c2"), "n2 = Identity (c2)"),
        {**w, "w2": w["w2"] * factor.reshape(-1, 1, 1, 1), "b2": w["n2_o"] - w["n2_m"] * factor}, 21,
    )  # fmt: skip
    text = folded.body + "\npooled = GlobalAveragePool (f)\nflat = Flatten (pooled)\ny = Gemm <transB=1> (flat, wy, by)"
    other = Net(folded.name, folded.inputs, text, folded.weights).model()
    one, two = engine_of(model, feeds, tmp_path), engine_of(other, feeds, tmp_path)
    heard = 0.0
    for target in range(5):
        expected, found = run(one, feeds, target), run(two, feeds, target)
        for index, volume in expected.volumes.items():
            same(found.volumes[index], volume, str(index))
            heard = max(heard, volume.max())
    assert heard > 0


# -------------------------------------------------------------------------------------------- by hand


def test_where_relevance_starts_places_compete_and_kernels_share(tmp_path: Path) -> None:
    """f = ((1, 2), (1, 7)) under weights 2 and -1: s = (2 * 1 - 1, 2 * 2 - 7) = (1, -3), halved by the mean."""
    net = Net(
        "start", "x=1,2,2",
        "c1 = Conv (x, w1)\nf = Relu (c1)\np = ReduceMean <keepdims=0> (f, two)\ny = MatMul (p, v)",
        {"w1": np.eye(2)[:, :, None], "two": [2], "v": np.array([[2.0], [-1.0]])},
    )  # fmt: skip
    feeds = {"x": np.array([[[1, 2], [1, 7]]], np.float32)}
    engine = engine_of(net.model(), feeds, tmp_path)
    found = run(engine, feeds, 0)
    np.testing.assert_allclose(found.volumes[0][0], [[0.5, 0], [0, 0]], atol=1e-6)


def test_a_kernel_hands_down_by_its_positive_products(tmp_path: Path) -> None:
    """f = 3 * 1 - 2 * 5 + 1 * 2 + bias: its relevance goes to the first and third channel as 3 to 2."""
    net = Net(
        "shares", "x=1,3,1,1",
        "c1 = Conv (x, e)\nr1 = Relu (c1)\nc2 = Conv (r1, w, b)\nf = Relu (c2)\np = Flatten (f)\ny = MatMul (p, v)",
        {"e": np.eye(3).reshape(3, 3, 1, 1), "w": np.array([3.0, -2.0, 1.0]).reshape(1, 3, 1, 1), "b": np.array([9.0]), "v": np.array([[0.5]])},
    )  # fmt: skip
    feeds = {"x": np.array([1, 5, 2], np.float32).reshape(1, 3, 1, 1)}
    engine = engine_of(net.model(), feeds, tmp_path)
    found = run(engine, feeds, 0)
    by_depth = {d: found.relevance[i] for i, d in engine.depths.items() if d > 0}
    np.testing.assert_allclose(by_depth[1], [0.5 * 4], atol=1e-6)
    np.testing.assert_allclose(by_depth[2], [2 * 3 / 5, 0, 2 * 2 / 5], atol=1e-6)


# -------------------------------------------------------------------------------------------- identities

SUM = {"rtol": 1e-4, "atol": 1e-7}


def living(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights without dead ends: kernel 0 of every group fires for any input whose first channels do."""
    w = rng.standard_normal(shape).astype(np.float32)
    w[:, 0] = np.abs(w[:, 0]) + 0.1
    w[0] = np.abs(w[0]) + 0.1
    return w


@given(
    seed=st.integers(0, 2**32 - 1), kernel=st.integers(1, 3), stride=st.integers(1, 2), pad=st.integers(0, 1),
    join=st.sampled_from(["plain", "shortcut", "branches", "max pool", "mean pool", "batch norm", "gate"]),
)  # fmt: skip
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_without_biases_each_full_cut_holds_what_the_start_had(
    tmp_path: Path, seed: int, kernel: int, stride: int, pad: int, join: str
) -> None:
    """Relevance of the layers of a full cut sums to sum over p of max(s[p], 0); to all that is positive where none is."""
    rng = np.random.default_rng(seed)
    pad = min(pad, kernel - 1)
    body = {
        "plain": "m = Relu (b1)",
        "shortcut": "h = Relu (b1)\nd = Conv <strides=[1,1]> (h, wd)\nm = Add (d, h)",
        "branches": "h = Relu (b1)\nd = Conv (h, wd)\ne = Conv <pads=[1,1,1,1]> (h, we)\nk = Concat <axis=1> (d, e)\nk2 = Conv (k, wk)\nm = Relu (k2)",
        "max pool": "h = Relu (b1)\nm = MaxPool <kernel_shape=[2,2], strides=[1,1], pads=[1,0,0,1]> (h)",
        "mean pool": "h = Relu (b1)\nm = AveragePool <kernel_shape=[2,2], strides=[1,1], pads=[1,0,0,1]> (h)",
        "batch norm": f"{bn('n', 'b1')}\nm = Relu (n)",
        "gate": "h = Relu (b1)\nz = GlobalAveragePool (h)\ns = Sigmoid (z)\nm = Mul (h, s)",
    }[join]
    text = f"a1 = Conv (x, wa)\nr1 = Relu (a1)\nb1 = Conv <strides=[{stride},{stride}], pads=[{pad},{pad},{pad},{pad}]> (r1, wb)\n{body}\nc1 = Conv (m, wc)\nf = Relu (c1)"
    norm = {"n_s": rng.uniform(0.5, 2, 4), "n_v": rng.uniform(0.5, 2, 4), "n_o": np.full(4, 0.1), "n_m": np.zeros(4)}
    weights = {
        "wa": living(rng, (4, 2, 1, 1)), "wb": living(rng, (4, 4, kernel, kernel)), "wc": living(rng, (3, 4, 1, 1)),
        "wd": living(rng, (4, 4, 1, 1)), "we": living(rng, (2, 4, 3, 3)), "wk": living(rng, (4, 6, 1, 1)), **norm,
    }  # fmt: skip
    net = Net("cut", "x=1,2,6,5", text, weights, 21, 3)
    feeds = {"x": rng.uniform(0.1, 1, (1, 2, 6, 5)).astype(np.float32)}
    model = net.model(seed % 1000)
    engine = engine_of(model, feeds, tmp_path)
    found = run(engine, feeds, 1)
    values, rows = twin.evaluate(model, feeds), weights_of(model)["wy"].astype(np.float64)
    u = rows[1] - np.delete(rows, 1, axis=0).mean(axis=0)
    s = np.tensordot(u, values["f"][0], axes=1) / values["f"][0, 0].size
    alone = np.maximum(u[:, None, None] * values["f"][0], 0).sum() / values["f"][0, 0].size
    start = np.maximum(s, 0).sum() if (s > 0).any() else alone
    sums = {layer.parts[0].output: found.relevance[layer.index].sum() for layer in walked(engine)}
    for layer in ("a1", "b1", "c1"):
        np.testing.assert_allclose(sums[layer], start, **SUM, err_msg=layer)
    if join == "branches":
        np.testing.assert_allclose(sums["d"] + sums["e"], start, **SUM)
    if join == "shortcut" and start > 0:
        assert 0 < sums["d"] < start


def test_a_pool_of_quantised_values_of_both_signs_loses_nothing(rng: np.random.Generator, tmp_path: Path) -> None:
    weights = {
        "wa": living(rng, (4, 2, 1, 1)), "wc": living(rng, (3, 4, 1, 1)), "s": np.float32(0.02), "z": np.uint8(120), "t": np.float32(0.05), "zt": np.uint8(90),
    }  # fmt: skip
    body = (
        "a1 = Conv (x, wa)\nt1 = Tanh (a1)\nq = QuantizeLinear (t1, s, z)\n"
        "p = com.microsoft.QLinearAveragePool <kernel_shape=[2,2], strides=[1,1]> (q, s, z, t, zt)\nd = DequantizeLinear (p, t, zt)\nc1 = Conv (d, wc)\nf = Relu (c1)"
    )
    model = Net("pool", "x=1,2,6,5", body, weights, 13, 3).model()
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    feeds = {"x": rng.uniform(0.2, 1, (1, 2, 6, 5)).astype(np.float32)}
    engine = engine_of(model, feeds, tmp_path)
    for target in range(5):
        found = run(engine, feeds, target).relevance
        below, above = (found[next(i for i, d in engine.depths.items() if d == depth)].sum() for depth in (2, 1))
        assert below == pytest.approx(above, rel=1e-4, abs=1e-7)


def test_permuting_kernels_permutes_the_answer(rng: np.random.Generator, tmp_path: Path) -> None:
    net = by_name("residual 21")
    model, feeds = net.model(), net.feeds()
    order = rng.permutation(6)
    turned = weights_of(model)
    for name in ("w1", "w2", *(f"{n}_{k}" for n in ("n1", "n2") for k in "somv")):
        turned[name] = turned[name][order]
    for name in ("w2", "w3", "wd"):
        turned[name] = turned[name][:, order]
    before = run(engine_of(model, feeds, tmp_path), feeds, 1)
    after = run(engine_of(with_weights(model, turned), feeds, tmp_path), feeds, 1)
    assert max(v.max() for v in before.volumes.values()) > 0
    for index, found in before.volumes.items():
        expected = found[:, order] if index < 2 else found
        np.testing.assert_allclose(after.volumes[index], expected, rtol=1e-3, atol=1e-5 * expected.max())
        np.testing.assert_allclose(after.maps[index], before.maps[index], rtol=1e-3, atol=1e-5 * expected.max())


def test_a_grouped_convolution_is_a_dense_one_with_zeros(tmp_path: Path) -> None:
    net = by_name("shuffle")
    model, feeds = net.model(), net.feeds()
    weights = weights_of(model)
    dense = with_weights(model, {k: ungrouped(v, 8) if k in {"w2", "w3", "w4"} else v for k, v in weights.items()})
    for node in dense.graph.node:
        kept = [a for a in node.attribute if a.name != "group"]
        del node.attribute[:]
        node.attribute.extend(kept)
    expected = run(engine_of(model, feeds, tmp_path), feeds, 2)
    found = run(engine_of(dense, feeds, tmp_path), feeds, 2)
    assert max(v.max() for v in expected.volumes.values()) > 0
    for index, values in found.volumes.items():
        np.testing.assert_allclose(values, expected.volumes[index], rtol=1e-3, atol=1e-6 * values.max())


def test_a_pointwise_convolution_is_a_dense_layer(rng: np.random.Generator, tmp_path: Path) -> None:
    w1, w2, w3 = (rng.standard_normal(s).astype(np.float32) for s in ((6, 4), (5, 6), (3, 5)))
    conv = Net(
        "as convolutions", "x=1,4,1,1",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\nc2 = Conv (r1, w2)\nr2 = Relu (c2)\nc3 = Conv (r2, w3)\ny = Flatten (c3)",
        {"w1": w1[:, :, None, None], "w2": w2[:, :, None, None], "w3": w3[:, :, None, None]},
    )  # fmt: skip
    dense = Net(
        "as products", "x=1,4",
        "c1 = MatMul (x, w1)\nr1 = Relu (c1)\nc2 = Gemm <transB=1> (r1, w2)\nr2 = Relu (c2)\ny = MatMul (r2, w3)",
        {"w1": w1.T, "w2": w2, "w3": w3.T},
    )  # fmt: skip
    x = rng.standard_normal((1, 4)).astype(np.float32)
    feeds = {"x": x[:, :, None, None]}
    one, two = engine_of(conv.model(), feeds, tmp_path), engine_of(dense.model(), {"x": x}, tmp_path)
    heard = 0.0
    for target in range(3):
        expected, found = run(one, feeds, target), run(two, {"x": x}, target)
        assert found.relevance.keys() == expected.relevance.keys() == {0, 1}
        for index, values in found.relevance.items():
            np.testing.assert_allclose(values, expected.relevance[index], rtol=1e-5, atol=1e-6)
            heard = max(heard, values.max())
    assert heard > 0


@pytest.mark.parametrize("name", ["residual 21", "inception 21", "se"])
def test_a_shallow_walk_says_what_the_whole_one_says(name: str, tmp_path: Path) -> None:
    net = by_name(name)
    feeds = net.feeds()
    engine = engine_of(net.model(), feeds, tmp_path)
    whole = {k: engine.relevance(feeds, k, rule="zplus") for k in range(5)}
    assert max(r.max() for found in whole.values() for r in found.values()) > 0
    for depth in range(1, max(engine.depths.values())):
        for target, expected in whole.items():
            found = engine.relevance(feeds, target, rule="zplus", depth=depth)
            assert set(found) == {i for i in expected if engine.depths[i] <= depth}
            for index, relevance in found.items():
                np.testing.assert_allclose(relevance, expected[index], rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------------------------ links


def fetched_links(engine: Engine, feeds: Mapping[str, Array], target: int) -> tuple[Any, dict[str, Array]]:
    probe = engine.field_probe("zplus", None, Wanted(linked=tuple(engine.depths)))
    tensors = [n for found in probe.links.values() for m in found for n in (m.x, m.g)]
    names = list(dict.fromkeys(n for n in [*tensors, *probe.relevance.values()] if n not in {*feeds, SEED}))
    seed = {SEED: engine.seed(target, "contrast")}
    results = dict(zip(names, runtime.run(probe.session, names, {**feeds, **seed}), strict=True))
    return probe, results | dict(feeds) | seed


LINKED = [
    net
    for net in CHECKED
    if net.name.startswith(
        ("plain", "residual 21", "Conv strides=[2,3]", "Conv strides=[2,1,2]", "ConvT", "shuffle", "flatten", "NDHWC",
         "negative batch", "the input is read", "fibers", "quantised")
    )
]  # fmt: skip


@pytest.mark.parametrize("net", LINKED, ids=lambda net: net.name)
def test_messages_of_a_kernel_add_up_to_its_relevance(net: Net, tmp_path: Path) -> None:
    """Where a place has anything positive to share; and none of them is negative."""
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    axes, count = axes_of(engine), engine.classes()[0]
    heard = 0.0
    for target in range(count):
        probe, results = fetched_links(engine, feeds, target)
        truth = twin.zplus(model, feeds, target=target, channel_axes=axes)
        for (index, k), pieces in probe.links.items():
            layer = engine.topology.layers[index]
            part = layer.parts[k]
            if engine.depths[index] == 0:
                continue
            assert max(float(np.abs(results[m.g]).max()) for m in pieces) < 1e9, "nothing divided by nothing is nothing"
            each = [links.messages(m.part, results[m.x], results[m.g], np.arange(part.kernels)) for m in pieces]
            z = np.sum(each, axis=0)
            assert z.min() >= 0
            shared = truth.found[part.output] * (truth.totals[part.node.outputs[0]] > 0)
            kept = np.moveaxis(shared, part.out_axis, 0).reshape(part.kernels, -1).sum(axis=1)
            np.testing.assert_allclose(z.sum(axis=1), kept, rtol=1e-3, atol=1e-5 * max(kept.max(), 1e-6))
            heard = max(heard, kept.max())
    assert heard > 0


def test_at_theta_0_the_links_of_a_pyramid_add_up_to_each_kernels_relevance(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    body = "a1 = Conv (x, wa)\nr1 = Relu (a1)\nb1 = Conv <pads=[1,1,1,1]> (r1, wb)\nr2 = Relu (b1)\nc1 = Conv (r2, wc)\nf = Relu (c1)"
    weights = {"wa": living(rng, (4, 2, 1, 1)), "wb": living(rng, (5, 4, 3, 3)), "wc": living(rng, (6, 5, 1, 1))}
    path = tmp_path / "net.onnx"
    onnx.save(Net("links", "x=1,2,6,5", body, weights, 21, 6).model(), path)
    x = rng.uniform(0.1, 1, (1, 2, 6, 5)).astype(np.float32)
    checked = 0
    for target in range(5):
        found = explain(path, x, target=target, rule="zplus", theta=0, depth="all", device="cpu", tubes=False)
        relevance = {layer.name: layer.relevance for layer in found.layers}
        depths = {layer.name: layer.depth for layer in found.layers}
        for edge in found.edges:
            if depths[edge.layer] > 0 and relevance[edge.layer][edge.kernel] > 1e-6:
                sent = sum(link.weight for link in edge.channels)
                assert sent == pytest.approx(relevance[edge.layer][edge.kernel], rel=1e-4)
                checked += 1
    assert checked > 10


def test_an_input_of_both_signs_sends_from_both(tmp_path: Path) -> None:
    """The messages of a layer that reads the model's input are its positive products, of whichever signs."""
    net = next(n for n in OWN if n.name.startswith("the input is read"))
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    layer = next(x for x in engine.topology.layers if x.parts[0].output == "c3")
    x, w = feeds["x"].astype(np.float64)[0], weights_of(model)["w3"].astype(np.float64)[:, :, 0, 0]
    heard = 0.0
    for target in range(5):
        probe, results = fetched_links(engine, feeds, target)
        pieces = probe.links[layer.index, 0]
        assert len(pieces) == 2
        found = np.sum([links.messages(m.part, results[m.x], results[m.g], np.arange(6)) for m in pieces], axis=0)
        r = twin.zplus(model, feeds, target=target, channel_axes=axes_of(engine)).found["c3"][0]
        products = np.maximum(w[:, :, None, None] * x[None], 0)
        total = products.sum(axis=1)
        shares = np.divide(r, total, out=np.zeros_like(r), where=total > 0)
        expected = (products * shares[:, None]).sum(axis=(2, 3))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * max(expected.max(), 1e-6))
        heard = max(heard, expected.max())
    assert heard > 0


# ---------------------------------------------------------------------------------------------- rivals


@pytest.mark.parametrize("end", ["", "Softmax", "LogSoftmax", "Sigmoid"])
def test_rivals_are_the_softmax_of_the_other_logits(end: str, rng: np.random.Generator, tmp_path: Path) -> None:
    body = "c1 = MatMul (x, w1)\nr1 = Relu (c1)\n" + (
        f"z = MatMul (r1, w2)\ny = {end} (z)" if end else "y = MatMul (r1, w2)"
    )
    net = Net("ends", "x=1,4", body, {"w1": (4, 6), "w2": (6, 5)})
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    logits = twin.evaluate(model, feeds)["z" if end else "y"][0]
    found = engine.rivals(engine.plain(feeds)["y"], 3)
    expected = np.exp(logits) * (np.arange(5) != 3)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-3, atol=1e-6)
    field = engine.seed(3, "contrast", found)
    np.testing.assert_allclose(field[0], (np.arange(5) == 3) - expected / expected.sum(), rtol=1e-3, atol=1e-6)


def test_relevance_against_rivals_is_the_twins(tmp_path: Path) -> None:
    net = by_name("residual 21")
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    logits = twin.evaluate(model, feeds)["y"][0]
    heard = 0.0
    for target in range(5):
        rivals = engine.rivals(engine.plain(feeds)["y"], target)
        found = run(engine, feeds, target, engine.seed(target, "contrast", rivals))
        pi = np.exp(logits) * (np.arange(5) != target)
        truth = twin.zplus(model, feeds, target=target, others=pi / pi.sum())
        for layer in walked(engine):
            feature = feature_of(engine.topology, layer, engine.target)
            same(found.maps[layer.index], truth.places(feature.tensor, axis=feature.axis), layer.name)
            heard = max(heard, float(found.maps[layer.index].max()))
    assert heard > 0
