"""The network that is compared, once for each file of tests."""

from __future__ import annotations

import compare_net as net
import numpy as np
import pytest
from compare_bench import SEED, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    rng = np.random.default_rng(SEED)
    weights = net.weights(rng)
    folder = tmp_path_factory.mktemp("compare")
    clip = rng.standard_normal(net.CLIP).astype(np.float32)
    return Bench(folder, weights, clip, net.write(folder / "a.onnx", weights))
