"""Where a layer's kernels are judged."""

from __future__ import annotations

from pathlib import Path

from text_net import NESTED, NESTED_WEIGHTS, engine_of, network

from cfp_onnx.graph.features import feature_of


def test_the_feature_is_behind_affine_map_and_activation_and_before_an_add(tmp_path: Path) -> None:
    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    layers = {layer.output: layer for layer in engine.topology.layers}
    tensors = {k: feature_of(engine.topology, layer, engine.target).tensor for k, layer in layers.items()}
    assert tensors == {"a": "r", "b": "b", "c": "c", "d": "d"}
