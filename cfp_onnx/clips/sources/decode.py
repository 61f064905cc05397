"""Encoded pictures, such as JPEG, become RGB frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from cfp_onnx.clips.clip import Frame
from cfp_onnx.errors import ClipError
from cfp_onnx.opencv import PIXEL_LIMIT, cv2, quiet


def decode_frames(named: Iterator[tuple[str, bytes]]) -> Iterator[Frame]:
    """Decodes named pictures that are frames of one clip.

    Raises:
        ClipError: A picture cannot be decoded, or has another size than the first.
    """
    first: tuple[int, ...] | None = None
    for name, data in named:
        frame = decode_picture(data, name)
        first = first or frame.shape
        if frame.shape != first:
            raise ClipError(
                f"{name} is {frame.shape[0]}x{frame.shape[1]}, the first frame {first[0]}x{first[1]}; "
                "frames of one clip must have one size"
            )
        yield frame


def decode_picture(data: bytes, file: str) -> Frame:
    """Decodes a picture to ``(H, W, 3)`` RGB, turned upright where its metadata say so.

    OpenCV fills what a cut-off JPEG or PNG lacks with grey, so their end marks are looked for first.

    Raises:
        ClipError: It is cut off, cannot be decoded, or has too many pixels.
    """
    cut_jpeg = data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    cut_png = data.startswith(b"\x89PNG") and b"IEND" not in data
    if cut_jpeg or cut_png or not data:
        raise ClipError(f"{file} is cut off; copy or extract the picture again")
    try:
        with quiet():
            picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ClipError(f"{file} cannot be decoded, or has more than {PIXEL_LIMIT} pixels") from error
    if picture is None:
        raise ClipError(f"{file} cannot be decoded as a picture; convert it to PNG or JPEG")
    return cast("Frame", cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
