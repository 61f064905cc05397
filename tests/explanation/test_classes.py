"""Classes of an output: scores, seeds, rivals and the one that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from small_nets import Net, engine_of


@pytest.mark.parametrize("end", ["", "Softmax", "LogSoftmax", "Sigmoid"])
def test_rivals_are_the_softmax_of_the_other_logits(end: str, rng: np.random.Generator, tmp_path: Path) -> None:
    body = "c1 = MatMul (x, w1)\nr1 = Relu (c1)\n" + (
        f"z = MatMul (r1, w2)\ny = {end} (z)" if end else "y = MatMul (r1, w2)"
    )
    net = Net("ends", "x=1,4", body, {"w1": (4, 6), "w2": (6, 5)})
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    logits = twin.evaluate(model, feeds)["z" if end else "y"][0]
    found = engine.rivals(engine.plain(feeds)["y"], 3)
    expected = np.exp(logits) * (np.arange(5) != 3)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-3, atol=1e-6)
    field = engine.seed(3, "contrast", found)
    np.testing.assert_allclose(field[0], (np.arange(5) == 3) - expected / expected.sum(), rtol=1e-3, atol=1e-6)
