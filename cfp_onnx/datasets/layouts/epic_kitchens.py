"""EPIC-KITCHENS-100: a CSV of segments from frame to frame; frames, tars of frames or videos by participant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.datasets.layouts.tree import Asked, below, first_folder, manifest_of, media_of, named_file, table_of
from cfp_onnx.errors import UsageError

_NEEDED = ("participant_id", "video_id", "start_frame", "stop_frame")
_WRONG = frozenset({"P01_109", "P27_103"})
"""Videos whose released frames are known to be wrong."""


def read(asked: Asked) -> Manifest:
    """The segments of the CSV files of a folder, or of the one named; by verb unless another task is asked for.

    Raises:
        UsageError: If there is no such CSV.
    """
    task = asked.task or "verb"
    texts = first_folder(asked.root, "annotations", "epic-kitchens-100-annotations")
    own = {p: t for p in sorted(texts.glob("*.csv")) if (t := _table(p))}
    if asked.split is not None:
        wanted = {p: t for p, t in own.items() if asked.split in {p.name, p.stem, _part(p)}}
        if not wanted:
            path = named_file(asked, (texts, asked.root))
            wanted = {path: _table(path)}
    else:
        wanted = own
    if not any(wanted.values()):
        raise UsageError(f"{texts} has no CSV with the columns {', '.join(_NEEDED)}; name one with --split")
    heads, said = {}, {}
    for name in ("verb", "noun"):
        heads[name], said[name] = _classes(asked if name == task else Asked(asked.root), texts, name, own or wanted)
    train = [r for p, t in own.items() if _part(p) == "train" for r in t] or [r for t in wanted.values() for r in t]
    pairs = sorted({pair for r in train if (pair := _pair(r)) is not None})
    heads["action"] = tuple(_action(pair, heads) for pair in pairs)
    said["action"] = "pairs of verb and noun of the training rows, sorted by their numbers"
    rows = [r for p, t in wanted.items() for r in _rows(p, t, asked, task, heads, pairs)]
    return manifest_of(
        "epic-kitchens", asked, rows, heads[task] or None, said[task], task=task,
        head_labels={k: v for k, v in heads.items() if v},
    )  # fmt: skip


def _table(path: Path) -> list[dict[str, str]]:
    table = table_of(path)
    return table if table and all(c in table[0] for c in _NEEDED) else []


def _part(path: Path) -> str:
    return next((p for p in ("train", "validation", "test") if p in path.stem), path.stem)


def _classes(
    asked: Asked, texts: Path, task: str, tables: Mapping[Path, Sequence[Mapping[str, str]]]
) -> tuple[tuple[str, ...], str]:
    """Names of a task's classes: from its CSV of id and key, else the words of the rows."""
    for path in [asked.labels] if asked.labels is not None else sorted(texts.glob(f"*{task}_classes*.csv")):
        rows = {int(r["id"]): r["key"] for r in table_of(path) if r.get("id", "").isdigit()}
        if sorted(rows) == list(range(len(rows))) and rows:
            return tuple(rows[k] for k in sorted(rows)), path.name
        raise UsageError(f"{path}: needs the columns id and key, with ids from 0 without a gap")
    words: dict[int, str] = {}
    for rows_of in tables.values():
        for r in rows_of:
            if r.get(f"{task}_class", "").isdigit():
                words.setdefault(int(r[f"{task}_class"]), r.get(task, ""))
    count = max(words, default=-1) + 1
    return tuple(words.get(k, f"{task} {k}") for k in range(count)), f"the first {task} of each class in the rows"


def _pair(row: Mapping[str, str]) -> tuple[int, int] | None:
    verb, noun = row.get("verb_class", ""), row.get("noun_class", "")
    return (int(verb), int(noun)) if verb.isdigit() and noun.isdigit() else None


def _action(pair: tuple[int, int], heads: Mapping[str, Sequence[str]]) -> str:
    return " ".join(
        heads[t][k] if k < len(heads[t]) else f"{t} {k}" for t, k in zip(("verb", "noun"), pair, strict=True)
    )


def _rows(
    path: Path,
    table: Sequence[Mapping[str, str]],
    asked: Asked,
    task: str,
    heads: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[int, int]],
) -> Iterator[Row]:
    for line in table:
        person, video = line["participant_id"], line["video_id"]
        key = line.get("narration_id") or f"{video}_{line['start_frame']}"
        found = _media(asked.root, person, video)
        numbers, problem = {}, None
        pair = _pair(line)
        if pair is not None:
            numbers = {"verb": pair[0], "noun": pair[1]}
            if pair in pairs:
                numbers["action"] = pairs.index(pair)
        for name, number in numbers.items():
            if number >= len(heads[name]):
                problem = f"its {name} class {number} is not among the {len(heads[name])} names of the classes"
        first, last = line["start_frame"], line["stop_frame"]
        start = stop = None
        if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
            problem = f"{path.name}: its frames {first!r} to {last!r} are no segment"
        else:
            start, stop = float(int(first) - 1), float(int(last))
        if found is not None and video in _WRONG and (found.is_dir() or found.suffix == ".tar"):
            problem = f"the released frames of {video} are known to be wrong; use its video"
        label = numbers.get(task)
        named = None if label is None else _name(heads[task], label)
        yield Row(
            key, below(asked.root, found or asked.root / person / "rgb_frames" / video), start, stop,
            None if start is None else "frames", label, named, _part(path), person, numbers, problem,
        )  # fmt: skip


def _name(names: Sequence[str], label: int) -> str | None:
    return names[label] if label < len(names) else None


def _media(root: Path, person: str, video: str) -> Path | None:
    for home in (root, root / "EPIC-KITCHENS"):
        for place in (
            home / person / "rgb_frames" / video, home / person / "videos" / video, home / "rgb_frames" / video,
            home / "videos" / video, home / person / video, home / video,
        ):  # fmt: skip
            found = media_of(place)
            if found is not None:
                return found
    return None


__all__ = ["read"]
