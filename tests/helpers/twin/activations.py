"""Functions of single elements: the field is multiplied by (f(x) - f(0)) / x.

A step of a formula (a root, a power, an exponential) that only steers hands down its slope instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .steps import Array, Fields, Step, adjoint, forward, run_node


def _bounds(step: Step) -> tuple[float, float]:
    low = step.get(1) if step.get(1) is not None else step.attributes.get("min")
    high = step.get(2) if step.get(2) is not None else step.attributes.get("max")
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _clip_slope(step: Step) -> float:
    low, high = _bounds(step)
    return 1.0 if low < 0 <= high else 0.0


SLOPE_AT_ZERO: dict[str, Callable[[Step], Any]] = {
    "Relu": lambda _: 0.0,
    "Clip": _clip_slope,
    "Sigmoid": lambda _: 0.25,
    "Softplus": lambda _: 0.5,
    "LeakyRelu": lambda s: s.attributes.get("alpha", 0.01),
    "PRelu": lambda s: s.need(1),
    "Elu": lambda s: s.attributes.get("alpha", 1.0),
    "Selu": lambda s: (
        s.attributes.get("alpha", 1.67326319217681884765625) * s.attributes.get("gamma", 1.05070102214813232421875)
    ),
    "Celu": lambda _: 1.0,
    "Gelu": lambda _: 0.5,
    "HardSwish": lambda _: 0.5,
    "Swish": lambda _: 0.5,
    "HardSigmoid": lambda s: s.attributes.get("alpha", 0.2) if 0 < s.attributes.get("beta", 0.5) <= 1 else 0.0,
    "Tanh": lambda _: 1.0,
    "ThresholdedRelu": lambda _: 0.0,
    "Mish": lambda _: 0.6,
    "Softsign": lambda _: 1.0,
    "Exp": lambda _: 1.0,
    "Abs": lambda _: 0.0,
    "Sqrt": lambda _: 0.0,
    "Erf": lambda _: 2.0 / math.sqrt(math.pi),
}
"""f'(0); where f has a kink at 0 the slope from the left, as ReLU's mask ``x > 0`` does."""


def never_negative(step: Step) -> bool:
    """Whether f >= 0 everywhere, so that ``active`` pools its output."""
    if step.op == "Clip":
        return _bounds(step)[0] >= 0
    if step.op == "ThresholdedRelu":
        return bool(step.attributes.get("alpha", 1.0) >= 0)
    return step.op in {"Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Abs", "Sqrt"}


@adjoint(*SLOPE_AT_ZERO)
def _activation_back(step: Step, g: Array) -> Fields:
    x = step.x
    if step.op in {"Exp", "Sqrt"} and not step.carries:
        return [g * (step.y if step.op == "Exp" else 0.5 / step.y)]
    origin = np.asarray(run_node(replace(step, inputs=(np.zeros_like(x), *step.inputs[1:])))[0])
    near = np.abs(x) <= np.where(origin == 0, 0.0, 1e-8)
    ratio = np.divide(step.y - origin, x, out=np.zeros_like(x), where=~near)
    return [g * np.where(near, SLOPE_AT_ZERO[step.op](step), ratio)]


@adjoint("Log", "Reciprocal", "Pow")
def _formula_back(step: Step, g: Array) -> Fields:
    """The slope where the step only steers; where channels pass, the share y / x."""
    x = step.x
    if step.carries:
        return [g * step.y / x]
    if step.op == "Pow":
        exponent = step.need(1)
        return [g * exponent * x ** (exponent - 1)]
    return [g / x if step.op == "Log" else -g * step.y**2]


@forward("Softplus")
def _softplus(step: Step) -> Array:
    return np.logaddexp(0.0, step.x)


@forward("Erf")
def _erf(step: Step) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(step.x)


@forward("Gelu")
def _gelu(step: Step) -> Array:
    x = step.x
    if step.attributes.get("approximate", b"none") == b"tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))
