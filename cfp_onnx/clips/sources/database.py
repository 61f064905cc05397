"""Frame databases: SQLite files with JPEG blobs in the table Images(ObjId, frames)."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from cfp_onnx.clips.names import natural_order
from cfp_onnx.clips.sources.decode import decode_frames
from cfp_onnx.clips.sources.opened import Frames
from cfp_onnx.errors import ClipError

BLOB_LIMIT = 2**26
"""Most bytes one value of a frame database may have; a generated column could make them of any size."""


@contextlib.contextmanager
def _database(file: str) -> Iterator[sqlite3.Connection]:
    """Opens a database for reading alone: no writing, attaching or recursion, and no huge values."""
    uri = f"file:{urllib.parse.quote(str(Path(file).resolve()))}?mode=ro&immutable=1"
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BLOB_LIMIT)
            connection.set_authorizer(
                lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
            )
            yield connection
    except sqlite3.Error as error:
        raise ClipError(
            f"{file} is no frame database that can be read ({error}); it needs a table Images(ObjId, frames)"
        ) from error


def open_database(file: str, sha256: str) -> Frames:
    """Reads the JPEG blobs of ``Images(ObjId, frames)`` in the order of ObjId: numbers first, then text naturally.

    Raises:
        ClipError: It is damaged, has no such table or no frame, or an ObjId is missing or there twice.
    """
    with _database(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "images" not in [str(name).lower() for name in tables]:
            raise ClipError(f"{file} has no table Images(ObjId, frames); write the frames there as JPEG")
        ids = [row[0] for row in connection.execute("SELECT ObjId FROM Images")]
    if not ids:
        raise ClipError(f"{file} holds no frames; fill its table Images(ObjId, frames)")
    if len(set(ids)) != len(ids) or not all(isinstance(i, (int, str)) for i in ids):
        raise ClipError(f"{file} must have one whole number or text per frame as ObjId, each once")
    ids.sort(key=lambda i: (False, i) if isinstance(i, int) else (True, natural_order(i)))

    def named(wanted: Sequence[int]) -> Iterator[tuple[str, bytes]]:
        with _database(file) as connection:
            for i in wanted:
                row = connection.execute("SELECT frames FROM Images WHERE ObjId = ?", (ids[i],)).fetchone()
                if row is None or not isinstance(row[0], bytes):
                    raise ClipError(f"frame {ids[i]!r} of {file} is no JPEG blob; write the encoded bytes")
                yield f"frame {ids[i]!r} of {file}", row[0]

    return Frames(file, sha256, len(ids), lambda wanted: decode_frames(named(wanted)))
