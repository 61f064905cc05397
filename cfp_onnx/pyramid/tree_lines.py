"""Lines that the trees of a pyramid and of a network share."""

from __future__ import annotations

from rich.text import Text

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.naming import module_of
from cfp_onnx.pyramid.headers import CoverageHeader
from cfp_onnx.pyramid.values import LayerResult
from cfp_onnx.text import printable


def coverage_text(coverage: CoverageHeader) -> Text:
    """How much of the network a result covers; red where something is missing."""
    if coverage.complete:
        return Text("100 % of channels and layers")
    text = f"{_percent(coverage.channels)} of channels, {_percent(coverage.layers)} of layers"
    if coverage.operators_unknown:
        text += f"; passed over: {printable(', '.join(coverage.operators_unknown))}"
    return Text(f"!! INCOMPLETE !!  {text}; what lies behind is unknown", style="bold red")


def _percent(fraction: float) -> str:
    """Rounded down, so that only the whole is shown as 100 %."""
    return f"{int(fraction * 1000) / 10:.1f} %"


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def layer_title(layer: LayerResult | KernelLayer, tail: str, *, style: str = "") -> Text:
    """A layer: its name, its module where the name is only a number, its kind, and a remark."""
    text = Text(printable(layer.name), style=style or "bold")
    if module := module_of(layer.name, layer.weight):
        text.append(f"  {printable(module)}", style=style or "not bold italic")
    return text.append(f"  {_kind(layer)}  {tail}", style=style or "not bold")


def _kind(layer: LayerResult | KernelLayer) -> str:
    shape = "x".join(map(str, layer.kernel_shape))
    groups = f" in {layer.groups} groups" if layer.groups > 1 and layer.family != "depthwise" else ""
    family = "" if layer.family == "dense" and not shape else f" {layer.family}"
    return f"{layer.op}{' ' + shape if shape else ''}{family}{groups}"


def text_line(*parts: object, style: str = "") -> Text:
    """Parts as one line that is safe on a terminal."""
    return Text("".join(printable(p) for p in parts), style=style)


__all__ = ["counted", "coverage_text", "layer_title", "text_line"]
