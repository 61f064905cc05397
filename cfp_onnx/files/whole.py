"""Files are written whole or not at all: a killed run leaves the old file as it was."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfp_onnx.errors import OutputError


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file atomically; its folder is made where it is missing.

    Raises:
        OutputError: If the folder cannot be made or written to; nothing half-written stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"cannot write {named(path)}: it is a folder; give a file name")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".cfp-")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {named(path)}: {reason}; choose another place with -o") from error
    finally:
        if temporary is not None:  # an interrupt leaves nothing behind either
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 atomically; lone surrogates, as undecodable file names bring them, are escaped.

    Raises:
        OutputError: If the folder cannot be made or written to.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def append_text(path: Path, text: str) -> Path:
    """Add UTF-8 to the end of a file, which is made where it is missing.

    Raises:
        OutputError: If the folder cannot be made or the file cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {named(path)}: {reason}; choose another place") from error
    return path


def json_text(value: Mapping[str, Any]) -> str:
    """JSON with a line for each key, and for each item of a list of objects or lists.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot hold.
    """
    rows = (f"{_compact(key)}:{_value_text(item)}" for key, item in value.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _value_text(value: object) -> str:
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(map(_compact, value)) + "\n]"
    return _compact(value)


def _compact(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write JSON atomically.

    Raises:
        OutputError: If a number is NaN or infinite, which JSON cannot hold, or the folder cannot be made or written to.
    """
    try:
        text = json_text(value)
    except ValueError as error:
        raise OutputError(f"cannot write {named(path)}: the result holds NaN or infinity") from error
    return write_text(path, text)


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder that relative paths inside a file start from: its own; of a link, that of the file it points to."""
    file = Path(path)
    return (file.resolve() if file.is_symlink() else file).parent


def named(path: Path) -> str:
    """A path as text that every terminal can show."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


__all__ = ["append_text", "folder_of", "json_text", "named", "write_bytes", "write_json", "write_text"]
