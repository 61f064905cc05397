"""A folder with motion clips and a baseline of the demonstration model on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.demo_model import DEMO
from benchmarks.motion.clips import TEST_SEED, make_clip
from cfp_onnx.cli import main as cli

CLIPS = 5
"""How many clips there are, ``clips/clip0.npz`` and so on."""


def with_baseline(folder: Path) -> Path:
    """Write the clips and ``baseline.json``; the folder is returned."""
    (folder / "clips").mkdir()
    for n in range(CLIPS):
        np.savez_compressed(folder / "clips" / f"clip{n}.npz", frames=make_clip(TEST_SEED + n).frames)
    assert cli.main(["baseline", str(DEMO), str(folder / "clips"), "-o", str(folder / "baseline.json"), "-q"]) == 0
    return folder
