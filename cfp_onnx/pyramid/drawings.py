"""Which tubes are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.tubes import KINDS, UNITS, Tube, Tubes, weighted

ANIMATIONS = ("mp4", "gif", "none")


DRAWN = 3
"""Kernels of a depth that are drawn unless more are asked for."""


@dataclass(frozen=True)
class Drawing:
    """Which tubes are drawn into files.

    Attributes:
        kind: ``activation`` or ``relevance``.
        unit: One tube for each ``kernel``, ``layer`` or ``depth``.
        limit: Most tubes per depth, the strongest.
    """

    kind: str
    unit: str
    limit: int = DRAWN

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.unit not in UNITS:
            raise UsageError(
                f"a tube is {' or '.join(KINDS)} of one {', '.join(UNITS)}; {self.kind!r} of {self.unit!r} is neither"
            )
        if self.limit < 1:
            raise UsageError(f"the number of tubes is {self.limit}, it must be at least 1")


DEFAULT_DEPTHS = 4
"""Depths that are drawn where nothing is asked for, evenly spaced: the class's tube and the strongest kernel's."""


def select(tubes: Tubes, drawing: Drawing, ranked: Mapping[tuple[str, int], float]) -> list[Tube]:
    """The tubes that a drawing asks for, the strongest of each depth first.

    Args:
        tubes: All tubes.
        drawing: What is asked for.
        ranked: Chosen kernels with their share of the strongest of their layer, 0..1.

    Raises:
        UsageError: If the relevance of single kernels was not recorded.
    """
    if drawing.kind == "activation" and drawing.unit != "kernel":
        return _activations(tubes, drawing, ranked)
    found = list(tubes.of(drawing.kind, drawing.unit))
    if not found and drawing.kind == "relevance" and drawing.unit == "kernel" and tubes.items:
        raise UsageError(
            "the relevance of single kernels was not recorded; explain again with kernel_relevance=True "
            "(--tube relevance:kernel)"
        )
    if drawing.unit == "kernel":
        found = [t for t in found if (t.layer, t.kernel) in ranked]
        found.sort(key=lambda t: (t.depth, -ranked[t.layer or "", t.kernel or 0]))
    return _first_of_each_depth(found, drawing.limit)


def _activations(tubes: Tubes, drawing: Drawing, ranked: Mapping[tuple[str, int], float]) -> list[Tube]:
    """Activation of layers or depths: chosen kernels weighted by their share of the strongest."""
    groups: dict[tuple[int, str | None], list[tuple[Tube, float]]] = {}
    for tube in tubes.of("activation", "kernel"):
        weight = ranked.get((tube.layer or "", tube.kernel or 0), 0.0)
        if weight > 0:
            key = (tube.depth, tube.layer if drawing.unit == "layer" else None)
            groups.setdefault(key, []).append((tube, weight))
    made = [weighted(members, layer=layer) for (_, layer), members in sorted(groups.items(), key=lambda g: g[0][0])]
    return _first_of_each_depth(made, drawing.limit)


def _first_of_each_depth(tubes: Iterable[Tube], limit: int) -> list[Tube]:
    seen: dict[int, int] = {}
    kept = []
    for tube in tubes:
        seen[tube.depth] = seen.get(tube.depth, 0) + 1
        if seen[tube.depth] <= limit:
            kept.append(tube)
    return kept


def tubes_to_draw(tubes: Tubes, drawings: Sequence[Drawing] | None, pyramid: Mapping[str, Any]) -> list[Tube]:
    """The tubes that some drawings ask for, each once."""
    top = {x["name"]: max(x["relevance"], default=0.0) for x in pyramid["layers"]}
    ranked = {
        (k["layer"], k["kernel"]): k["relevance"] / top[k["layer"]] if top[k["layer"]] > 0 else 0.0
        for level in pyramid["levels"]
        for k in level["kernels"]
    }
    asked = (Drawing("relevance", "depth"), Drawing("activation", "kernel", 1)) if drawings is None else drawings
    found = [t for drawing in asked for t in select(tubes, drawing, ranked)]
    if drawings is None:
        kept = set(spread(sorted({t.depth for t in found}), DEFAULT_DEPTHS))
        found = [t for t in found if t.depth in kept]
    unique: dict[object, Tube] = {}
    for tube in found:
        unique.setdefault((tube.kind, tube.depth, tube.layer, tube.kernel), tube)
    return list(unique.values())


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of some values, evenly spaced, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]


__all__ = ["ANIMATIONS", "DEFAULT_DEPTHS", "DRAWN", "Drawing", "select", "spread", "tubes_to_draw"]
