"""Products with a vector, as products of matrices: `MatMul` gives a vector an axis of length 1 and takes it away."""

from __future__ import annotations

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node
from cfp_onnx.model.writer import Writer


def is_vector_product(program: Program, node: Node) -> bool:
    """Whether a node multiplies a tensor and another or a constant, one of which is a vector."""
    if node.op != "MatMul" or all(program.is_constant(name) for name in node.inputs):
        return False
    return 1 in {_rank(program, name) for name in node.inputs}


def vector_product(w: Writer) -> None:
    """`MatMul` with a vector on one side or both.

    A constant matrix on the left of a vector is turned, so that the vector's channels lie on the last axis.
    """
    left, right = w.shape(0), w.shape(1)
    one, other = w.tensor(0), w.tensor(1)
    if len(left) == 2 and w.value(0) is not None:
        one, other = w.reshape(other, (1, *right), "row"), w.add("Transpose", [one], "turned", perm=[1, 0])
    else:
        one = w.reshape(one, (1, *left), "row") if len(left) == 1 else one
        other = w.reshape(other, (*right, 1), "column") if len(right) == 1 else other
    w.give(0, w.reshape(w.add_named("MatMul", [one, other]), w.out_shape(0), "vector"))


def _rank(program: Program, name: str) -> int:
    shape = program.shapes.get(name)
    return len(program.constant(name).shape if shape is None else shape)


__all__ = ["is_vector_product", "vector_product"]
