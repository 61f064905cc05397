"""What the readers of layouts share: the files of a data set, its texts, and whether a clip is there."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.clips.names import CLIP_SUFFIXES, is_clip, is_picture, natural_path
from cfp_onnx.errors import UsageError

TAR = ".tar"
"""Suffix of an archive of frames."""


@dataclass(frozen=True)
class Asked:
    """Where a data set lies, and which part of it is wanted.

    Attributes:
        root: Its folder; of a layout that is one file, that file or its folder.
        split: A file of the data set that lists a part of it, or the part's name or number; None for all.
        labels: A file with the names of the classes; None for the data set's own.
        task: Of several tasks the one whose classes are taken.
    """

    root: Path
    split: str | None = None
    labels: Path | None = None
    task: str | None = None


def text_of(path: Path) -> str:
    """The text of one of a data set's own files.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def lines_of(path: Path) -> list[str]:
    """The lines of a text that say something."""
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def table_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV with a heading, by column; blanks around names and values are left out.

    Raises:
        UsageError: If it cannot be read, or a row has more values than the heading has names.
    """
    reader = csv.DictReader(io.StringIO(text_of(path)), skipinitialspace=True)
    rows = []
    for row in reader:
        if None in row:
            raise UsageError(f"{path}, line {reader.line_num}: more values than the heading has names; quote commas")
        rows.append({(k or "").strip(): (v or "").strip() for k, v in row.items()})
    return rows


def named_file(asked: Asked, folders: Iterable[Path]) -> Path:
    """The file that `Asked.split` names: as a path, or in one of some folders.

    Raises:
        UsageError: If there is none.
    """
    name = asked.split or ""
    for place in (Path(name), *(folder / name for folder in folders)):
        if place.is_file():
            return place
    raise UsageError(f"there is no file {name!r}, neither here nor below {asked.root}")


def first_folder(root: Path, *names: str) -> Path:
    """The first of some folders below a root that is there; the root itself if none is."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def media_of(stem: Path) -> Path | None:
    """What lies under a name without suffix: a video, a folder of frames or a tar of them; None for nothing."""
    if stem.is_dir() and any(is_picture(p) for p in stem.iterdir()):
        return stem
    for suffix in (*sorted(CLIP_SUFFIXES), TAR):
        for spelled in (suffix, suffix.upper()):
            found = stem.with_name(stem.name + spelled)
            if found.is_file():
                return found
    return stem if stem.is_dir() else None


def problem_of(path: Path) -> str | None:
    """Why a clip cannot be used, as far as it can be told without opening it; None where nothing is wrong."""
    try:
        if path.is_dir():
            found = [p for p in path.iterdir() if is_picture(p)]
            return None if found else "the folder holds no frames"
        if not path.exists():
            return "it is not there"
        if not os.access(path, os.R_OK):
            return "it may not be read"
        return "the file is empty" if not path.stat().st_size else None
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def below(root: Path, path: Path) -> str:
    """A path as a row names it: relative to the root with ``/`` between, or as it is if it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path.resolve())


def classes_in(root: Path) -> list[Path]:
    """The folders of a root in the order of their names, which numbers the classes.

    Raises:
        UsageError: If the root is no folder, or has none in it.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; give the folder of the data set")
    found = sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)
    if not found:
        raise UsageError(f"{root} holds no folders; this layout has one for each class")
    return found


def clips_below(folder: Path) -> list[Path]:
    """The clips of a class's folder in natural order: videos, arrays, databases, tars and folders."""
    inside = (p for p in folder.iterdir() if not p.name.startswith("."))
    found = [p for p in inside if p.is_dir() or is_clip(p) or p.suffix.lower() == TAR]
    return sorted(found, key=natural_path)


def names_of(path: Path) -> tuple[str, ...]:
    """Names of classes by number, from a file of the user's or the data set's own: one a line, or number and name.

    Numbers may begin at 0 or 1.

    Raises:
        UsageError: If numbers are missing or there twice.
    """
    rows = [_numbered(line) for line in lines_of(path)]
    numbers = [number for number, _ in rows]
    if any(n is None for n in numbers):
        return tuple(line for line in lines_of(path))
    known = {int(n): name for n, name in rows if n is not None}
    first = min(known, default=0)
    if len(known) != len(rows) or first not in {0, 1} or sorted(known) != list(range(first, first + len(known))):
        raise UsageError(f"{path}: the numbers of the classes must run from 0 or 1 without a gap, each once")
    return tuple(known[n] for n in sorted(known))


def _numbered(line: str) -> tuple[int | None, str]:
    """A line as number and name, whichever comes first."""
    parts = line.replace(",", " ").replace("\t", " ").split(" ")
    parts = [p for p in parts if p]
    if len(parts) > 1 and parts[0].isdigit():
        return int(parts[0]), " ".join(parts[1:])
    if len(parts) > 1 and parts[-1].isdigit():
        return int(parts[-1]), " ".join(parts[:-1])
    return None, line


def checked(root: Path, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows with what is wrong with each clip; of an id that comes twice the later one is renamed, and has a problem.

    Args:
        root: The data set's folder.
        rows: Rows as the data set lists them.
    """
    found, seen = [], Counter[str]()
    for row in rows:
        seen[row.id] += 1
        again = seen[row.id] > 1
        problem = f"{row.id} is listed twice" if again else row.problem or problem_of(root / row.path)
        found.append(replace(row, id=f"{row.id}#{seen[row.id]}" if again else row.id, problem=problem))
    return tuple(found)


def manifest_of(
    dataset: str,
    asked: Asked,
    rows: Sequence[Row],
    labels: Sequence[str] | None,
    labels_from: str | None,
    *,
    root: Path | None = None,
    task: str | None = None,
    head_labels: Mapping[str, Sequence[str]] | None = None,
) -> Manifest:
    """The manifest of rows, each checked.

    Raises:
        UsageError: If there are no rows.
    """
    if not rows:
        raise UsageError(f"{asked.root} lists no clip of the layout {dataset}; see `cfp-onnx manifest --help`")
    home = root or asked.root
    return Manifest(
        dataset, str(home.resolve()), checked(home, rows), None if labels is None else tuple(labels), labels_from, task,
        {k: tuple(v) for k, v in (head_labels or {}).items()},
    )  # fmt: skip


__all__ = [
    "TAR", "Asked", "below", "checked", "classes_in", "clips_below", "first_folder", "lines_of", "manifest_of",
    "media_of", "named_file", "names_of", "problem_of", "table_of", "text_of",
]  # fmt: skip
