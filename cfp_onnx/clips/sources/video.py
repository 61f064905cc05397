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
            raise ClipError(_cannot_open(file, demuxer))
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
    times = []
    with _capture(file, demuxer) as capture:
        header = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    count = len(times)
    if not count:
        raise ClipError(
            f"{file} holds no frame that can be decoded: it is damaged, cut off, or of a codec that is missing here"
        )
    plausible = demuxer in _EXACT_HEADERS and 0 < header < 1e8
    promised = int(header) if plausible else 0
    notes = (_cut_off(count, promised), _uneven(times))
    note = "; ".join(n for n in notes if n) or None
    span = (times[-1] - times[0]) / 1000
    rate = (count - 1) / span if count > 1 and span > 0 else None
    return Frames(
        file, sha256, count, lambda wanted: _video_frames(file, demuxer, wanted), promised, note=note, rate=rate
    )


def _cannot_open(file: str, demuxer: str) -> str:
    """Why a file that begins as a video does cannot be opened, as far as its own boxes tell."""
    why = "it is damaged, cut off, or of a codec that is missing here"
    if demuxer == "mov" and not _has_index(file):
        why = "it is damaged or cut off, for its index (the box moov) is missing"
    return f"{file} cannot be opened as a video: {why}; copy or record it again, or mend it"


def _has_index(file: str) -> bool:
    """Whether an .mp4 or .mov has its index: walks over the boxes, whose sizes stand before their names."""
    end, at = Path(file).stat().st_size, 0
    with Path(file).open("rb") as stream:
        while at + 8 <= end:
            stream.seek(at)
            head = stream.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if head[4:8] == b"moov":
                return at + size <= end
            if size < 8:
                return False
            at += size
    return False


def _cut_off(count: int, promised: int) -> str | None:
    """A sentence where clearly fewer frames can be decoded than the header promises."""
    if promised - count <= max(1, promised // 50):
        return None
    return f"{count} of {promised} frames can be decoded: the file is damaged or cut off"


def _uneven(times: Sequence[float]) -> str | None:
    """A sentence where frames are not evenly spaced in time, in milliseconds; they are sampled by their number."""
    steps = np.diff(times)
    if len(steps) < 4 or not (steps > 0).all():
        return None
    middle = float(np.median(steps))
    if np.mean(np.abs(steps - middle) > 0.25 * middle) <= 0.05:
        return None
    return (
        f"the frame rate varies ({steps.min():.0f} to {steps.max():.0f} ms a frame); frames are sampled by their number"
    )


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
