"""How a field goes back through products with constant weights inside of a recurrent layer."""

from __future__ import annotations

from collections.abc import Iterator

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.recurrent import gate_parts
from cfp_onnx.model import Node
from cfp_onnx.relevance.field_walk import Handed, Message, Walk


def before_linear(walk: Walk, node: Node, effect: fx.Linear, g: str, shape: tuple[int, ...]) -> Iterator[Handed]:
    """The rows get their field through the weights, what is added to the product gets it as it is.

    Args:
        walk: The walk; links of a layer that this node reads the input of go to its messages.
        node: The product.
        effect: Its effect.
        g: Field of its output, (rows, gates * kernels).
        shape: Its shape.
    """
    rows, weights, added = node.inputs
    _note_links(walk, node, g)
    if effect.added and walk.useful(added):
        yield Handed(added, g, shape)
    if walk.useful(rows):
        yield Handed(rows, walk.probe.add("MatMul", [g, walk.value(weights)]))


def _note_links(walk: Walk, node: Node, g: str) -> None:
    for layer in walk.topology.layers:
        found = walk.program.model.recurrent.get(layer.parts[0].node.name)
        if found is None or found.projection != node.name or layer.index not in walk.linked:
            continue
        part, count = layer.parts[0], layer.kernels
        walk.messages[layer.index, 0] = tuple(
            Message(gate, walk.value(part.source), walk.probe.slice(g, 1, k * count, (k + 1) * count))
            for k, gate in enumerate(gate_parts(part))
        )


__all__ = ["before_linear"]
