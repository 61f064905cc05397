"""Frame databases, one SQLite file for each clip, in class folders."""

from __future__ import annotations

from dataclasses import replace

from cfp_onnx.clips.manifest import Manifest
from cfp_onnx.datasets.layouts import folder
from cfp_onnx.datasets.layouts.tree import Asked
from cfp_onnx.errors import UsageError

SUFFIXES = (".db", ".sqlite", ".sqlite3")


def read(asked: Asked) -> Manifest:
    """The folder layout, databases alone.

    Raises:
        UsageError: If there is none.
    """
    found = folder.read(asked)
    rows = tuple(row for row in found.rows if row.path.lower().endswith(SUFFIXES))
    if not rows:
        raise UsageError(f"{asked.root} holds no frame database ({', '.join(SUFFIXES)}) in its class folders")
    return replace(found, dataset="database", rows=rows)


__all__ = ["read"]
