"""`Gemm` in the forms that are no dense layer, as a product of matrices and a sum."""

from __future__ import annotations

import onnx_ir as ir

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node
from cfp_onnx.model.writer import Writer


def is_general_product(program: Program, node: Node) -> bool:
    """Whether a node multiplies two activations, turns what it reads, or adds an activation."""
    if node.op != "Gemm":
        return False
    left, right, added = node.input(0), node.input(1), node.input(2)
    layer = not program.is_constant(left) and program.is_constant(right) and not node.attributes.get("transA", 0)
    return not layer or (bool(added) and not program.is_constant(added))


def general_product(w: Writer) -> None:
    """ONNX `Gemm` (https://onnx.ai/onnx/operators/onnx__Gemm.html)."""
    left = _turned(w, 0, "transA", "left")
    right = _turned(w, 1, "transB", "right")
    made = _scaled(w, w.add_named("MatMul", [left, right]), "alpha")
    if w.has(2):
        made = w.add("Add", [made, _scaled(w, w.tensor(2), "beta")], "sum")
    w.give(0, made)


def _turned(w: Writer, index: int, name: str, part: str) -> ir.Value:
    value = w.tensor(index)
    return w.add("Transpose", [value], part, perm=[1, 0]) if w.attribute(name, 0) else value


def _scaled(w: Writer, value: ir.Value, name: str) -> ir.Value:
    factor = w.attribute(name, 1.0)
    return value if factor == 1 else w.add("Mul", [value, w.number(factor, name)], f"{name}/scaled")


__all__ = ["general_product", "is_general_product"]
