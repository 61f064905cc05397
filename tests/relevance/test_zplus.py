# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rule `zplus` inside the graph against the float64 twin; by hand; what it conserves; the competing classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import twin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_nets import Net, bn, engine_of, ungrouped, weights_of, with_weights
from walk_nets import by_name
from zplus_nets import CHECKED, OWN, living
from zplus_runs import agrees, run, same, walked

from cfp_onnx.graph.features import feature_of


@pytest.mark.parametrize("net", CHECKED, ids=lambda net: net.name)
def test_relevance_in_the_graph_is_the_twins(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    assert agrees(engine, model, feeds, range(engine.classes()[0])) > 0


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


# ---------------------------------------------------------------------------------------------- rivals


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
