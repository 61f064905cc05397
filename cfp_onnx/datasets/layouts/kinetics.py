"""Kinetics: a CSV with label, youtube_id, time_start and time_end; videos by id and times, in class folders or flat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, manifest_of, media_of, named_file, names_of, table_of
from cfp_onnx.errors import UsageError

_NEEDED = ("youtube_id", "time_start", "time_end")
_FOLDERS = ("annotations", "labels", "csv")


def read(asked: Asked) -> Manifest:
    """The clips of the CSV files of a folder, or of the one named.

    Raises:
        UsageError: If there is no such CSV.
    """
    places = [asked.root, *(asked.root / name for name in _FOLDERS)]
    known = {p: t for place in places if place.is_dir() for p in sorted(place.glob("*.csv")) if (t := _table(p))}
    if asked.split is not None:
        wanted = {p: t for p, t in known.items() if asked.split in {p.name, p.stem, *(r.get("split") for r in t)}}
        if not wanted:
            path = named_file(asked, places)
            wanted = {path: _table(path)}
    else:
        wanted = known
    if not any(wanted.values()):
        raise UsageError(f"{asked.root} has no CSV with the columns {', '.join(_NEEDED)}; name one with --split")
    names, said = _names(asked, known, wanted)
    homes = [p for p in (asked.root, *(q for q in asked.root.iterdir() if q.is_dir())) if p not in places[1:]]
    rows = [
        row
        for path, table in wanted.items()
        for row in _rows(path, table, asked, homes, names)
        if asked.split is None or asked.split in {path.name, path.stem, str(path), row.split}
    ]
    return manifest_of("kinetics", asked, rows, names, said)


def _table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV of this layout; none of another one."""
    table = table_of(path)
    return table if table and all(c in table[0] for c in _NEEDED) else []


def _names(
    asked: Asked, known: Mapping[Path, Sequence[Mapping[str, str]]], wanted: Mapping[Path, Sequence[Mapping[str, str]]]
) -> tuple[list[str] | None, str | None]:
    """Names of the classes: sorted train labels, else those of what is read."""
    if asked.labels is not None:
        return list(names_of(asked.labels)), asked.labels.name
    train = [r for p, t in known.items() for r in t if r.get("split") == "train" or "train" in p.stem]
    for rows, said in (
        (train, "the labels of the training rows, sorted"),
        ([r for t in wanted.values() for r in t], "the labels of these rows, sorted: there are no training rows"),
    ):
        names = sorted({r["label"] for r in rows if r.get("label")})
        if names:
            return names, said
    return None, None


def _rows(
    path: Path, table: Sequence[Mapping[str, str]], asked: Asked, homes: Sequence[Path], names: Sequence[str] | None
) -> Iterator[Row]:
    part = next((p for p in ("train", "val", "test", "replacement") if p in path.stem), None)
    number = {name: k for k, name in enumerate(names or ())}
    for line in table:
        name = line.get("label") or None
        try:
            stem = f"{line['youtube_id']}_{int(float(line['time_start'])):06d}_{int(float(line['time_end'])):06d}"
        except ValueError:
            yield Row(
                line["youtube_id"], line["youtube_id"], name=name, split=part,
                problem=f"{path.name}: {line['time_start']!r} to {line['time_end']!r} are no times",
            )  # fmt: skip
            continue
        found = _found(homes, name, stem, line["youtube_id"])
        label = number.get(name or "")
        problem = None
        if name is not None and label is None:
            problem = f"its label {name!r} is not among the names of the classes"
        yield Row(
            stem, below(asked.root, found or asked.root / (name or "") / f"{stem}.mp4"), label=label, name=name,
            split=line.get("split") or part, group=line["youtube_id"], problem=problem,
        )  # fmt: skip


def _found(homes: Sequence[Path], name: str | None, stem: str, key: str) -> Path | None:
    """The video of a row: below each folder in the class's folder or flat, with its times or the id alone."""
    folders = [""] if name is None else [name, name.replace(" ", "_"), ""]
    for spelled in (stem, key):
        for home in homes:
            for folder in folders:
                found = media_of(home / folder / spelled)
                if found is not None:
                    return found
    return None


__all__ = ["read"]
