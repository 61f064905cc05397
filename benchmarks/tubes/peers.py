"""Others' maps beside the tubes: the network is handed to `benchmarks.peers.places`, which runs where PyTorch is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tubes.scenes import Scene
from cfp_onnx.errors import RunError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.positions import Grid, grid_of, positions
from cfp_onnx.pyramid.resampling import resample

Array = NDArray[Any]

REPOSITORY: Final = Path(__file__).parents[2]
PEERS: Final = ("Grad-CAM", "integrated gradients")
"""Rows that they add; Grad-CAM only where the last layer below the classifier has places."""


def peers(python: Path, path: Path, engine: Engine, scenes: Sequence[Scene]) -> list[dict[str, Array]]:
    """Others' maps over the clip for each scene, by name; none of a network with operators that they do not have.

    Args:
        python: An interpreter with PyTorch and ONNX.
        path: The network, weights inside, with one input.
        engine: The same network.
        scenes: Clips and classes.

    Raises:
        RunError: If it fails there; the message quotes its last line.
    """
    tensor, axis, grid = _last_map(engine)
    placed = dict(zip(PEERS, (grid, None), strict=True))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {f"clip/{n}": scene.clip for n, scene in enumerate(scenes)}
        np.savez(
            folder / "questions.npz", classes=[s.label for s in scenes], tensor=tensor, axis=axis,
            **clips,  # type: ignore[arg-type]
        )  # fmt: skip
        command = [str(python), "-m", "benchmarks.peers.places", str(path)]
        done = subprocess.run(
            [*command, str(folder / "questions.npz"), str(folder / "answers.npz")], cwd=REPOSITORY,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if last.startswith("NotImplementedError"):
            print(f"{path.stem}: without others' maps; {last.partition(': ')[2]}", file=sys.stderr, flush=True)
            return [{} for _ in scenes]
        if done.returncode:
            raise RunError(f"PyTorch's side failed: {last}")
        with np.load(folder / "answers.npz") as answers:
            return [
                {
                    p: _laid(answers[f"{p}/{n}"], at, s.mask.shape)
                    for p, at in placed.items()
                    if f"{p}/{n}" in answers.files
                }
                for n, s in enumerate(scenes)
            ]


def _last_map(engine: Engine) -> tuple[str, int, Grid | None]:
    """Tensor, kernel axis and places of the map nearest the head that has several; nothing where there is none."""
    source = engine.network.clip_input()
    coordinates = positions(engine.topology, source, engine.axes[source])
    for _, index in sorted((d, i) for i, d in engine.depths.items() if d > 0):
        feature = feature_of(engine.topology, engine.topology.layers[index], engine.target)
        if feature.tensor in coordinates:
            grid = grid_of(coordinates[feature.tensor], engine.topology.program.shapes[feature.tensor], feature.axis)
            if min(grid.shape[-2:]) > 1:
                return feature.tensor, feature.axis, grid
    return "", 0, None


def _laid(values: Array, grid: Grid | None, size: tuple[int, ...]) -> Array:
    """A map over the clip: interpolated between the centres of its elements, or one that has a value for each pixel."""
    if grid is None or values.shape != grid.index.shape:
        return values.reshape(size)
    known = [np.zeros(1)] * (3 - len(grid.shape)) + [np.asarray(c) for c in grid.centres]
    whole = grid.total(values).reshape([len(c) for c in known])
    return resample(whole, known, [np.arange(n, dtype=np.float64) for n in size])
