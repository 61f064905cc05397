"""A clip as it is fed to a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cfp_onnx.values import Array

Frame = npt.NDArray[np.uint8]
"""One RGB frame ``(H, W, 3)``, or several ``(T, H, W, 3)``."""

Source = str | os.PathLike[str] | Array | Mapping[str, Array]
"""What a clip may be read from: a path, an array, or arrays by the names of a network's inputs."""


@dataclass(frozen=True)
class Clip:
    """What is fed to a network, and what a person sees of it.

    Attributes:
        feeds: Array per input, exactly as the runtime gets it.
        frames: ``(T, H, W, 3)`` uint8 RGB after resize and crop; None for arrays that were fed as they are.
        file: The source as it was named; ``"array"`` for one from memory.
        sha256: Of the file's bytes; of a folder's frame names and bytes; of an array's type, shape and bytes.
        layout: Letters of the first input's axes; None where they are unknown.
    """

    feeds: dict[str, Array]
    frames: Frame | None
    file: str
    sha256: str
    layout: str | None


@dataclass(frozen=True)
class InputArray:
    """What one input is fed.

    Attributes:
        array: The array, of the input's shape and type.
        frames: ``(T, H, W, 3)`` uint8 RGB that it was made of; None for an array that was fed as it is.
        layout: Letters of its axes; None where they are unknown.
    """

    array: Array
    frames: Frame | None
    layout: str | None
