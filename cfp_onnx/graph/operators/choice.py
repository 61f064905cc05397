"""Operators that take each element from one of several inputs, or only steer others."""

from __future__ import annotations

from collections.abc import Iterable

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node


@operator("Max", "Min")
def _extreme(node: Node, view: View) -> fx.Effect | None:
    live = _moving(node, view, range(len(node.inputs)))
    constants = [view.constant(n) for i, n in enumerate(node.inputs) if i not in live]
    if len(live) == 1 and len(constants) == 1 and (c := constants[0]) is not None and c.size == 1:
        bound = float(c.reshape(-1)[0])
        low = node.op == "Max"
        zero = max(0.0, bound) if low else min(0.0, bound)
        slope = float(bound < 0) if low else float(bound > 0)
        return fx.Activation(low and bound >= 0, zero, slope, rectifier=low and bound == 0, source=live[0])
    return fx.Select(live) if live else fx.Held()


@operator("Where")
def _where(node: Node, view: View) -> fx.Effect:
    live = _moving(node, view, (1, 2))
    return fx.Select(live) if live else fx.Held()


def _moving(node: Node, view: View, indexes: Iterable[int]) -> tuple[int, ...]:
    """Those of some inputs that are no constants, where one of them has channels; none where none has."""
    found = tuple(i for i in indexes if not view.program.is_constant(node.inputs[i]))
    return found if any(view.carries(node.inputs[i]) for i in found) else ()


STEPS = (
    "Shape", "Size", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "IsNaN", "IsInf",
    "ArgMax", "ArgMin", "NonZero", "ConstantOfShape", "EyeLike", "Range", "OneHot", "Xor", "BitwiseAnd", "BitwiseOr",
    "BitwiseXor", "BitwiseNot", "NonMaxSuppression", "RandomNormalLike", "RandomUniformLike",
)  # fmt: skip
"""Operators whose outputs jump or stay: a small change of an input never reaches them."""


def jumps(node: Node, view: View) -> bool:
    """Whether no small change of an input reaches the output of a node, or none is followed: a grid is held."""
    if node.op == "AffineGrid":
        return all(u.op == "GridSample" for u in view.program.consumers.get(node.outputs[0], []))
    return node.op in STEPS or (node.op == "GridSample" and view.program.is_constant(node.input(0)))


@operator(*STEPS)
def _held(_node: Node, _view: View) -> fx.Effect:
    return fx.Held()


@operator("TopK")
def _top(node: Node, view: View) -> fx.Effect | None:
    """A maximum where one is taken; of several only which they are is followed, not their values."""
    axis = int(node.attributes.get("axis", -1)) % len(view.shape(node.input(0)))
    if view.shape(node.outputs[0] or node.outputs[1])[axis] == 1:
        return fx.Reduce("max", (axis,))
    merged = view.varies(node.input(0), (axis,)) or not view.carries(node.input(0))
    return fx.Held() if merged and not view.program.consumers.get(node.outputs[0]) else None
