"""EGTEA Gaze+: train_split1.txt with clip, action, verb and noun, from 1; cropped_clips/<video>/<clip>.mp4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import (
    Asked,
    below,
    first_folder,
    lines_of,
    manifest_of,
    media_of,
    named_file,
    names_of,
)  # fmt: skip
from cfp_onnx.errors import UsageError

TASKS = ("action", "verb", "noun")
"""In the order of the numbers of a line."""


def read(asked: Asked) -> Manifest:
    """The clips of one of the three splits (the first by default); by action unless another task is asked for.

    Raises:
        UsageError: If there is no list of clips.
    """
    task = asked.task or "action"
    texts = first_folder(asked.root, "action_annotation", "action_labels", "annotations")
    if asked.split is None or asked.split.isdigit():
        number = asked.split or "1"
        files = [p for part in ("train", "test") if (p := texts / f"{part}_split{number}.txt").is_file()]
    else:
        files = [named_file(asked, (texts, asked.root))]
    if not files:
        raise UsageError(f"{texts} has no train_split{asked.split or 1}.txt and no test_split; --split takes 1, 2 or 3")
    heads = {}
    for name in TASKS:
        path = asked.labels if name == task and asked.labels is not None else texts / f"{name}_idx.txt"
        if path.is_file():
            heads[name] = names_of(path)
    rows = [row for path in files for row in _rows(path, asked.root, task, heads)]
    said = f"{task}_idx.txt" if asked.labels is None else asked.labels.name
    return manifest_of(
        "egtea", asked, rows, heads.get(task), said if task in heads else None, task=task, head_labels=heads
    )


def _rows(path: Path, root: Path, task: str, heads: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    part = "train" if path.name.startswith("train") else "test"
    videos = first_folder(root, "cropped_clips", "clips")
    for line in lines_of(path):
        clip, *numbers = line.split()
        told = [int(n) - 1 for n in numbers[: len(TASKS)] if n.isdigit()]
        problem = None
        if len(told) < len(TASKS):
            problem = f"{path.name}: no numbers of action, verb and noun behind it"
        classes = dict(zip(TASKS, told, strict=False))
        for name, number in classes.items():
            if not 0 <= number < len(heads.get(name, range(number + 1))):
                problem = f"its {name} {number + 1} is not among the {len(heads[name])} of {name}_idx.txt"
        video = "-".join(clip.split("-")[:3])
        found = media_of(videos / video / clip) or media_of(videos / clip)
        label, names = classes.get(task), heads.get(task, ())
        yield Row(
            clip, below(root, found or videos / video / f"{clip}.mp4"), label=label,
            name=names[label] if label is not None and 0 <= label < len(names) else None, split=part,
            group=clip.split("-", maxsplit=1)[0], heads=classes, problem=problem,
        )  # fmt: skip


__all__ = ["read"]
