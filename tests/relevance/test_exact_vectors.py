# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Units of a gate or of a head: relevance is what a removal takes where nothing but the next activation bends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import twin
from slope_walk import margin
from small_nets import Array, Net, Norm, bn, engine_of

from cfp_onnx.graph.features import Feature, feature_of

GATED = {"w1": (6, 3, 1, 1), "b1": (6,), "we1": (4, 6, 1, 1), "be1": np.full(4, 0.6), "we2": (6, 4, 1, 1), "be2": (6,)}


def gated(name: str, body: str, **weights: object) -> Net:
    """What makes the gate ``s`` of the units ``q``, and a dense layer on the gated mean."""
    whole = (
        "c1 = Conv (x, w1, b1)\nc0 = Relu (c1)\nz = GlobalAveragePool (c0)\ne1 = Conv (z, we1, be1)\nq = Relu (e1)\n"
        f"{body}\nf = Mul (c0, s)"
    )
    return Net(name, "x=1,3,5,4", whole, {**GATED, **weights}, 21, 6)


def head(name: str, body: str, **weights: object) -> Net:
    """What makes ``y`` of the hidden units ``q``."""
    whole = f"p = GlobalAveragePool (x)\nv = Flatten (p)\na = Gemm (v, wa, ba)\nq = Relu (a)\n{body}"
    return Net(name, "x=1,3,5,4", whole, {"wa": (3, 7), "ba": (7,), **weights})


NETS = (
    gated("Sigmoid", "e2 = Conv (q, we2, be2)\ns = Sigmoid (e2)"),
    gated("HardSigmoid that saturates", "e2 = Conv (q, we2, be2)\ns = HardSigmoid <alpha=0.9, beta=0.5> (e2)"),
    gated("batch norm between", f"e = Conv (q, we2, be2)\n{bn('e2', 'e')}\ns = Sigmoid (e2)", e2=Norm(6)),
    gated("dense", "v = Flatten (q)\ne2 = Gemm <transB=1> (v, wd, be2)\ng = Sigmoid (e2)\ns = Reshape (g, shape)",
          wd=(6, 4), shape=[1, 6, 1, 1]),
    gated("added to another", "e = Conv (q, we2, be2)\nt = Conv (z, we3)\nu = Sub (t, e)\ns = Sigmoid (u)", we3=(6, 6, 1, 1)),
    head("Relu", "b = Gemm (q, wb, bb)\nr = Relu (b)\ny = Gemm (r, wc)", wb=(7, 9), bb=(9,), wc=(9, 4)),
    head("Tanh of a product of matrices", "b = MatMul (q, wb)\nbb_ = Add (b, bb)\nr = Tanh (bb_)\ny = Gemm (r, wc)", wb=(7, 9), bb=(9,), wc=(9, 4)),
    head("two readers", "b = Gemm (q, wb, bb)\nr = Relu (b)\nd = Gemm (q, wb2)\nt = Gelu (d)\ne = Add (r, t)\ny = Gemm (e, wc)",
         wb=(7, 9), bb=(9,), wb2=(7, 9), wc=(9, 4)),
)  # fmt: skip


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh"])
def test_an_activation_inside_the_layer_counts_as_one_behind_it(activation: str, tmp_path: Path) -> None:
    end = "f = Mul (c0, s)"
    found = []
    for body in (
        f"e2 = Conv (q, we2, be2)\ns = {activation} (e2)\n{end}",
        f's = com.microsoft.FusedConv <activation="{activation}"> (q, we2, be2)\n{end}',
    ):
        start = NETS[0].body.split("\ne2 = ")[0]
        made = Net("fused", "x=1,3,5,4", f"{start}\n{body}", GATED, 12, 6)
        model = made.model()
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
        found.append(engine_of(model, made.feeds(), tmp_path).relevance(made.feeds(), 1))
    assert found[0].keys() == found[1].keys()
    for index, expected in found[0].items():
        np.testing.assert_allclose(found[1][index], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def falls(made: Net, feature: Feature) -> Array:
    """What the margin loses when each unit is set to 0."""
    model, feeds = made.model(), made.feeds()
    values = twin.evaluate(model, feeds)
    value, found = values[feature.tensor], []
    for unit in range(value.shape[feature.axis]):
        changed = value.copy()
        np.moveaxis(changed, feature.axis, 0)[unit] = 0
        found.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"], 1))
    return margin(values["y"], 1) - np.array(found)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("made", NETS, ids=lambda net: net.name)
def test_relevance_of_units_is_what_a_removal_takes(made: Net, order: int, tmp_path: Path) -> None:
    engine = engine_of(made.model(), made.feeds(), tmp_path)
    layer = next(x for x in engine.topology.layers if feature_of(engine.topology, x, engine.target).tensor == "q")
    found = engine.relevance(made.feeds(), 1, against="mean", order=order)[layer.index]
    expected = falls(made, feature_of(engine.topology, layer, engine.target))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_units_that_are_held_have_no_part(tmp_path: Path) -> None:
    engine = engine_of(NETS[0].model(), NETS[0].feeds(), tmp_path)
    found = engine.relevance(NETS[0].feeds(), 1, hold=("gates",))
    names = {feature_of(engine.topology, engine.topology.layers[i], engine.target).tensor for i in found}
    assert "q" not in names
