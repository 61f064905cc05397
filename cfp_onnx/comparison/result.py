"""The result of a comparison: layer by layer, the first parting, and both as text, JSON and a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cfp_onnx.files.whole import write_json, write_text
from cfp_onnx.naming import module_of
from cfp_onnx.text import plain_text, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = "cfp-onnx/comparison"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ComparedLayer:
    """One layer in both files.

    Attributes:
        a: Its name in the first file.
        b: Its name in the second.
        weight: Names of its weights, first and second.
        op: Operators, first and second.
        evidence: ``weights``, ``names``, ``activations`` or ``position``: what says that they are the same layer.
        depth: Depths, first and second; None where it lies beside every path.
        kernels: Kernel of the second for each kernel of the first.
        cosine: Of its outputs, the lowest of all clips.
        difference: Largest difference of its outputs over their largest value.
        max_abs: The same as it is.
        input_difference: `difference` of what it reads.
        weight_difference: Largest difference of effective weights over the kernel's largest; None where not comparable.
        bias_difference: The same of biases, over the layer's largest.
        rank_correlation: Spearman's, of the kernels' relevance, mean of all clips; None where there is none.
        overlap: Share of the strongest tenth of kernels that both have, mean of all clips.
        tube_cosine: Of the class's relevance summed over the kernels, place by place, mean of all clips.
        chosen: Kernels above theta in both, only in the first, only in the second (numbered as in the first).
        relevance: Relevance per kernel on the first clip, first and second file, both in the first's order.
        agrees: Whether its outputs and its weights are the same within the tolerance.
        worst: Kernels whose outputs differ by more, the worst first.
        findings: What differs, in sentences.
    """

    a: str
    b: str
    weight: tuple[str, str]
    op: tuple[str, str]
    evidence: str
    depth: tuple[int | None, int | None]
    kernels: tuple[int, ...]
    cosine: float
    difference: float
    max_abs: float
    input_difference: float
    weight_difference: float | None
    bias_difference: float | None
    rank_correlation: float | None
    overlap: float | None
    tube_cosine: float | None
    chosen: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    relevance: tuple[tuple[float, ...], tuple[float, ...]]
    agrees: bool
    worst: tuple[int, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Parting:
    """The first place where two files part.

    Attributes:
        where: ``layer`` (what it reads agrees, what it makes of it does not), ``between`` (what comes out of the layers
            above agrees, what the next one reads does not), ``input``, ``output``, ``only_a`` or ``only_b``.
        layer: The layer, by its name in the first file; of ``between`` the last one above.
        other: Its name in the second file, where it has one.
        kernels: Kernels concerned, numbered as in the first file; empty for all.
        reader: Of ``between`` and ``input`` the first layer that sees it.
        cause: What differs, in a sentence.
    """

    where: str
    layer: str | None
    other: str | None
    kernels: tuple[int, ...]
    reader: str | None
    cause: str


@dataclass(frozen=True)
class Outputs:
    """How far the answers agree, the worst of all clips.

    Attributes:
        cosine: Of the scores.
        difference: Largest difference over the largest score.
        max_abs: Largest difference.
        same_top: Whether the strongest class is the same on every clip.
        scores: Score of the class on the first clip, first and second file.
    """

    cosine: float
    difference: float
    max_abs: float
    same_top: bool
    scores: tuple[float, float]


@dataclass(frozen=True, repr=False)
class Comparison:
    """What two files have in common, and where they part.

    Attributes:
        models: file, sha256, producer, opset, precision and layers of both.
        clips: file, sha256, shape of each clip, as the first file gets it.
        target: output, index and label of the class whose relevance is compared, and to which depth.
        tolerance: What counts as the same: ``outputs``, and ``weights`` (None where weights are not judged).
        layers: Layers that both have, in the first file's order.
        first: Where they part first; None where they do not.
        outputs: How far the answers agree.
        only_a: Layers of the first file only.
        only_b: Layers of the second file only.
        same: Whether nothing differs by more than the tolerance.
        notes: What else a reader should know, in sentences.
    """

    models: tuple[Mapping[str, Any], Mapping[str, Any]]
    clips: tuple[Mapping[str, Any], ...]
    target: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    layers: tuple[ComparedLayer, ...]
    first: Parting | None
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
            "models": [dict(m) for m in self.models],
            "clips": [dict(c) for c in self.clips],
            "target": dict(self.target),
            "tolerance": dict(self.tolerance),
            "first": None if self.first is None else _plain(self.first),
            "outputs": _plain(self.outputs),
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


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}


def _layer_json(layer: ComparedLayer) -> dict[str, Any]:
    shared, only_a, only_b = layer.chosen
    return {
        **{k: v for k, v in _plain(layer).items() if k not in {"chosen", "relevance"}},
        "chosen": {"shared": list(shared), "only_a": list(only_a), "only_b": list(only_b)},
        "relevance": [list(r) for r in layer.relevance],
    }


# ------------------------------------------------------------------------------------------------ text


def comparison_text(result: Comparison) -> RenderableType:
    """A comparison as a header, the first parting, and a table of layers."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        grid.add_row(Text(name, style="dim"), Text(printable(text), style=style))

    for letter, model in zip("AB", result.models, strict=True):
        made = model["producer"] or "unknown producer"
        row(letter, f"{PurePath(model['file']).name}  ({made}, opset {model['opset']}, {model['precision']})")
    clips = [str(c["file"]) for c in result.clips]
    row("clips", ", ".join(clips[:3]) + (f" and {len(clips) - 3} more" if len(clips) > 3 else ""))
    row("class", str(result.target["index"]) + (f" {result.target['label']}" if result.target["label"] else ""))
    out = result.outputs
    top = "same" if out.same_top else "another"
    row("outputs", f"differ by {out.difference:.2g} of the largest score, cosine {out.cosine:.6f}, {top} top class")
    weights = result.tolerance["weights"]
    row("tolerance", f"{result.tolerance['outputs']:g}" + ("" if weights is None else f", weights {weights:g}"))
    if result.same:
        row("verdict", "the same within the tolerance", "bold green")
    else:
        row("verdict", "DIFFERENT", "bold red")
        if result.first is not None:
            row("first", parting_text(result.first, {x.a: _known(x) for x in result.layers}), "red")
    for side, names in (("only in A", result.only_a), ("only in B", result.only_b)):
        if names:
            row(side, ", ".join(names))
    for note in result.notes:
        row("note", note, "yellow")
    return Group(grid, Text(), _layer_table(result))


def parting_text(first: Parting, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """One sentence on where two files part.

    Args:
        first: The place.
        known: What layers of the first file are called, where that is more than their names.
    """
    layer, reader = (None if n is None else known.get(n, n) for n in (first.layer, first.reader))
    if first.where == "between":
        return f"after {layer}, as {reader} sees it: {first.cause}"
    if first.where == "input":
        return f"at the input{f', as {reader} sees it' if reader else ''}: {first.cause}"
    if layer is None:
        return first.cause
    other = "" if first.where != "layer" or first.other in {None, first.layer} else f" ({first.other} in B)"
    return f"at {layer}{other}: {first.cause}"


def _known(layer: ComparedLayer) -> str:
    """A layer by its name in the first file, and by the module of its weights where the name is but a number."""
    module = module_of(layer.a, layer.weight[0])
    return f"{layer.a} ({module})" if module else layer.a


def _layer_table(result: Comparison) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    for name in ("depth", "difference", "cosine", "ranks", "top 10 %", "tubes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    first = result.first
    for layer in result.layers:
        place = first is not None and first.layer == layer.a
        style = "bold red" if place else "" if layer.agrees else "red"
        name = _known(layer) if layer.a == layer.b else f"{_known(layer)} | {layer.b}"
        mark = "<- first" if place else "" if layer.agrees else "differs"
        table.add_row(
            Text(printable(name), style=style), _maybe(layer.depth[0], "d"), f"{layer.difference:.1e}",
            f"{layer.cosine:.5f}", _maybe(layer.rank_correlation, ".3f"), _maybe(layer.overlap, ".0%"),
            _maybe(layer.tube_cosine, ".3f"), Text(mark, style=style),
        )  # fmt: skip
    return table


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


__all__ = ["SCHEMA", "ComparedLayer", "Comparison", "Outputs", "Parting", "comparison_text", "parting_text"]
