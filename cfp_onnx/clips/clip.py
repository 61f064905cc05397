"""A clip as it is fed to a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cfp_onnx.values import Array

Frame = npt.NDArray[np.uint8]


Source = str | os.PathLike[str] | Array | Mapping[str, Array]


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


# --- from footage to an input --------------------------------------------------------------------------
@dataclass(frozen=True)
class InputArray:
    """One input's array, with the frames it shows and the names of its axes."""

    array: Array
    frames: Frame | None
    layout: str | None
