"""Pictures: one, a folder of them, or a pattern of their names."""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cfp_onnx.clips.clip import Frame
from cfp_onnx.clips.names import PICTURE_SUFFIXES, is_picture, natural_path
from cfp_onnx.clips.sources.decode import decode_frames, decode_picture
from cfp_onnx.clips.sources.opened import Frames
from cfp_onnx.clips.sources.regular_file import read_bytes, unreadable
from cfp_onnx.errors import ClipError


def open_picture(file: str, sha256: str) -> Frames:
    """Reads one picture, which is repeated for as many frames as are needed.

    Raises:
        ClipError: It is cut off or cannot be decoded.
        LimitError: The file is too large.
    """
    picture = decode_picture(read_bytes(file), file)
    return Frames(file, sha256, 1, lambda wanted: itertools.repeat(picture, len(wanted)), still=True)


def open_folder(file: str, paths: Sequence[Path]) -> Frames:
    """Reads the pictures among a folder's files as frames, in the order given.

    Raises:
        ClipError: There is none.
        LimitError: A file is too large.
    """
    frames = [p for p in paths if is_picture(p) and not p.name.startswith(".")]
    if not frames:
        raise ClipError(f"{file} holds no frames; put pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) there")
    digest = hashlib.sha256()
    for path in frames:
        data = read_bytes(str(path))
        digest.update(f"{path.name}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)

    def read(wanted: Sequence[int]) -> Iterator[Frame]:
        return decode_frames((str(frames[i]), read_bytes(str(frames[i]))) for i in wanted)

    return Frames(file, digest.hexdigest(), len(frames), read, note=missing_numbers([path.stem for path in frames]))


def missing_numbers(names: Sequence[str]) -> str | None:
    """A sentence on numbers that are left out of the names of frames; None where they rise by equal steps.

    Args:
        names: Names without suffix, in order.
    """
    found = [re.findall(r"[0-9]+", name) for name in names]
    if (
        len(names) < 3
        or not all(found)
        or len({name[: name.rfind(f[-1])] for name, f in zip(names, found, strict=True)}) > 1
    ):
        return None
    numbers = [int(f[-1][:18]) for f in found]
    steps = np.diff(numbers)
    step = int(steps.min())
    missing = int(((steps - step) // step).sum()) if step > 0 else 0
    if not missing:
        return None
    first = int(np.flatnonzero(steps > step)[0])
    plural = "s are" if missing > 1 else " is"
    return f"{missing} frame{plural} missing in the row, the first behind {names[first]}; the gap is passed over"


def open_pattern(file: str, error: Exception) -> Frames:
    """Reads the pictures that the last part of a path fits, as a printf pattern or as a glob.

    Args:
        file: A path that does not exist as it is.
        error: Why it cannot be opened, for the sentence where it is no pattern.

    Raises:
        ClipError: It is no pattern, or no picture fits.
    """
    folder, name = os.path.split(file)
    number = re.search(r"%0?[0-9]*d", name)
    if number is not None:
        before, after = re.escape(name[: number.start()]), re.escape(name[number.end() :])
        accepted = re.compile(f"{before}[0-9]+{after}")
    elif set("*?[") & set(name):
        accepted = re.compile(fnmatch.translate(name))
    else:
        raise ClipError(unreadable(file, error)) from error
    try:
        paths = sorted(Path(folder or ".").iterdir(), key=natural_path)
    except (OSError, ValueError) as missing:
        raise ClipError(unreadable(folder, missing)) from missing
    return open_folder(file, [path for path in paths if accepted.fullmatch(path.name)])
