"""Which layer is which, where weights and names do not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import compare_net as net
import numpy as np

import cfp_onnx as cfp
from cfp_onnx.matching import alignment, describe
from cfp_onnx.matching.units import NetworkUnits


def test_activations_tell_what_weights_and_names_do_not(tmp_path: Path, rng: np.random.Generator) -> None:
    """Two branches of one shape, without names, with other weights: their mean activations tell them."""
    engine = cfp.topology(net.write(tmp_path / "a.onnx", net.weights(rng)))
    whole = describe.network(engine.topology, engine.output, engine.target, engine.depths)
    rng = np.random.default_rng(9)
    means = {u.index: rng.uniform(0, 1, u.kernels) ** (1 + u.index) for u in whole.units}
    drawn = {u.index: rng.standard_normal(u.weights().shape).astype(np.float32) for u in whole.units}
    units = tuple(
        replace(u, name=f"x{u.index}", weight=f"y{u.index}", weights=lambda i=u.index: drawn[i]) for u in whole.units
    )
    other = NetworkUnits(units, whole.count, whole.inputs, whole.heads)
    b1, b3 = (next(u.index for u in whole.units if u.name == n) for n in ("b1", "b3"))
    exchanged = {**means, b1: rng.permutation(means[b3]), b3: rng.permutation(means[b1])}
    found = alignment.align(whole, other, means=(means, exchanged))
    pairs = {p.a.name: p for p in found.pairs}
    assert pairs["b1"].b.index == b3
    assert pairs["b3"].b.index == b1
    assert pairs["b1"].evidence == "activations"
    blind = alignment.align(whole, other)
    assert {p.evidence for p in blind.pairs} == {"position"}
