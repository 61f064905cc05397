"""A baseline of the demonstration model, and a network in its other spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import pytest
from demo_edits import CLIPS, DEMO, SEED, Array

import cfp_onnx as cfp
from benchmarks.motion.clips import TEST_SEED, make_clip
from cfp_onnx.cli import main as cli


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, and a baseline of the demo model on them."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "clips").mkdir()
    for n in range(CLIPS):
        np.savez_compressed(folder / "clips" / f"clip{n}.npz", frames=make_clip(TEST_SEED + n).frames)
    assert cli.main(["baseline", str(DEMO), str(folder / "clips"), "-o", str(folder / "baseline.json"), "-q"]) == 0
    return folder


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
