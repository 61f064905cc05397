"""The result of a check: layer by layer and clip by clip, what broke which limit, and where it began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from cfp_onnx.checking.text import broken_for_classes, first_text, flip_text, layer_table
from cfp_onnx.checking.values import BaselineFacts, CheckedClip, CheckedLayer, CheckRun, FileFacts, First
from cfp_onnx.text import fact_table, plain_text
from cfp_onnx.values import plain

SCHEMA = "cfp-onnx/check"


SCHEMA_VERSION = 1


@dataclass(frozen=True, repr=False)
class Checked:
    """What a check found.

    Attributes:
        model: The file that was checked.
        baseline: The baseline, and the file that it was made of.
        run: How the file was checked.
        layers: Layers that both have, in the baseline's order.
        clips: Clip by clip.
        missing: Layers of the baseline only.
        added: Layers of the file only.
        first: Where the change begins; None where every limit holds.
        max_flips: Clips whose strongest class may be another.
        notes: What else a reader should know.
    """

    model: FileFacts
    baseline: BaselineFacts
    run: CheckRun
    layers: tuple[CheckedLayer, ...]
    clips: tuple[CheckedClip, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    first: First | None
    max_flips: int
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[CheckedLayer, ...]:
        """Layers of which a limit was broken."""
        return tuple(x for x in self.layers if x.breaches)

    @property
    def flips(self) -> int:
        """Clips whose strongest class is another now."""
        return sum(c.flipped for c in self.clips)

    @property
    def same_reasons(self) -> bool:
        """Whether every layer is there and within its limits."""
        return not (self.broken or self.missing or self.added)

    @property
    def same_predictions(self) -> bool:
        """Whether no more clips than allowed have another strongest class."""
        return self.flips <= self.max_flips

    @property
    def ok(self) -> bool:
        """Whether the check is passed."""
        return self.same_reasons and self.same_predictions

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA, "schema_version": SCHEMA_VERSION, "ok": self.ok, "same_reasons": self.same_reasons,
            "same_predictions": self.same_predictions, "model": plain(self.model), "baseline": plain(self.baseline),
            "run": plain(self.run),
            "first": plain(self.first),
            "predictions": {"clips": len(self.clips), "changed": self.flips, "allowed": self.max_flips},
            "layers": [_layer_json(x) for x in self.layers],
            "clips": [{**plain(c), "changed": c.flipped} for c in self.clips],
            "missing": list(self.missing), "added": list(self.added), "notes": list(self.notes),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Checked: {verdict(self)}>"

    def __str__(self) -> str:
        return plain_text(checked_text(self))


def _layer_json(layer: CheckedLayer) -> dict[str, Any]:
    rest = {k: v for k, v in plain(layer).items() if k not in {"change", "limits", "breaches"}}
    return {**rest, **plain(layer.change), "limits": plain(layer.limits), "breaches": plain(layer.breaches)}


def verdict(result: Checked) -> str:
    """One line: whether the model still decides as it did, and for the same reasons."""
    reasons = "the same reasons" if result.same_reasons else "OTHER REASONS"
    changed = f"predictions on {result.flips} of {len(result.clips)} clips"
    if not result.flips:
        answers = "the same predictions"
    else:
        answers = f"other {changed} (allowed)" if result.same_predictions else f"OTHER {changed}"
    return f"{reasons}, {answers}"


def facts(result: Checked) -> list[tuple[str, str]]:
    """What was compared with what, as names and texts."""
    now, then = result.model, result.baseline
    same = " (the same file)" if now.sha256 == then.sha256 else ""
    return [
        ("model", f"{now.file}  ({now.producer or 'unknown producer'}, opset {now.opset}){same}"),
        ("baseline", f"{then.file}, of {then.model}  ({then.producer or 'unknown producer'})"),
        ("clips", f"{len(result.clips)}"),
        ("rule", f"{result.run.rule}, relevance to depth {result.run.depth}, activity and weights of all layers"),
    ]  # fmt: skip


def checked_text(result: Checked) -> Group:
    """A check as a header, where the change begins, and a table of what broke a limit or came closest."""
    return Group(fact_table(_rows(result)), Text(), layer_table(result.layers, result.first))


def _rows(result: Checked) -> Iterator[tuple[str, str, str]]:
    """Name, text and style of each line above the table."""
    for name, text in facts(result):
        yield name, text, ""
    yield "verdict", verdict(result), "bold green" if result.ok else "bold red"
    if result.first is not None:
        yield "first", first_text(result.first), "red"
    for side, names in (("missing", result.missing), ("added", result.added)):
        if names:
            yield side, ", ".join(names), "red"
    for sentence in broken_for_classes(result.layers):
        yield "class", sentence, "red"
    for clip in result.clips:
        if clip.flipped:
            yield "prediction", flip_text(clip), "red" if not result.same_predictions else "yellow"
    for note in result.notes:
        yield "note", note, "yellow"


__all__ = ["SCHEMA", "SCHEMA_VERSION", "Checked", "checked_text", "facts", "verdict"]
