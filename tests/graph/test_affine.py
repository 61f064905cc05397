"""Affine maps behind a layer: the runtime says what they make of the layer's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_net import engine_of, network

from cfp_onnx import runtime
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.affine import affine_map, affine_of
from cfp_onnx.runtime.probe import Probe

HEAD = "r = Relu (d)\ng = GlobalAveragePool (r)\nf = Flatten (g)\ny = Gemm (f, u)"
PER_KERNEL = np.array([0.5, -2.0, 1.5, 3.0], np.float32).reshape(4, 1, 1)
BETWEEN: dict[str, tuple[str, dict[str, Any]]] = {
    "batch norm": ("d = BatchNormalization <epsilon=0.01> (a, s, o, m, v)",
                   {"s": (4,), "o": (4,), "m": (4,), "v": np.array([1, 2, 3, 4.0])}),
    "product": ("d = Mul (a, k)", {"k": PER_KERNEL}),
    "product, other way round": ("d = Mul (k, a)", {"k": PER_KERNEL}),
    "one factor": ("d = Mul (a, k)", {"k": 2.5}),
    "quotient": ("d = Div (a, k)", {"k": PER_KERNEL}),
    "sum": ("d = Add (k, a)", {"k": PER_KERNEL}),
    "sum of three": ("d = Sum (a, k, q)", {"k": PER_KERNEL, "q": 1.0}),
    "difference": ("d = Sub (a, k)", {"k": PER_KERNEL}),
    "what is taken from a constant": ("d = Sub (k, a)", {"k": PER_KERNEL}),
    "mean with a constant": ("d = Mean (a, k)", {"k": PER_KERNEL}),
    "negative": ("d = Neg (a)", {}),
    "several": ("b = Mul (a, k)\nc = Add (b, q)\ne = Neg (c)\nd = Add (e, k)", {"k": PER_KERNEL, "q": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", BETWEEN)
def test_a_map_is_what_the_runtime_makes_of_the_layer(name: str, tmp_path: Path) -> None:
    body, weights = BETWEEN[name]
    model = network(f"a = Conv (x, w)\n{body}\n{HEAD}", {"w": (4, 3, 1, 1), "u": (4, 5), **weights})
    engine = engine_of(model, tmp_path)
    probe = Probe(engine.model.opset, outputs=["a", "d"])
    session = engine.graph.with_probe(probe, keep_outputs=False).session(engine.device)
    before, after = runtime.run(session, ["a", "d"], runtime.random_feeds(engine.file))
    scale, offset = affine_of(engine.topology, engine.topology.layers[0], engine.target)
    made = before * scale.reshape(4, 1, 1) + offset.reshape(4, 1, 1)
    assert made == pytest.approx(after, rel=1e-5, abs=1e-5)


def test_a_factor_that_differs_from_place_to_place_is_no_map_of_kernels(tmp_path: Path) -> None:
    model = network(f"a = Conv (x, w)\nd = Mul (a, k)\n{HEAD}", {"w": (4, 3, 1, 1), "u": (4, 5), "k": (6, 1)})
    engine = engine_of(model, tmp_path)
    node = engine.program.producers["d"]
    effect = engine.topology.effects[node.name]
    assert isinstance(effect, fx.Affine)
    assert affine_map(engine.topology, node, effect, 4) is None
    scale, offset = affine_of(engine.topology, engine.topology.layers[0], engine.target)
    assert np.array_equal(scale, np.ones(4))
    assert np.array_equal(offset, np.zeros(4))


def test_an_offset_that_differs_from_place_to_place_counts_by_its_mean(tmp_path: Path) -> None:
    model = network(f"a = Conv (x, w)\nd = Add (a, k)\n{HEAD}",
                    {"w": (4, 3, 1, 1), "u": (4, 5), "k": np.arange(6.0).reshape(6, 1)})  # fmt: skip
    engine = engine_of(model, tmp_path)
    node = engine.program.producers["d"]
    effect = engine.topology.effects[node.name]
    assert isinstance(effect, fx.Affine)
    found = affine_map(engine.topology, node, effect, 4)
    assert found is not None
    assert not found.uniform
    assert found.offset == pytest.approx(np.full(4, 2.5))
    assert np.array_equal(affine_of(engine.topology, engine.topology.layers[0], engine.target)[1], np.zeros(4))
