"""Others' methods beside the rules: the network is handed to `benchmarks.peers`, which runs where PyTorch is."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from cfp_onnx.errors import RunError
from cfp_onnx.explanation.engine import Engine

Array = NDArray[Any]

PEERS: Final = (
    "gradient x activation", "layer integrated gradients", "DeepLIFT rescale", "Grad-CAM", "AttnLRP", "zennit epsilon",
)  # fmt: skip
"""Rows that they add; one that a network does not allow says nothing there."""
REPOSITORY: Final = Path(__file__).parents[2]


def peers(
    python: Path, engine: Engine, feeds: Sequence[dict[str, Array]], classes: Sequence[int], places: Sequence[Any]
) -> dict[str, list[Array]]:
    """Scores of every kernel by every method, for each layer ``(clips, kernels)``.

    Args:
        python: An interpreter with PyTorch and ONNX.
        engine: The network.
        feeds: Of each clip.
        classes: The class explained of each clip.
        places: For each layer something with ``tensor`` and ``axis``.

    Raises:
        RunError: If it fails there; the message quotes its last line.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(_whole(engine), folder / "network.onnx")
        clips = {f"clip/{n}/{port}": value for n, one in enumerate(feeds) for port, value in one.items()}
        axis = engine.classes()[1] or 1
        np.savez(
            folder / "questions.npz", classes=np.asarray(classes), target=engine.target, axis=axis,
            tensors=[p.tensor for p in places], axes=[p.axis for p in places], **clips,
        )  # fmt: skip
        command = [str(python), "-m", "benchmarks.peers", "network.onnx", "questions.npz", "answers.npz"]
        done = subprocess.run(
            [*command[:3], *(str(folder / n) for n in command[3:])], cwd=REPOSITORY, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RunError(f"PyTorch's side failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        with np.load(folder / "answers.npz") as answers:
            methods = [p for p in PEERS if f"{p}/0" in answers.files]
            return {m: [answers[f"{m}/{n}"] for n in range(len(places))] for m in methods}


def _whole(engine: Engine) -> onnx.ModelProto:
    """The engine's graph at its input's size, weights inside."""
    proto = onnx.ModelProto()
    proto.CopyFrom(engine.graph.proto)
    for tensor in proto.graph.initializer:
        if tensor.name in engine.graph.weights:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(engine.graph.weights[tensor.name]), tensor.name))
    return proto
