"""Kernels that make an activation's input alone: relevance is what a removal takes, and only theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from slope_walk import margin
from small_nets import Array, Net, Norm, bn, engine_of

from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.relevance.shares import ALONE

START = {"w1": (6, 3, 1, 1), "b1": (6,), "wd": (6, 1, 3, 3), "bd": (6,)}
GATE = "z = GlobalAveragePool (x)\ne = Conv (z, we, be)\ns = Sigmoid (e)"
SILU = "t = Sigmoid (d)\nf = Mul (d, t)"
DEEP = "d = Conv <group=6, pads=[1, 1, 1, 1]> (q, wd, bd)"


def net(name: str, body: str, **weights: object) -> Net:
    """What makes the features ``f`` of the maps ``q``, and a dense layer on their mean."""
    return Net(name, "x=1,3,5,4", f"c1 = Conv (x, w1, b1)\nq = Relu (c1)\n{body}", {**START, **weights}, 21, 6)


NETS = (
    net("SiLU", f"{DEEP}\n{SILU}"),
    net("hard swish", f"{DEEP}\nf = HardSwish (d)"),
    net("Tanh", f"{DEEP}\nf = Tanh (d)"),
    net("Sigmoid, not 0 at 0", f"{DEEP}\nf = Sigmoid (d)"),
    net("batch norm between", f"{DEEP.replace('d =', 'c =')}\n{bn('d', 'c')}\n{SILU}", d=Norm(6)),
    net("zeros around it", f"p = Pad (q, ends)\nd = Conv <group=6> (p, wd, bd)\n{SILU}", ends=[0, 0, 1, 0, 0, 0, 1, 2]),
    net("a mean pool before it", f"p = AveragePool <kernel_shape=[2, 2]> (q)\n{DEEP.replace('(q', '(p')}\n{SILU}"),
    net("a gate behind it", f"{GATE}\n{DEEP.replace('d =', 'c =')}\nd = Mul (c, s)\n{SILU}", we=(6, 3, 1, 1), be=(6,)),
    net("a gate before it", f"{GATE}\np = Mul (s, q)\n{DEEP.replace('(q', '(p')}\n{SILU}", we=(6, 3, 1, 1), be=(6,)),
    net("two of them", f"c = Conv <group=6> (q, wc)\n{DEEP.replace('(q', '(c')}\n{SILU}", wc=(6, 1, 2, 2)),
    net("two readers", f"{DEEP}\nm = Conv <group=6> (q, wm)\nt = Tanh (d)\nu = HardSwish (m)\nf = Add (t, u)",
        wm=(6, 1, 1, 1)),
)  # fmt: skip


def falls(made: Net, feature: Feature) -> Array:
    """What the margin loses when each kernel's map is set to 0."""
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    value, found = values[feature.tensor], []
    for kernel in range(value.shape[feature.axis]):
        changed = value.copy()
        np.moveaxis(changed, feature.axis, 0)[kernel] = 0
        found.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"], 1))
    return margin(values["y"], 1) - np.array(found)


def judged(made: Net, tensor: str, folder: Path, order: int) -> tuple[Array, Array]:
    """Relevance of the kernels at a tensor, and what their removal takes."""
    engine = engine_of(made.model(), made.feeds(), folder)
    layer = next(x for x in engine.topology.layers if feature_of(engine.topology, x, engine.target).tensor == tensor)
    found = engine.relevance(made.feeds(), 1, against="mean", order=order)[layer.index]
    return np.asarray(found), falls(made, feature_of(engine.topology, layer, engine.target))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("made", NETS, ids=lambda net: net.name)
def test_relevance_is_what_a_removal_takes(made: Net, order: int, tmp_path: Path) -> None:
    found, expected = judged(made, "q", tmp_path, order)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_of_a_gate_before_an_activation_too(tmp_path: Path) -> None:
    made = next(n for n in NETS if n.name == "a gate behind it")
    found, expected = judged(made, "s", tmp_path, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("silu", [False, True])
def test_kernels_further_up_take_a_part(silu: bool, tmp_path: Path) -> None:
    end = SILU if silu else "f = HardSwish (d)"
    body = f"q = Relu (c1)\nc2 = Conv (q, w2)\nr = Relu (c2)\nd = Conv <group=6> (r, wd, bd)\n{end}"
    weights = {"w1": (5, 3, 1, 1), "b1": (5,), "w2": (6, 5, 1, 1), "wd": (6, 1, 1, 1), "bd": (6,)}
    made = Net("further up", "x=1,3,5,4", f"c1 = Conv (x, w1, b1)\n{body}", weights, 21, 6)
    found, _ = judged(made, "q", tmp_path, 1)
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    part = 1e-6 if silu else ALONE
    less = twin.evaluate(model, feeds, held={"d": (1 - part) * values["d"]})["f"]
    step = np.full(values["y"].size, -1 / (values["y"].size - 1))
    step[1] = 1
    g = (step @ values["wy"]).reshape(1, -1, 1, 1) / 20 * (values["f"] - less) / (part * values["d"])
    g = g * values["wd"].reshape(1, 6, 1, 1) * (values["c2"] > 0)
    expected = (np.einsum("bohw,oi->bihw", g, values["w2"][:, :, 0, 0]) * values["q"]).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
