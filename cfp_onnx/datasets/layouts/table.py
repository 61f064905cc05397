"""A CSV with a heading: ``path``, and of id, label, name, split, group, start, stop and unit what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, manifest_of, named_file, names_of, table_of
from cfp_onnx.errors import UsageError

_SPELLINGS = {
    "path": ("path", "file", "video", "clip", "filename", "video_path"),
    "label": ("label", "class", "target", "class_index", "label_index"),
    "name": ("name", "class_name", "label_name"),
    "split": ("split", "subset", "part"),
    "group": ("group", "person", "subject", "scene", "video_id"),
    "start": ("start", "start_frame", "start_time"),
    "stop": ("stop", "end", "stop_frame", "end_frame", "end_time"),
    "id": ("id", "clip_id", "uid"),
    "unit": ("unit",),
}
"""What a column is, to the headings that it may have."""


def read(asked: Asked) -> Manifest:
    """The clips of a CSV: ROOT itself, or the file that ``--split`` names; paths are relative to its folder.

    Starts and stops count frames from 0, the stop being the first behind, unless the column ``unit`` says ``seconds``
    or their heading ends in ``_time``.

    Raises:
        UsageError: If there is no CSV, or it has no column with paths.
    """
    if asked.root.is_file():
        path, root = asked.root, asked.root.parent
    elif asked.split is None:
        raise UsageError(f"{asked.root} is a folder; name its CSV with --split, or give the CSV itself")
    else:
        path, root = named_file(asked, (asked.root,)), asked.root
    table = table_of(path)
    heading = {c.lower(): c for c in (table[0] if table else {})}
    columns = {k: next((heading[n] for n in names if n in heading), "") for k, names in _SPELLINGS.items()}
    if not columns["path"]:
        raise UsageError(f"{path} has no column of paths; call one of them 'path'")
    names, said = _names(
        asked, [r.get(columns["label"], "") for r in table], [r.get(columns["name"], "") for r in table]
    )
    rows = [_row(root, n, row, columns, names) for n, row in enumerate(table, 2)]
    return manifest_of("csv", asked, rows, names, said, root=root)


def _names(asked: Asked, labels: Sequence[str], names: Sequence[str]) -> tuple[list[str] | None, str | None]:
    if asked.labels is not None:
        return list(names_of(asked.labels)), asked.labels.name
    words = {w for w in labels if w and not w.removeprefix("-").isdigit()}
    if words:
        return sorted(words), "the labels of the rows, sorted"
    pairs = {(int(n), w) for n, w in zip(labels, names, strict=True) if n.isdigit() and w}
    known = dict(sorted(pairs))
    if known and len(known) == len(pairs) and list(known) == list(range(len(known))):
        return list(known.values()), "the names beside the labels"
    return None, None


def _row(root: Path, line: int, row: Mapping[str, str], columns: Mapping[str, str], names: Sequence[str] | None) -> Row:
    said = {k: row.get(c, "") if c else "" for k, c in columns.items()}
    file, problem, label = said["path"], None, None
    text = said["label"]
    if text.removeprefix("-").isdigit():
        label = int(text) if int(text) >= 0 else None
        if label is not None and names is not None and label >= len(names):
            problem = f"its class {label} is not among the {len(names)} names of the classes"
    elif text:
        label = names.index(text) if names is not None and text in names else None
        problem = None if label is not None else f"its class {text!r} is not among the names of the classes"
    times = {}
    for end in ("start", "stop"):
        try:
            times[end] = float(said[end]) if said[end] else None
        except ValueError:
            times[end], problem = None, f"line {line}: its {end} {said[end]!r} is no number"
    if times["start"] is not None and times["stop"] is not None and times["stop"] <= times["start"]:
        problem = f"line {line}: it stops at {said['stop']}, before it starts at {said['start']}"
    seconds = said["unit"] == "seconds" or any(columns[end].lower().endswith("_time") for end in times)
    unit = None if times["start"] is None and times["stop"] is None else "seconds" if seconds else "frames"
    name = said["name"] or (names[label] if names is not None and label is not None and label < len(names) else None)
    path = below(root, root / file) if file else ""
    return Row(
        said["id"] or file or f"line {line}", path, times["start"], times["stop"], unit, label, name or None,
        said["split"] or None, said["group"] or None, problem=problem if file else f"line {line} has no path",
    )  # fmt: skip


__all__ = ["read"]
