"""The nodes behind a product that belong to it: cast, scale and bias."""

from __future__ import annotations

from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


def only_consumer(program: Program, tensor: str) -> Node | None:
    """The node that reads a tensor, where nothing else does and the tensor is no output of the model."""
    users = program.consumers.get(tensor, [])
    if len(users) != 1 or any(p.name == tensor for p in program.model.outputs):
        return None
    return users[0]


def integer_tail(program: Program, node: Node) -> tuple[tuple[Node, ...], Array | None, Array | None]:
    """Cast, scale and bias that follow an integer product: (nodes, weight scale, bias)."""
    tail: list[Node] = []
    scale = bias = None
    current = only_consumer(program, node.outputs[0])
    if current is None or current.op != "Cast":
        return (), None, None
    tail.append(current)
    current = only_consumer(program, current.outputs[0])
    if current is None or current.op != "Mul":
        return tuple(tail), None, None
    other = other_input(current, tail[-1].outputs[0])
    scale = _weight_scale(program, other)
    tail.append(current)
    current = only_consumer(program, current.outputs[0])
    if current is not None and current.op == "Add":
        value = program.constant_or_none(other_input(current, tail[-1].outputs[0]))
        if value is not None:
            bias = value
            tail.append(current)
    return tuple(tail), scale, bias


def other_input(node: Node, tensor: str) -> str:
    """Of a node with two inputs, the one that is not `tensor`."""
    return node.inputs[1] if node.inputs[0] == tensor else node.inputs[0]


def _weight_scale(program: Program, tensor: str) -> Array | None:
    """Constant factor of ``input scale * weight scale``."""
    if program.is_constant(tensor):
        return program.constant(tensor)
    made = program.producers.get(tensor)
    if made is None or made.op != "Mul":
        return None
    for name in made.inputs:
        if program.is_constant(name):
            return program.constant(name)
    return None
