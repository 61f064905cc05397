"""A comparison as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.table import Table
from rich.text import Text

from cfp_onnx.comparison.values import ComparedLayer, Divergence
from cfp_onnx.naming import module_of
from cfp_onnx.text import figure_table, printable


def divergence_text(first: Divergence, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """One sentence on where two files differ first.

    Args:
        first: The place.
        known: Longer names of layers of the first file, where they have one.
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


def name_and_module(layer: ComparedLayer) -> str:
    """A layer by its name in the first file, and by the module of its weights where the name is only a number."""
    module = module_of(layer.a, layer.weight[0])
    return f"{layer.a} ({module})" if module else layer.a


def layer_table(layers: Sequence[ComparedLayer], first: Divergence | None) -> Table:
    """A row of figures for each layer that both files have, with the first difference marked."""
    table = figure_table("layer", ("depth", "difference", "cosine", "ranks", "top 10 %", "tubes"))
    for layer in layers:
        place = first is not None and first.layer == layer.a
        style = "bold red" if place else "" if layer.agrees else "red"
        name = name_and_module(layer) if layer.a == layer.b else f"{name_and_module(layer)} | {layer.b}"
        mark = "<- first" if place else "" if layer.agrees else "differs"
        table.add_row(
            Text(printable(name), style=style), _maybe(layer.depth[0], "d"), f"{layer.difference:.1e}",
            f"{layer.cosine:.5f}", _maybe(layer.rank_correlation, ".3f"), _maybe(layer.overlap, ".0%"),
            _maybe(layer.tube_cosine, ".3f"), Text(mark, style=style),
        )  # fmt: skip
    return table


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


__all__ = ["divergence_text", "layer_table", "name_and_module"]
