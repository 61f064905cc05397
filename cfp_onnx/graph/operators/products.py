"""Layers, and products of two activations as in attention."""

from __future__ import annotations

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import varies
from cfp_onnx.graph.merging import sources_along
from cfp_onnx.graph.operators.factors import is_bounded
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.parts import WEIGHTED
from cfp_onnx.graph.states import State, Track
from cfp_onnx.model import Node


@operator(*sorted(WEIGHTED))
def _weighted(node: Node, view: View) -> fx.Effect | None:
    if node.name in view.program.model.fixed:
        return fx.Blend((len(view.shape(node.input(0))) - 1,), lambda _: view.program.constant(node.input(1)).T)
    part = view.parts.get(node.name)
    if node.op == "com.microsoft::FusedConv" and node.input(3):
        return None
    if part is not None:
        return fx.Layer(part)
    if node.op not in {"MatMul", "com.microsoft::FusedMatMul"} or view.program.is_constant(node.input(0)):
        return None
    if view.program.is_constant(node.input(1)):
        return None
    left, right = (view.carries(n) for n in node.inputs[:2])
    if any(node.attributes.get(k, 0) for k in ("transA", "transB")) or node.attributes.get("alpha", 1.0) != 1.0:
        return None if any(is_bounded(view, n) for n in node.inputs[:2]) else _product(node, view)
    value = _value_side(node, view) if left or right else None
    return _product(node, view) if value is None else fx.Mix(value)


def _product(node: Node, view: View) -> fx.Effect | None:
    """A product whose channels merge; of vectors it is not handled."""
    if any(len(view.shape(n)) < 2 for n in node.inputs[:2]):
        return None
    turned = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))
    return fx.Product(turned=turned, factor=float(node.attributes.get("alpha", 1.0)))


def _value_side(node: Node, view: View) -> int | None:
    """The operand whose channels survive the product: few sets of them meet along the contracted axis.

    Where the other holds the weights of an attention, it is the operand with channels in any case.
    """
    order = (0, 1) if is_bounded(view, node.inputs[1]) else (1, 0)
    live = [index for index in order if view.carries(node.inputs[index])]
    if view.steering:
        return next((index for index in live if _unvaried(node, view, index)), None)
    for index in live:
        name = node.inputs[index]
        size = view.shape(name)[-1 if index == 0 else -2]
        found = sources_along(_aligned(node, view, index), (_contracted(node, view, index),))
        if found == 1 or (found is not None and found < size):
            return index
    weighted = len(live) == 1 and is_bounded(view, node.inputs[1 - live[0]])
    return live[0] if weighted else None


def _unvaried(node: Node, view: View, index: int) -> bool:
    return not any(varies(t.labels, _contracted(node, view, index)) for t in _aligned(node, view, index))


def _contracted(node: Node, view: View, index: int) -> int:
    rank = len(view.shape(node.inputs[index]))
    return rank - 1 if index == 0 else rank - 2


def _aligned(node: Node, view: View, index: int) -> list[Track]:
    rank = len(view.shape(node.inputs[index]))
    return [t.to_rank(rank) for t in view.states.get(node.inputs[index], State()).tracks]
