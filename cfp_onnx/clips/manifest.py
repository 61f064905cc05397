"""Manifests: the clips of a data set with their classes, one row each, as a Parquet file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.files.whole import write_bytes
from cfp_onnx.text import first_line

SCHEMA = "cfp-onnx/manifest"
VERSION = 1
SUFFIX = ".parquet"

_KEY = b"cfp_onnx.manifest"


@dataclass(frozen=True)
class Row:
    """One clip of a data set.

    Attributes:
        id: Its name within the data set; no two rows share one.
        path: Where it lies: below the manifest's root with ``/`` between, or an absolute path or a URL.
        start: Where it begins in what lies there: the number of its first frame, from 0, or seconds; None for the
            beginning.
        stop: Where it ends: the number of the first frame behind it, or seconds; None for the end.
        unit: ``frames`` or ``seconds`` of `start` and `stop`; None where there are none.
        label: Number of its class, from 0; None where it is not known.
        name: Name of its class.
        split: The part of the data set that it belongs to, such as ``train``, as the data set calls it.
        group: What it shares with other clips and not with the class: a person, a video, a scene.
        heads: Numbers of its classes in further tasks, by the task's name.
        problem: Why it cannot be used, in words; such a row is kept and never run.
    """

    id: str
    path: str
    start: float | None = None
    stop: float | None = None
    unit: str | None = None
    label: int | None = None
    name: str | None = None
    split: str | None = None
    group: str | None = None
    heads: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    def preprocess(self, base: Preprocess, frames_per_second: float | None = None) -> Preprocess:
        """How its frames become an input: `base`, within the clip's own frames.

        Args:
            base: Preprocessing of the whole data set.
            frames_per_second: Of the video, where the row counts seconds.

        Raises:
            ClipError: If the row counts seconds and the video does not say how many frames make one, or nothing is
                left between its start and its stop.
        """
        if self.start is None and self.stop is None:
            return base
        scale = 1.0
        if self.unit == "seconds":
            if not frames_per_second or frames_per_second <= 0:
                raise ClipError(
                    f"{self.id}: the row counts seconds, and {self.path} does not say its frames per second"
                )
            scale = frames_per_second
        start = max(base.start, round((self.start or 0.0) * scale))
        stop = base.end if self.stop is None else round(self.stop * scale)
        stop = stop if base.end is None or stop is None else min(stop, base.end)
        if stop is not None and stop <= start:
            raise ClipError(f"{self.id}: no frame lies between its start {self.start} and its stop {self.stop}")
        return replace(base, start=start, end=stop)


@dataclass(frozen=True)
class Manifest:
    """The clips of a data set.

    Attributes:
        dataset: What kind of data set it was read from.
        root: The folder that paths are relative to.
        rows: The clips, in the data set's own order.
        labels: Names of the classes, by number; None where none are known.
        labels_from: Where the names come from, in words.
        task: Whose classes `Row.label` counts, where the data set has several tasks.
        head_labels: Names of the classes of each task, by the task's name.
    """

    dataset: str
    root: str
    rows: tuple[Row, ...]
    labels: tuple[str, ...] | None = None
    labels_from: str | None = None
    task: str | None = None
    head_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def usable(self) -> tuple[Row, ...]:
        """The rows without a problem."""
        return tuple(row for row in self.rows if row.problem is None)

    def place(self, row: Row) -> str:
        """Where a row's clip lies: a path, or a URL."""
        if "://" in row.path or os.path.isabs(row.path):  # noqa: PTH117 - a URL is no path
            return row.path
        return f"{self.root.rstrip('/')}/{row.path}" if "://" in self.root else str(Path(self.root) / row.path)


def parquet() -> tuple[ModuleType, ModuleType]:
    """The modules of pyarrow and of its Parquet files.

    Raises:
        UsageError: If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("manifests are Parquet files; install cfp-onnx with the extra [datasets]") from error
    return pa, pq


_COLUMNS = ("id", "path", "start", "stop", "unit", "label", "name", "split", "group", "problem")


def write_manifest(manifest: Manifest, path: str | os.PathLike[str]) -> Path:
    """Write a manifest, whole or not at all.

    Args:
        manifest: The rows.
        path: Where to.

    Raises:
        UsageError: If pyarrow is not installed, or two rows share an id.
        OutputError: If the file cannot be written.
    """
    pa, pq = parquet()
    _refuse_twins(manifest.rows, path)
    heads = [json.dumps(dict(row.heads), sort_keys=True) if row.heads else None for row in manifest.rows]
    kinds = {"start": pa.float64(), "stop": pa.float64(), "label": pa.int64()}
    columns = {c: pa.array([getattr(r, c) for r in manifest.rows], kinds.get(c, pa.string())) for c in _COLUMNS}
    columns["heads"] = pa.array(heads, pa.string())
    said = {
        "schema": SCHEMA, "schema_version": VERSION, "dataset": manifest.dataset, "root": manifest.root,
        "labels": manifest.labels, "labels_from": manifest.labels_from, "task": manifest.task,
        "head_labels": {k: list(v) for k, v in manifest.head_labels.items()},
    }  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(said).encode("utf-8")})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return write_bytes(Path(path), buffer.getvalue())


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest.

    Args:
        path: A file that `write_manifest` made.

    Raises:
        UsageError: If pyarrow is not installed, or the file is no manifest, or one of another version.
    """
    pa, pq = parquet()
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"cannot read the manifest {path}: {first_line(error)}; make it with cfp-onnx manifest"
        ) from error
    said = _header(table.schema.metadata or {}, path)
    missing = [c for c in (*_COLUMNS, "heads") if c not in table.column_names]
    if missing:
        raise UsageError(f"{path} lacks the column {missing[0]!r}; make it again with cfp-onnx manifest")
    rows = []
    for values in table.to_pylist():
        heads = json.loads(values.pop("heads") or "{}")
        rows.append(Row(**{c: values[c] for c in _COLUMNS}, heads=heads))
    _refuse_twins(rows, path)
    return Manifest(
        str(said["dataset"]), str(said["root"]), tuple(rows), None if said["labels"] is None else tuple(said["labels"]),
        said["labels_from"], said["task"], {k: tuple(v) for k, v in said["head_labels"].items()},
    )  # fmt: skip


def _header(metadata: Mapping[bytes, bytes], path: str | os.PathLike[str]) -> dict[str, Any]:
    """What stands beside the rows."""
    text = metadata.get(_KEY)
    said = None if text is None else json.loads(text)
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise UsageError(f"{path} is a Parquet file but no manifest; make one with cfp-onnx manifest")
    if said.get("schema_version") != VERSION:
        raise UsageError(
            f"{path} is a manifest of version {said.get('schema_version')}, and this program reads version {VERSION}; "
            "make it again with cfp-onnx manifest"
        )
    return said


def _refuse_twins(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UsageError(f"{path}: two rows have the id {row.id!r}; each clip needs its own")
        seen.add(row.id)


__all__ = ["SUFFIX", "Manifest", "Row", "parquet", "read_manifest", "write_manifest"]
