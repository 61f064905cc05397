"""The result of a comparison: layer by layer, where the files first differ, and as JSON and a page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from rich.console import Group
from rich.text import Text

from cfp_onnx.comparison.text import divergence_text, layer_table, name_and_module
from cfp_onnx.comparison.values import (
    ComparedClass,
    ComparedClip,
    ComparedFile,
    ComparedLayer,
    Divergence,
    Outputs,
    Tolerance,
)
from cfp_onnx.files.whole import write_json, write_text
from cfp_onnx.text import fact_table, plain_text
from cfp_onnx.values import plain

SCHEMA = "cfp-onnx/comparison"


SCHEMA_VERSION = 1


@dataclass(frozen=True, repr=False)
class Comparison:
    """What two files have in common, and where they differ.

    Attributes:
        models: The two files.
        clips: The clips that both were run on.
        target: The class whose relevance is compared.
        tolerance: What counts as the same.
        layers: Layers that both have, in the first file's order.
        first: The first difference; None where they are the same.
        outputs: How far the answers agree.
        only_a: Layers of the first file only.
        only_b: Layers of the second file only.
        same: Whether nothing differs by more than the tolerance.
        notes: What else a reader should know, in sentences.
    """

    models: tuple[ComparedFile, ComparedFile]
    clips: tuple[ComparedClip, ...]
    target: ComparedClass
    tolerance: Tolerance
    layers: tuple[ComparedLayer, ...]
    first: Divergence | None
    outputs: Outputs
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "same": self.same,
            "models": plain(self.models),
            "clips": plain(self.clips),
            "target": plain(self.target),
            "tolerance": plain(self.tolerance),
            "first": plain(self.first),
            "outputs": plain(self.outputs),
            "layers": [_layer_json(x) for x in self.layers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "notes": list(self.notes),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``comparison.html`` and ``comparison.json`` into a folder, which is made where it is missing.

        Returns:
            The page.

        Raises:
            OutputError: If a file cannot be written; each file is whole or not there.
        """
        from cfp_onnx.report.comparison_page import render_comparison

        value = self.to_json()
        page = render_comparison(value)
        write_json(Path(folder) / "comparison.json", value)
        return write_text(Path(folder) / "comparison.html", page)

    def __repr__(self) -> str:
        verdict = "same" if self.same else "different"
        return f"<Comparison: {verdict}, {len(self.layers)} layers in both>"

    def __str__(self) -> str:
        return plain_text(comparison_text(self))


def _layer_json(layer: ComparedLayer) -> dict[str, Any]:
    shared, only_a, only_b = layer.chosen
    return {
        **{k: v for k, v in plain(layer).items() if k not in {"chosen", "relevance"}},
        "chosen": {"shared": list(shared), "only_a": list(only_a), "only_b": list(only_b)},
        "relevance": [list(r) for r in layer.relevance],
    }


def comparison_text(result: Comparison) -> Group:
    """A comparison as a header, the first difference, and a table of layers."""
    return Group(fact_table(_facts(result)), Text(), layer_table(result.layers, result.first))


def _facts(result: Comparison) -> Iterator[tuple[str, str, str]]:
    """Name, text and style of each line above the table."""
    for letter, model in zip("AB", result.models, strict=True):
        made = model.producer or "unknown producer"
        yield letter, f"{PurePath(model.file).name}  ({made}, opset {model.opset}, {model.precision})", ""
    clips = [c.file for c in result.clips]
    yield "clips", ", ".join(clips[:3]) + (f" and {len(clips) - 3} more" if len(clips) > 3 else ""), ""
    yield "class", str(result.target.index) + (f" {result.target.label}" if result.target.label else ""), ""
    out = result.outputs
    top = "same" if out.same_top else "another"
    differ = f"differ by {out.difference:.2g} of the largest score, cosine {out.cosine:.6f}, {top} top class"
    yield "outputs", differ, ""
    weights = result.tolerance.weights
    yield "tolerance", f"{result.tolerance.outputs:g}" + ("" if weights is None else f", weights {weights:g}"), ""
    if result.same:
        yield "verdict", "the same within the tolerance", "bold green"
    else:
        yield "verdict", "DIFFERENT", "bold red"
        if result.first is not None:
            yield "first", divergence_text(result.first, {x.a: name_and_module(x) for x in result.layers}), "red"
    for side, names in (("only in A", result.only_a), ("only in B", result.only_b)):
        if names:
            yield side, ", ".join(names), ""
    for note in result.notes:
        yield "note", note, "yellow"


__all__ = ["SCHEMA", "SCHEMA_VERSION", "Comparison", "comparison_text"]
