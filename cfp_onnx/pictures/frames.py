"""Frames at the size of a page, under their maps, and which of many are shown."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import Picture, blend
from cfp_onnx.pictures.scale import Scale
from cfp_onnx.values import Array


def size_on_page(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """Returns height and width of a frame on the page; its long side is between `least` and `most` where that can be.

    A frame that is too small grows by a whole factor.
    """
    longest = max(height, width)
    if longest > most:
        return max(16, round(height * most / longest)), max(16, round(width * most / longest))
    factor = math.ceil(least / longest)
    return height * factor, width * factor


def resized(picture: Array, height: int, width: int, interpolation: int) -> Array:
    """Resizes a picture or a map: by means of areas where it shrinks, else by an interpolation of OpenCV."""
    if picture.shape[:2] == (height, width):
        return picture
    way = cv2.INTER_AREA if height < picture.shape[0] else interpolation
    return cast("Array", cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=way))


def frame_under_map(frame: Picture, values: Array, scale: Scale, opacity: float, least: int, most: int) -> Picture:
    """Draws a frame at its size on the page, under its map where that has colours."""
    height, width = size_on_page(frame.shape[0], frame.shape[1], least, most)
    big = resized(frame, height, width, cv2.INTER_CUBIC)
    if not scale.drawn:
        return blend(big, None, 0, 1, opacity)
    fine = resized(values.astype(np.float64), height, width, cv2.INTER_LINEAR)
    return blend(big, fine, scale.low, scale.high, opacity)


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Returns at most `limit` of `count` indices, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return [int(i) for i in np.rint(np.linspace(0, count - 1, limit))]


def sampling_note(chosen: int, count: int) -> list[str]:
    """Returns the sentence that only some of the frames are shown; nothing where all are."""
    return [f"{chosen} of {count} frames, evenly spaced"] if chosen < count else []
