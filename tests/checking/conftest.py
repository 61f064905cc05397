"""A baseline of the demonstration model, a network in its other spellings, and inputs of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import pytest
from check_net import SIDE
from checked_demo import with_baseline
from numpy.typing import NDArray

import cfp_onnx as cfp

Array = NDArray[Any]
SEED = 20190524


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, and a baseline of the demo model on them."""
    return with_baseline(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array], Any]:
    """A folder with clips, the weights of a small network of every block kind, and its baseline at all depths."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp("spellings")
    values = net.weights(rng)
    for n in range(3):
        np.save(folder / f"clip{n}.npy", rng.standard_normal(net.CLIP).astype(np.float32))
    a = net.write(folder / "a.onnx", values)
    made = cfp.baseline(a, [folder / f"clip{n}.npy" for n in range(3)], depth="all", relative_to=folder)
    made.save(folder / "baseline.json")
    return folder, values, made


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three inputs of noise."""
    rng = np.random.default_rng(11)
    files = [tmp_path / f"clip{n}.npy" for n in range(3)]
    for file in files:
        np.save(file, rng.random((1, 3, SIDE, SIDE), np.float32))
    return files
