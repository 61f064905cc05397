"""The forms in which people keep class names: lines, numbers and names, CSV, YAML, JSON, and label maps."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfp_onnx.errors import UsageError
from cfp_onnx.files.strict_json import parse

KEYS = ("id2label", "names", "labels", "classes", "class_names", "label_names", "categories", "label2id")
"""Keys of an object or of a YAML file under which class names stand."""

NUMBER_HEADINGS = frozenset(
    {"id", "index", "idx", "class_id", "label_id", "class_index", "number", "label", "class", "target"}
)
"""Headings of a column of numbers."""

NAME_HEADINGS = ("display_name", "name", "class_name", "classname", "label_name", "label", "class", "category", "title")
"""Headings of a column of names, the surest first."""

FORMS = "write one label a line, or JSON as a list, as name to number, as number to name, or as number to [code, name]"
"""What can be read, for sentences."""


@dataclass(frozen=True)
class Numbered:
    """Names with their numbers.

    Attributes:
        rows: (number, name) in the order of the numbers; of names without numbers their place.
        numbered: Whether the file numbers them.
    """

    rows: tuple[tuple[int, str], ...]
    numbered: bool

    @classmethod
    def of(cls, names: Iterable[str]) -> Numbered:
        """Names without numbers."""
        return cls(tuple(enumerate(map(bare, names))), numbered=False)

    @classmethod
    def at(cls, rows: Iterable[tuple[int, str]]) -> Numbered:
        """Names at their numbers."""
        return cls(tuple(sorted((number, bare(name)) for number, name in rows)), numbered=True)


def bare(name: str) -> str:
    """A name without the blanks and the quotes around it."""
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1].strip()
    return name


def read_table(text: str, file: Path) -> Numbered:
    """Names, with their numbers where they are there.

    Args:
        text: The file's text.
        file: Its path; the suffix tells CSV and YAML from plain lines.

    Raises:
        UsageError: If it has no such form.
    """
    start = text.lstrip()
    if file.suffix.lower() == ".json" or start.startswith("{"):
        return _json(text, file)
    if start.startswith("[") and _literal(text) is not None:
        return _json(text, file)
    if re.match(r"(item|entry)\s*:?\s*\{", start):
        return _label_map(text)
    if file.suffix.lower() in {".yaml", ".yml"}:
        return _yaml(text, file)
    if file.suffix.lower() in {".csv", ".tsv"} or _has_heading(start):
        return _csv(text, file)
    return _lines(text.rstrip().splitlines())


# ------------------------------------------------------------------------------------------------ lines

CODE = re.compile(r"n\d{8}\s+(\S.*)")
"""A WordNet code before a name, as ImageNet's lists have it."""

NUMBER_FIRST = re.compile(r"(\d+)\s*(?:[,;:\t]|\s)\s*(\S.*)")
NUMBER_LAST = re.compile(r"(\S.*?)\s*(?:[,;:\t]|\s)\s*(\d+)")


def _lines(lines: Sequence[str]) -> Numbered:
    """One name a line; numbers before or behind all of them count where they are the numbers of classes."""
    kept = [line.strip() for line in lines]
    full = [line for line in kept if line]
    for pattern, number, name in ((NUMBER_FIRST, 1, 2), (NUMBER_LAST, 2, 1)):
        found = [pattern.fullmatch(line) for line in full]
        rows = [(int(m[number]), m[name]) for m in found if m is not None]
        if len(rows) == len(full) > 1 and _are_places([n for n, _ in rows]):
            return Numbered.at(rows)
    coded = [CODE.fullmatch(line) for line in full]
    if full and all(coded):
        return Numbered.of(m[1] for m in coded if m is not None)
    return Numbered.of(kept)


def _are_places(numbers: Sequence[int]) -> bool:
    """Whether numbers count classes: each once, from 0 or 1, without gaps."""
    return sorted(numbers) in ([*range(len(numbers))], [*range(1, len(numbers) + 1)])


# ------------------------------------------------------------------------------------------------ tables


def _has_heading(text: str) -> bool:
    """Whether the first line names the columns of a table."""
    first = text.split("\n", 1)[0].strip().lower()
    cells = [bare(cell) for cell in re.split(r"[,;\t]", first)]
    return len(cells) > 1 and any(c in NAME_HEADINGS for c in cells) and any(c in NUMBER_HEADINGS for c in cells)


def _csv(text: str, file: Path) -> Numbered:
    """A table: the column of names, at the numbers of the column of numbers if there is one."""
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    rows = [[c.strip() for c in row] for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    if not rows or max(map(len, rows)) < 2:
        return _lines(text.rstrip().splitlines())
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise UsageError(f"{file}: its lines have different numbers of columns; put names with commas in quotes")
    heading = [cell.lower() for cell in rows[0]]
    headed = any(cell in NUMBER_HEADINGS or cell in NAME_HEADINGS for cell in heading) and not any(
        cell.isdigit() for cell in rows[0]
    )
    body = rows[1:] if headed else rows
    numbers = next((c for c in range(width) if body and _is_count([row[c] for row in body])), None)
    column = _name_column(heading if headed else [], body, numbers)
    if column is None:
        raise UsageError(f"{file} has no column of names; {FORMS}")
    names = [row[column] for row in body]
    if numbers is None:
        return Numbered.of(names)
    return Numbered.at((int(row[numbers]), name) for row, name in zip(body, names, strict=True))


def _is_count(cells: Sequence[str]) -> bool:
    return all(c.isdigit() for c in cells) and len({int(c) for c in cells}) == len(cells)


def _name_column(heading: Sequence[str], body: Sequence[Sequence[str]], numbers: int | None) -> int | None:
    """The column of names: the one with the surest heading, else the last that holds no numbers."""
    wordy = [
        c for c in range(len(body[0]) if body else 0) if c != numbers and not all(row[c].isdigit() for row in body)
    ]
    named = [heading.index(word) for word in NAME_HEADINGS if word in heading and heading.index(word) in wordy]
    return next(iter(named), wordy[-1] if wordy else None)


# ------------------------------------------------------------------------------------------------ YAML


def _yaml(text: str, file: Path) -> Numbered:
    """The names of a YAML file: a list, or numbers to names, at the top or under one of `KEYS`."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "---"))]
    block = _block(lines)
    joined = " ".join(line.strip() for line in block)
    if joined.startswith("["):
        return Numbered.of(_split(joined.strip("[] ")))
    if joined.startswith("{"):
        return _pairs(_split(joined.strip("{} ")), file)
    if block and all(line.strip().startswith("- ") for line in block):
        return Numbered.of(_scalar(line.strip()[2:]) for line in block)
    return _pairs([line.strip() for line in block], file)


def _block(lines: Sequence[str]) -> list[str]:
    """The lines that belong to one of `KEYS`; all of them where there is no such key."""
    for key in KEYS:
        for place, line in enumerate(lines):
            found = re.fullmatch(rf"(\s*(?:- )?){key}\s*:\s*(.*)", line)
            if found is None:
                continue
            inside = [found[2]] if found[2] and not found[2].startswith("#") else []
            for following in lines[place + 1 :]:
                indent = len(following) - len(following.lstrip())
                if indent < len(found[1]) or (indent == len(found[1]) and following[indent] not in "-]}"):
                    break
                inside.append(following)
            if inside:
                return inside
    return list(lines)


def _pairs(parts: Sequence[str], file: Path) -> Numbered:
    """``number: name`` or ``name: number``, each once."""
    pairs = [part.partition(":")[::2] for part in parts]
    rows = [(bare(a), _scalar(b)) for a, b in pairs]
    if rows and all(a.isdigit() and b for a, b in rows):
        return Numbered.at((int(a), b) for a, b in rows)
    if rows and all(a and b.isdigit() for a, b in rows):
        return Numbered.at((int(b), a) for a, b in rows)
    raise UsageError(f"{file} has no names that can be read; {FORMS}")


def _split(text: str) -> list[str]:
    rows = next(csv.reader([text.replace("'", '"')], skipinitialspace=True), [])
    return [cell for cell in rows if cell.strip()]


def _scalar(text: str) -> str:
    """A YAML value without a comment behind it."""
    text = text.strip()
    return bare(text if text[:1] in {'"', "'"} else re.split(r"\s#", text)[0])


# ------------------------------------------------------------------------------------------------ JSON


def _json(text: str, file: Path) -> Numbered:
    """JSON in any usual form; an object may hold the names under one of `KEYS`."""
    value = _literal(text)
    if value is None:
        raise UsageError(f"{file} is no JSON that can be read; {FORMS}")
    if isinstance(value, Mapping):
        value = next((value[key] for key in KEYS if isinstance(value.get(key), list | Mapping)), value)
    found = _json_rows(value)
    if found is None:
        raise UsageError(f"{file} has no labels in a form that can be read; {FORMS}")
    return found


def _literal(text: str) -> Any:
    """The value of JSON, or of a list or dict as Python prints it; None for neither."""
    try:
        return parse(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _json_rows(value: Any) -> Numbered | None:
    if isinstance(value, list):
        if value and all(isinstance(v, Mapping) and type(v.get("id")) is int for v in value):
            rows = [(v["id"], _name(v)) for v in value]
            return None if any(name is None for _, name in rows) else Numbered.at((n, str(name)) for n, name in rows)
        names = [_name(v) for v in value]
        return None if any(name is None for name in names) else Numbered.of(map(str, names))
    if not isinstance(value, Mapping) or not value:
        return None
    if all(str(key).isdigit() for key in value) and all(_name(v) is not None for v in value.values()):
        return Numbered.at((int(key), str(_name(v))) for key, v in value.items())
    if all(type(v) is int or (isinstance(v, str) and v.isdigit()) for v in value.values()):
        return Numbered.at((int(v), str(key)) for key, v in value.items())
    return None


def _name(value: Any) -> str | None:
    """A name, the last of [code, name], or that of an object; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return str(value[-1])
    if isinstance(value, Mapping):
        return next((str(value[key]) for key in NAME_HEADINGS if isinstance(value.get(key), str)), None)
    return None


# ------------------------------------------------------------------------------------------------ label maps


def _label_map(text: str) -> Numbered:
    """Items of ``id: 1 name: "x" display_name: "y"``, as detectors' label maps have them."""
    rows = []
    for item in re.findall(r"\{([^}]*)\}", text):
        number = re.search(r"\bid\s*:\s*(\d+)", item)
        name = re.search(r"\bdisplay_name\s*:\s*(\"[^\"]*\"|'[^']*')", item) or re.search(
            r"\bname\s*:\s*(\"[^\"]*\"|'[^']*')", item
        )
        if number is not None and name is not None:
            rows.append((int(number[1]), name[1]))
    return Numbered.at(rows)


__all__ = ["FORMS", "Numbered", "bare", "read_table"]
