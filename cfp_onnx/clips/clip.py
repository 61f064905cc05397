"""A clip as it is fed to a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cfp_onnx.values import Array

Frame = npt.NDArray[np.uint8]
"""One RGB frame ``(H, W, 3)``, or several ``(T, H, W, 3)``."""

Source = str | os.PathLike[str] | Array | Mapping[str, Array]
"""What a clip may be read from: a path, an array, or arrays by the names of a network's inputs."""


@dataclass(frozen=True)
class Fed:
    """What one input got.

    Attributes:
        shape: Of the array.
        source: Where it came from: ``clip``, ``given``, ``zeros``, ``ones`` or a number that stands everywhere.
        note: What was done to it, in words; None where it was fed as it came.
    """

    shape: tuple[int, ...]
    source: str
    note: str | None = None

    def published(self) -> dict[str, Any]:
        """The same as JSON has it, without a note that says nothing."""
        found = {"shape": list(self.shape), "source": self.source}
        return found if self.note is None else {**found, "note": self.note}


@dataclass(frozen=True)
class Clip:
    """What is fed to a network, and what a person sees of it.

    Attributes:
        feeds: Array per input, exactly as the runtime gets it.
        frames: ``(T, H, W, 3)`` uint8 RGB after resize and crop; None for arrays that were fed as they are.
        file: The source as it was named; ``"array"`` for one from memory.
        sha256: Of the file's bytes; of a folder's frame names and bytes; of an array's type, shape and bytes.
        layout: Letters of the axes of the input that the clip went to; None where they are unknown.
        fed: What each input got, by its name.
    """

    feeds: dict[str, Array]
    frames: Frame | None
    file: str
    sha256: str
    layout: str | None
    fed: Mapping[str, Fed] = field(default_factory=dict)

    def main(self) -> str:
        """The first input that the clip itself went to."""
        return next((name for name, fed in self.fed.items() if fed.source == "clip"), next(iter(self.feeds)))


@dataclass(frozen=True)
class InputArray:
    """What one input is fed.

    Attributes:
        array: The array, of the input's shape and type.
        frames: ``(T, H, W, 3)`` uint8 RGB that it was made of; None for an array that was fed as it is.
        layout: Letters of its axes; None where they are unknown.
        source: Where it came from, as of `Fed`.
        note: What was done to it, as of `Fed`.
    """

    array: Array
    frames: Frame | None
    layout: str | None
    source: str = "clip"
    note: str | None = None
