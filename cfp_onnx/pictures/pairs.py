"""A frame, and beside it the frame under its map: one picture, or the pictures of a film."""

from __future__ import annotations

from typing import cast

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import Picture, check_clip
from cfp_onnx.pictures.frames import frame_under_map, resized, size_on_page
from cfp_onnx.pictures.legend import legend_of
from cfp_onnx.pictures.page import grid, labelled, page_of
from cfp_onnx.pictures.scale import Scale, check_scale, scale_of
from cfp_onnx.values import Array


def image(
    frame: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws a picture, and beside it the picture under its map: the form for 2-D models.

    The frame is ``(H, W, 3)`` or ``(1, H, W, 3)`` uint8 RGB, the tube ``(H, W)`` or ``(1, H, W)`` float at its pixels;
    the options are those of `strip`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, or there is more than one frame.
    """
    frames, maps = (frame[None] if frame.ndim == 3 else frame), (tube[None] if tube.ndim == 2 else tube)
    check_clip(frames, maps)
    if len(frames) != 1:
        raise ValueError(f"image draws one frame, not {len(frames)}; use strip, stack or film")
    check_scale(low, high, opacity)
    scale = scale_of(maps, low=low, high=high, unit=unit, scope=scope, constant=constant, extremes=extremes)
    body = _pair_of(frames[0], maps[0], scale, opacity, "as the network got it")
    return page_of(body, title, subtitle, legend_of(scale, opacity))


def film(
    frames: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws the pictures of an animation for `write_animation`: each frame, beside it the frame under the tube.

    Takes what `strip` takes.

    Returns:
        ``(T, h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`.
    """
    check_clip(frames, tube)
    check_scale(low, high, opacity)
    scale = scale_of(tube, low=low, high=high, unit=unit, scope=scope, constant=constant, extremes=extremes)
    legend = legend_of(scale, opacity)
    return np.stack(
        [
            page_of(_pair_of(f, m, scale, opacity, f"t = {t} (of 0 to {len(frames) - 1})"), title, subtitle, legend)
            for t, (f, m) in enumerate(zip(frames, tube, strict=True))
        ]
    )


def _pair_of(frame: Picture, values: Array, scale: Scale, opacity: float, text: str) -> Picture:
    """Draws a frame with a line of text, and beside it the frame under its map."""
    height, width = size_on_page(frame.shape[0], frame.shape[1], 300, 420)
    plain = cast("Picture", resized(frame, height, width, cv2.INTER_CUBIC))
    over = frame_under_map(frame, values, scale, opacity, 300, 420)
    return grid([labelled(plain, text), over], 2)
