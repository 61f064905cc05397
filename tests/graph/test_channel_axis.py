"""Which axis of an input is its channels, whatever is done to it before the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import engine_of, network

BODIES = {
    "plain": "d = Identity (x)",
    "its mean taken off": "m = ReduceMean (x, places)\nd = Sub (x, m)",
    "normalised": "m = ReduceMean (x, places)\ns = Sub (x, m)\nd = LpNormalization <axis=3> (s)",
    "masked": "g = Greater (x, half)\nc = Cast <to=1> (g)\nd = Mul (x, c)",
    "clipped by itself": "n = Neg (x)\nd = Max (x, n)",
    "with places beside": "d = Concat <axis=3> (x, grid)",
}


@pytest.mark.parametrize("name", BODIES)
def test_channels_last_is_found(name: str, tmp_path: Path) -> None:
    behind = "t = Transpose <perm=[0,3,1,2]> (d)\na = Conv (t, w)\np = GlobalAveragePool (a)\ny = Flatten (p)"
    body = f"{BODIES[name]}\n{behind}"
    channels = 5 if "beside" in name else 3
    weights = {"w": (4, channels, 3, 3), "places": np.array([1, 2]), "half": 0.5, "grid": (1, 6, 7, 2)}
    engine = engine_of(network(body, weights, "float[1,6,7,3] x", opset=18), tmp_path)
    assert engine.axes == {"x": 3}
    [reads] = engine.topology.wires(engine.topology.layers[0])[:1]
    assert sorted(set(reads[1].reshape(-1).tolist()) - {-1}) == list(range(4, 7))
