"""Norms over values of the clip that a file writes out: squares, their mean, a root and a quotient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node, Program


@dataclass(frozen=True)
class WrittenNorm:
    """A product (or quotient) that is a norm's output.

    Attributes:
        source: The norm's input; of a centred one what the mean is taken off.
        axes: Axes of its statistics.
        centred: Whether a mean is taken off.
    """

    source: str
    axes: tuple[int, ...]
    centred: bool


def written_norm(topology: Topology, node: Node, effect: fx.Gate) -> WrittenNorm | None:
    """The norm whose output a product is: value / sqrt(mean(value^2) + constant).

    Args:
        topology: The network.
        node: The product or quotient.
        effect: Its effect.

    Returns:
        The norm; None where the factor is made in another way.
    """
    value, gate = node.inputs[effect.value], node.inputs[effect.gate]
    variance = _under_root(topology.program, gate, -1.0 if effect.reciprocal else 1.0)
    if variance is None:
        return None
    shape = topology.program.shapes[value]
    found = _mean_of_squares(topology, variance)
    if found is None:
        return None
    squared, axes = found
    source = _centred(topology, value, axes)
    same = squared == value or (source is not None and _centred(topology, squared, axes) == source)
    if not same or topology.program.shapes[gate] != tuple(1 if a in axes else n for a, n in enumerate(shape)):
        return None
    return WrittenNorm(value if source is None else source, axes, source is not None)


def _under_root(program: Program, name: str, power: float) -> str | None:
    """What a factor is the power -1/2 of, plus a constant."""
    while (node := program.producers.get(name)) is not None:
        match node.op:
            case "Sqrt":
                name, power = node.inputs[0], power / 2
            case "Reciprocal":
                name, power = node.inputs[0], -power
            case "Div" if _number(program, node.inputs[0]) == 1.0:
                name, power = node.inputs[1], -power
            case "Pow" if (exponent := _number(program, node.inputs[1])) is not None:
                name, power = node.inputs[0], power * exponent
            case "Add" if power == -0.5:
                constants = [_number(program, i) is not None for i in node.inputs]
                return node.inputs[constants.index(False)] if any(constants) and not all(constants) else None
            case _:
                return None
    return None


def _mean_of_squares(topology: Topology, name: str) -> tuple[str, tuple[int, ...]] | None:
    """What a tensor is the mean of the squares of, and over which axes."""
    program = topology.program
    node = program.producers.get(name)
    scale = 1.0
    if node is not None and node.op in {"Mul", "Div"}:
        factor = _number(program, node.inputs[1])
        if factor is None:
            return None
        scale = factor if node.op == "Mul" else 1.0 / factor
        node = program.producers.get(node.inputs[0])
    effect = None if node is None or node.name not in topology.effects else topology.passing(node)
    if node is None or not isinstance(effect, fx.Reduce) or effect.kind not in {"mean", "sum", "square"}:
        return None
    count = int(np.prod([program.shapes[node.inputs[0]][a] for a in effect.axes], dtype=np.int64))
    if not np.isclose(scale if effect.kind == "mean" else scale * count, 1.0, rtol=1e-5):
        return None
    squared = node.inputs[0] if effect.kind == "square" else _root(program, node.inputs[0])
    return None if squared is None else (squared, effect.axes)


def _root(program: Program, name: str) -> str | None:
    """What a tensor is the square of."""
    node = program.producers.get(name)
    if node is not None and node.op == "Mul" and node.inputs[0] == node.inputs[1]:
        return node.inputs[0]
    if node is not None and node.op == "Pow" and _number(program, node.inputs[1]) == 2.0:
        return node.inputs[0]
    return None


def _centred(topology: Topology, name: str, axes: tuple[int, ...]) -> str | None:
    """What a tensor is, less its mean over some axes."""
    program = topology.program
    node = program.producers.get(name)
    if node is None or node.op != "Sub":
        return None
    mean = program.producers.get(node.inputs[1])
    effect = None if mean is None or mean.name not in topology.effects else topology.passing(mean)
    if mean is None or not isinstance(effect, fx.Reduce) or effect.kind != "mean" or effect.axes != axes:
        return None
    return node.inputs[0] if mean.inputs[0] == node.inputs[0] else None


def _number(program: Program, name: str) -> float | None:
    """A constant of one element."""
    value = program.constant_or_none(name) if name else None
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


__all__ = ["WrittenNorm", "written_norm"]
