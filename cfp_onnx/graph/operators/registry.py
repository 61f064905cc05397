"""The registry of operators: which handler tells what an operator does to channels.

A handler takes the node and a `View` of its inputs and returns an effect (`cfp_onnx.graph.effects`). Handled, known
to carry no channels, and unknown are three different things: an operator that is missing here is never guessed over.
"""

from __future__ import annotations

from collections.abc import Callable

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node

Handler = Callable[[Node, View], fx.Effect | None]


OPERATORS: dict[str, Handler] = {}
"""Every operator whose effect on channels is known."""


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler under operator names; a name may have one handler only."""

    def register(handler: Handler) -> Handler:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"operator {name} has two handlers")
            OPERATORS[name] = handler
        return handler

    return register


def effect_of(node: Node, view: View) -> fx.Effect | None:
    """The effect of a node, None where its operator is unknown or used in an unknown way."""
    handler = OPERATORS.get(node.op)
    return None if handler is None else handler(node, view)
