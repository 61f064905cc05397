"""What marks a tensor as a factor: an activation of limited range made it, or it is used as a factor only."""

from __future__ import annotations

from cfp_onnx.graph.operators.view import View
from cfp_onnx.graph.parts import WEIGHTED

BOUNDED = frozenset(
    {"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Clip", "com.microsoft::QLinearSigmoid",
     "com.microsoft::QLinearSoftmax"}
)  # fmt: skip
"""Activations of limited range."""

_PASSES = frozenset(
    {"Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear",
     "Tile", "Flatten"}
)  # fmt: skip


def is_bounded(view: View, tensor: str) -> bool:
    """Whether a tensor leaves an activation of limited range, through moves only."""
    while (made := view.program.producers.get(tensor)) is not None and made.op in _PASSES:
        tensor = made.inputs[0]
    return made is not None and made.op in BOUNDED


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
