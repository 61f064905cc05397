"""What marks a tensor as a factor: an activation of limited range made it, or it is used as a factor only."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph.operators.activations import ACTIVATIONS, IN_PLACE, RECTIFIERS
from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.parts import WEIGHTED

BOUNDED = frozenset(
    {"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Clip", "com.microsoft::QLinearSigmoid",
     "com.microsoft::QLinearSoftmax"}
)  # fmt: skip
"""Activations of limited range."""

SHARES = frozenset(
    {"Sigmoid", "HardSigmoid", "Softmax", "com.microsoft::QLinearSigmoid", "com.microsoft::QLinearSoftmax"}
)
"""Those within 0 and 1."""

_PASSES = frozenset(
    {"Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear",
     "Tile", "Flatten"}
)  # fmt: skip


def is_bounded(view: View, tensor: str) -> bool:
    """Whether a tensor leaves an activation of limited range, through moves only."""
    return _made_by(view, tensor) in BOUNDED


def is_share(view: View, tensor: str) -> bool:
    """Whether a tensor leaves an activation within 0 and 1, through moves only."""
    return _made_by(view, tensor) in SHARES


def _made_by(view: View, tensor: str) -> str:
    """The operator that makes a tensor, but for moves; nothing for an input."""
    while (made := view.program.producers.get(tensor)) is not None and made.op in _PASSES:
        tensor = made.inputs[0]
    return "" if made is None else made.op


_ELEMENT_BY_ELEMENT = frozenset(
    {*ACTIVATIONS, *IN_PLACE, *RECTIFIERS, "Clip", "Pow", "Add", "Sub", "Mul", "Div", "Neg", "Max", "Min", "Sum",
     "Mean", "QuantizeLinear", "com.microsoft::QuantizeLinear", "com.microsoft::QLinearAdd",
     "com.microsoft::QLinearMul"}
)  # fmt: skip


def is_own(view: View, left: str, right: str) -> bool:
    """Whether two factors are functions of the same elements, so that their product is an activation and no gate."""
    if not (view.carries(left) and view.carries(right)) or view.shape(left) != view.shape(right):
        return False
    return _same_labels(view, left, right) and _roots(view, left) == _roots(view, right)


def _same_labels(view: View, left: str, right: str) -> bool:
    if view.steering:  # no labels here
        return True
    sets = [{int(x) for t in view.states[n].tracks for x in np.unique(t.labels)} for n in (left, right)]
    return sets[0] == sets[1]


def _roots(view: View, tensor: str) -> set[str]:
    """What a tensor is made of, element by element."""
    found, seen, stack = set(), set(), [tensor]
    while stack:
        name = stack.pop()
        if name in seen or not name or view.program.is_constant(name):
            continue
        seen.add(name)
        made = view.program.producers.get(name)
        if made is None or made.op not in _ELEMENT_BY_ELEMENT:
            found.add(name)
        else:
            stack.extend(made.inputs)
    return found


def is_only_a_factor(view: View, tensor: str) -> bool:
    """Whether a tensor reaches layers and outputs of the model only as a factor or a divisor of something else."""
    stack, seen = [tensor], set()
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        users = view.program.consumers.get(name, [])
        if not users or any(u.op in WEIGHTED for u in users):
            return False
        for user in users:
            others = [i for i in user.inputs if i and i != name]
            factor = user.op == "Mul" or (user.op == "Div" and user.input(1) == name)
            if not (factor and any(not view.program.is_constant(i) for i in others)):
                stack.extend(o for o in user.outputs if o)
    return True
