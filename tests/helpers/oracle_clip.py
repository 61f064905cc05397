"""The reference clip of the paper authors' results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEAN = np.array([124, 117, 104], np.float32) / np.float32(255)


STD = np.array([0.229, 0.224, 0.225], np.float32)


def clip(shared_dir: Path, size: int) -> NDArray[np.float32]:
    """The reference clip as the networks take it, (1, 3, 16, size, size)."""
    with np.load(shared_dir / "oracle" / "goldens" / "clip_frames_112.npz") as archive:
        frames = archive[archive.files[0]]
    x = ((frames.astype(np.float32) / np.float32(255) - MEAN) / STD).transpose(3, 0, 1, 2)[None]
    return x if size == 112 else x.repeat(2, axis=3).repeat(2, axis=4)
