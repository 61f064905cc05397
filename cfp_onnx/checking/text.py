"""A check in words: its sentences, and the table of layers that broke a limit or came closest."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cfp_onnx.checking.values import CheckedClip, CheckedLayer, First
from cfp_onnx.text import figure_table, printable

SHORT, CLOSEST = 16, 5
"""Most layers of a printed table, and most where no limit was broken; JSON has all."""


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


def broken_for_classes(layers: Sequence[CheckedLayer]) -> list[str]:
    """Limits of single classes that were broken, in sentences."""
    return [f"{x.name}: {b}" for x in layers for b in x.breaches if b.label is not None]


def flip_text(clip: CheckedClip) -> str:
    """A changed answer to a clip, in a sentence."""
    before, after = (label or str(k) for k, label in zip(clip.top, clip.top_labels, strict=True))
    return f"{clip.file}: {after} instead of {before}"


def shortlist(layers: Sequence[CheckedLayer], first: First | None) -> tuple[Sequence[CheckedLayer], str]:
    """Layers for a short table, in the baseline's order: those that broke a limit, then those that came closest.

    Args:
        layers: All layers.
        first: Where the change begins; its layer is always among them.

    Returns:
        The layers, and a sentence on the others; empty where there are none.
    """
    if len(layers) <= SHORT:
        return layers, ""
    begins = None if first is None else first.layer
    ranked = sorted(layers, key=lambda x: (x.name != begins, not x.breaches, -_closeness(x)))
    chosen = {id(x) for x in ranked[: SHORT if any(x.breaches for x in layers) else CLOSEST]}
    broken = sum(bool(x.breaches) for x in layers if id(x) not in chosen)
    left = f"{len(layers) - len(chosen)} more layers, "
    left += f"{broken} of which broke a limit" if broken else "all within their limits"
    return tuple(x for x in layers if id(x) in chosen), left


def _closeness(layer: CheckedLayer) -> float:
    """How much of a limit is used up, the most of all measures; over 1 where it broke."""
    part = []
    for measure, (value, limit, _) in measures_of(layer).items():
        if value is not None:
            used, allowed = (1 - value, 1 - limit) if measure in {"overlap", "rank"} else (value, limit)
            part.append(used / max(allowed, 1e-9))
    return max(part, default=0.0)


def layer_table(layers: Sequence[CheckedLayer], first: First | None) -> Table | Group:
    """A row of measures for each layer that broke a limit or came closest, and what is allowed."""
    table = figure_table("layer", ("depth", "moved", "top 10 %", "ranks", "activity", "weights"))
    listed, left = shortlist(layers, first)
    for layer in listed:
        found = measures_of(layer)
        style = "red" if layer.breaches else ""
        cells = [
            Text(shown(measure, value), style="bold red" if bad else "")
            for measure, (value, _, bad) in found.items()
        ]  # fmt: skip
        begins = first is not None and first.layer == layer.name
        mark = "<- first" if begins else "over the limit" if layer.breaches else ""
        depth = "-" if layer.depth is None else str(layer.depth)
        table.add_row(Text(printable(layer.name), style=style), depth, *cells, Text(mark, style=style))
    for row in _allowed(listed):
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
    "CLOSEST",
    "SHORT",
    "broken_for_classes",
    "first_text",
    "flip_text",
    "layer_table",
    "measures_of",
    "shortlist",
    "shown",
]
