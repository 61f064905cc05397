"""Directions: what is explained of an output that has no classes, such as an embedding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.files.strict_json import parse
from cfp_onnx.values import Array

OWN = "own"
"""What asks for the direction of the clip's own output."""

LEAST = 8
"""Fewest numbers of an output that is taken for an embedding without being told."""

UNIT = 1e-3
"""How far from 1 the length of an embedding may be."""

Direction = str | os.PathLike[str] | Array


def direction_of(asked: Direction, classes: Classes, value: Array) -> Array:
    """A direction among the numbers of an output, of length 1.

    Args:
        asked: ``own``, a file (``.npy``, or a JSON list) or the numbers.
        classes: How they lie in the output.
        value: What the output holds on this clip.

    Returns:
        (numbers,) float32.

    Raises:
        UsageError: If the file cannot be read.
        TargetError: If it has another number of values, or all are 0.
    """
    if isinstance(asked, str) and asked == OWN:
        found, name = classes.scores(value), "the output on this clip"
    elif isinstance(asked, np.ndarray):
        found, name = asked, "the direction"
    else:
        found, name = _read(Path(asked)), str(asked)
    found = np.asarray(found, np.float64).reshape(-1)
    if found.size != classes.count:
        raise TargetError(f"{name} has {found.size} values, the output has {classes.count}; give one for each")
    length = float(np.linalg.norm(found))
    if not (np.isfinite(length) and length > 0):
        raise TargetError(f"{name} has no direction: its length is {length}; give one with a value that is not 0")
    return np.asarray(found / length, np.float32)


def _read(file: Path) -> Array:
    try:
        if file.suffix.lower() == ".npy":
            return np.asarray(np.load(file, allow_pickle=False), np.float64)
        return np.asarray(parse(file.read_text(encoding="utf-8")), np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"cannot read a direction from {file} ({error}); give an .npy file or a JSON list of numbers, or own"
        ) from error


def refuse_embedding(classes: Classes, value: Array, output: str, file: object) -> None:
    """Refuses to name a class of an output that has none: a vector of length 1 with numbers of both signs.

    Raises:
        TargetError: If it is one.
    """
    scores = classes.scores(value)
    if scores.size >= LEAST and (scores < 0).any() and abs(float(np.linalg.norm(scores)) - 1.0) < UNIT:
        raise TargetError(
            f"output {output!r} of {file} is a vector of length 1 with {scores.size} numbers, as an embedding, and has "
            "no classes; say along which direction it is explained: --direction own (that of this clip) or --direction "
            "FILE (of another), or name one of its numbers with --class"
        )


__all__ = ["OWN", "Direction", "direction_of", "refuse_embedding"]
