"""Maximum and mean over windows, and over all positions."""

from __future__ import annotations

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.parts import Geometry, same_pads
from cfp_onnx.model import Node


def _window(node: Node, view: View) -> Geometry:
    kernel = tuple(int(k) for k in node.attributes["kernel_shape"])
    rank = len(kernel)
    strides = tuple(int(x) for x in node.attributes.get("strides") or (1,) * rank)
    dilations = tuple(int(x) for x in node.attributes.get("dilations") or (1,) * rank)
    pads = tuple(int(x) for x in node.attributes.get("pads") or (0,) * (2 * rank))
    auto = node.attributes.get("auto_pad", "NOTSET")
    sizes = view.shape(node.input(0))[2:]
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        begins, ends = same_pads(sizes, kernel, strides, dilations, lower=auto == "SAME_LOWER")
    else:
        begins, ends = (pads[:rank], pads[rank:]) if auto == "NOTSET" else ((0,) * rank, (0,) * rank)
    return Geometry(kernel, strides, dilations, begins, ends)


@operator("MaxPool")
def _max_pool(node: Node, view: View) -> fx.Effect | None:
    if node.attributes.get("storage_order", 0):
        return None
    return fx.Pool("max", _window(node, view))


@operator("AveragePool", "com.microsoft::QLinearAveragePool")
def _average_pool(node: Node, view: View) -> fx.Effect | None:
    if node.attributes.get("channels_last", 0):
        return None
    return fx.Pool("mean", _window(node, view), count_include_pad=bool(node.attributes.get("count_include_pad", 0)))


@operator("GlobalAveragePool", "GlobalMaxPool", "com.microsoft::QLinearGlobalAveragePool")
def _global_pool(node: Node, view: View) -> fx.Effect:
    rank = len(view.shape(node.input(0)))
    spatial = range(1, rank - 1) if node.attributes.get("channels_last", 0) else range(2, rank)
    return fx.Reduce("max" if "Max" in node.op else "mean", tuple(spatial))
