"""HMDB-51: a class stands in the name of its split file only; behind each video 0 (unused), 1 (train) or 2 (test)."""

from __future__ import annotations

import re
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, first_folder, lines_of, manifest_of, media_of, names_of
from cfp_onnx.errors import UsageError

_FILE = re.compile(r"(.+)_test_split([1-3])\.txt")
PARTS = {"0": "unused", "1": "train", "2": "test"}


def read(asked: Asked) -> Manifest:
    """The clips of one of the three splits (the first by default).

    Raises:
        UsageError: If there is no split file.
    """
    texts = first_folder(asked.root, "testTrainMulti_7030_splits", "test_train_splits", "splits")
    videos = first_folder(asked.root, "videos", "hmdb51_org", "rawframes")
    number = asked.split or "1"
    files = [(p, m[1]) for p in sorted(texts.glob("*.txt")) if (m := _FILE.fullmatch(p.name)) and m[2] == number]
    if not files:
        raise UsageError(f"{texts} has no file <class>_test_split{number}.txt; --split takes 1, 2 or 3")
    names, said = tuple(sorted(name for _, name in files)), "the names of the split files, sorted"
    if asked.labels is not None:
        names, said = names_of(asked.labels), asked.labels.name
    rows = [row for path, name in files for row in _rows(path, name, asked.root, videos, names)]
    return manifest_of("hmdb51", asked, rows, names, said)


def _rows(path: Path, name: str, root: Path, videos: Path, names: tuple[str, ...]) -> list[Row]:
    rows = []
    label = names.index(name) if name in names else None
    for line in lines_of(path):
        file, _, flag = line.rpartition(" ")
        part = PARTS.get(flag.strip())
        stem = Path(file.strip()).stem
        found = media_of(videos / name / stem) or videos / name / file.strip()
        problem = f"{path.name} has {flag!r} behind it, and not 0, 1 or 2" if part is None else None
        if label is None:
            problem = f"its class {name!r} is not among the names of the classes"
        rows.append(Row(f"{name}/{stem}", below(root, found), label=label, name=name, split=part, problem=problem))
    return rows


__all__ = ["read"]
