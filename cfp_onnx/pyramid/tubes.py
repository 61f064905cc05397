"""Saliency tubes: where in space and time a kernel fires, and where a class's relevance lies (docs/method.md, tubes).

A tube is kept at the resolution of its layer, with the clip coordinates of its elements; `Tube.at` lays it over the
frames. Pictures of one depth share one scale, so that weak kernels look weak.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cfp_onnx.pyramid.resampling import Centres, Size, add_maps, resample
from cfp_onnx.values import Array

KINDS = ("activation", "relevance", "evidence")


UNITS = ("kernel", "layer", "depth", "class")


SATURATED = 0.005
"""Share of a relevance map's elements that may lie above its scale."""


FLAT = 1e-4
"""A map that varies by at most this part of its scale is constant: it does not say where."""


NO_TUBE = "the class has no tube of its own"
"""How the note begins that says why."""


UNPLACED = "no evidence that says where comes to the clip through"
"""How the note begins that names layers without evidence of their own."""


@dataclass(frozen=True)
class Scale:
    """What the colours of one depth mean.

    Attributes:
        low: Value drawn as nothing; of evidence, which has two signs, the end of the colours against the class.
        high: Value drawn with the last colour.
        unit: ``activation``, ``relevance`` per clip pixel, or ``evidence`` as a share of the strongest.
    """

    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Tube:
    """One saliency volume.

    Attributes:
        kind: ``activation`` (where it fires), ``relevance`` (where a layer or depth holds what speaks for the class)
            or ``evidence`` (where in the clip the evidence for the class lies, and against it).
        depth: Depth of its layers; 0 for the class's own tube over the clip.
        layer: Layer name; None for all layers of the depth.
        kernel: Kernel; None for the whole layer or depth.
        values: (t, h, w) float32 at the layer's own resolution.
        centres: Clip coordinates of its elements, rising, one array per axis; the centre of clip pixel i is i.
        constant: Whether it varies too little to say where.
    """

    kind: str
    depth: int
    layer: str | None
    kernel: int | None
    values: Array
    centres: Centres
    constant: bool = False

    def at(self, size: Size) -> Array:
        """The tube over the clip: linear between the centres of its elements, constant beyond the outer ones.

        Args:
            size: Frames, height and width of the clip.

        Returns:
            (T, H, W) float32.
        """
        return resample(self.values, self.centres, [np.arange(n, dtype=np.float64) for n in size])


@dataclass(frozen=True)
class Tubes:
    """All tubes of a pyramid.

    Attributes:
        size: Frames, height and width of the clip; 1 on axes that the model's input lacks.
        items: The tubes.
        notes: What was left out, in sentences.
    """

    size: Size
    items: tuple[Tube, ...]
    notes: tuple[str, ...] = ()

    def scale(self, kind: str, depth: int) -> Scale:
        """The one scale of a kind at a depth: 0 to the largest value of its tubes, of activations the absolute one.

        A few elements can dominate relevance, so the largest half percent of each tube's elements may lie above it.
        """
        mine = [t for t in self.items if t.kind == kind and t.depth == depth]
        high = max((_top(t.values, kind) for t in mine), default=0.0)
        return Scale(-high if kind == "evidence" else 0.0, high, kind)

    def find(self, kind: str, *, depth: int | None = None, layer: str | None = None, kernel: int | None = None) -> Tube:
        """The tube of a kernel (layer and kernel given), of a layer, or of a depth.

        Raises:
            KeyError: If there is none.
        """
        for tube in self.items:
            if (tube.kind, tube.layer, tube.kernel) == (kind, layer, kernel) and depth in {None, tube.depth}:
                return tube
        what = f"depth {depth}" if layer is None else f"layer {layer!r}" if kernel is None else f"{layer!r}:{kernel}"
        raise KeyError(f"no {kind} tube of {what}")

    def of(self, kind: str, unit: str) -> tuple[Tube, ...]:
        """All tubes of a kind, one per kernel, layer or depth."""
        return tuple(t for t in self.items if t.kind == kind and unit_of(t) == unit)


def _top(values: Array, kind: str) -> float:
    """The value that gets the last colour: of activations and evidence, drawn by their size, the largest absolute."""
    if kind != "relevance":
        return float(np.abs(values).max(initial=0.0))
    largest = max(float(values.max(initial=0.0)), 0.0)
    usual = float(np.quantile(values, 1.0 - SATURATED, method="higher")) if values.size else 0.0
    return usual if usual > 0 else largest


def unit_of(tube: Tube) -> str:
    """What a tube belongs to: a ``kernel``, ``layer``, ``depth``, or the ``class``."""
    if tube.layer is None:
        return "class" if tube.kind == "evidence" else "depth"
    return "layer" if tube.kernel is None else "kernel"


def mark_constant(size: Size, items: Iterable[Tube], notes: Iterable[str] = ()) -> Tubes:
    """Tubes, of which those that vary by at most `FLAT` of their depth's scale are marked constant."""
    found = Tubes(size, tuple(items), tuple(notes))
    tops: dict[tuple[str, int], float] = {}
    marked = []
    for tube in found.items:
        key = (tube.kind, tube.depth)
        if key not in tops:
            tops[key] = found.scale(*key).high
        spread = float(np.ptp(tube.values)) if tube.values.size else 0.0
        largest = max(tops[key], float(np.abs(tube.values).max(initial=0.0)))
        marked.append(replace(tube, constant=spread <= FLAT * largest))
    return replace(found, items=tuple(marked))


def nowhere_note(depths: Sequence[int], reason: str) -> str:
    """The note on depths whose maps do not say where.

    Args:
        depths: The depths.
        reason: What they have instead.
    """
    do = "depth {} does" if len(depths) == 1 else "depths {} do"
    return f"{do.format(', '.join(map(str, depths)))} not say where: {reason}"


def silent_at(notes: Iterable[str], depth: int) -> str | None:
    """The note that says why a depth has no map; None where there is none."""
    for note in notes:
        depths, found, _ = note.partition(" not say where: ")
        if found and str(depth) in re.findall("[0-9]+", depths):
            return note
    return None


def weighted_activation(tubes: Sequence[tuple[Tube, float]], *, layer: str | None) -> Tube:
    """Activation of a layer or depth: its kernels' tubes, each times its share of the strongest kernel's relevance.

    Raises:
        ValueError: If there is nothing to add up.
    """
    if not tubes:
        raise ValueError("no tubes to add up")
    maps = [(t.values * np.float32(v), t.centres) for t, v in tubes]
    values, centres = add_maps(maps)
    total = float(sum(v for _, v in tubes))
    first = tubes[0][0]
    return Tube("activation", first.depth, layer, None, values / np.float32(total or 1.0), centres)


def drawn_values(values: Array, kind: str) -> Array:
    """The values that are drawn: of activations the absolute ones, for a kernel can act by negative activations too."""
    return np.abs(values) if kind == "activation" else values


__all__ = [
    "FLAT", "KINDS", "NO_TUBE", "SATURATED", "UNITS", "UNPLACED", "Scale", "Tube", "Tubes", "drawn_values",
    "mark_constant", "nowhere_note", "silent_at", "unit_of", "weighted_activation",
]  # fmt: skip
