"""What leads from the scores of the classes to an output, and how the classes lie in the scores.

Behind the scores may stand a final Softmax or Sigmoid, moves, and what only names the strongest class: ArgMax, TopK, a
table of class names. All of it is followed back to the scores themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import varies
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

FINAL_FUNCTIONS = {
    "Softmax": "Softmax",
    "LogSoftmax": "LogSoftmax",
    "Sigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QLinearSigmoid": "Sigmoid",
}
"""Operators that turn logits into an answer, to the function that they are."""

_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SAME_PLACES = frozenset({"Identity", "Cast", "DequantizeLinear", "QuantizeLinear", "Dropout"})
_MOVES = _RESHAPES | _SAME_PLACES | {"Transpose"}

_PICKS = {
    "ArgMax": (0,), "TopK": (0,), "Hardmax": (0,), "ReduceMax": (0,), "ZipMap": (0,), "NonMaxSuppression": (1,),
    "Greater": (0, 1), "GreaterOrEqual": (0, 1), "Less": (0, 1), "LessOrEqual": (0, 1),
}  # fmt: skip
"""Operators that say which scores are the highest, or high enough, to the inputs that may be the scores."""

_NAMES = {
    "Where": (1, 2), "Gather": (1,), "ArrayFeatureExtractor": (1,), "LabelEncoder": (0,), "Equal": (0, 1),
    "Not": (0,), "Slice": (0,), "ReduceMean": (0,), "Add": (0, 1), "Sub": (0, 1), "Mul": (0, 1), "Div": (0,),
    **dict.fromkeys(_MOVES, (0,)),
}  # fmt: skip
"""Operators that may stand between these and an output: they look a class up, count it or lay it out otherwise."""


@dataclass(frozen=True)
class Answer:
    """What an output is made of.

    Attributes:
        output: The output.
        scored: The tensor that holds the scores as the model gives them: the output, or what it picks from.
        tensor: The same before a final Softmax or Sigmoid.
        pick: The operator that made a class's number or a yes and no of the scores; None where the output has them.
    """

    output: str
    scored: str
    tensor: str
    pick: str | None = None


def final_function(node: Node) -> str | None:
    """``Softmax``, ``LogSoftmax`` or ``Sigmoid`` where a node is one of them in any spelling, else None."""
    return FINAL_FUNCTIONS.get(_kind(node))


def _kind(node: Node) -> str:
    return node.op.rpartition("::")[2]


def answer_of(topology: Topology, output: str) -> Answer | None:
    """What an output is made of; None where no layer that can be followed made it, or several scores did."""
    found = _scores_behind(topology, output)
    if found is None:
        return None
    scored, pick = found
    return Answer(output, scored, _before_function(topology, scored), pick)


def _scores_behind(topology: Topology, output: str) -> tuple[str, str | None] | None:
    """The tensor made of kernels that an output is, or picks from; and the operator that picks."""
    found: dict[str, str | None] = {}
    stack: list[tuple[str, str | None]] = [(output, None)]
    while stack:
        name, pick = stack.pop()
        made = topology.program.producers.get(name)
        kind = None if made is None else _kind(made)
        if kind != "Hardmax" and topology.heads(name):
            if pick is not None or name == output:
                found.setdefault(name, pick)
            continue
        if made is None or kind is None or kind not in {*_PICKS, *_NAMES}:
            continue
        pick = kind if kind in _PICKS and (pick is None or kind == "ArgMax") else pick
        read = _PICKS.get(kind) or _NAMES[kind]
        stack += [(made.inputs[i], pick) for i in read if i < len(made.inputs) and made.inputs[i]]
    sources = {_before_function(topology, name) for name in found}
    return next(iter(found.items())) if len(sources) == 1 else None


def _before_function(topology: Topology, output: str) -> str:
    """The value before a final Softmax or Sigmoid; moves behind it are followed back."""
    tensor = name = output
    while (made := topology.program.producers.get(name)) is not None:
        if final_function(made) is not None:
            tensor = name = made.inputs[0]
        elif _kind(made) in _MOVES:
            name = made.inputs[0]
        elif _scales_to_length(topology, made):
            tensor = name = made.inputs[0]
        else:
            break
    return tensor if topology.heads(tensor) else output


def _scales_to_length(topology: Topology, node: Node) -> bool:
    """Whether a node divides a tensor by its own length, as at the end of an embedding."""
    effect = topology.effects.get(node.name)
    if isinstance(effect, fx.Normalise):
        return effect.kind == "l2" and effect.source == 0
    if not isinstance(effect, fx.Gate) or effect.own or effect.value != 0 or not effect.reciprocal:
        return False
    value, factor = node.inputs[effect.value], node.inputs[effect.gate]
    return topology.role(value, factor) == "norms" and _is_length(topology.program, factor, value)


def _is_length(program: Program, factor: str, value: str) -> bool:
    """Whether a root of squares stands between a tensor and what it is divided by."""
    return _passes(program, factor, {value}, lambda node: _kind(node) in {"ReduceL2", "Sqrt"})


def _passes(program: Program, tensor: str, ends: Collection[str], told: Callable[[Node], bool]) -> bool:
    """Whether a node of some kind is met on the way back from a tensor, before some others."""
    stack, seen = [tensor], set(ends)
    while stack:
        name = stack.pop()
        made = program.producers.get(name)
        if made is None or name in seen:
            continue
        seen.add(name)
        if told(made):
            return True
        stack.extend(made.inputs)
    return False


def _between(program: Program, scored: str, target: str) -> list[Node]:
    """The nodes from the target to what the scores are read from, the last first."""
    found: list[Node] = []
    tensor = scored
    while tensor != target and (node := program.producers.get(tensor)) is not None:
        found.append(node)
        tensor = node.inputs[0]
    return found


def behind_target(program: Program, scored: str, target: str) -> tuple[Node, ...]:
    """The final functions between the logits and the scores, the first that is computed first."""
    return tuple(n for n in _between(program, scored, target)[::-1] if final_function(n) is not None)


def layout_behind(program: Program, scored: str, target: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """What takes the scores back to the layout of the target, in this order: ``transpose`` and axes, or ``reshape``."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for node in _between(program, scored, target):
        shape = program.shapes[node.inputs[0]]
        if _kind(node) == "Transpose":
            axes = tuple(node.attributes.get("perm") or range(len(shape))[::-1])
            found.append(("transpose", tuple(int(a) for a in np.argsort(axes))))
        elif _kind(node) in _RESHAPES:
            found.append(("reshape", tuple(shape)))
    return tuple(found)


def logits_of(scores: Array, functions: Sequence[Node]) -> Array:
    """Logits from what the final functions made of them, up to a constant that a Softmax takes away.

    Args:
        scores: (classes,) float64 of the output.
        functions: What `behind_target` gives.

    Returns:
        (classes,) float64; a score of 0 counts as the smallest positive float32.
    """
    tiny = float(np.finfo(np.float32).tiny)
    for node in reversed(functions):
        match final_function(node):
            case "Sigmoid":
                scores = np.log(np.maximum(scores, tiny)) - np.log(np.maximum(1.0 - scores, tiny))
            case "Softmax":
                scores = np.log(np.maximum(scores, tiny))
    return scores


def class_axis(topology: Topology, target: str) -> tuple[int, int | None]:
    """Number of classes and their axis in the logits; None where one kernel made all of it.

    Where kernels lie along several axes, as of several boxes or letters that one layer makes at once, it is the axis of
    the Softmax or ArgMax behind them, else the one along which most of them differ, and of equal ones the last.
    """
    shape = topology.program.shapes[target]
    axes = topology.states[target].channel_axes()
    if not axes:
        return 1, None
    axis = axes[0] if len(axes) == 1 else _axis_of_users(topology, target, axes)
    if axis is None:
        axis = max(axes, key=lambda a: (_distinct(topology.states[target], a), a))
    return shape[axis], axis


def _axis_of_users(topology: Topology, target: str, axes: Sequence[int]) -> int | None:
    """The axis over which a Softmax or ArgMax that reads the target works."""
    rank = len(topology.program.shapes[target])
    for node in topology.program.consumers.get(target, []):
        if _kind(node) in {"Softmax", "LogSoftmax", "ArgMax", "Hardmax"}:
            axis = int(node.attributes.get("axis", -1 if _kind(node) != "ArgMax" else 0)) % rank
            if axis in axes and (topology.program.model.opset >= 13 or axis == rank - 1 or _kind(node) == "ArgMax"):
                return axis
    return None


def _distinct(state: State, axis: int) -> float:
    """Of the labels along an axis, the share that is distinct, where they are first."""
    found = 0.0
    for track in state.tracks:
        labels = np.moveaxis(np.asarray(track.labels), axis, -1)
        row = labels.reshape(-1, labels.shape[-1])[0]
        found = max(found, len(np.unique(row)) / len(row))
    return found


def kernels_at(topology: Topology, target: str, element: Sequence[int]) -> dict[int, int]:
    """The kernels that one element of the target is made of: layer index to kernel.

    Args:
        topology: The network.
        target: The tensor.
        element: Where in it.
    """
    found: dict[int, int] = {}
    for track in topology.states[target].tracks:
        labels = np.asarray(track.labels)
        label = int(labels[tuple(e if varies(labels, a) else 0 for a, e in enumerate(element))])
        if track.via != "gate" and label >= 0 and (origin := topology.origin_of(label)).layer is not None:
            found.setdefault(origin.layer, label - origin.first)
    return found


def probabilities(program: Program, tensor: str, axis: int) -> Array:
    """Which elements along an axis are made by a Sigmoid or a Softmax, as the scores beside the sizes of a box.

    Args:
        program: The network.
        tensor: The tensor.
        axis: The axis.

    Returns:
        (size of the axis,) bool; False where it cannot be told.
    """
    shape, node = program.shapes.get(tensor), program.producers.get(tensor)
    if shape is None or node is None or axis >= len(shape):
        return np.zeros(1 if shape is None or axis >= len(shape) else shape[axis], bool)
    none, kind = np.zeros(shape[axis], bool), _kind(node)
    if final_function(node) in {"Sigmoid", "Softmax"}:
        return ~none
    if kind == "Concat":
        return _joined(program, node, axis, len(shape))
    if kind == "Transpose":
        axes = node.attributes.get("perm") or range(len(shape))[::-1]
        return probabilities(program, node.inputs[0], int(axes[axis]))
    if kind in _SAME_PLACES:
        return probabilities(program, node.inputs[0], axis)
    before = program.shapes.get(node.inputs[0], ())
    if kind in _RESHAPES:
        behind = int(np.prod(shape[axis + 1 :]))
        same = [a for a, n in enumerate(before) if n == shape[axis] and int(np.prod(before[a + 1 :])) == behind]
        return probabilities(program, node.inputs[0], same[0]) if same else none
    if kind in {"Slice", "Split"} and len(before) == len(shape):
        return none | probabilities(program, node.inputs[0], axis).all()
    if kind == "Mul" and not any(program.is_constant(i) for i in node.inputs):
        both = [probabilities(program, i, axis) for i in node.inputs]
        return np.asarray(np.broadcast_to(both[0] & both[1], none.shape)) if 1 in {len(both[0]), len(both[1])} else none
    return none


def squashed_behind_layers(topology: Topology, tensor: str) -> bool:
    """Whether a Sigmoid or Softmax stands somewhere between the last layers and a tensor."""
    ends = {p.output for layer in topology.layers for p in layer.parts}
    return _passes(topology.program, tensor, ends, lambda node: final_function(node) in {"Sigmoid", "Softmax"})


def _joined(program: Program, node: Node, axis: int, rank: int) -> Array:
    parts = [probabilities(program, name, axis) for name in node.inputs]
    if int(node.attributes["axis"]) % rank == axis:
        return np.concatenate(parts)
    return np.asarray(np.logical_and.reduce(parts))


def comes_from_activation(topology: Topology, tensor: str) -> bool:
    """Whether a tensor is what a rectifier gives, pooled or moved, as features are and the scores of classes seldom."""
    ends = {p.output for layer in topology.layers for p in layer.parts}
    while tensor not in ends and (made := topology.program.producers.get(tensor)) is not None:
        effect = topology.effects.get(made.name)
        if isinstance(effect, fx.Activation):
            return effect.rectifier
        if not isinstance(effect, fx.Identity | fx.Move | fx.Pool | fx.Reduce):
            return False
        tensor = made.inputs[0]
    return False


def upstream_outputs(program: Program, answers: Mapping[str, Answer]) -> frozenset[str]:
    """Outputs that other outputs, with scores of their own, are made of: features beside the scores."""
    bases = {name: _moved_from(program, one.tensor) for name, one in answers.items()}
    found: set[str] = set()
    for base in bases.values():
        seen: set[str] = set()
        stack = [base]
        while stack:
            made = program.producers.get(stack.pop())
            for name in made.inputs if made is not None else ():
                if name and name not in seen:
                    seen.add(name)
                    stack.append(name)
        found.update(other for other, one in bases.items() if one in seen)
    return frozenset(found)


def _moved_from(program: Program, tensor: str) -> str:
    """The tensor whose elements another one holds in other places."""
    while (made := program.producers.get(tensor)) is not None and _kind(made) in _MOVES:
        tensor = made.inputs[0]
    return tensor


__all__ = [
    "FINAL_FUNCTIONS",
    "Answer",
    "answer_of",
    "behind_target",
    "class_axis",
    "comes_from_activation",
    "final_function",
    "kernels_at",
    "layout_behind",
    "logits_of",
    "probabilities",
    "squashed_behind_layers",
    "upstream_outputs",
]
