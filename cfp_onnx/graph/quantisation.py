"""Which tensors hold integers that stand for real numbers, with their scale and zero point."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.states import State
from cfp_onnx.model import Node
from cfp_onnx.values import Array


def quantised_as(node: Node, state: State, effect: fx.Effect) -> tuple[str, str] | None:
    """Scale and zero point of an output that holds integers standing for real numbers."""
    op = node.op.rpartition("::")[2]
    if op == "QuantizeLinear":
        return node.input(1), node.input(2)
    if op == "DynamicQuantizeLinear":
        return node.outputs[1], node.outputs[2]
    if op in {"DequantizeLinear", "Cast"}:
        return None
    if op in {"QLinearAdd", "QLinearMul"}:
        return node.input(6), node.input(7)
    if op in {"QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax"}:
        return node.input(3), node.input(4)
    if op == "QLinearConcat":
        return node.input(0), node.input(1)
    return state.quantised if _keeps_integers(effect) else None


def _keeps_integers(effect: fx.Effect) -> bool:
    """Whether an operator that says nothing of scale and zero point leaves the integers on the scale of its input."""
    match effect:
        case fx.Identity() | fx.Move() | fx.Pool() | fx.Blend() | fx.Reduce() | fx.Activation():
            return True
        case fx.Affine() | fx.Sum() | fx.Gate() | fx.Normalise() | fx.Mix():
            return False  # other numbers: on integers these operators have outputs of their own scale, handled by name
        case fx.Select():
            return False  # its inputs may have several scales
        case fx.Layer() | fx.Quantise() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return False  # handled elsewhere, or without channels
        case _:
            assert_never(effect)


def layer_quantised_as(node: Node) -> tuple[str, str] | None:
    """The same for the output of a layer."""
    op = node.op.rpartition("::")[2]
    if op in {"QLinearConv", "QLinearMatMul"}:
        return node.input(6), node.input(7)
    if op == "QGemm" and node.input(7):
        return node.input(7), node.input(8)
    return None


def dequantise(q: Array, scale: Array | None, zero: Array | None, *, axis: int) -> Array:
    """(q - zero) * scale in float32; `scale` and `zero` are single numbers or run along `axis`."""

    def along(a: Array) -> Array:
        flat = np.asarray(a).reshape(-1)
        shape = [1] * q.ndim
        if flat.size > 1:
            shape[axis] = flat.size
        return flat.reshape(shape)

    out = q.astype(np.float32)
    if zero is not None:
        out = out - along(zero).astype(np.float32)
    return out if scale is None else out * along(scale).astype(np.float32)
