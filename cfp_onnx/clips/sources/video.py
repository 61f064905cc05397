"""Videos, decoded by FFmpeg inside OpenCV with one demuxer and no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from cfp_onnx.clips.clip import Frame
from cfp_onnx.clips.sources.opened import Frames
from cfp_onnx.errors import ClipError, LimitError
from cfp_onnx.opencv import PIXEL_LIMIT, cv2, quiet

_EXACT_HEADERS = frozenset({"avi", "mov"})
"""Demuxers of containers whose headers count their frames exactly."""


@contextlib.contextmanager
def _capture(file: str, demuxer: str) -> Iterator[cv2.VideoCapture]:
    """Opens a video with one demuxer and no other.

    The absolute path keeps FFmpeg from taking a name such as ``concat:a|b`` for a protocol.
    """
    path, key = str(Path(file).resolve()), "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    before = os.environ.get(key)
    os.environ[key] = f"format_whitelist;{demuxer}"
    try:
        with quiet():
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
    try:
        if not capture.isOpened():
            raise ClipError(f"{file} cannot be opened as a video; convert it to .mp4")
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not width * height <= PIXEL_LIMIT:
            raise LimitError(f"{file} has frames of {height:.0f}x{width:.0f} pixels; scale it down first")
        yield capture
    finally:
        capture.release()


def open_video(file: str, sha256: str, demuxer: str) -> Frames:
    """Opens a video and counts its frames by decoding them: a header's count may be an estimate, or nonsense.

    Args:
        file: Its path.
        sha256: Of its bytes.
        demuxer: The one FFmpeg demuxer that may read it.

    Raises:
        ClipError: It cannot be opened, or no frame can be decoded.
        LimitError: Its frames are too large.
    """
    with _capture(file, demuxer) as capture:
        header = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        count = sum(1 for _ in iter(capture.grab, False))  # noqa: FBT003  (grab's own answer at the end)
    if not count:
        raise ClipError(f"{file} holds no frame that can be decoded; convert it to .mp4")
    plausible = demuxer in _EXACT_HEADERS and 0 < header < 1e8
    promised = int(header) if plausible else 0
    return Frames(file, sha256, count, lambda wanted: _video_frames(file, demuxer, wanted), promised)


def _video_frames(file: str, demuxer: str, wanted: Sequence[int]) -> Iterator[Frame]:
    """Decodes a video from its start and gives the frames wanted, whose indices rise."""
    with _capture(file, demuxer) as capture:
        position = -1
        for index in wanted:
            while position < index and capture.grab():
                position += 1
            ok, frame = capture.retrieve() if position == index else (False, None)
            if not ok or frame is None or frame.ndim != 3 or frame.dtype != np.uint8:
                raise ClipError(f"frame {index} of {file} cannot be decoded; convert it to .mp4")
            yield cast("Frame", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
