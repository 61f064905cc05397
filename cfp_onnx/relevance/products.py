"""How a field goes back through products of two activations: gates, attention, queries with keys."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.model import Node
from cfp_onnx.relevance.field_walk import Handed, Walk


def gated(walk: Walk, node: Node, effect: fx.Gate, g: str, *, live: bool) -> Iterator[Handed]:
    """A factor or divisor: the value's field is scaled by it; its own, where it is live, is that of the product.

    Args:
        walk: The walk.
        node: The node.
        effect: Its effect.
        g: Field of its output.
        live: Whether the gate gets a field.
    """
    probe, value, shape = walk.probe, walk.value, walk.value.shape(node.outputs[0])
    name, gate = node.inputs[effect.value], node.inputs[effect.gate]
    if walk.useful(name):
        yield Handed(name, probe.add("Div" if effect.reciprocal else "Mul", [g, value(gate)]), shape)
    if not live or not walk.useful(gate):
        return
    if effect.reciprocal:
        share = probe.add("Div", [probe.add("Mul", [g, value(node.outputs[0])]), value(gate)])
        yield Handed(gate, probe.add("Neg", [share]), shape)
    else:
        yield Handed(gate, probe.add("Mul", [g, value(name)]), shape)


def mixed(walk: Walk, node: Node, effect: fx.Mix, g: str, *, live: bool, squared: bool = False) -> Iterator[Handed]:
    """Values that are mixed by weights: the values' field through the weights, and the weights' through the values.

    Args:
        walk: The walk.
        node: The node.
        effect: Its effect.
        g: Field of its output.
        live: Whether the weights get a field.
        squared: Whether the weights count by their squares.
    """
    sides = (effect.value, 1 - effect.value) if live else (effect.value,)
    for side in sides:
        yield from _factor(walk, node, side, g, turned=(False, False), squared=squared)


def multiplied(walk: Walk, node: Node, effect: fx.Product, g: str) -> Iterator[Handed]:
    """A product of matrices of two activations: each operand's field through the other."""
    if effect.factor != 1.0:
        g = walk.probe.add("Mul", [g, walk.probe.number(effect.factor)])
    for side in (0, 1):
        yield from _factor(walk, node, side, g, turned=effect.turned)


def _factor(
    walk: Walk, node: Node, side: int, g: str, *, turned: tuple[bool, bool], squared: bool = False
) -> Iterator[Handed]:
    name, other = node.inputs[side], node.inputs[1 - side]
    if not walk.useful(name):
        return
    probe, rest = walk.probe, walk.value(other)
    if squared:
        rest = probe.add("Mul", [rest, rest])
    if not turned[1 - side]:
        rest = _turned(walk, rest, len(walk.value.shape(other)))
    pair = [g, rest] if side == 0 else [rest, g]
    down = probe.add("MatMul", pair)
    own = walk.value.shape(name)
    lead = np.broadcast_shapes(walk.value.shape(node.outputs[0])[:-2], walk.value.shape(other)[:-2])
    if turned[side]:
        down = _turned(walk, down, len(lead) + 2)
    yield Handed(name, down, (*lead, *own[-2:]))


def _turned(walk: Walk, tensor: str, rank: int) -> str:
    """A tensor with its last two axes exchanged."""
    return walk.probe.add("Transpose", [tensor], perm=[*range(rank - 2), rank - 1, rank - 2])


__all__ = ["gated", "mixed", "multiplied"]
