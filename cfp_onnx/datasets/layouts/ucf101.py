"""UCF-101: classInd.txt counts from 1, trainlist names class numbers, testlist names files alone."""

from __future__ import annotations

import re
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import (
    Asked,
    below,
    classes_in,
    clips_below,
    first_folder,
    lines_of,
    manifest_of,
    media_of,
    named_file,
    names_of,
)  # fmt: skip
from cfp_onnx.errors import UsageError

_LIST = re.compile(r"(train|test)list(0?[1-3])\.txt")
_GROUP = re.compile(r"_g(\d+)_c\d+$")


def read(asked: Asked) -> Manifest:
    """The clips of one of the three splits (the first by default), both parts of it."""
    texts = first_folder(asked.root, "ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")
    videos = first_folder(asked.root, "UCF-101", "UCF101", "videos", "rawframes")
    own = asked.labels or texts / "classInd.txt"
    if own.is_file():
        names, said = names_of(own), own.name
    else:
        names, said = tuple(c.name for c in classes_in(videos)), "the names of the class folders, sorted"
    rows = [row for path in _lists(asked, texts) for row in _rows(path, asked.root, videos, names)]
    if not rows:  # without lists every video is a clip
        rows = [
            _row(asked.root, clip, f"{c.name}/{clip.stem}", c.name, names, None)
            for c in classes_in(videos)
            for clip in clips_below(c)
        ]
    return manifest_of("ucf101", asked, rows, names, said)


def _lists(asked: Asked, texts: Path) -> list[Path]:
    """The lists of the split asked for."""
    if asked.split is None or asked.split.isdigit():
        number = int(asked.split or 1)
        found = [p for p in sorted(texts.glob("*list*.txt")) if (m := _LIST.fullmatch(p.name)) and int(m[2]) == number]
        if asked.split is not None and not found:
            raise UsageError(f"{texts} has no lists of split {asked.split}; there are 1, 2 and 3")
        return found
    return [named_file(asked, (texts, asked.root))]


def _rows(path: Path, root: Path, videos: Path, names: tuple[str, ...]) -> list[Row]:
    part = "train" if "train" in path.name else "test" if "test" in path.name else path.stem
    rows = []
    for line in lines_of(path):
        file, _, number = line.partition(" ")
        folder, _, name = file.rpartition("/")
        stem = Path(name).stem
        found = media_of(videos / folder / stem) or videos / file
        row = _row(root, found, f"{folder}/{stem}", folder, names, part)
        if number.strip():
            told = int(number) - 1 if number.strip().isdigit() else -1
            if told != row.label:
                row = Row(
                    row.id, row.path, name=folder, split=part, group=row.group,
                    problem=f"{path.name} says class {number.strip()}, which is not that of its folder {folder!r}",
                )  # fmt: skip
        rows.append(row)
    return rows


def _row(root: Path, clip: Path, name: str, folder: str, names: tuple[str, ...], split: str | None) -> Row:
    group = _GROUP.search(name)
    label = names.index(folder) if folder in names else None
    return Row(
        name, below(root, clip), label=label, name=folder, split=split,
        group=None if group is None else f"{folder}/g{group[1]}",
        problem=None if label is not None else f"its folder {folder!r} is not among the names of the classes",
    )  # fmt: skip


__all__ = ["read"]
