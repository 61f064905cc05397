"""Clips mirrored and reversed, with the classes that this turns into each other. Needs PyTorch."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

_TRADES: Final = {
    "columns": ("left right", "clockwise counter_clockwise"),
    "rows": ("up down", "clockwise counter_clockwise"),
    "time": ("left right", "up down", "clockwise counter_clockwise", "bright_dark dark_bright"),
    "sign": ("bright_dark dark_bright",),
}
"""Classes that trade places where an axis is reversed, or where bright becomes dark."""
_AXES: Final = {"columns": 4, "rows": 3, "time": 2}


def turned(clips: Tensor, labels: Tensor, classes: tuple[str, ...], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Reverse axes and the sign at random and permute the colours, the same for the whole batch.

    Args:
        clips: ``(N, 3, T, H, W) float32``.
        labels: ``(N,) int64``, indexes into the classes.
        classes: Names of the classes.
        rng: Source of the choices.

    Returns:
        New clips and labels of the same shapes.
    """
    clips = clips[:, torch.from_numpy(rng.permutation(3))]
    for name, pairs in _TRADES.items():
        if rng.random() < 0.5:
            clips = -clips if name == "sign" else clips.flip(_AXES[name])
            labels = _traded(classes, pairs)[labels]
    return clips, labels


def _traded(classes: tuple[str, ...], pairs: tuple[str, ...]) -> Tensor:
    table = torch.arange(len(classes))
    for one, other in (pair.split() for pair in pairs):
        if one in classes:
            first, second = classes.index(one), classes.index(other)
            table[first], table[second] = second, first
    return table
