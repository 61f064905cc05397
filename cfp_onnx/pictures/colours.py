"""The colours of a page, and a tube laid over its frames."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.scale import check_scale, has_colours
from cfp_onnx.values import Array

Picture = npt.NDArray[np.uint8]
"""One or several RGB pictures, ``(..., H, W, 3)``."""

PAPER, INK, FADED, RULE = (252, 252, 250), (28, 30, 36), (92, 96, 106), (190, 192, 196)
"""RGB of a page, of its text, of its small text, and of its thin lines."""

_DESATURATED = 0.5
"""Part of its saturation that a frame loses under a map."""

CURVE_COLOURS = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167),
    (86, 180, 233), (230, 159, 0), (60, 60, 60), (140, 86, 75),
)  # fmt: skip
"""Colours of curves that colour-blind readers can tell apart (Okabe and Ito)."""


def colormap() -> Picture:
    """Returns inferno, ``(256, 3)`` uint8 RGB: from black to pale yellow, each step equally visible to all readers."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


FOR, AGAINST = (255, 72, 32), (24, 128, 255)
"""RGB of what speaks for and against, where one map shows both."""


def is_signed(low: float, high: float) -> bool:
    """Whether a scale has two signs: its colours then run from one colour through none to the other."""
    return low < 0 and low == -high


def overlay(frames: Picture, tube: Array, *, low: float, high: float, opacity: float = 0.8) -> Picture:
    """Lays a tube over its frames.

    With n = (v - low) / (high - low), clipped to 0..1, a pixel of colour f becomes (1 - a) g + a c(n): g is f with
    less saturation, c the colour map and a = opacity · n. So 0 leaves the paler frame, and weak looks weak.
    A scale from -h to h has two signs: a = opacity · |v| / h over a grey frame, red above 0 and blue below.
    A map without any variation, or a scale without extent, colours nothing.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        tube: ``(T, H, W)`` float, values in the scale's unit.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        opacity: Share of the last colour where it covers most, 0..1.

    Returns:
        ``(T, H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or the opacity is outside 0..1.
    """
    check_clip(frames, tube)
    check_scale(low, high, opacity)
    drawn = has_colours(tube, low, high)
    return np.stack([blend(f, m if drawn else None, low, high, opacity) for f, m in zip(frames, tube, strict=True)])


def check_clip(frames: Array, tube: Array) -> None:
    """Refuses frames and a tube that cannot be drawn together.

    Raises:
        ValueError: Shapes or types do not fit, or a value of the tube is not finite.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; they must be uint8 RGB (T, H, W, 3), not empty")
    if tube.shape != frames.shape[:3]:
        raise ValueError(f"tube is {tube.shape}, the frames are {frames.shape[:3]}; interpolate the tube first")
    if not np.isfinite(tube).all():
        raise ValueError("tube holds values that are not finite; nothing can be drawn")


def blend(frame: Picture, values: Array | None, low: float, high: float, opacity: float) -> Picture:
    """Draws one frame ``(H, W, 3)`` under one map ``(H, W)``, as `overlay` says; with None without a map."""
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    signed = values is not None and is_signed(low, high)
    pale = frame + (1.0 if signed else _DESATURATED) * (grey - frame)
    if values is not None and signed:
        part = np.clip(values.astype(np.float64) / high, -1, 1).astype(np.float32)[:, :, None]
        colour = np.where(part > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
        pale += opacity * np.abs(part) * (colour - pale)
    elif values is not None:
        part = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
        alpha = (opacity * part)[:, :, None]
        pale += alpha * (colormap()[np.rint(part * 255).astype(np.intp)] - pale)
    return cast("Picture", np.rint(pale).astype(np.uint8))
