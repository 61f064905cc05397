"""Class names from a file, and whether they are a model's own: one a class, or surely aligned with its classes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.label_files import Numbered, read_table

BACKGROUND = frozenset(
    {"background", "__background__", "_background_", "bg", "dummy", "__ignore__", "n/a", "none", "nothing"}
)
"""First names of a file that stand for no class where the file has one name more than the model classes."""

HEADER = frozenset({"name", "names", "label", "labels", "class", "classes", "class_name", "classname", "category"})
"""First lines of a file that are a heading where the file has one line more than the model classes."""


@dataclass(frozen=True, repr=False)
class LabelFile(Sequence[str]):
    """Class names as a file has them, in the order of their numbers.

    Attributes:
        file: Its path.
        names: The names; empty where a line is blank or a number is left out.
        first: The number of the first, where the file numbers them, else 0.
        numbered: Whether the file numbers them.
    """

    file: str
    names: tuple[str, ...]
    first: int = 0
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # no slices are taken of it
        return self.names[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def read_labels(path: str | os.PathLike[str]) -> LabelFile:
    """Class names from text (one a line, with or without numbers), CSV, YAML, or JSON in any usual form.

    Raises:
        UsageError: If it cannot be read; the message says which forms can.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read labels from {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read labels from {file}: {error}; save it as text in UTF-8") from error
    found = read_table(text, file)
    if not any(name for _, name in found.rows):
        raise UsageError(f"{file} holds no label; write one a line")
    if not found.numbered:
        return LabelFile(str(file), tuple(name for _, name in found.rows))
    return _by_number(found, file)


def _by_number(found: Numbered, file: Path) -> LabelFile:
    """The names at the places of their numbers; a number that is left out has no name."""
    numbers = [number for number, _ in found.rows]
    twice = next((n for n in numbers if numbers.count(n) > 1), None) if len(set(numbers)) < len(numbers) else None
    if twice is not None:
        raise UsageError(f"{file} names class {twice} twice; each number must stand once")
    first, last = min(numbers), max(numbers)
    if first < 0 or last - first >= 4 * len(numbers) + 100:
        raise UsageError(
            f"{file} numbers its {len(numbers)} labels {first} to {last}; number them from 0, without gaps"
        )
    start = min(first, 1)
    names = dict(found.rows)
    return LabelFile(str(file), tuple(names.get(n, "") for n in range(start, last + 1)), start, numbered=True)


def labels_beside(
    labels: Sequence[str] | None, count: int, among: Sequence[int] | None, model: object
) -> tuple[tuple[str, ...] | None, str | None]:
    """As `fitted_labels`, where only some of the numbers at each place are scores: the names may be of those alone.

    Args:
        labels: Names as they were given, or as a file has them.
        count: How many numbers there are at each place.
        among: Which of them are scores; None for all.
        model: The model's file, for the sentence.

    Raises:
        UsageError: As `fitted_labels` does.
    """
    if labels is None or among is None or len(labels) == count:
        return fitted_labels(labels, count, model)
    names, said = fitted_labels(labels, len(among), model)
    found = [f"value {i}" for i in range(count)]
    for i, name in zip(among, names or (), strict=True):
        found[i] = name
    fits = f"the {len(among)} labels name the scores of each box, from value {among[0]} of {count} on"
    return tuple(found), fits if said is None else f"{said}; {fits}"


def fitted_labels(
    labels: Sequence[str] | None, classes: int, model: object
) -> tuple[tuple[str, ...] | None, str | None]:
    """The names of a model's classes, and what was done to align them, where something was.

    Args:
        labels: Names as they were given, or as a file has them.
        classes: How many classes the model has.
        model: The model's file, for the sentence.

    Raises:
        UsageError: If there are more or fewer names than classes and nothing tells for certain which belongs to which.
    """
    if labels is None:
        return None, None
    names = tuple(labels)
    full = tuple(name for name in names if name)
    if classes == 1 and len(full) == 2:
        where = labels.file if isinstance(labels, LabelFile) else "what was given as labels"
        return full[1:], f"{where} has two names for one output: {full[1]!r} is a high value, {full[0]!r} a low one"
    if isinstance(labels, LabelFile) and labels.numbered:
        return _numbered(labels, classes, model)
    if len(names) == classes:
        return names, None
    if len(full) == classes:
        return full, None
    source = labels.file if isinstance(labels, LabelFile) else "what was given as labels"
    if len(full) == classes + 1 and full[0].lower().strip("<>[]") in BACKGROUND | HEADER:
        return full[1:], f"{source}: its first line, {full[0]!r}, names none of the model's {classes} classes"
    raise UsageError(f"{source} has {len(full)} labels, {model} has {classes} classes; {_reason(full, classes)}")


def _numbered(labels: LabelFile, classes: int, model: object) -> tuple[tuple[str, ...], str | None]:
    """Names that stand at their numbers: from 0, or from 1 where that leaves none over."""
    names = labels.names
    if len(names) == classes:
        return (
            names,
            None if labels.first == 0 else f"{labels.file} numbers the classes from 1; class 0 is {names[0]!r}",
        )
    if labels.first == 1 and len(names) + 1 == classes:
        return ("", *names), f"{labels.file} numbers the classes from 1; class 0 has no name"
    if labels.first == 0 and len(names) == classes + 1 and names[0].lower().strip("<>[]") in BACKGROUND:
        return names[1:], f"{labels.file}: its first label, {names[0]!r}, names none of the model's {classes} classes"
    raise UsageError(f"{labels.file} has {len(names)} labels, {model} has {classes} classes; {_reason(names, classes)}")


def _reason(names: Sequence[str], classes: int) -> str:
    """Why the numbers may differ, and what to do."""
    if classes == 1:
        return "a single output has one name, that of what a high value stands for"
    if len(names) == classes + 1:
        return "if its first line is a heading or a background class, take it out"
    if len(names) + 1 == classes:
        return "if class 0 is the background, put a line for it first; else a line is missing"
    if len(names) > classes:
        return "it is made for another model, or holds lines that name no class"
    return "it is made for another model, or lines are missing"


def find_label(labels: Sequence[str], text: str) -> int | None:
    """The class of a name: as it is written, else in capitals or not, else as one of several names; None for none.

    Args:
        labels: Class names; ``tench, Tinca tinca`` has two.
        text: The name.

    Raises:
        TargetError: If it names several classes.
    """
    wanted = text.casefold()
    ways = (
        [i for i, name in enumerate(labels) if name == text],
        [i for i, name in enumerate(labels) if _plain(name) == _plain(wanted)],
        [i for i, name in enumerate(labels) if wanted in (part.strip().casefold() for part in name.split(","))],
    )
    for found in ways:
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{i} {labels[i]!r}" for i in found[:4])
            raise TargetError(f"label {text!r} names several classes ({listed}); give an index")
    return None


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


__all__ = ["LabelFile", "find_label", "fitted_labels", "labels_beside", "read_labels"]
