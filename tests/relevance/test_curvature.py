"""Second order: the curvature that arises at a rectifier, by finite differences in float64; and which way it leads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from pyramids import explained
from small_nets import Array, Net, Norm, bn, engine_of

from cfp_onnx.errors import UsageError
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.relevance.curvature import WIDTH

HEAD = "r2 = Relu (c2)\nf = Identity (r2)"


def net(name: str, body: str, *, channels: int = 6, **weights: object) -> Net:
    """What makes ``c2`` of the rectified map ``r1``, and a dense layer on the mean of the rectified ``c2``."""
    base = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (8, channels, 1, 1), "b2": (8,)}
    return Net(name, "x=1,3,4,4", f"c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\n{body}\n{HEAD}", {**base, **weights}, 21, 8)


NETS = (
    net("convolution", "c2 = Conv (r1, w2, b2)"),
    net("taps, strides, padding", "c2 = Conv <strides=[2,2], pads=[1,1,1,1]> (r1, w3, b2)", w3=(8, 6, 3, 3)),
    net("groups", "c2 = Conv <group=2> (r1, w3, b2)", w3=(8, 3, 1, 1)),
    net("batch norm", f"a = Conv (r1, w2, b2)\n{bn('c2', 'a')}", c2=Norm(8)),
    net("batch norm before", f"{bn('n', 'r1')}\nc2 = Conv (n, w2, b2)", n=Norm(6)),
    net("mean pool", "p = AveragePool <kernel_shape=[2,2], strides=[2,2]> (r1)\nc2 = Conv (p, w2, b2)"),
    net("mean over all", "p = GlobalAveragePool (r1)\nc2 = Conv (p, w2, b2)"),
    net("maximum pool", "p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r1)\nc2 = Conv (p, w2, b2)"),
    net("moved", "t = Transpose <perm=[0,1,3,2]> (r1)\ns = Slice (t, from, to, axes)\nc2 = Conv (s, w2, b2)",
        **{"from": [1], "to": [4], "axes": [2]}),
    net("constant factor", "k = Mul (r1, factor)\nc2 = Conv (k, w2, b2)", factor=(6, 1, 1)),
    net("joined", "a = Conv (r1, w3)\nb = Concat <axis=1> (r1, a)\nc2 = Conv (r1, w2, b2)", w3=(6, 6, 1, 1)),
    net("turned convolution", "c2 = ConvTranspose <strides=[2,2]> (r1, w3, b2)", w3=(6, 8, 2, 2)),
)  # fmt: skip


def bends(made: Net, feature: Feature, made_of: int) -> Array:
    """g t - H t^2 of each kernel, with the way from the feature to the rectifier by finite differences."""
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    x, t = values["c2"], values[feature.tensor]
    g = twin.fields(model, feeds, target=1).fields["r2"]
    s = np.sqrt(np.square(x).mean(axis=(0, 2, 3), keepdims=True)) * min(1.0, WIDTH / np.sqrt(made_of))
    own = g * np.maximum(2 * s - np.abs(x), 0) / (8 * s**2)
    first, second = np.zeros(t.shape), np.zeros(t.shape)
    for place in np.ndindex(*t.shape):
        step = 1e-6 * max(1.0, abs(t[place]))
        changed = t.copy()
        changed[place] += step
        way = (twin.evaluate(model, feeds, held={feature.tensor: changed})["c2"] - x) / step
        first[place], second[place] = (g * (x > 0) * way).sum(), (own * way**2).sum()
    return np.asarray((first * t - second * t**2).sum(axis=(0, 2, 3)))


@pytest.mark.parametrize("made", NETS, ids=lambda net: net.name)
def test_a_rectifier_bends_by_the_squares_of_the_way_to_it(made: Net, tmp_path: Path) -> None:
    engine = engine_of(made.model(), made.feeds(), tmp_path)
    layer = next(x for x in engine.topology.layers if x.parts[0].source == "x")
    behind = next(x for x in engine.topology.layers if x.kernels == 8)
    found = engine.relevance(made.feeds(), 1, order=2, against="mean")[layer.index]
    expected = bends(made, feature_of(engine.topology, layer, engine.target), behind.channels // behind.groups)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)
    plain = engine.relevance(made.feeds(), 1, against="mean")[layer.index]
    assert np.abs(plain - expected).max() > 1e-2 * scale


def test_second_order_is_nearer_to_a_removal(tmp_path: Path) -> None:
    made = net("near", "c2 = Conv (r1, w2, b2)\nr = Relu (c2)", channels=6)
    errors = []
    for seed in range(12):
        model, feeds = made.model(seed), made.feeds(seed)
        engine = engine_of(model, feeds, tmp_path)
        values = twin.evaluate(model, feeds)
        falls = []
        for kernel in range(6):
            less = values["r1"].copy()
            less[:, kernel] = 0
            logits = values["y"] - twin.evaluate(model, feeds, held={"r1": less})["y"]
            falls.append(float(logits[0, 1] - np.delete(logits[0], 1).mean()))
        first, second = (engine.relevance(feeds, 1, order=n, against="mean")[0] for n in (1, 2))
        errors.append([np.abs(found - falls).mean() / np.abs(falls).mean() for found in (first, second)])
    first, second = np.mean(errors, axis=0)
    assert second < 0.9 * first


def test_only_positional_has_a_second_order(tmp_path: Path) -> None:
    made = NETS[0]
    engine = engine_of(made.model(), made.feeds(), tmp_path)
    with pytest.raises(UsageError, match="rule zplus has no second order; only positional does"):
        engine.relevance(made.feeds(), 1, rule="zplus", order=2)
    with pytest.raises(UsageError, match="order is 3, it must be 1 or 2"):
        engine.relevance(made.feeds(), 1, order=3)


def test_a_result_names_its_order() -> None:
    first, second = explained(depth=2), explained(depth=2, order=2)
    assert (first.run["order"], second.run["order"]) == (1, 2)
    assert "second order" in str(second)
    assert "second order" not in str(first)
    assert "order" not in explained(rule="published", depth=1, tubes=False).run
    np.testing.assert_allclose(first.class_tube(), second.class_tube(), atol=1e-5 * first.class_tube().max())
