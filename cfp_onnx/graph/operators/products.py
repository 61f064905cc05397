"""Layers, and products of two activations as in attention."""

from __future__ import annotations

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import varies
from cfp_onnx.graph.operators.factors import is_bounded
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.parts import WEIGHTED
from cfp_onnx.model import Node


@operator(*sorted(WEIGHTED))
def _weighted(node: Node, view: View) -> fx.Effect | None:
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


def _product(node: Node, view: View) -> fx.Effect:
    """A product whose channels merge; of vectors it is held."""
    if any(len(view.shape(n)) < 2 for n in node.inputs[:2]):
        return fx.Held()
    turned = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))
    return fx.Product(turned=turned, factor=float(node.attributes.get("alpha", 1.0)))


@operator("Einsum")
def _einsum(node: Node, view: View) -> fx.Effect | None:
    """Attention written as Einsum: scores merge the channels of both operands, values are mixed as MatMul does it."""
    terms, arrow, out = str(node.attributes["equation"]).replace(" ", "").partition("->")
    left, comma, right = terms.partition(",")
    whole = [left, right, out]
    if not (arrow and comma) or "," in right or "." in terms or any(len(set(t)) != len(t) for t in whole):
        return None
    live = [(n, t) for n, t in zip(node.inputs, whole, strict=False) if view.carries(n)]
    if view.depends(node, 0) and view.depends(node, 1):
        summed = (set(left) & set(right)) - set(out)
        if all(view.varies(n, [t.index(x) for x in summed]) for n, t in live):
            return fx.Product(equation=f"{left},{right}->{out}")
        value = _value_side(node, view)
        same = left[:-2] == right[:-2] == out[:-2] and left[-1:] == right[-2:-1]
        if same and out[-2:] == left[-2:-1] + right[-1:] and value is not None:
            return fx.Mix(value)
    return None


def _value_side(node: Node, view: View) -> int | None:
    """The operand whose labels do not vary along the contracted axis: its channels survive the product."""
    order = (0, 1) if is_bounded(view, node.inputs[1]) else (1, 0)
    for index in order:
        name = node.inputs[index]
        if not view.carries(name):
            continue
        rank = len(view.shape(name))
        axis = rank - 1 if index == 0 else rank - 2
        if all(not varies(t.labels, axis) for t in view.states[name].tracks):
            return index
    return None
