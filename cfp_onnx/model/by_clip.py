"""Whether what was observed of a model holds for every clip of one size, or for the one that was run."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from cfp_onnx.model.nodes import canonical_nodes, captured
from cfp_onnx.model.values import Model, Node

_SHAPES = frozenset({"Shape", "Size"})


def depends_on_values(model: Model, names: Iterable[str]) -> bool:
    """Whether one of some tensors depends on the values of an input, and not on its size alone."""
    live = {p.name for p in model.inputs}
    for node in canonical_nodes(model):
        if node.op not in _SHAPES and any(name in live for name in (*node.inputs, *captured(node))):
            live.update(o for o in node.outputs if o)
    return any(name in live for name in names)


def trips_depend_on_values(model: Model, names: Iterable[str]) -> bool:
    """Whether one of some loops may take another number of trips on another clip of the same size."""
    wanted = set(names)
    found = [node for node in canonical_nodes(model) if node.name in wanted and node.op == "Loop"]
    return any(_decides(node) for node in found) or depends_on_values(model, (i for n in found for i in n.inputs[:2]))


def _decides(node: Node) -> bool:
    """Whether a loop's body makes its own condition, instead of handing on the one that it gets."""
    body = node.attributes.get("body")
    if not isinstance(body, ir.Graph):
        return True
    value: ir.Value | None = body.outputs[0]
    while value is not None and (made := value.producer()) is not None and made.op_type == "Identity":
        value = made.inputs[0]
    return value is not body.inputs[1] and not (value is not None and value.is_initializer())


__all__ = ["depends_on_values", "trips_depend_on_values"]
