"""What steers in a network: which tensors carry channels on, and what a rule may hold at its recorded value.

A gate, the deviation of a norm and the weights of an attention scale what passes. Each such node has a role, so that a
rule that holds norms, say, holds them in every spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Literal, assert_never

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.model import Node, Program

Role = Literal["norms", "attention", "gates", "means"]
"""What a steering input is: a norm's deviation, weights of an attention, a gate, or the mean that a norm takes off."""

_LENGTHS = frozenset({"Sqrt", "ReduceL1", "ReduceL2", "LpNormalization"})
_SQUASHED = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softmax"})
_MEANS = frozenset({"ReduceMean", "ReduceSum", "GlobalAveragePool"})
_SOFTMAX = frozenset({"ReduceSum", "ReduceLogSumExp", "ReduceMax"})


def carrying(program: Program, effects: Mapping[str, fx.Effect], layers: tuple[KernelLayer, ...]) -> frozenset[str]:
    """Tensors whose channels reach a layer or an output of the model; all others only steer, or end.

    Args:
        program: The network.
        effects: Effect of every node, by name.
        layers: Its layers.
    """
    found = {p.source for layer in layers for p in layer.parts} | {p.name for p in program.model.outputs}
    for node in reversed(program.nodes):
        if node.name in effects and any(o in found for o in node.outputs):
            found.update(node.inputs[i] for i in _passed(effects[node.name]))
    return frozenset(found)


def _passed(effect: fx.Effect) -> tuple[int, ...]:
    """Inputs whose channels an effect hands on."""
    match effect:
        case fx.Layer() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return ()
        case fx.Move(sources) | fx.Sum(sources) | fx.Select(sources):
            return tuple(sources)
        case fx.Gate(value):
            return (value,)
        case fx.Mix(value):
            return (value,)
        case (
            fx.Identity(source=source) | fx.Quantise(source=source) | fx.Activation(source=source)
            | fx.Affine(source=source) | fx.Pool(source=source) | fx.Blend(source=source)
            | fx.Reduce(source=source)
            | fx.Normalise(source=source)
        ):  # fmt: skip
            return (source,)
        case _:
            assert_never(effect)


def role_of(program: Program, weighted: frozenset[str], value: str, gate: str) -> Role:
    """What a factor is to the tensor that it scales.

    A factor made of the tensor's own length, with no layer and no squashing function between, is a norm's deviation;
    the sum of an exponential is what a Softmax divides by; any other is a gate.

    Args:
        program: The network.
        weighted: Names of the nodes that are layers.
        value: The tensor that is scaled.
        gate: The factor, or divisor.
    """
    region = between(program, value, gate, weighted)
    if region is None:
        return "gates"
    ops = {n.op for n in region}
    made = program.producers.get(value)
    if made is not None and made.op == "Exp" and ops & _SOFTMAX:
        return "attention"
    measured = ops & _LENGTHS or any(_is_root(program, n) for n in region)
    return "norms" if measured and not ops & _SQUASHED else "gates"


def _is_root(program: Program, node: Node) -> bool:
    """Whether a node takes a square root, or its reciprocal, as a power."""
    if node.op != "Pow":
        return False
    exponent = program.constant_or_none(node.inputs[1])
    return exponent is not None and exponent.size == 1 and abs(float(exponent.reshape(-1)[0])) == 0.5


def is_mean(program: Program, weighted: frozenset[str], value: str, other: str) -> bool:
    """Whether one addend is made of the other's mean over some axes, with no layer between.

    Args:
        program: The network.
        weighted: Names of the nodes that are layers.
        value: An addend.
        other: The addend that may be its mean.
    """
    region = between(program, value, other, weighted)
    return region is not None and bool({n.op for n in region} & _MEANS)


def between(program: Program, value: str, other: str, weighted: frozenset[str] = frozenset()) -> list[Node] | None:
    """Nodes that lead from a tensor, or from what it is made of element by element, to another.

    Both are followed back at once, the latest node first, until all that only makes `other` is known: the cost is that
    of the stretch between them and not of everything above.

    Args:
        program: The network.
        value: A tensor.
        other: Another.
        weighted: Names of nodes that must not lie between.

    Returns:
        The nodes that make `other`, back to `value` and its ancestors; None where they do not meet, or at the first of
        `weighted`.
    """
    return _Stretch(program).between(value, other, weighted)


_OTHER = frozenset({"other"})


class _Stretch:
    """Tensors on the way back from two of them, by which of the two they make."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._makes: dict[str, frozenset[str]] = {}
        self._waiting: list[tuple[int, str]] = []
        self._open = 0

    def between(self, value: str, other: str, weighted: frozenset[str]) -> list[Node] | None:
        self._note(value, frozenset({"value"}))
        self._note(other, _OTHER)
        region: list[Node] = []
        while self._open:
            _, name = heappop(self._waiting)
            makes, node = self._makes[name], self._program.producers.get(name)
            self._open -= makes == _OTHER
            if node is not None:
                if makes == _OTHER:
                    if node.name in weighted:
                        return None
                    region.append(node)
                for i in node.inputs:
                    self._note(i, makes)
        return region if any(len(makes) == 2 for makes in self._makes.values()) else None

    def _note(self, name: str, makes: frozenset[str]) -> None:
        """Remember what a tensor makes; `_open` counts those that are still to be seen and only make the other."""
        if not name or self._program.is_constant(name):
            return
        known = self._makes.get(name)
        if known is None:
            heappush(self._waiting, (-self._program.places.get(name, -1), name))
        self._makes[name] = found = makes if known is None else known | makes
        self._open += (found == _OTHER) - (known == _OTHER)


__all__ = ["Role", "between", "carrying", "is_mean", "role_of"]
