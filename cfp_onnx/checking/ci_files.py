"""A check as other programs take it: JUnit for test viewers, Markdown for a job's summary, a page for people."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cfp_onnx.checking.result import Checked, facts, verdict
from cfp_onnx.checking.text import broken_for_classes, first_text, flip_text, measures_of, shortlist, shown
from cfp_onnx.checking.values import WORDS, CheckedClip, CheckedLayer
from cfp_onnx.files.whole import write_json, write_text
from cfp_onnx.text import printable

_CONTROLS = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold."""


def junit(result: Checked) -> str:
    """A check as JUnit XML: a test case per layer, per clip, and one for the layers being the same ones."""
    cases = [_layers_case(result), *(_layer_case(x, result) for x in result.layers)]
    cases += [
        ("predictions", name, f"{flip_text(clip)} ({result.max_flips} changed predictions allowed)"
         if clip.flipped and not result.same_predictions else None)
        for name, clip in zip(_unique_names(result.clips), result.clips, strict=True)
    ]  # fmt: skip
    failures = str(sum(message is not None for _, _, message in cases))
    counts = {"tests": str(len(cases)), "failures": failures, "errors": "0", "skipped": "0", "time": "0"}
    root = ET.Element("testsuites", {"name": "cfp-onnx check", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _clean(f"cfp-onnx check {result.model.file}"), **counts})
    for kind, name, message in cases:
        case = ET.SubElement(suite, "testcase", {"classname": f"cfp-onnx.{kind}", "name": _clean(name), "time": "0"})
        if message is not None:
            failure = ET.SubElement(case, "failure", {"type": kind, "message": _clean(message)})
            failure.text = _clean(message)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _unique_names(clips: Sequence[CheckedClip]) -> list[str]:
    """A unique name for each clip; the same clip may be listed more than once."""
    files = Counter(c.file for c in clips)
    names = [
        c.file if files[c.file] == 1 else f"{c.file} ({c.index if c.label is None else c.label})" for c in clips
    ]  # fmt: skip
    before: Counter[str] = Counter()
    out = []
    for name in names:
        before[name] += 1
        out.append(name if before[name] == 1 else f"{name} #{before[name]}")
    return out


def _layers_case(result: Checked) -> tuple[str, str, str | None]:
    sides = (("missing", result.missing), ("new", result.added))
    found = [f"{word}: {', '.join(names)}" for word, names in sides if names]
    return "layers", "the same layers", "; ".join(found) or None


def _layer_case(layer: CheckedLayer, result: Checked) -> tuple[str, str, str | None]:
    if not layer.breaches:
        return "reasons", layer.name, None
    begins = result.first is not None and result.first.layer == layer.name
    lines = [*([f"it begins here: {result.first.cause}"] if begins and result.first else []), *map(str, layer.breaches)]
    if layer.kernels:
        lines.append(f"kernels that changed most: {', '.join(map(str, layer.kernels))}")
    return "reasons", layer.name, "; ".join(lines)


def _clean(text: str) -> str:
    return _CONTROLS.sub("\ufffd", text)


def markdown(result: Checked) -> str:
    """A check as Markdown, for a job's summary: the verdict, where it begins, what broke a limit or came closest."""
    mark = "passed" if result.ok else "FAILED"
    lines = [f"### cfp-onnx check {mark}: {_cell(verdict(result))}", ""]
    lines += [f"- **{name}**: {_cell(text)}" for name, text in facts(result)]
    if result.first is not None:
        lines.append(f"- **first**: {_cell(first_text(result.first))}")
    lines += [f"- **missing**: {_cell(name)}" for name in result.missing]
    lines += [f"- **new**: {_cell(name)}" for name in result.added]
    lines += [f"- **class**: {_cell(sentence)}" for sentence in broken_for_classes(result.layers)]
    lines += [f"- **prediction**: {_cell(flip_text(c))}" for c in result.clips if c.flipped]
    lines += [f"- **note**: {_cell(note)}" for note in result.notes]
    heads = [name for name, _ in WORDS.values()]
    lines += ["", f"| layer | depth | {' | '.join(heads)} |", "|---|---:|" + "---:|" * len(heads)]
    layers, left = shortlist(result.layers, result.first)
    for layer in layers:
        cells = [
            f"**{shown(measure, value)}** (limit {shown(measure, limit)})" if bad else shown(measure, value)
            for measure, (value, limit, bad) in measures_of(layer).items()
        ]
        depth = "-" if layer.depth is None else str(layer.depth)
        name = f"**{_cell(layer.name)}**" if layer.breaches else _cell(layer.name)
        lines.append(f"| {name} | {depth} | {' | '.join(cells)} |")
    lines += ["", left] if left else []
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that Markdown shows as it is, on one line and without control characters."""
    flat = printable(" ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", flat)


def save_page(result: Checked, folder: str | os.PathLike[str]) -> Path:
    """Write ``check.html`` and ``check.json`` into a folder, which is made where it is missing.

    Returns:
        The page.

    Raises:
        OutputError: If a file cannot be written; each file is whole or not there.
    """
    from cfp_onnx.report.check_page import render_check

    value = result.to_json()
    page = render_check(value)
    write_json(Path(folder) / "check.json", value)
    return write_text(Path(folder) / "check.html", page)


__all__ = ["junit", "markdown", "save_page"]
