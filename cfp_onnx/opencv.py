"""OpenCV, imported once: with its limits set before it starts, and quiet where its failures become our errors.

Raises on import:
    DeviceError: OpenCV or a system library that it needs is missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from cfp_onnx.doctor import cannot_load
from cfp_onnx.errors import DeviceError

PIXEL_LIMIT = 2**26
"""Most pixels one frame may have, before or after resizing (an 8K frame has 2**25)."""

# OpenCV reads these once, when it starts: the cap, and FFmpeg's quiet level.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXEL_LIMIT))
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
try:
    import cv2
    from cv2 import __version__ as version  # a folder that an uninstallation left empty would import as well
except ImportError as error:
    vars(sys).pop("OpenCV_LOADER", None)  # what a failed start leaves; the next one would call it a recursion
    raise DeviceError(cannot_load("cv2", error)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps OpenCV from printing a failure that becomes an error of ours."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # gone in 5, missing in 4.9
    before = set_level(0)
    try:
        yield
    finally:
        set_level(before)


__all__ = ["PIXEL_LIMIT", "cv2", "quiet", "version"]
