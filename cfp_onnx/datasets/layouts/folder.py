"""One folder for each class, with videos, arrays or folders of frames; classes in the order of their names."""

from __future__ import annotations

from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, classes_in, clips_below, manifest_of, names_of

SPLITS = ("train", "val", "valid", "validation", "test")
"""Folders above the classes' that are parts of a data set."""


def read(asked: Asked) -> Manifest:
    """The clips of a folder; folders that are called as parts of a data set are its parts."""
    folders = classes_in(asked.root)
    parts = [f for f in folders if f.name.lower() in SPLITS]
    if parts and len(parts) == len(folders):
        wanted = [p for p in parts if asked.split in {None, p.name}]
        homes: list[tuple[str | None, Path]] = [(p.name, p) for p in wanted]
    else:
        homes = [(None, asked.root)]
    names = sorted({c.name for _, home in homes for c in classes_in(home)})
    known, said = names, "the names of the folders, sorted"
    if asked.labels is not None:
        known, said = list(names_of(asked.labels)), str(asked.labels.name)
    number = {name: k for k, name in enumerate(known)}
    rows = [
        row_of(asked.root, clip, folder.name, number.get(folder.name), split)
        for split, home in homes
        for folder in classes_in(home)
        for clip in clips_below(folder)
    ]
    return manifest_of("folder", asked, rows, known, said)


def row_of(root: Path, clip: Path, name: str, label: int | None, split: str | None) -> Row:
    """The row of one clip in its class's folder."""
    path = below(root, clip)
    problem = None if label is not None else f"its folder {name!r} is not among the names of the classes"
    return Row(path, path, label=label, name=name, split=split, problem=problem)


__all__ = ["read", "row_of"]
