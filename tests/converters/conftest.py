"""The network of `blocks_frameworks` by hand, and in every file that a framework writes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import blocks_frameworks as blocks
import numpy as np
import pytest
from converter_runs import answer_by_hand, interpreter, quiet


@pytest.fixture(scope="session")
def weights() -> dict[str, np.ndarray]:
    """The network's weights, and a clip."""
    return blocks.seeded_weights()


@pytest.fixture(scope="session")
def logits(weights: dict[str, np.ndarray]) -> np.ndarray:
    """What the network says to the clip."""
    return answer_by_hand(weights)


@pytest.fixture(scope="session")
def saved(
    weights: dict[str, np.ndarray], logits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Folder with each form of source of a framework, which agrees with the reference."""
    done: dict[str, Path] = {}

    def save(framework: str) -> Path:
        python = interpreter(framework)
        if framework not in done:
            folder = tmp_path_factory.mktemp(framework)
            np.savez(folder / "weights.npz", **weights)
            command = [python, blocks.__file__, framework, folder / "weights.npz", folder]
            run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=quiet())
            assert run.returncode == 0, run.stderr[-3000:]
            np.testing.assert_allclose(np.load(folder / "logits.npy"), logits, atol=1e-4)
            done[framework] = folder
        return done[framework]

    return save
