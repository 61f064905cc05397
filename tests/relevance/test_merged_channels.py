# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Where many kernels merge into one number no path is lost: relevance is the slope, by differences in float64.

Spatial gates, Gram matrices, bilinear pooling and outer products end the labels of channels; what they read counts as
covered through side inputs, which is true only as long as the walk passes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_nets import gated, tokens
from slope_walk import relevance, slopes
from small_nets import Net, engine_of

from cfp_onnx.graph.features import feature_of

OVER = {"a1": [1]}
OUTER = "u = Unsqueeze (t, e2)\nv = Unsqueeze (t, e3)\n"
PLACES = {"e2": [2], "e3": [3]}

NETS: tuple[Net, ...] = (
    gated("of places, as CBAM has it",
          "m = ReduceMean <keepdims=1> (c0, a1)\nq = ReduceMax <keepdims=1> (c0, a1)\nk = Concat <axis=1> (m, q)\n"
          "g = Conv <pads=[1,1,1,1]> (k, wg, bg)\nh = HardSigmoid <alpha=0.02, beta=0.5> (g)\nn1 = Mul (c0, h)",
          {**OVER, "wg": (1, 2, 3, 3), "bg": (1,)}),
    gated("of places, their mean alone",
          "m = ReduceMean <keepdims=1> (c0, a1)\nh = HardSigmoid <alpha=0.02, beta=0.5> (m)\nn1 = Mul (c0, h)", OVER),
    *(gated(f"{op} over channels, added", f"m = {op} <keepdims=1> (c0, a1)\nn1 = Add (c0, m)", OVER)
      for op in ("ReduceSum", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceLogSumExp")),
    tokens("times their Gram matrix", "tt = Transpose <perm=[0,2,1]> (t)\ng = MatMul (tt, t)\nm = MatMul (t, g)", {}),
    tokens("as their Gram matrix", "tt = Transpose <perm=[0,2,1]> (t)\nm = MatMul (tt, t)", {}),
    tokens("bilinear, of two layers",
           "u0 = MatMul (t, wq)\nu = Relu (u0)\nv0 = MatMul (t, wk)\nv = Relu (v0)\nut = Transpose <perm=[0,2,1]> (u)\nm = MatMul (ut, v)",
           {"wq": (6, 6), "wk": (6, 6)}),
    tokens("bilinear, as Einsum", 'm = Einsum <equation="bnc,bnd->bcd"> (t, t)', {}),
    tokens("outer product, pooled", f"{OUTER}m0 = Mul (u, v)\nm = ReduceMean <keepdims=0> (m0, e3)", PLACES),
    tokens("outer product, flattened", f"{OUTER}m0 = Mul (u, v)\nm1 = Reshape (m0, s)\nm = MatMul (m1, w9)",
           {**PLACES, "s": [1, 12, 36], "w9": (36, 6)}),
    tokens("outer product of two layers",
           "a0 = MatMul (t, wq)\naa = Relu (a0)\nu = Unsqueeze (aa, e2)\nv = Unsqueeze (t, e3)\nm0 = Mul (u, v)\nm = ReduceMean <keepdims=0> (m0, e3)",
           {**PLACES, "wq": (6, 6)}),
    tokens("cosines of tokens",
           "n = ReduceL2 <keepdims=1> (t, e2)\nne = Add (n, c1)\nu = Div (t, ne)\nut = Transpose <perm=[0,2,1]> (u)\ng = MatMul (u, ut)\nm = MatMul (g, w8)",
           {"e2": [2], "c1": 0.1, "w8": (12, 6)}),
    tokens("or their mean, the larger", "k = ReduceMean <keepdims=1> (t, e2)\nm = Max (t, k)", {"e2": [2]}),
)  # fmt: skip


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_what_merges_many_kernels_loses_no_path(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    found = relevance(engine, feeds, 1)
    assert engine.topology.coverage("y").channels == engine.topology.coverage("y").layers == 1.0
    heard = 0
    for layer in engine.topology.layers:
        if engine.depths[layer.index] == 0:
            continue
        expected = slopes(model, feeds, feature_of(engine.topology, layer, engine.target), 1)
        scale = np.abs(expected).max()
        heard += scale > 1e-4
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=2e-4 * scale + 1e-6, err_msg=layer.name)
    assert heard
