"""Sums, factors and offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.activations import ACTIVATIONS
from cfp_onnx.graph.operators.factors import is_bounded, is_only_a_factor, is_own, is_share
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.steering import role_of
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@operator("Add", "Sum", "com.microsoft::QLinearAdd")
def _add(node: Node, view: View) -> fx.Effect:
    indexes = (0, 3) if node.op.endswith("QLinearAdd") else tuple(range(len(node.inputs)))
    return _addends(node, view, indexes, (1,) * len(indexes))


@operator("Sub")
def _sub(node: Node, view: View) -> fx.Effect:
    return _addends(node, view, (0, 1), (1, -1))


@operator("Mean")
def _mean(node: Node, view: View) -> fx.Effect | None:
    moving = [i for i, n in enumerate(node.inputs) if not view.program.is_constant(n)]
    if len(moving) == 1:
        others = [i for i in range(len(node.inputs)) if i != moving[0]]
        part = np.asarray(np.float32(1 / len(node.inputs)), np.float64)  # as the runtime has it
        return fx.Affine(
            scale=lambda: part,
            source=moving[0],
            offset=lambda: part * _added_constants(node, view, others, (1,) * len(others)),
        )
    if not any(view.carries(node.inputs[i]) for i in moving):
        return fx.Held()
    return fx.Sum(tuple(moving), (1,) * len(moving), scale=1 / len(node.inputs))


def _addends(node: Node, view: View, indexes: tuple[int, ...], signs: tuple[int, ...]) -> fx.Effect:
    live = [(i, s) for i, s in zip(indexes, signs, strict=True) if view.carries(node.inputs[i])]
    if not live:
        return fx.Held()
    if len(live) == 1 and len(indexes) - sum(view.program.is_constant(node.inputs[i]) for i in indexes) == 1:
        index, sign = live[0]
        others = [(i, s) for i, s in zip(indexes, signs, strict=True) if i != index]
        return fx.Affine(
            scale=None if sign > 0 else (lambda: np.asarray(-1.0)),
            source=index,
            offset=lambda: _added_constants(node, view, [i for i, _ in others], [s for _, s in others]),
        )
    moving = [(i, s) for i, s in zip(indexes, signs, strict=True) if not view.program.is_constant(node.inputs[i])]
    return fx.Sum(tuple(i for i, _ in moving), tuple(s for _, s in moving))


def _added_constants(node: Node, view: View, indexes: Sequence[int], signs: Sequence[int]) -> Array:
    """Signed sum of constant inputs, as real numbers."""
    values = (_real(node, view, index) for index in indexes)
    return np.asarray(sum((sign * value for value, sign in zip(values, signs, strict=True)), np.zeros(())))


@operator("Neg")
def _negate(_node: Node, _view: View) -> fx.Effect:
    return fx.Affine(scale=lambda: np.asarray(-1.0))


@operator("Mul", "com.microsoft::QLinearMul")
def _mul(node: Node, view: View) -> fx.Effect:
    right = 3 if node.op.endswith("QLinearMul") else 1
    for value, other in ((0, right), (right, 0)):
        if view.program.is_constant(node.inputs[other]):
            return _scaled(node, view, value, other)
    return _product(node, view, right)


def _scaled(node: Node, view: View, value: int, other: int) -> fx.Effect:
    """Product of an input and a constant."""
    return fx.Affine(scale=lambda: _real(node, view, other), source=value)


def _real(node: Node, view: View, index: int) -> Array:
    """A constant input as float64; of an operator on integers, what they stand for."""
    if "QLinear" not in node.op:
        return view.program.constant(node.inputs[index]).astype(np.float64)
    q, scale, zero = (view.program.constant(node.inputs[index + k]) for k in range(3))
    return np.asarray((q.astype(np.float32) - zero.astype(np.float32)) * scale, np.float64)


@operator("Div")
def _div(node: Node, view: View) -> fx.Effect:
    if view.program.is_constant(node.inputs[1]):
        return fx.Affine(scale=lambda: 1.0 / _real(node, view, 1))
    if not view.carries(node.inputs[0]):
        constant = view.program.is_constant(node.inputs[0])
        only_steers = not view.steering and is_only_a_factor(view, node.outputs[0])
        if not constant or not view.carries(node.inputs[1]) or only_steers:
            return fx.Held()
        nonnegative, zero, slope = ACTIVATIONS[
            "Reciprocal"
        ]  # the last step of 1 / (1 + exp(-x)), a Sigmoid that is written out
        return fx.Activation(nonnegative=nonnegative, zero=zero, slope=slope, arithmetic=True, source=1)
    return fx.Gate(0, 1, reciprocal=True, own=is_own(view, node.inputs[0], node.inputs[1]))


def _product(node: Node, view: View, right: int) -> fx.Effect:
    """Value * gate: what lies within 0 and 1 is the gate, else the bounded, a deviation, the smaller, the second."""
    a, b = node.inputs[0], node.inputs[right]
    if not view.carries(a) or not view.carries(b):
        if not view.carries(a) and not view.carries(b):
            return fx.Held()
        return fx.Gate(0, right) if view.carries(a) else fx.Gate(right, 0)
    value, gate = (right, 0) if _first_is_gate(view, a, b) else (0, right)
    return fx.Gate(value, gate, own=is_own(view, a, b))


def _first_is_gate(view: View, a: str, b: str) -> bool:
    """Whether of two factors the first is the gate."""
    for told in (is_share, is_bounded):
        marks = told(view, a), told(view, b)
        if marks[0] != marks[1]:
            return marks[0]
    if not is_bounded(view, a):
        deviation = _is_deviation(view, b, a), _is_deviation(view, a, b)
        if deviation[0] != deviation[1]:
            return deviation[0]
    return math.prod(view.shape(a)) < math.prod(view.shape(b))


def _is_deviation(view: View, value: str, factor: str) -> bool:
    """Whether a factor is what a norm divides a tensor by."""
    return value != factor and role_of(view.program, frozenset(view.parts), value, factor) == "norms"
