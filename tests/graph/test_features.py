"""Where a layer's kernels are judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_net import NESTED, NESTED_WEIGHTS, engine_of, network

from cfp_onnx.graph.features import Feature, feature_of


def test_the_feature_is_behind_affine_map_and_activation_and_before_an_add(tmp_path: Path) -> None:
    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    layers = {layer.output: layer for layer in engine.topology.layers}
    tensors = {k: feature_of(engine.topology, layer, engine.target).tensor for k, layer in layers.items()}
    assert tensors == {"a": "r", "b": "b", "c": "c", "d": "d"}


@pytest.mark.parametrize(
    "spelling", ["g = Sigmoid (e)", "n = Neg (e)\nx_ = Exp (n)\no = Add (x_, one)\ng = Div (one, o)"]
)
def test_a_gate_is_judged_behind_its_sigmoid_however_it_is_written(spelling: str, tmp_path: Path) -> None:
    body = f"a = Conv (x, w)\nr = Relu (a)\np = GlobalAveragePool (r)\ne = Conv (p, v)\n{spelling}\nm = Mul (r, g)\n"
    weights = {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "u": (5, 4, 1, 1), "one": 1.0}
    engine = engine_of(network(f"{body}c = Conv (m, u)\nq = GlobalAveragePool (c)\ny = Flatten (q)", weights), tmp_path)
    gate = next(layer for layer in engine.topology.layers if layer.output == "e")
    assert feature_of(engine.topology, gate, engine.target) == Feature("g", 1)
