"""Regular files, read whole within a limit."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from cfp_onnx.errors import ClipError, LimitError

BYTE_LIMIT = 2**31
"""Most bytes one picture file, one archive or one array made for a network may have."""


@contextlib.contextmanager
def open_regular(file: str) -> Iterator[BinaryIO]:
    """Opens a regular file; a pipe or a device would block or never end.

    Raises:
        ClipError: It cannot be opened, is empty, or is no regular file.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ClipError(unreadable(file, error)) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ClipError(f"{file} is not a regular file; pass a file, a folder of frames or an array")
        if not status.st_size:
            raise ClipError(f"{file} is empty; pass another file")
        yield stream


def unreadable(file: str, error: Exception) -> str:
    """Returns the sentence for a path that the system cannot open."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"{file} cannot be read: {reason}; check the path"


def read_bytes(file: str) -> bytes:
    """Reads a whole regular file.

    Raises:
        ClipError: It cannot be opened, is empty, or is no regular file.
        LimitError: It has more than `BYTE_LIMIT` bytes.
    """
    with open_regular(file) as stream:
        data = stream.read(BYTE_LIMIT + 1)
    if len(data) > BYTE_LIMIT:
        raise LimitError(f"{file} is larger than {BYTE_LIMIT} bytes; pass a smaller file")
    return data
