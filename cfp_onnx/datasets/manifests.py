"""The public verb `manifest`: a data set as it lies on disk in, its clips as rows out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row, write_manifest
from cfp_onnx.clips.sources.choose import open_source
from cfp_onnx.datasets.layouts import read
from cfp_onnx.datasets.layouts.tree import Asked
from cfp_onnx.errors import CfpError, UsageError
from cfp_onnx.values import Progress, silent

SHOWN = 5
"""Clips with a problem that the text names, of each kind of problem."""


def manifest(
    layout: str,
    root: str | os.PathLike[str],
    *,
    split: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    verify: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """The clips of a data set, one row each.

    Args:
        layout: How it lies on disk: one of `cfp_onnx.datasets.layouts.LAYOUTS`.
        root: Its folder, or the list or CSV itself.
        split: A list of the data set's, or the name or number of a part; all by default.
        labels: A file with the names of the classes; the data set's own by default.
        task: verb, noun or action, where the data set has them.
        verify: Whether a frame of each clip is read; else it is only seen that it is there and not empty.
        output: Parquet file to write.
        progress: Told how far the work is.

    Returns:
        The manifest; what is wrong with a clip stands in its row's `problem`.

    Raises:
        UsageError: If there is no such layout, or the data set lacks what the layout needs.
        OutputError: If the file cannot be written.
    """
    place = Path(root)
    if not place.exists():
        raise UsageError(f"{place} is not there; give the folder of the data set")
    found = read(layout, Asked(place, split, None if labels is None else Path(labels), task))
    tell = progress or silent
    if verify:
        rows = []
        for n, row in enumerate(found.rows):
            tell("reading a frame of each clip", n, len(found.rows))
            rows.append(row if row.problem is not None else replace(row, problem=_decoded(found, row)))
        found = replace(found, rows=tuple(rows))
    if output is not None:
        write_manifest(found, output)
    return found


def _decoded(found: Manifest, row: Row) -> str | None:
    """Why no frame of a clip can be read; None where one can."""
    try:
        source = open_source(found.place(row))
        read_frames = getattr(source, "read", None)
        if read_frames is not None:
            next(iter(read_frames([int(row.start or 0) if row.unit == "frames" else 0])))
    except CfpError as error:
        return str(error)
    except (StopIteration, IndexError):
        return f"it has no frame {int(row.start or 0)}"
    return None


def manifest_text(found: Manifest) -> str:
    """What a manifest holds, for a terminal."""
    usable = found.usable
    classes = {row.label for row in usable if row.label is not None}
    lines = [f"{found.dataset}: {len(usable)} of {len(found.rows)} clips can be used"]
    known = "no names of classes" if found.labels is None else f"{len(found.labels)} names of classes"
    task = "" if found.task is None else f" of the task {found.task}"
    lines.append(
        f"  {len(classes)} classes with clips{task}, {known}"
        + (f", from {found.labels_from}" if found.labels_from else "")
    )
    parts = Counter(row.split or "no part" for row in usable)
    lines.append("  parts: " + ", ".join(f"{name} {n}" for name, n in sorted(parts.items())))
    without = sum(row.label is None for row in usable)
    if without:
        lines.append(f"  {without} clips have no label")
    wrong = [row for row in found.rows if row.problem is not None]
    for problem, n in Counter(str(row.problem) for row in wrong).most_common(10):
        some = [row.id for row in wrong if row.problem == problem][:SHOWN]
        more = f" and {n - len(some)} more" if n > len(some) else ""
        lines.append(f"  {n} cannot be used: {problem} ({', '.join(some)}{more})")
    others = len({row.problem for row in wrong}) - 10
    if others > 0:
        lines.append(f"  and {others} further kinds of problems; they stand in the manifest's column problem")
    return "\n".join(lines)


__all__ = ["manifest", "manifest_text"]
