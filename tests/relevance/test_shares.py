"""Shares of smooth activations: what one channel's part of the input makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slope_walk
import twin
from small_nets import Array, Net, engine_of

from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.relevance.shares import LEAST

SPELLINGS: dict[str, dict[str, str]] = {
    "SiLU": {"by Sigmoid": "s = Sigmoid (c2)\na2 = Mul (c2, s)", "gate first": "s = Sigmoid (c2)\na2 = Mul (s, c2)"},
    "GELU": {
        "operator": "a2 = Gelu (c2)",
        "by Erf": "d = Div (c2, root)\ne = Erf (d)\np = Add (e, one)\nm = Mul (c2, p)\na2 = Mul (m, half)",
        "half first": "h = Mul (c2, half)\nd = Div (c2, root)\ne = Erf (d)\np = Add (e, one)\na2 = Mul (h, p)",
    },
    "hard swish": {
        "operator": "a2 = HardSwish (c2)",
        "by Clip": "t = Add (c2, three)\nk = Clip (t, zero, six)\nm = Mul (c2, k)\na2 = Div (m, six)",
        "by HardSigmoid": "k = HardSigmoid <alpha=0.16666667, beta=0.5> (c2)\na2 = Mul (c2, k)",
    },
    "Tanh": {"operator": "a2 = Tanh (c2)"},
    "Elu": {"operator": "a2 = Elu (c2)"},
    "Mish": {"operator": "a2 = Mish (c2)", "written out": "p = Softplus (c2)\nt = Tanh (p)\na2 = Mul (c2, t)"},
}
NUMBERS = {
    "root": np.sqrt(2.0), "one": 1.0, "half": 0.5, "three": 3.0, "zero": 0.0, "six": 6.0,
}  # fmt: skip
CONSTANTS = {name: np.array(value, np.float32) for name, value in NUMBERS.items()}


def net(name: str, activation: str, *, group: int = 1, bias: bool = True) -> Net:
    """Convolution, ReLU, convolution, the activation, and a dense layer on its mean."""
    call = f"c2 = Conv <group={group}> (r1, w2{', b2' if bias else ''})"
    body = f"c1 = Conv (x, w1, b1)\nr1 = Relu (c1)\n{call}\n{activation}\nf = Identity (a2)"
    weights = {"w1": (9, 3, 1, 1), "b1": (9,), "w2": (9, 9 // group, 1, 1), **CONSTANTS}
    return Net(name, "x=1,3,5,4", body, {**weights, "b2": (9,)} if bias else weights, 22, 9)


def lower(made: Net, folder: Path) -> tuple[Array, Array, Feature]:
    """Relevance of the first layer's kernels, by the rule and by the whole input's share, and where they are judged."""
    found = []
    folder.mkdir(exist_ok=True)
    engine = engine_of(made.model(), made.feeds(), folder)
    layer = next(x for x in engine.topology.layers if x.parts[0].source == "x")
    found.append(np.asarray(engine.relevance(made.feeds(), 1)[layer.index], np.float64))
    again = engine_of(made.model(), made.feeds(), folder)
    found.append(np.asarray(slope_walk.relevance(again, made.feeds(), 1)[layer.index], np.float64))
    return found[0], found[1], feature_of(engine.topology, layer, engine.target)


def margin(scores: Array) -> float:
    flat = np.asarray(scores, np.float64).reshape(-1)
    return float(flat[1] - np.delete(flat, 1).mean())


def removed(made: Net, feature: Feature) -> Array:
    """What the margin loses when each kernel's map is set to 0."""
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    value = values[feature.tensor]
    found = []
    for kernel in range(value.shape[feature.axis]):
        changed = value.copy()
        np.moveaxis(changed, feature.axis, 0)[kernel] = 0
        found.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"]))
    return margin(values["y"]) - np.array(found)


ALL = [(kind, how) for kind, spellings in SPELLINGS.items() for how in spellings]


@pytest.mark.parametrize(("kind", "how"), ALL, ids=[f"{kind} {how}" for kind, how in ALL])
def test_behind_a_convolution_of_one_channel_the_share_is_what_a_removal_takes(
    kind: str, how: str, tmp_path: Path
) -> None:
    made = net(f"{kind} of one", SPELLINGS[kind][how], group=9, bias=False)
    found, _, feature = lower(made, tmp_path)
    expected = removed(made, feature)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "how"), ALL, ids=[f"{kind} {how}" for kind, how in ALL])
def test_behind_many_channels_it_is_that_of_a_part(kind: str, how: str, tmp_path: Path) -> None:
    made = net(f"{kind} of many", SPELLINGS[kind][how])
    found, whole, feature = lower(made, tmp_path)
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    part = max(LEAST, 1 / 3)
    x, y = values["c2"], values["a2"]
    less = twin.evaluate(model, feeds, held={"c2": (1 - part) * x})["a2"]
    step = np.zeros(5)
    step[1], step[[0, 2, 3, 4]] = 1, -0.25
    g = (step @ values["wy"]).reshape(1, -1, 1, 1) / 20 * (y - less) / (part * x)
    field = np.einsum("bohw,oi->bihw", g, values["w2"][:, :, 0, 0])
    expected = (field * values[feature.tensor]).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(whole - expected).max() > 1e-3 * np.abs(expected).max()
