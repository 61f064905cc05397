"""Which operator does what to channels: one registry, one file per family of operators.

An operator is added as one function in the file of its family. A new family is one more line in the list below; a file
that is not in it registers nothing.
"""

from cfp_onnx.graph.operators import (
    activations,
    arithmetic,
    choice,
    movement,
    normalisation,
    pooling,
    products,
    reduction,
    resize,
)
from cfp_onnx.graph.operators.choice import STEPS, jumps
from cfp_onnx.graph.operators.registry import OPERATORS, Handler, effect_of, operator
from cfp_onnx.graph.operators.view import View

FAMILIES = (activations, arithmetic, choice, movement, normalisation, pooling, products, reduction, resize)
"""Modules that register operators."""

__all__ = ["FAMILIES", "OPERATORS", "STEPS", "Handler", "View", "effect_of", "jumps", "operator"]
