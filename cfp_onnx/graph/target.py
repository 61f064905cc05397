"""What leads from the logits to the output: the final Softmax or Sigmoid, and moves; and the classes in the logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.errors import TargetError
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

_MOVES = frozenset(
    {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "DequantizeLinear", "QuantizeLinear", "Dropout"}
)


def final_function(node: Node) -> str | None:
    """``Softmax``, ``LogSoftmax`` or ``Sigmoid`` where a node is one of them in any spelling, else None."""
    return FINAL_FUNCTIONS.get(node.op.rpartition("::")[2])


def target_tensor(topology: Topology, output: str) -> str:
    """The logits: the value before a final Softmax or Sigmoid; moves behind it are followed back.

    Raises:
        TargetError: If no layer made the output.
    """
    tensor = output
    name = output
    while (made := topology.program.producers.get(name)) is not None:
        if final_function(made) is not None:
            tensor = name = made.inputs[0]
        elif made.op.rpartition("::")[2] in _MOVES:
            name = made.inputs[0]
        else:
            break
    if not topology.heads(tensor):
        raise TargetError(
            f"output {output!r} of {topology.program.model.path} is not made of kernels of any layer that can be "
            "followed; choose another with --output"
        )
    return tensor


def behind_target(program: Program, output: str, target: str) -> tuple[Node, ...]:
    """The final functions between the logits and the output, the first that is computed first."""
    found: list[Node] = []
    tensor = output
    while tensor != target and (node := program.producers.get(tensor)) is not None:
        if final_function(node) is not None:
            found.append(node)
        tensor = node.inputs[0]
    return tuple(found[::-1])


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
    """Number of classes and their axis in the logits; None where the whole flattened tensor is classes."""
    shape = topology.program.shapes[target]
    axes = topology.states[target].channel_axes()
    if not axes:
        return 1, None
    if len(axes) == 1:
        return shape[axes[0]], axes[0]
    return int(np.prod(shape[1:])), None
