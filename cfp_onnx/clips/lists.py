"""Several clips at once: files, folders of clips, and lists of clips with their classes."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfp_onnx.clips.manifest import SUFFIX, read_manifest
from cfp_onnx.clips.names import is_clip, is_list, is_picture, natural_path
from cfp_onnx.errors import ClipError, UsageError


@dataclass(frozen=True)
class Listed:
    """One clip of several.

    Attributes:
        file: Its path.
        target: Class index or label, where one is given; a list's is text, read as a label where there is such a label.
    """

    file: str
    target: int | str | None = None


def clips_in(sources: Iterable[str | os.PathLike[str] | Listed], *, pictures: bool = False) -> list[Listed]:
    """Returns every clip that the sources hold, in the order given; what is in a folder, in natural order.

    A folder of pictures is one clip; any other folder holds clips and folders of pictures. A text
    file is a list of clips, whose paths are relative to it; a Parquet file is a manifest, whose clips without a
    problem are taken whole.

    Args:
        sources: Files, folders and lists.
        pictures: Whether each picture is a clip of its own, as a network without time takes them.

    Raises:
        ClipError: If a folder or a list holds no clip, or a file is not there.
        UsageError: If a list cannot be read.
    """
    out: list[Listed] = []
    for source in sources:
        if isinstance(source, Listed):
            out.append(source)
            continue
        path = Path(source)
        if path.is_dir():
            out += _folder(path, pictures=pictures)
        elif is_list(path):
            out += _list(path)
        elif path.suffix.lower() == SUFFIX:
            out += _manifest(path)
        else:
            out.append(Listed(str(source)))
    return out


def _folder(path: Path, *, pictures: bool) -> list[Listed]:
    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
    found = [p for p in inside if p.is_file() and is_clip(p)]
    if pictures:
        found += [p for p in inside if p.is_file() and is_picture(p)]
    else:
        found += [p for p in inside if p.is_dir() and _has_pictures(p)]
        if not found and _has_pictures(path):
            return [Listed(str(path))]
    if not found:
        raise ClipError(f"{path}: the folder holds no clip; give files, or a folder with videos, arrays or frames")
    return [Listed(str(p)) for p in sorted(found, key=natural_path)]


def _manifest(path: Path) -> list[Listed]:
    found = read_manifest(path)
    if not found.usable:
        raise ClipError(f"{path}: no clip of the manifest can be used; its column problem says why")
    part = next((row for row in found.usable if row.start is not None or row.stop is not None), None)
    if part is not None:
        raise UsageError(f"{path}: {part.id} is a part of a longer video, and only whole clips can be taken here")
    return [Listed(found.place(row), row.label) for row in found.usable]


def _has_pictures(path: Path) -> bool:
    return any(is_picture(p) for p in path.iterdir() if p.is_file())


def _list(path: Path) -> list[Listed]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list {path}: {getattr(error, 'strerror', None) or error}") from error
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [_row(row, path) for row in rows]
    if not found:
        raise ClipError(f"{path}: the list names no clip; write one a line, its class behind it")
    return found


def _row(line: str, path: Path) -> Listed:
    if os.path.exists(path.parent / line.strip()):  # noqa: PTH110 - Path.exists raises for a line that can be no path
        return Listed(str(path.parent / line.strip()))
    separator = "\t" if "\t" in line else "," if "," in line else " "
    fields: Sequence[str] = next(csv.reader([line.strip()], delimiter=separator))
    if separator == " " and len(fields) > 2:  # a name with blanks: the last word is the class
        fields = [" ".join(fields[:-1]), fields[-1]]
    if len(fields) > 2 or not fields[0].strip():
        raise UsageError(f"{path}: cannot read {line.strip()[:80]!r}; write a clip and its class, separated by a comma")
    target = fields[1].strip() if len(fields) == 2 else ""
    return Listed(str(path.parent / fields[0].strip()), target or None)


__all__ = ["Listed", "clips_in"]
