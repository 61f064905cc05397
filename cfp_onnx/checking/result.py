"""The result of a check: layer by layer and clip by clip, what broke which limit, and where it began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cfp_onnx.checking.change import Change
from cfp_onnx.checking.policy import Limits
from cfp_onnx.text import plain_text, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = "cfp-onnx/check"
SCHEMA_VERSION = 1

WORDS = {
    "drift": ("moved relevance", "part of the relevance that moved"),
    "overlap": ("kept strongest", "part of the strongest kernels that stayed"),
    "rank": ("rank correlation", "rank correlation of the kernels' relevance"),
    "activity": ("activity", "change of the kernels' activity"),
    "weights": ("weights", "change of the weights"),
}
"""What a measure is called in a table, and in a sentence."""

SHORT, CLOSEST = 16, 5
"""Most layers of a table, and of one in which no limit was broken; files have all."""

WINDOW = "window"
"""The measure of a layer's strides and dilations: 1 where they changed, 0 is allowed."""


@dataclass(frozen=True)
class Breach:
    """A limit that was broken.

    Attributes:
        measure: drift, overlap, rank, activity, weights or window.
        value: What was found.
        limit: What is allowed.
        label: The class whose clips alone broke it; None for all clips.
    """

    measure: str
    value: float
    limit: float
    label: str | None = None

    def __str__(self) -> str:
        if self.measure == WINDOW:
            return "strides or dilations changed"
        sign = "at least" if self.measure in {"overlap", "rank"} else "at most"
        where = "" if self.label is None else f" on class {self.label!r}"
        return f"{WORDS[self.measure][1]} {self.value:.3g}{where}, allowed {sign} {self.limit:.3g}"


@dataclass(frozen=True)
class CheckedLayer:
    """One layer in the baseline and in the file.

    Attributes:
        name: Its name in the baseline.
        other: Its name in the file.
        weight: Name of its weights in the baseline.
        evidence: ``weights``, ``names``, ``activity`` or ``order``: what says that they are the same.
        depth: Its depth in the baseline.
        reordered: Whether its kernels stand in another order.
        change: Mean of all clips.
        weights: Change of its weights over their size.
        window: What changed of its strides, dilations and padding, in sentences; the first two count where it acts
            otherwise too, padding may be written in other ways.
        limits: What is allowed, above the machine's own noise.
        breaches: Limits that were broken.
        kernels: Kernels that changed most, numbered as in the baseline.
    """

    name: str
    other: str
    weight: str
    evidence: str
    depth: int | None
    reordered: bool
    change: Change
    weights: float
    window: tuple[str, ...]
    limits: Limits
    breaches: tuple[Breach, ...]
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class CheckedClip:
    """One clip's answer, before and now.

    Attributes:
        file: The clip.
        index: The class whose reasons were looked at.
        label: Its name.
        top: The strongest class, before and now; of a single score 1 where it is positive before any Sigmoid, else 0.
        top_labels: Their names.
        scores: The class's score, before and now.
        difference: Largest difference of all scores over the largest of either.
    """

    file: str
    index: int
    label: str | None
    top: tuple[int, int]
    top_labels: tuple[str | None, str | None]
    scores: tuple[float, float]
    difference: float

    @property
    def flipped(self) -> bool:
        """Whether another class is the strongest now."""
        return self.top[0] != self.top[1]


@dataclass(frozen=True)
class First:
    """Where the change begins.

    Attributes:
        layer: The layer, by its name in the baseline.
        weight: Name of its weights there.
        kernels: Kernels concerned; empty for all of them.
        cause: A sentence.
    """

    layer: str
    weight: str
    kernels: tuple[int, ...]
    cause: str


@dataclass(frozen=True, repr=False)
class Checked:
    """What a check found.

    Attributes:
        model: file, sha256, producer, opset of the file that was checked.
        baseline: file, and the model's file, sha256, producer, opset of the baseline.
        run: rule, depth, provider, versions now; ``then`` holds the baseline's.
        layers: Layers that both have, in the baseline's order.
        clips: Clip by clip.
        missing: Layers of the baseline only.
        added: Layers of the file only.
        first: Where the change begins; None where every limit holds.
        max_flips: Clips whose strongest class may be another.
        notes: What else a reader should know.
    """

    model: Mapping[str, Any]
    baseline: Mapping[str, Any]
    run: Mapping[str, Any]
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
            "same_predictions": self.same_predictions, "model": dict(self.model), "baseline": dict(self.baseline),
            "run": dict(self.run),
            "first": None if self.first is None else _plain(self.first),
            "predictions": {"clips": len(self.clips), "changed": self.flips, "allowed": self.max_flips},
            "layers": [_layer_json(x) for x in self.layers],
            "clips": [{**_plain(c), "changed": c.flipped} for c in self.clips],
            "missing": list(self.missing), "added": list(self.added), "notes": list(self.notes),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Checked: {verdict(self)}>"

    def __str__(self) -> str:
        return plain_text(checked_text(self))


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}


def _layer_json(layer: CheckedLayer) -> dict[str, Any]:
    rest = {k: v for k, v in _plain(layer).items() if k not in {"change", "limits", "breaches"}}
    return {
        **rest, **vars(layer.change), "limits": dict(vars(layer.limits)),
        "breaches": [dict(vars(b)) for b in layer.breaches],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ words


def verdict(result: Checked) -> str:
    """One line: whether the model still decides as it did, and for the same reasons."""
    reasons = "the same reasons" if result.same_reasons else "OTHER REASONS"
    changed = f"predictions on {result.flips} of {len(result.clips)} clips"
    if not result.flips:
        answers = "the same predictions"
    else:
        answers = f"other {changed} (allowed)" if result.same_predictions else f"OTHER {changed}"
    return f"{reasons}, {answers}"


def first_text(first: First) -> str:
    """Where the change begins, in a sentence."""
    weight = f" ({first.weight})" if first.weight and first.weight != first.layer else ""
    return f"at {first.layer}{weight}: {first.cause}"


def measures_of(layer: CheckedLayer) -> dict[str, tuple[float | None, float, bool]]:
    """What was found on all clips, what is allowed and whether that was broken, by measure."""
    broken = {b.measure for b in layer.breaches if b.label is None}
    c, m = layer.change, layer.limits
    values = {
        "drift": (c.drift, m.max_drift), "overlap": (c.overlap, m.min_overlap), "rank": (c.rank, m.min_rank),
        "activity": (c.activity, m.max_activity), "weights": (layer.weights, m.max_weights),
    }  # fmt: skip
    return {k: (value, limit, k in broken) for k, (value, limit) in values.items()}


def of_classes(result: Checked) -> list[str]:
    """Limits of single classes that were broken, in sentences."""
    return [f"{x.name}: {b}" for x in result.layers for b in x.breaches if b.label is not None]


def facts(result: Checked) -> list[tuple[str, str]]:
    """What was held against what, as names and texts."""
    now, then = result.model, result.baseline
    same = " (the same file)" if now["sha256"] == then["sha256"] else ""
    return [
        ("model", f"{now['file']}  ({now['producer'] or 'unknown producer'}, opset {now['opset']}){same}"),
        ("baseline", f"{then['file']}, of {then['model']}  ({then['producer'] or 'unknown producer'})"),
        ("clips", f"{len(result.clips)}"),
        ("rule", f"{result.run['rule']}, relevance to depth {result.run['depth']}, activity and weights of all layers"),
    ]  # fmt: skip


def checked_text(result: Checked) -> RenderableType:
    """A check as a header, where the change begins, and a table of what broke a limit or came closest."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        grid.add_row(Text(name, style="dim"), Text(printable(text), style=style))

    for name, text in facts(result):
        row(name, text)
    row("verdict", verdict(result), "bold green" if result.ok else "bold red")
    if result.first is not None:
        row("first", first_text(result.first), "red")
    for side, names in (("missing", result.missing), ("added", result.added)):
        if names:
            row(side, ", ".join(names), "red")
    for sentence in of_classes(result):
        row("class", sentence, "red")
    for clip in result.clips:
        if clip.flipped:
            row("prediction", flip_text(clip), "red" if not result.same_predictions else "yellow")
    for note in result.notes:
        row("note", note, "yellow")
    return Group(grid, Text(), _table(result))


def flip_text(clip: CheckedClip) -> str:
    """Another answer to a clip, in a sentence."""
    before, after = (label or str(k) for k, label in zip(clip.top, clip.top_labels, strict=True))
    return f"{clip.file}: {after} instead of {before}"


def shortlist(result: Checked) -> tuple[tuple[CheckedLayer, ...], str]:
    """Layers for a short table, in the baseline's order: those that broke a limit, then those that came closest.

    Returns:
        The layers, and a sentence on the others; empty where there are none.
    """
    if len(result.layers) <= SHORT:
        return result.layers, ""
    begins = None if result.first is None else result.first.layer
    ranked = sorted(result.layers, key=lambda x: (x.name != begins, not x.breaches, -_closeness(x)))
    chosen = {id(x) for x in ranked[: SHORT if result.broken else CLOSEST]}
    broken = sum(bool(x.breaches) for x in result.layers if id(x) not in chosen)
    left = f"{len(result.layers) - len(chosen)} more layers, "
    left += f"{broken} of which broke a limit" if broken else "all within their limits"
    return tuple(x for x in result.layers if id(x) in chosen), left


def _closeness(layer: CheckedLayer) -> float:
    """How much of a limit is used up, the most of all measures; over 1 where it broke."""
    part = []
    for measure, (value, limit, _) in measures_of(layer).items():
        if value is not None:
            used, allowed = (1 - value, 1 - limit) if measure in {"overlap", "rank"} else (value, limit)
            part.append(used / max(allowed, 1e-9))
    return max(part, default=0.0)


def _table(result: Checked) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    for name in ("depth", "moved", "top 10 %", "ranks", "activity", "weights"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    layers, left = shortlist(result)
    for layer in layers:
        found = measures_of(layer)
        style = "red" if layer.breaches else ""
        cells = [
            Text(shown(measure, value), style="bold red" if bad else "")
            for measure, (value, _, bad) in found.items()
        ]  # fmt: skip
        begins = result.first is not None and result.first.layer == layer.name
        mark = "<- first" if begins else "over the limit" if layer.breaches else ""
        depth = "-" if layer.depth is None else str(layer.depth)
        table.add_row(Text(printable(layer.name), style=style), depth, *cells, Text(mark, style=style))
    for row in _allowed(layers):
        table.add_row(*(Text(cell, style="dim") for cell in row))
    return Group(table, Text(left, style="dim")) if left else table


def _allowed(layers: Sequence[CheckedLayer]) -> list[list[str]]:
    """A row of limits, where the layers share them."""
    if len({layer.limits for layer in layers}) != 1:
        return []
    limits = [
        f"{'>' if measure in {'overlap', 'rank'} else '<'} {shown(measure, limit)}"
        for measure, (_, limit, _) in measures_of(layers[0]).items()
    ]
    return [["allowed", "", *limits, ""]]


def shown(measure: str, value: float | None) -> str:
    """A measure as a short text."""
    if value is None:
        return "-"
    return f"{value:.3f}" if measure == "rank" else f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


__all__ = [
    "SCHEMA", "WORDS", "Breach", "Checked", "CheckedClip", "CheckedLayer", "First", "checked_text", "facts",
    "first_text", "flip_text", "measures_of", "of_classes", "shortlist", "shown", "verdict",
]  # fmt: skip
