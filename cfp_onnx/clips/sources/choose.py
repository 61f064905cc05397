"""Which reader opens a source: a file's first bytes decide, never its name."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cfp_onnx.clips.clip import Source
from cfp_onnx.clips.names import natural_path
from cfp_onnx.clips.sources.arrays import array_digest, load_npy, load_npz
from cfp_onnx.clips.sources.database import open_database
from cfp_onnx.clips.sources.opened import Arrays, Footage
from cfp_onnx.clips.sources.pictures import decode_picture, open_folder, open_pattern
from cfp_onnx.clips.sources.regular_file import open_regular, read_bytes
from cfp_onnx.clips.sources.video import open_video
from cfp_onnx.errors import ClipError

_CONTAINERS = (
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (8, b"AVI ", "avi"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
    (188, b"G", "mpegts"),
    (0, b"FLV\x01", "flv"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (0, b"OggS", "ogg"),
    (0, b"GIF8", "gif"),
)
"""Offset and bytes that mark a video container, with the one FFmpeg demuxer that may then read it."""


_PICTURES = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG"), (0, b"BM"), (8, b"WEBP"), (0, b"II*\0"), (0, b"MM\0*"),
             (0, b"P5"), (0, b"P6"))  # fmt: skip


def open_source(source: Source) -> Footage | Arrays:
    """Opens a source: an array, arrays by name, or a path to a file, a folder or a pattern of frames.

    Raises:
        ClipError: There is no such source, or it cannot be read.
        LimitError: It is too large.
    """
    if isinstance(source, np.ndarray):
        return Arrays("array", array_digest({"": source}), {"": source})
    if isinstance(source, Mapping):
        arrays = {str(name): np.asarray(array) for name, array in source.items()}
        return Arrays("array", array_digest(arrays), arrays)
    file = os.fspath(source)
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116  (Path() would drop what an odd name holds)
    except (OSError, ValueError) as error:
        return open_pattern(file, error)
    if stat.S_ISDIR(mode):
        return open_folder(file, sorted(Path(file).iterdir(), key=natural_path))
    return _open_file(file)


def _open_file(file: str) -> Footage | Arrays:
    """Chooses a reader by a file's first bytes."""
    with open_regular(file) as stream:
        head = stream.read(512)
        digest = hashlib.sha256(head)
        for block in iter(lambda: stream.read(2**20), b""):
            digest.update(block)
    sha256 = digest.hexdigest()
    if head.startswith(b"\x93NUMPY"):
        return Arrays(file, sha256, {"": load_npy(file)})
    if head.startswith(b"PK\x03\x04"):
        return Arrays(file, sha256, load_npz(file))
    if head.startswith(b"SQLite format 3\0"):
        return open_database(file, sha256)
    if any(head.startswith(magic, offset) for offset, magic in _PICTURES):
        picture = decode_picture(read_bytes(file), file)
        return Footage(file, sha256, 1, lambda wanted: itertools.repeat(picture, len(wanted)), still=True)
    for offset, magic, demuxer in _CONTAINERS:
        if head.startswith(magic, offset):
            return open_video(file, sha256, demuxer)
    raise ClipError(f"{file} is no video, picture, NumPy array or frame database that can be read; convert it to .mp4")
