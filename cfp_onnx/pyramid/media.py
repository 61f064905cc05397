"""A clip as people see it: its frames, its signal, or an array stretched to black and white."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cfp_onnx.pyramid.resampling import Size
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Media:
    """The clip as people see it.

    Attributes:
        kind: ``video``, ``image``, ``curve`` (one-dimensional data) or ``none``.
        size: Frames, height and width; 1 on axes that the input lacks.
        frames: (T, H, W, 3) uint8 RGB of a video or picture.
        curve: (channels, L) float32 of one-dimensional data.
        note: What is shown, in a sentence.
    """

    kind: str
    size: Size
    frames: Array | None = None
    curve: Array | None = None
    note: str = ""


def stretched_frames(array: Array, axes: Mapping[str, int]) -> Array:
    """Frames of an array that was fed as it is: its range becomes 0..255; channels beyond the third are left out.

    Args:
        array: The input, batch first.
        axes: Axis of ``C`` and of those of ``T``, ``H``, ``W`` that it has.

    Returns:
        (T, H, W, 3) uint8.
    """
    order = [axes[k] for k in "THWC" if k in axes]
    moved = np.transpose(np.asarray(array, np.float32)[:1], [0, *order])[0]
    if "T" not in axes:
        moved = moved[None]
    colours = moved[..., :3] if moved.shape[-1] >= 3 else np.repeat(moved[..., :1], 3, axis=-1)
    low, high = (float(colours.min()), float(colours.max())) if colours.size else (0.0, 0.0)
    return np.asarray(np.round((colours - low) / max(high - low, 1e-12) * 255), np.uint8)


__all__ = ["Media", "stretched_frames"]
