"""What the report's page is made of: a pyramid's values and its maps as bytes, as many as a page may hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cfp_onnx.pictures import colours, encode
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tube_file import TUBES_FILE
from cfp_onnx.pyramid.tubes import Tube, Tubes, drawn_values
from cfp_onnx.pyramid.values import ranks_in_layers
from cfp_onnx.report.pyramid_page import FORMAT, render_pyramid
from cfp_onnx.values import Array

REPORT_BYTES = 8 * 10**6
"""Most bytes of a report."""

REPORT_TUBES = 3 * 2**20
"""Bytes of maps that a report holds at first; halved until the page is small enough."""

REPORT_MAP = 2**16
"""Most elements of one map in a report; a finer one is averaged."""

REPORT_LINKS = 20_000
"""Most links in a report; ``pyramid.json`` holds all."""

REPORT_FRAMES = 2 * 10**6
"""Bytes that the frames of a report may take; larger ones are shrunk."""

REPORT_SAMPLES = 100_000
"""Most numbers of a signal in a report; of a longer one, the lowest and highest of each stretch."""


def report_html(
    pyramid: Mapping[str, Any],
    *,
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
) -> str:
    """The page; maps and links, then further answers, are left out until it has at most `REPORT_BYTES`.

    Args:
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes.
        media: The clip as people see it.
        facts: Versions, time of day and times taken.
    """
    budget, links, answers = REPORT_TUBES, REPORT_LINKS, 1 + len(pyramid.get("rather", ()))
    while True:
        limits = {"budget": budget, "links": links, "answers": answers}
        page = render_pyramid(payload(pyramid, topology, tubes, media, facts, **limits))
        least = budget < 2**16 and links < 500
        if len(page.encode()) <= REPORT_BYTES or (least and answers == 1):
            return page
        if least:
            budget, links, answers = REPORT_TUBES, REPORT_LINKS, answers - 1
        else:
            budget, links = budget // 2, links // 2


def payload(
    pyramid: Mapping[str, Any],
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
    *,
    budget: int = REPORT_TUBES,
    links: int = REPORT_LINKS,
    answers: int | None = None,
) -> dict[str, Any]:
    """What the page is made of, as plain JSON values.

    Args:
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes.
        media: The clip as people see it.
        facts: Versions, time of day and times taken.
        budget: Bytes of maps.
        links: Most links.
        answers: How many are kept of those that set the class against something; all by default.
    """
    notes: list[str] = [] if tubes is None else list(tubes.notes)
    every = [pyramid, *pyramid.get("rather", ())]
    shown = every[:answers]
    if len(shown) < len(every):
        notes.append(f"{len(every) - len(shown)} further answers did not fit into this page; pyramid.json holds them")
    kept = [_strongest_links(a["edges"], links // len(shown), _ranks(a["levels"])) for a in shown]
    edges, *further = (found for found, _ in kept)
    dropped = sum(count for _, count in kept)
    if dropped:
        notes.append(f"{dropped} weaker links are left out of this page; pyramid.json holds them")
    maps, scales = _maps(tubes, budget, notes)
    return {
        "format": FORMAT,
        "pyramid": {
            **pyramid,
            "edges": edges,
            "rather": [{**a, "edges": own} for a, own in zip(shown[1:], further, strict=True)],
        },
        "topology": topology,
        "colormap": {"name": "inferno", "rgb": _base64(colours.colormap().tobytes())},
        "media": _media(media),
        "tubes": {"notes": notes, "scales": scales, "maps": maps},
        "facts": dict(facts),
    }


def _ranks(levels: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """Chosen kernels with their rank in their layer, 0 for the strongest."""
    chosen = [(kernel["layer"], kernel["kernel"]) for level in levels for kernel in level["kernels"]]
    return dict(zip(chosen, ranks_in_layers(layer for layer, _ in chosen), strict=True))


def _strongest_links(
    edges: Sequence[Mapping[str, Any]], limit: int, ranks: Mapping[tuple[str, int], int]
) -> tuple[list[Mapping[str, Any]], int]:
    """Edges with at most so many links in all, an equal share for each kernel.

    Where there are more kernels than links, the strongest kernels of each layer keep one; the class comes first.
    """
    counts = sorted(len(e["channels"]) for e in edges)
    total, most = sum(counts), max(counts, default=0)
    if total <= limit:
        return list(edges), 0
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(c, middle) for c in counts) <= limit else (low, middle - 1)
    order = sorted(range(len(edges)), key=lambda i: ranks.get((edges[i]["layer"], edges[i]["kernel"]), -1))
    kept: list[Mapping[str, Any]] = []
    for i in sorted(order[:limit]):
        ordered = sorted(edges[i]["channels"], key=lambda c: -abs(c["weight"]))[:low]
        kept.append({**edges[i], "channels": ordered})
    return kept, total - sum(len(e["channels"]) for e in kept)


def _maps(tubes: Tubes | None, budget: int, notes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Maps of depths and kernels as bytes on their depth's scale, as many as the budget holds, the class's first."""
    if tubes is None:
        return [], []
    wanted = [
        *tubes.of("evidence", "class"),
        *tubes.of("relevance", "depth"),
        *_by_rank(tubes.of("activation", "kernel")),
    ]
    scales = {key: tubes.scale(*key) for key in dict.fromkeys((t.kind, t.depth) for t in wanted)}
    maps, spent, omitted, averaged = [], 0, 0, 0
    for tube in wanted:
        small = _averaged(tube)
        if spent + small.values.size > budget:
            omitted += 1
            continue
        spent += small.values.size
        averaged += small is not tube
        maps.append(_map(small, tube, scales[tube.kind, tube.depth].high))
        if tube.kind == "evidence":
            maps.append(_map(small, tube, scales[tube.kind, tube.depth].high, sign=-1))
    if omitted:
        notes.append(f"{omitted} more tubes did not fit into this page; {TUBES_FILE} holds them")
    if averaged:
        notes.append(f"{averaged} fine maps are averaged over neighbouring elements for this page")
    return maps, [
        {"kind": kind, "depth": depth, "low": max(s.low, 0.0), "high": s.high, "unit": s.unit}
        for (kind, depth), s in scales.items()
    ]


def _by_rank(tubes: Sequence[Tube]) -> list[Tube]:
    """First the strongest kernel of each layer, then the second of each, and so on; each rank by depth."""
    ranked = zip(ranks_in_layers(t.layer for t in tubes), tubes, strict=True)
    return [tube for _, tube in sorted(ranked, key=lambda pair: (pair[0], pair[1].depth))]


def _averaged(tube: Tube) -> Tube:
    """A map of at most `REPORT_MAP` elements: runs of neighbours along height and width are averaged."""
    if tube.values.size <= REPORT_MAP:
        return tube
    counts = list(tube.values.shape)
    while np.prod(counts) > REPORT_MAP and max(counts[1:]) > 1:
        axis = 1 if counts[1] >= counts[2] else 2
        counts[axis] = max(1, counts[axis] // 2)
    values, centres = tube.values.astype(np.float64), list(tube.centres)
    for axis in (1, 2):
        length = values.shape[axis]
        starts = np.arange(counts[axis]) * length // counts[axis]
        runs = np.diff([*starts, length])
        values = np.add.reduceat(values, starts, axis=axis) / runs.reshape([-1 if a == axis else 1 for a in range(3)])
        centres[axis] = np.add.reduceat(np.asarray(centres[axis], np.float64), starts) / runs
    return replace(tube, values=values.astype(np.float32), centres=(centres[0], centres[1], centres[2]))


def _map(small: Tube, tube: Tube, high: float, *, sign: int = 1) -> dict[str, Any]:
    """A map as the page takes it; of evidence, what speaks for the class and what speaks against it are two maps."""
    level = np.clip(sign * drawn_values(small.values, tube.kind) / (high or 1.0), 0, 1)
    return {
        "kind": tube.kind if sign > 0 else "against", "depth": tube.depth, "layer": tube.layer, "kernel": tube.kernel,
        "shape": list(small.values.shape), "centres": [np.round(c, 3).tolist() for c in small.centres],
        "data": _base64(np.rint(level * 255).astype(np.uint8).tobytes()),
        "min": float((sign * tube.values).min()), "max": float((sign * tube.values).max()), "constant": tube.constant,
    }  # fmt: skip


def _media(media: Media | None) -> dict[str, Any]:
    if media is None:
        return {"kind": "none", "size": [1, 1, 1], "frames": [], "curve": None, "note": ""}
    frames: list[str] = []
    if media.frames is not None:
        frames = [f"data:image/jpeg;base64,{_base64(f)}" for f in _jpegs(media.frames)]
    curve = None if media.curve is None else np.round(_thinned(media.curve), 5).tolist()
    return {"kind": media.kind, "size": list(media.size), "frames": frames, "curve": curve, "note": media.note}


def _thinned(curve: Array) -> Array:
    """A signal of at most `REPORT_SAMPLES` numbers that looks the same: lowest and highest of each stretch in turn."""
    curve = curve.astype(np.float64)
    stretches = max(1, REPORT_SAMPLES // (2 * len(curve)))
    if curve.shape[1] <= 2 * stretches:
        return curve
    starts = np.linspace(0, curve.shape[1], stretches, endpoint=False).astype(int)
    ends = [np.minimum.reduceat(curve, starts, axis=1), np.maximum.reduceat(curve, starts, axis=1)]
    return np.stack(ends, axis=2).reshape(len(curve), -1)


def _jpegs(frames: Array) -> list[bytes]:
    quality = 88
    coded = [encode.encode_jpeg(f, quality) for f in frames]
    while sum(map(len, coded)) > REPORT_FRAMES and min(frames.shape[1:3]) > 32:
        frames = frames[:, ::2, ::2]
        coded = [encode.encode_jpeg(np.ascontiguousarray(f), quality) for f in frames]
    return coded


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


__all__ = [
    "REPORT_BYTES", "REPORT_FRAMES", "REPORT_LINKS", "REPORT_MAP", "REPORT_SAMPLES", "REPORT_TUBES", "payload",
    "report_html",
]  # fmt: skip
