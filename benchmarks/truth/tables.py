"""From measurements to figures with intervals, and to the tables of docs/method.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.figures import (
    RECALLED,
    TOP,
    Estimate,
    Sampled,
    draws,
    estimate,
    found_of_best,
    of_clips,
    short,
    spearman_rows,
)
from benchmarks.truth.measuring import Measured

Array = NDArray[Any]
Figure = Callable[[Measured, str], Sampled | None]

THIRDS: Final = ("near head", "middle", "deep")
LEAST: Final = 2
"""Clips of a class that make a mean over them."""


def thirds(measured: Measured) -> dict[str, Array]:
    """Places of the layers near the head, in the middle and deep: thirds in the order of depth."""
    parts = np.array_split(np.arange(len(measured.removed.layers)), len(THIRDS))
    return dict(zip(THIRDS, parts, strict=True))


def judged_layers(measured: Measured, way: str) -> list[int]:
    """Layers with an answer: where things are held, one that only steers has none."""
    return [n for n, layer in enumerate(measured.removed.layers) if way == "live" or not layer.steers]


# ------------------------------------------------------------------------------------------------- figures


def clip_by_clip(
    measured: Measured, variant: str, *, way: str, margin: str, what: str = "rho", layers: Array | None = None
) -> NDArray[np.float64]:
    """A figure of each clip, mean over layers, ``(clips,)``; empty where no layer is judged.

    Args:
        measured: A network.
        variant: Name of a variant.
        way: ``live`` or ``held``.
        margin: ``mean``, ``best`` or ``rivals``.
        what: ``rho``, ``overlap`` or ``recall``.
        layers: Only these; all by default.
    """
    rows = []
    for n in judged_layers(measured, way):
        if layers is None or n in layers:
            truth, said = measured.removed.falls(way, margin, n), measured.relevance[variant][n]
            rows.append(_clips_of_layer(what, said, truth))
    return np.mean(rows, axis=0) if rows else np.empty(0)


def _clips_of_layer(what: str, said: Array, truth: Array) -> Array:
    if what == "rho":
        return spearman_rows(said, truth)
    share = {"overlap": TOP, "recall": RECALLED}[what]
    return np.array([found_of_best(a, b, share) for a, b in zip(said, truth, strict=True)])


def levelled(
    measured: Measured, variant: str, groups: Sequence[Sequence[int]], *, squared: bool = False
) -> Sampled | None:
    """Rho of relevance and live falls that were first averaged over clips: mean over groups of clips, then layers.

    Args:
        measured: A network.
        variant: Name of a variant.
        groups: Clips that are averaged: those of a class, or all of them.
        squared: Whether both are squared first, so that a kernel counts whatever its sign: the importance of
            Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019.
    """
    rows = []
    for n in judged_layers(measured, "live"):
        truth, said = measured.removed.falls("live", "mean", n), measured.relevance[variant][n]
        if squared:
            truth, said = truth**2, said**2
        for group in groups:
            weights = draws(len(group))
            rows.append(spearman_rows(weights @ said[list(group)], weights @ truth[list(group)]))
    if not rows:
        return None
    mean, *samples = np.mean(rows, axis=0)
    return Sampled(float(mean), mean + samples - np.mean(samples))  # of clips drawn twice a mean says less


def by_class(measured: Measured) -> list[list[int]]:
    """Clips of each explained class of which there are `LEAST` or more."""
    found: dict[int, list[int]] = {}
    for clip, index in enumerate(measured.removed.indexes):
        found.setdefault(index, []).append(clip)
    return [clips for clips in found.values() if len(clips) >= LEAST]


def _clips(**how: Any) -> Figure:
    return lambda measured, variant: of_clips(clip_by_clip(measured, variant, **how))


def _third(name: str) -> Figure:
    def figure(measured: Measured, variant: str) -> Sampled | None:
        layers = thirds(measured)[name]
        return of_clips(clip_by_clip(measured, variant, way="live", margin="mean", layers=layers))

    return figure


FIGURES: Final[Mapping[str, Figure]] = {
    "live": _clips(way="live", margin="mean"),
    **{name: _third(name) for name in THIRDS},
    "top-10 % overlap": _clips(way="live", margin="mean", what="overlap"),
    "recall at 20 %": _clips(way="live", margin="mean", what="recall"),
    "live, best other": _clips(way="live", margin="best"),
    "live, rivals": _clips(way="live", margin="rivals"),
    "held": _clips(way="held", margin="mean"),
    "class level": lambda m, v: levelled(m, v, by_class(m)),
    "data-set level": lambda m, v: levelled(m, v, [range(len(m.subject.clips))], squared=True),
}
"""Columns of the tables, by heading."""


class Table:
    """Figures of several networks; each is computed once.

    Args:
        measured: The networks; a variant that one does not have is averaged over the others.
    """

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.measured = tuple(measured)
        self.variants = tuple(dict.fromkeys(v for m in measured for v in m.relevance))
        self.kinds = tuple(dict.fromkeys(m.subject.kind for m in measured))
        self._found: dict[tuple[int, str, str], Sampled | None] = {}

    def estimate(self, variant: str, figure: str, *, kind: str | None = None) -> Estimate:
        """A figure of a variant: mean over kinds, or over the networks of one kind.

        Args:
            variant: Name of a variant.
            figure: One of `FIGURES`.
            kind: Only this one.
        """
        wanted = self.kinds if kind is None else (kind,)
        found = [(m.subject.kind, self._sampled(n, variant, figure)) for n, m in enumerate(self.measured)]
        return estimate([[s for own, s in found if own == k and s is not None] for k in wanted])

    def has(self, variant: str, kind: str) -> bool:
        """Whether a network of a kind has a variant."""
        return any(variant in m.relevance for m in self.measured if m.subject.kind == kind)

    def _sampled(self, network: int, variant: str, figure: str) -> Sampled | None:
        key = network, variant, figure
        if key not in self._found:
            one = self.measured[network]
            self._found[key] = FIGURES[figure](one, variant) if variant in one.relevance else None
        return self._found[key]


# ------------------------------------------------------------------------------------------------ markdown


def markdown(table: Table, *, layers: bool = False) -> str:
    """What was measured, rho by kind, all figures over all kinds, and all figures of each kind.

    Args:
        table: The figures.
        layers: Whether rho is given layer by layer too.
    """
    several = len(table.kinds) > 1
    parts = [_measured(table)]
    if several:
        parts += ["### Live, margin to the mean of the others, by kind", _by_kind(table, "live")]
        parts += ["### Held, by kind", _by_kind(table, "held")]
        parts += ["### Live, margin to the best other, by kind", _by_kind(table, "live, best other")]
        parts += ["### All kinds", _by_figure(table, None)]
    parts += [block for kind in table.kinds for block in (f"### {kind}", _by_figure(table, kind))]
    if layers:
        parts += [block for one in table.measured for block in (f"### {one.subject.name}, by layer", _by_layer(one))]
    return "\n\n".join(parts)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _measured(table: Table) -> str:
    head = ["network", "half", "top-1 right", "layers", "of them only steer", "kernels", "clips", "seconds"]
    return _rows(head, [_described(one) for one in table.measured])


def _described(one: Measured) -> list[str]:
    layers, right = one.removed.layers, one.correct
    counts = (len(layers), sum(x.steers for x in layers), sum(x.kernels for x in layers), len(one.subject.clips))
    seconds = f"{sum(one.seconds.values()):.0f}"
    return [one.subject.name, one.subject.role, "" if right is None else f"{right:.0%}", *map(str, counts), seconds]


def _by_kind(table: Table, figure: str) -> str:
    rows = [[k, *(str(table.estimate(v, figure, kind=k)) for v in table.variants)] for k in table.kinds]
    last = ["**mean over kinds**", *(_over_kinds(table, v, figure) for v in table.variants)]
    return _rows(["kind", *table.variants], [*rows, last])


def _over_kinds(table: Table, variant: str, figure: str) -> str:
    """A mean over kinds, with their number where some have no such figure."""
    there = sum(not math.isnan(table.estimate(variant, figure, kind=k).mean) for k in table.kinds)
    some = f" ({there} kinds)" if there < len(table.kinds) else ""
    return f"{table.estimate(variant, figure)}{some}" if there else ""


def _by_figure(table: Table, kind: str | None) -> str:
    one = _over_kinds if kind is None else lambda t, v, f: str(t.estimate(v, f, kind=kind))
    names = [v for v in table.variants if kind is None or table.has(v, kind)]
    rows = [[v, *(one(table, v, f) for f in FIGURES)] for v in names]
    return _rows(["rule", *FIGURES], rows)


def _by_layer(one: Measured) -> str:
    rows = []
    for n, layer in enumerate(one.removed.layers):
        rho = (clip_by_clip(one, v, way="live", margin="mean", layers=np.array([n])).mean() for v in one.relevance)
        rows.append([layer.name, str(layer.depth), str(layer.kernels), *(short(float(r)) for r in rho)])
    return _rows(["layer", "depth", "kernels", *one.relevance], rows)


# ---------------------------------------------------------------------------------------------------- JSON


def as_json(table: Table) -> dict[str, Any]:
    """All figures with their intervals, and each network's, clip by clip."""
    return {
        "networks": [_network(one) for one in table.measured],
        "kinds": {k: _figures(table, k) for k in table.kinds},
        "all": _figures(table, None),
    }


def _figures(table: Table, kind: str | None) -> dict[str, dict[str, dict[str, float | None]]]:
    """Variant to figure to mean, low and high; null where there is none."""

    def one(variant: str, name: str) -> dict[str, float | None]:
        found = asdict(table.estimate(variant, name, kind=kind))
        return {key: None if math.isnan(value) else round(value, 4) for key, value in found.items()}

    return {v: {name: one(v, name) for name in FIGURES} for v in table.variants}


def _network(one: Measured) -> dict[str, Any]:
    removed = one.removed
    clips = {v: clip_by_clip(one, v, way="live", margin="mean").round(4).tolist() for v in one.relevance}
    return {
        "name": one.subject.name, "kind": one.subject.kind, "seed": one.subject.seed, "role": one.subject.role,
        "correct": one.correct, "seconds": one.seconds, "classes": removed.indexes,
        "layers": [asdict(layer) for layer in removed.layers], "live rho by clip": clips,
    }  # fmt: skip
