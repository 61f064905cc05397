"""Operators that make each element from one element, or leave it as it is."""

from __future__ import annotations

import math

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node

IN_PLACE = (
    "Identity", "Cast", "CastLike", "Dropout", "DequantizeLinear", "com.microsoft::DequantizeLinear",
)  # fmt: skip


RECTIFIERS = ("Relu",)


ACTIVATIONS: dict[str, tuple[bool, float, float]] = {
    # operator: (f >= 0 everywhere, f(0), f'(0))
    "Sigmoid": (True, 0.5, 0.25),
    "com.microsoft::QLinearSigmoid": (True, 0.5, 0.25),
    "HardSigmoid": (True, 0.5, 0.2),
    "Softplus": (True, math.log(2.0), 0.5),
    "Exp": (True, 1.0, 1.0),
    "Abs": (True, 0.0, 0.0),
    "Sqrt": (True, 0.0, 0.0),
    "ThresholdedRelu": (True, 0.0, 0.0),
    "LeakyRelu": (False, 0.0, 1.0),
    "com.microsoft::QLinearLeakyRelu": (False, 0.0, 1.0),
    "PRelu": (False, 0.0, 1.0),
    "Elu": (False, 0.0, 1.0),
    "Selu": (False, 0.0, 1.0507009873554805 * 1.6732632423543772),
    "Celu": (False, 0.0, 1.0),
    "Gelu": (False, 0.0, 0.5),
    "com.microsoft::Gelu": (False, 0.0, 0.5),
    "com.microsoft::FastGelu": (False, 0.0, 0.5),
    "com.microsoft::BiasGelu": (False, 0.0, 0.5),
    "com.microsoft::QuickGelu": (False, 0.0, 0.5),
    "HardSwish": (False, 0.0, 0.5),
    "Swish": (False, 0.0, 0.5),
    "Mish": (False, 0.0, 0.6),
    "Tanh": (False, 0.0, 1.0),
    "Softsign": (False, 0.0, 1.0),
    "Erf": (False, 0.0, 2.0 / math.sqrt(math.pi)),
    "Sin": (False, 0.0, 1.0),
    "Sinh": (False, 0.0, 1.0),
    "Cosh": (True, 1.0, 0.0),
    "Tan": (False, 0.0, 1.0),
    "Atan": (False, 0.0, 1.0),
    "Log": (False, 0.0, 0.0),
    "Reciprocal": (False, 0.0, 0.0),
    "Shrink": (False, 0.0, 0.0),
    "Sign": (False, 0.0, 0.0),
    "Floor": (False, 0.0, 0.0),
    "Ceil": (False, 0.0, 0.0),
    "Round": (False, 0.0, 1.0),
}


ARITHMETIC = frozenset({"Exp", "Sqrt", "Log", "Reciprocal"})
"""Functions that are steps of a formula more often than activations."""


_BIASED = frozenset({"com.microsoft::BiasGelu", "com.microsoft::FastGelu"})
"""Activations with a bias inside."""


@operator(*IN_PLACE)
def _identity(_node: Node, _view: View) -> fx.Effect:
    return fx.Identity()


@operator("QuantizeLinear", "com.microsoft::QuantizeLinear", "DynamicQuantizeLinear")
def _quantise(node: Node, _view: View) -> fx.Effect:
    return fx.Identity(mixes=True) if node.op == "DynamicQuantizeLinear" else fx.Quantise()


@operator(*RECTIFIERS)
def _rectifier(_node: Node, _view: View) -> fx.Effect:
    return fx.Activation(nonnegative=True, slope=0.0, rectifier=True)


@operator(*ACTIVATIONS)
def _activation(node: Node, view: View) -> fx.Effect | None:
    bias = 1 if node.op in _BIASED and node.input(1) else None
    if (bias is not None and view.depends(node, bias)) or (node.op == "PRelu" and view.depends(node, 1)):
        return None
    nonnegative, zero, slope = ACTIVATIONS[node.op]
    if node.op == "LeakyRelu" and node.attributes.get("alpha", 0.01) == 0:
        return _rectifier(node, view)
    if node.op == "HardSigmoid":
        zero, slope = float(node.attributes.get("beta", 0.5)), float(node.attributes.get("alpha", 0.2))
    if node.op == "Selu":
        slope = float(node.attributes.get("gamma", 1.0507009873554805)) * float(
            node.attributes.get("alpha", 1.6732632423543772)
        )
    return fx.Activation(nonnegative=nonnegative, zero=zero, slope=slope, arithmetic=node.op in ARITHMETIC, bias=bias)


@operator("Clip")
def _clip(node: Node, view: View) -> fx.Effect | None:
    if view.depends(node, 1, 2):
        return None
    low, high = (_bound(node, view, k, i) for k, i in (("min", 1), ("max", 2)))
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    zero = min(max(0.0, low), high)
    return fx.Activation(
        nonnegative=low >= 0, zero=zero, slope=1.0 if low < 0 < high else 0.0, rectifier=low == 0 and high == math.inf
    )


def _bound(node: Node, view: View, key: str, index: int) -> float | None:
    if key in node.attributes:
        return float(node.attributes[key])
    value = view.constant(node.input(index))
    return None if value is None else float(value.reshape(-1)[0])


@operator("Pow")
def _power(node: Node, view: View) -> fx.Effect | None:
    exponent = view.constant(node.input(1))
    if exponent is None:
        return None
    even = exponent.size == 1 and float(exponent.reshape(-1)[0]) % 2 == 0
    return fx.Activation(nonnegative=even, slope=0.0, arithmetic=True)
