"""Which tubes are drawn: what a user asks for, and the tubes that this selects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.tubes import KINDS, UNITS, UNPLACED, Tube, Tubes, weighted_activation

T = TypeVar("T")

EVIDENCE_UNITS = ("class", "layer")
"""What evidence may be of."""

ANIMATIONS = ("mp4", "gif", "none")

DRAWN = 3
"""Most tubes of a depth that are drawn unless more are asked for."""

USUAL_UNIT = {"activation": "kernel", "relevance": "depth", "evidence": "class"}
"""Unit of a kind of tube where none is named."""

DEFAULT_DEPTHS = 4
"""Depths that are drawn where nothing is asked for, evenly spaced: the class's tube and the strongest kernel's."""


@dataclass(frozen=True)
class Drawing:
    """Which tubes are drawn into files.

    Attributes:
        kind: ``activation``, ``relevance`` or ``evidence``.
        unit: One tube for each ``kernel``, ``layer`` or ``depth``; of evidence the ``class`` or each ``layer``.
        limit: Most tubes per depth, the strongest.
    """

    kind: str
    unit: str
    limit: int = DRAWN

    def __post_init__(self) -> None:
        if not _is_kind(self.kind, self.unit):
            raise UsageError(
                f"a tube is activation or relevance of one {', '.join(UNITS[:-1])}, or evidence of the class or a "
                f"layer; {self.kind!r} of {self.unit!r} is neither"
            )
        if self.limit < 1:
            raise UsageError(f"the number of tubes is {self.limit}, it must be at least 1")


def _is_kind(kind: str, unit: str) -> bool:
    return kind in KINDS and unit in (EVIDENCE_UNITS if kind == "evidence" else UNITS[:-1])


@dataclass(frozen=True)
class DrawingOptions:
    """The options of a drawing as a command line has them, one field for each: ``--tube-top`` is `tube_top`.

    Attributes:
        tube: Kind and unit of the tubes to draw; without any, those that are drawn by default.
        tube_top: Most tubes per depth, of those asked for.
        animation: File type of moving tubes, one of `ANIMATIONS`.
    """

    tube: tuple[tuple[str, str], ...] = ()
    tube_top: int = DRAWN
    animation: str = ANIMATIONS[0]

    def __post_init__(self) -> None:
        check_animation(self.animation)

    @property
    def drawings(self) -> tuple[Drawing, ...] | None:
        """What to draw; None for what is drawn by default."""
        return tuple(Drawing(kind, unit, self.tube_top) for kind, unit in self.tube) or None

    @property
    def kernel_relevance(self) -> bool:
        """Whether the relevance of single kernels must be recorded for it."""
        return ("relevance", "kernel") in self.tube

    @property
    def layer_evidence(self) -> bool:
        """Whether the evidence of single layers must be recorded for it."""
        return ("evidence", "layer") in self.tube


def tube_kind(text: str) -> tuple[str, str]:
    """Kind and unit of ``KIND[:UNIT]``, such as ``activation:layer``.

    Raises:
        UsageError: If it names no kind or unit.
    """
    kind, colon, unit = text.partition(":")
    unit = unit if colon else USUAL_UNIT.get(kind, "")
    if not _is_kind(kind, unit):
        raise UsageError(
            f"{text!r} must be evidence, activation or relevance; evidence may take :layer, the other two :kernel, "
            ":layer or :depth"
        )
    return kind, unit


def check_animation(animation: str) -> None:
    """Refuses a file type of moving tubes that is not known.

    Raises:
        UsageError: If it is none of `ANIMATIONS`.
    """
    if animation not in ANIMATIONS:
        raise UsageError(f"unknown animation {animation!r}; choose one of {', '.join(ANIMATIONS)}")


def tubes_to_draw(tubes: Tubes, drawings: Sequence[Drawing] | None, pyramid: Mapping[str, Any]) -> list[Tube]:
    """The tubes that some drawings ask for, each once.

    Args:
        tubes: All tubes.
        drawings: What is asked for; by default the class's tube and the strongest kernel's at up to `DEFAULT_DEPTHS`
            depths.
        pyramid: The pyramid's JSON values.

    Raises:
        UsageError: If the relevance of single kernels is asked for and was not recorded.
    """
    shares = _shares(pyramid)
    asked = (Drawing("evidence", "class"), Drawing("activation", "kernel", 1)) if drawings is None else drawings
    found = [t for drawing in asked for t in select(tubes, drawing, shares)]
    if drawings is None:
        kept = {0, *evenly_spaced(sorted({t.depth for t in found if t.depth}), DEFAULT_DEPTHS)}
        found = [t for t in found if t.depth in kept]
    unique: dict[object, Tube] = {}
    for tube in found:
        unique.setdefault((tube.kind, tube.depth, tube.layer, tube.kernel), tube)
    return list(unique.values())


def _shares(pyramid: Mapping[str, Any]) -> dict[tuple[str, int], float]:
    """Chosen kernels with their relevance over that of the strongest kernel of their layer."""
    top = {x["name"]: max((r for r in x["relevance"] if r is not None), default=0.0) for x in pyramid["layers"]}
    return {
        (k["layer"], k["kernel"]): k["relevance"] / top[k["layer"]] if top[k["layer"]] > 0 else 0.0
        for level in pyramid["levels"]
        for k in level["kernels"]
    }


def select(tubes: Tubes, drawing: Drawing, shares: Mapping[tuple[str, int], float]) -> list[Tube]:
    """The tubes that a drawing asks for, the strongest of each depth first.

    Args:
        tubes: All tubes.
        drawing: What is asked for.
        shares: Chosen kernels with their share of the strongest of their layer, 0..1.

    Raises:
        UsageError: If the relevance of single kernels, or the evidence of layers, is asked for and was not recorded.
    """
    if drawing.kind == "activation" and drawing.unit != "kernel":
        return _activations(tubes, drawing, shares)
    found = list(tubes.of(drawing.kind, drawing.unit))
    if not found and drawing.kind == "relevance" and drawing.unit == "kernel" and tubes.items:
        raise UsageError(
            "the relevance of single kernels was not recorded; explain again with kernel_relevance=True "
            "(--tube relevance:kernel)"
        )
    pulled = found or any(note.startswith(UNPLACED) for note in tubes.notes)
    if (drawing.kind, drawing.unit) == ("evidence", "layer") and tubes.items and not pulled:
        raise UsageError(
            "the evidence of single layers was not recorded; explain again with layer_evidence=True "
            "(--tube evidence:layer)"
        )
    if drawing.unit == "kernel":
        found = [t for t in found if (t.layer, t.kernel) in shares]
        found.sort(key=lambda t: (t.depth, -shares[t.layer or "", t.kernel or 0]))
    return _first_of_each_depth(found, drawing.limit)


def _activations(tubes: Tubes, drawing: Drawing, shares: Mapping[tuple[str, int], float]) -> list[Tube]:
    """Activation of layers or depths: the sum over chosen kernels, each times its share."""
    groups: dict[tuple[int, str | None], list[tuple[Tube, float]]] = {}
    for tube in tubes.of("activation", "kernel"):
        weight = shares.get((tube.layer or "", tube.kernel or 0), 0.0)
        if weight > 0:
            key = (tube.depth, tube.layer if drawing.unit == "layer" else None)
            groups.setdefault(key, []).append((tube, weight))
    made = [
        weighted_activation(members, layer=layer)
        for (_, layer), members in sorted(groups.items(), key=lambda g: g[0][0])
    ]
    return _first_of_each_depth(made, drawing.limit)


def _first_of_each_depth(tubes: Iterable[Tube], limit: int) -> list[Tube]:
    seen: dict[int, int] = {}
    kept = []
    for tube in tubes:
        seen[tube.depth] = seen.get(tube.depth, 0) + 1
        if seen[tube.depth] <= limit:
            kept.append(tube)
    return kept


def evenly_spaced(values: Sequence[T], count: int) -> list[T]:
    """At most `count` of some values, evenly spaced, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]


__all__ = [
    "ANIMATIONS", "DEFAULT_DEPTHS", "DRAWN", "USUAL_UNIT", "Drawing", "DrawingOptions", "check_animation",
    "evenly_spaced", "select", "tube_kind", "tubes_to_draw",
]  # fmt: skip
