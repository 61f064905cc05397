"""Which reader opens a source.

A file's first bytes decide, never its name: FFmpeg would follow a playlist that calls itself a video to any other file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cfp_onnx.clips.clip import Source
from cfp_onnx.clips.names import natural_path
from cfp_onnx.clips.sources.arrays import open_arrays, open_npy, open_npz
from cfp_onnx.clips.sources.database import open_database
from cfp_onnx.clips.sources.opened import Arrays, Frames
from cfp_onnx.clips.sources.pictures import open_folder, open_pattern, open_picture
from cfp_onnx.clips.sources.regular_file import open_regular
from cfp_onnx.clips.sources.tar import open_tar
from cfp_onnx.clips.sources.video import open_video
from cfp_onnx.errors import ClipError

_PICTURES = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG"),
    (0, b"BM"),
    (8, b"WEBP"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"P5"),
    (0, b"P6"),
)
"""Offset and bytes that mark a picture."""

_VIDEOS = (
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

_READERS: tuple[tuple[int, bytes, Callable[[str, str], Frames | Arrays]], ...] = (
    (0, b"\x93NUMPY", open_npy),
    (0, b"PK\x03\x04", open_npz),
    (0, b"SQLite format 3\0", open_database),
    (257, b"ustar", open_tar),
    *((offset, mark, open_picture) for offset, mark in _PICTURES),
    *((offset, mark, partial(open_video, demuxer=demuxer)) for offset, mark, demuxer in _VIDEOS),
)
"""Offset and bytes that mark a kind of file, with its reader, which takes the path and the SHA-256; the first wins."""

_HEAD = 512
"""Bytes of a file that the marks are looked for in."""


def open_source(source: Source) -> Frames | Arrays:
    """Opens a source: an array, arrays by name, or a path to a file, a folder or a pattern of frames.

    Raises:
        ClipError: There is no such source, or it cannot be read.
        LimitError: It is too large.
    """
    if isinstance(source, np.ndarray):
        return open_arrays({"": source})
    if isinstance(source, Mapping):
        return open_arrays({str(name): np.asarray(array) for name, array in source.items()})
    file = os.fspath(source)
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116  (Path() would drop what an odd name holds)
    except (OSError, ValueError) as error:
        return open_pattern(file, error)
    if stat.S_ISDIR(mode):
        return open_folder(file, sorted(Path(file).iterdir(), key=natural_path))
    return _open_file(file)


def _open_file(file: str) -> Frames | Arrays:
    """Hashes a file and hands it to the reader of its kind."""
    with open_regular(file) as stream:
        head = stream.read(_HEAD)
        digest = hashlib.sha256(head)
        for block in iter(lambda: stream.read(2**20), b""):
            digest.update(block)
    for offset, mark, reader in _READERS:
        if head.startswith(mark, offset):
            return reader(file, digest.hexdigest())
    raise ClipError(f"{file} is no video, picture, NumPy array or frame database that can be read; convert it to .mp4")
