"""Pictures and films as files: PNG, JPEG, GIF, MP4."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from cfp_onnx.errors import OutputError
from cfp_onnx.files.whole import named, write_bytes
from cfp_onnx.opencv import cv2, quiet
from cfp_onnx.pictures.colours import Picture

_GIF_DITHER = 1
"""How much OpenCV dithers a GIF, from -1 (most) to 3 (none): maps get no bands, plain areas no patterns."""


def encode_png(image: Picture) -> bytes:
    """Encodes a picture ``(H, W, 3)`` uint8 RGB as PNG.

    Raises:
        ValueError: It is no such picture.
    """
    return _encoded(".png", image, [])


def encode_jpeg(frame: Picture, quality: int = 80) -> bytes:
    """Encodes a picture ``(H, W, 3)`` uint8 RGB as JPEG.

    Args:
        frame: The picture.
        quality: 1 (small) to 100 (faithful).

    Raises:
        ValueError: It is no such picture, or the quality is outside 1..100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be 1 to 100")
    return _encoded(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encoded(kind: str, picture: Picture, options: list[int]) -> bytes:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"picture is {picture.dtype} {picture.shape}; it must be uint8 RGB (H, W, 3), not empty")
    try:
        _, data = cv2.imencode(kind, np.ascontiguousarray(picture[:, :, ::-1]), options)
    except cv2.error as error:
        raise ValueError(f"a picture of {picture.shape[:2]} pixels is too large for {kind}") from error
    return data.tobytes()


def write_png(path: str | os.PathLike[str], image: Picture) -> Path:
    """Writes a picture ``(H, W, 3)`` uint8 RGB as PNG, atomically.

    Raises:
        OutputError: If the folder cannot be made or written to; nothing half-written stays.
        ValueError: It is no such picture.
    """
    return write_bytes(Path(path), encode_png(image))


def write_animation(path: str | os.PathLike[str], frames: Picture, *, fps: float = 8) -> Path:
    """Writes frames ``(T, H, W, 3)`` uint8 RGB as an endless GIF or as an MP4, atomically.

    An MP4's sides are even; an odd one repeats its last row or column. A GIF counts time in hundredths of a second.

    Args:
        path: Its suffix, ``.gif`` or ``.mp4``, decides.
        frames: The pictures.
        fps: Frames per second, above 0 and at most 50 (what a GIF can hold).

    Raises:
        OutputError: The suffix is another one, OpenCV lacks the writer, or the folder cannot be made or written to;
            nothing half-written stays.
        ValueError: There are no such frames, or fps is out of range.
    """
    path = Path(path)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; they must be uint8 RGB (T, H, W, 3), not empty")
    if not 0 < fps <= 50:
        raise ValueError(f"fps is {fps}; it must be above 0 and at most 50")
    suffix = path.suffix.lower()
    encode = {".gif": _write_gif, ".mp4": _write_mp4}.get(suffix)
    if encode is None:
        raise OutputError(f"cannot write {named(path)}: give the name of an animation the suffix .gif or .mp4")
    try:
        # OpenCV can only write to a file, and not under every name: a temporary one is written and read back.
        with tempfile.TemporaryDirectory(prefix="cfp-") as folder:
            file = Path(folder) / f"animation{suffix}"
            done = encode(file, frames[..., ::-1], fps)
            data = file.read_bytes() if done and file.is_file() else b""
    except OSError as error:
        raise OutputError(f"cannot write {named(path)}: {error.strerror or error}; free some space") from error
    except cv2.error as error:
        raise OutputError(_no_encoder(path)) from error
    if not data:
        raise OutputError(_no_encoder(path))
    return write_bytes(path, data)


def _no_encoder(path: Path) -> str:
    other, newest = (".mp4", " >= 4.11") if path.suffix.lower() == ".gif" else (".gif", "")
    return (
        f"cannot write {named(path)}: this OpenCV ({cv2.__version__}) cannot make such a file; "
        f"install opencv-python-headless{newest}, or name it {other}"
    )


def _write_gif(file: Path, frames: Picture, fps: float) -> bool:
    """Writes BGR frames; False where this OpenCV is older than 4.11, which cannot."""
    if not hasattr(cv2, "imwriteanimation"):
        return False
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame) for frame in frames]
    animation.durations = [10 * round(100 / fps)] * len(frames)
    with quiet():
        return bool(cv2.imwriteanimation(str(file), animation, [cv2.IMWRITE_GIF_DITHER, _GIF_DITHER]))


def _write_mp4(file: Path, frames: Picture, fps: float) -> bool:
    """Writes BGR frames with even sides, which the codec needs; False where this OpenCV has no such codec."""
    padded = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    height, width = padded.shape[1:3]
    with quiet():
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        try:
            if not writer.isOpened():
                return False
            for frame in padded:
                writer.write(np.ascontiguousarray(frame))
        finally:
            writer.release()
    return True
