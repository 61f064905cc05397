"""The page of a comparison: one HTML file with both pyramids side by side, for a browser without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfp_onnx.naming import module_of
from cfp_onnx.report.page import document, embedded, finite, rounded

SCRIPTS = ("dom.js", "compare.js")
"""Parts of the page's one script, in the order in which they need each other."""

STYLES = ("style.css", "compare.css")

CHIPS = 60
"""Most kernels of a layer on the page, the strongest of either file; the JSON file has all."""


def render_comparison(value: Mapping[str, Any]) -> str:
    """The page as the text of one HTML file.

    Args:
        value: A comparison as published JSON values.

    Returns:
        Text that UTF-8 can hold; the same for the same comparison.
    """
    verdict = "The same network" if value["same"] else "Different networks"
    return document(
        "compare.html", title=f"{verdict} - comparison", styles=STYLES, scripts=SCRIPTS,
        values={"payload": embedded(payload(value))},
    )  # fmt: skip


def payload(value: Mapping[str, Any]) -> dict[str, Any]:
    """What the page draws: everything but the relevance of kernels that neither file chose."""
    rest = {k: v for k, v in value.items() if k != "layers"}
    return {**finite(rest), "layers": [_layer(x) for x in value["layers"]]}


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in layer.items() if k not in {"relevance", "chosen", "kernels"}}
    order: Sequence[int] = layer["kernels"]
    moved = sum(k != i for i, k in enumerate(order))
    modules = [module_of(layer[side], weight) for side, weight in zip("ab", layer["weight"], strict=True)]
    return {**finite(out), "modules": modules, "count": len(order), "moved": moved, "chips": _chips(layer), "chosen": {
        k: len(v) for k, v in layer["chosen"].items()}}  # fmt: skip


def _chips(layer: Mapping[str, Any]) -> list[list[Any]]:
    """Chosen kernels: number in A and in B, share of the layer's strongest in A and in B, who chose it."""
    ours, theirs = layer["relevance"]
    if not ours:
        return []
    tops = [max(side, default=0.0) for side in (ours, theirs)]

    def share(side: int, kernel: int) -> float:
        return layer["relevance"][side][kernel] / tops[side] if tops[side] > 0 else 0.0

    rows = [
        [k, layer["kernels"][k], rounded(share(0, k)), rounded(share(1, k)), mark]
        for mark in ("shared", "only_a", "only_b")
        for k in layer["chosen"][mark]
    ]
    rows.sort(key=lambda row: -max(row[2] or 0.0, row[3] or 0.0))
    return rows[:CHIPS]


__all__ = ["payload", "render_comparison"]
