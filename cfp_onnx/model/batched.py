"""Products with a batch of constant matrices, as heads of an attention have them, in the form of a grouped convolution.

Each matrix of the batch is a group: its inputs are that group's channels, and its outputs are the group's kernels.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node
from cfp_onnx.model.writer import NotExpandableError, Writer


def is_batched_product(program: Program, node: Node) -> bool:
    """Whether a node multiplies a tensor and several constant matrices."""
    if node.op != "MatMul" or program.is_constant(node.inputs[0]) == program.is_constant(node.inputs[1]):
        return False
    held = next(name for name in node.inputs if program.is_constant(name))
    return any(n != 1 for n in program.constant(held).shape[:-2])


def batched_product(w: Writer) -> None:
    """`MatMul` of a tensor and a constant of three or more axes.

    Raises:
        NotExpandableError: If some of the constant's leading axes are the tensor's and some are not.
    """
    on_left = w.value(0) is not None
    index = int(on_left)
    weights, held = w.tensor(1 - index), w.shape(1 - index)
    own, (kernels, channels) = list(held[:-2]), held[-2:]
    if not on_left:
        weights, kernels, channels = w.add("Transpose", [weights], "matrices", perm=_turn(len(held))), channels, kernels
    value, shape = w.tensor(index), list(w.shape(index))
    if len(shape) == 1:
        shape = [*shape, 1] if on_left else [1, *shape]
        value = w.reshape(value, shape, "matrix")
    if not on_left:
        value, shape = w.add("Transpose", [value], "turned", perm=_turn(len(shape))), [*shape[:-2], *shape[:-3:-1]]
    while own[0] == 1:
        del own[0]
    lead = [*(1,) * (len(own) - len(shape[:-2])), *shape[:-2]]
    front, theirs = lead[: len(lead) - len(own)], lead[len(lead) - len(own) :]
    if theirs != own and prod(theirs) != 1:
        raise NotExpandableError(f"multiplies a batch of {theirs} by constants of {own}")
    groups = prod(own) if theirs == own else 1
    made = grouped(w, value, (weights, prod(own), kernels, channels), groups, (prod(front), shape[-1]))
    made = w.reshape(made, [*front, *own, kernels, shape[-1]], "cut")
    if not on_left:
        made = w.add("Transpose", [made], "back", perm=_turn(len(front) + len(own) + 2))
    w.give(0, w.reshape(made, w.out_shape(0), "out"))


def _turn(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def grouped(
    w: Writer, value: ir.Value, matrices: tuple[ir.Value, int, int, int], groups: int, sizes: tuple[int, int]
) -> ir.Value:
    """A convolution of one tap under the node's own name.

    Args:
        w: What writes.
        value: Elements in the order (batch, groups, channels, places).
        matrices: Constants in the order (matrices, kernels, channels), and how many there are of each.
        groups: As many as matrices, or 1 where all read the same channels.
        sizes: Batch and places.

    Returns:
        (batch, matrices * kernels, places).
    """
    constants, count, kernels, channels = matrices
    batch, places = sizes
    flat = w.reshape(value, [batch, groups * channels, places], "channels")
    weights = w.reshape(constants, [count * kernels, channels, 1], "weights")
    return w.add_named("Conv", [flat, weights], group=groups, kernel_shape=[1])


__all__ = ["batched_product", "grouped", "is_batched_product"]
