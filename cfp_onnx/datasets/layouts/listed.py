"""Lists: a clip a line with its class, as training frameworks write them; frames with their number, and their start.

The numbers at the end of a line decide the form: ``path class``, ``folder frames class``, ``folder start frames class``
where every line has three, or several classes behind the number of frames where lines differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, lines_of, manifest_of, named_file, names_of
from cfp_onnx.errors import UsageError


def read(asked: Asked) -> Manifest:
    """The clips of a list: ROOT itself, or the file that ``--split`` names.

    Raises:
        UsageError: If there is no list, or a line has no number.
    """
    if asked.root.is_file():
        path, root = asked.root, asked.root.parent
    elif asked.split is None:
        raise UsageError(f"{asked.root} is a folder; name its list with --split, or give the list itself")
    else:
        path, root = named_file(asked, (asked.root,)), asked.root
    lines = [(n, line) for n, line in enumerate(lines_of(path), 1) if not line.startswith("#")]
    parts = [_parts(line, root) for _, line in lines]
    counts = {len(numbers) for _, numbers in parts}
    if 0 in counts:
        number, line = next(lines[k] for k, (_, numbers) in enumerate(parts) if not numbers)
        raise UsageError(f"{path}, line {number}: no class stands behind {line[:60]!r}")
    with_start = counts == {3} and all((root / name).is_dir() or not (root / name).exists() for name, _ in parts)
    labels = names_of(asked.labels) if asked.labels is not None else None
    said = None if asked.labels is None else asked.labels.name
    rows = [
        _row(root, f"{path.stem}:{n}", name, numbers, labels, with_start=with_start, split=path.stem)
        for (n, _), (name, numbers) in zip(lines, parts, strict=True)
    ]
    return manifest_of("list", asked, rows, labels, said, root=root)


def _parts(line: str, root: Path) -> tuple[str, list[int]]:
    """A line's path, which may hold blanks and end in a number, and the whole numbers behind it."""
    words = line.split(" ") if " " in line else line.replace("\t", " ").replace(",", " ").split(" ")
    end = len(words)
    while end > 1 and _is_number(words[end - 1]):
        end -= 1
    for cut in range(len(words) - 1, end - 1, -1):
        if (root / " ".join(words[:cut])).exists():
            return " ".join(words[:cut]).strip(), [int(w) for w in words[cut:] if w]
    return " ".join(words[:end]).strip(), [int(w) for w in words[end:] if w]


def _is_number(word: str) -> bool:
    return not word or word.removeprefix("-").isdigit()


def _row(
    root: Path,
    key: str,
    name: str,
    numbers: Sequence[int],
    labels: Sequence[str] | None,
    *,
    with_start: bool,
    split: str,
) -> Row:
    start = stop = unit = None
    if len(numbers) == 1:
        classes = list(numbers)
    elif with_start:
        first, count, *classes = numbers
        start, stop, unit = float(max(0, first - 1)), float(max(0, first - 1) + count), "frames"
    else:
        count, *classes = numbers
        start, stop, unit = 0.0, float(count), "frames"
    label = classes[0] if classes[0] >= 0 else None
    problem = None
    if label is not None and labels is not None and label >= len(labels):
        problem = f"its class {label} is not among the {len(labels)} names of the classes"
    named = labels[label] if labels is not None and label is not None and label < len(labels) else None
    further = {f"label {k}": c for k, c in enumerate(classes[1:], 2)}
    return Row(key, below(root, root / name), start, stop, unit, label, named, split, None, further, problem)


__all__ = ["read"]
