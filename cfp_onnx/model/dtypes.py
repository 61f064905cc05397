"""The number type of every tensor, by the typing rule of each operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.values import Node


def dtype_name(dtype: ir.DataType | None) -> str:
    """NumPy's name of an ONNX number type, ONNX's own where NumPy has none; float32 where the file says nothing."""
    if dtype is None:
        return "float32"
    try:
        return str(np.dtype(dtype.numpy()).name)
    except TypeError:
        return dtype.name.lower()


_INT64_OUT = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin"})


_BOOL_OUT = frozenset(
    {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"}
)


_INT32_OUT = frozenset({"ConvInteger", "MatMulInteger"})


def tensor_dtypes(
    nodes: Iterable[Node], inputs: Mapping[str, str], constant: Callable[[str], str | None]
) -> dict[str, str]:
    """NumPy type name of every tensor that some nodes make, by each operator's typing rule.

    Args:
        nodes: Nodes in execution order.
        inputs: Type name of each input of the model.
        constant: Type name of a constant, None for any other tensor.
    """
    types = dict(inputs)

    def of(name: str) -> str:
        return types.get(name) or constant(name) or "float32"

    for node in nodes:
        kinds = [_out_dtype(node, k, of) for k in range(len(node.outputs))]
        types.update({o: t for o, t in zip(node.outputs, kinds, strict=True) if o})
    return types


def _out_dtype(node: Node, index: int, of: Callable[[str], str]) -> str:
    op = node.op.rpartition("::")[2]
    if op in _INT64_OUT or (op in {"TopK", "MaxPool", "Unique"} and index == 1):
        return "int64"
    if op in _BOOL_OUT or (op == "Dropout" and index == 1):
        return "bool"
    if op in _INT32_OUT:
        return "int32"
    if op == "Cast":
        return dtype_name(ir.DataType(node.attributes["to"]))
    if op == "DynamicQuantizeLinear":
        return "uint8" if index != 1 else "float32"
    if op == "QuantizeLinear":
        zero = node.input(2)
        return of(zero) if zero else "uint8"
    if op in {"DequantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}:
        return of(node.input(1)) if op == "DequantizeLinear" else "float32"
    if op == "QLinearConcat":
        return of(node.input(1))
    if op == "QGemm":
        return of(node.input(8)) if node.input(8) else "float32"
    if op == "Where":
        return of(node.input(1))
    return of(node.input(0))
