"""Dense operations with constant weights: Gemm and MatMul, in every spelling."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph.part_tail import integer_tail, only_consumer, other_input
from cfp_onnx.graph.parts import Geometry, Part, attribute_text, depends_on_input, part_output
from cfp_onnx.graph.quantisation import dequantise
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


def gemm(program: Program, node: Node) -> Part | None:
    """A Gemm as a part; None where its weights or bias depend on the input, or it reads its input transposed."""
    quantised = node.op.endswith("QGemm")
    source, weight = node.input(0), node.input(3 if quantised else 1)
    if program.is_constant(source) or not program.is_constant(weight) or node.attributes.get("transA", 0):
        return None
    if depends_on_input(program, node.input(6 if quantised else 2)):
        return None
    flip = bool(node.attributes.get("transB", 0))
    shape = program.constant(weight).shape
    kernels, channels = (shape[0], shape[1]) if flip else (shape[1], shape[0])
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))

    def weights() -> Array:
        w = program.constant(weight)
        if quantised:
            w = dequantise(
                w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=0 if flip else 1
            )
        return np.asarray((w if flip else w.T), dtype=np.float32) * np.float32(alpha)

    def bias() -> Array:
        name = node.input(6 if quantised else 2)
        c = program.constant_or_none(name)
        if c is None:
            return np.zeros(kernels, np.float32)
        if quantised:
            scale = program.constant(node.input(1)).astype(np.float32) * program.constant(node.input(4)).astype(
                np.float32
            )
            return np.broadcast_to(c.reshape(-1).astype(np.float32) * scale.reshape(-1) * alpha, (kernels,))
        return np.broadcast_to(np.asarray(c, np.float32).reshape(-1) * np.float32(beta), (kernels,))

    return Part(
        node=node,
        nodes=(node.name,),
        kind="dense",
        source=source,
        output=node.outputs[0],
        in_axis=1,
        out_axis=1,
        groups=1,
        kernels=int(kernels),
        channels=int(channels),
        geometry=Geometry(),
        weight=weight,
        weights=weights,
        bias=bias,
        activation=attribute_text(node.attributes.get("activation")),
        plain_weight=not quantised and flip and alpha == 1.0 and program.constant(weight).dtype == np.float32,
    )


def matmul(program: Program, node: Node) -> Part | None:
    """A product with one constant matrix as a part; None for any other product."""
    left, right = node.input(0), node.input(3 if node.op == "QLinearMatMul" else 1)
    if program.is_constant(left) == program.is_constant(right):
        return None
    weight, source = (left, right) if program.is_constant(left) else (right, left)
    on_left = weight == left
    shape = program.constant(weight).shape
    rank = len(program.shapes[source])
    if any(d != 1 for d in shape[:-2]) or len(shape) < 2 or rank < 2:
        return None
    kernels, channels = (shape[-2], shape[-1]) if on_left else (shape[-1], shape[-2])
    if any(node.attributes.get(k, 0) for k in ("transA", "transB", "transBatchA", "transBatchB")):
        return None
    inside = {"MatMulIntegerToFloat": 6, "DynamicQuantizeMatMul": 4}.get(node.op.rpartition("::")[2])
    if inside is not None and depends_on_input(program, node.input(inside)):
        return None
    tail, scale, bias = _matmul_tail(program, node, int(kernels), on_left=on_left)
    axis = rank - 2 if on_left else rank - 1

    def weights() -> Array:
        w = _matmul_values(program, node, weight, scale)
        w = w.reshape(w.shape[-2:])
        return np.asarray(w if on_left else w.T, dtype=np.float32) * np.float32(node.attributes.get("alpha", 1.0))

    def biases() -> Array:
        flat = None if bias is None else np.asarray(bias, np.float32).reshape(-1)
        return np.zeros(kernels, np.float32) if flat is None else np.broadcast_to(flat, (kernels,))

    output = part_output(node, tail)
    return Part(
        node=node,
        nodes=(node.name, *(n.name for n in tail)),
        kind="dense",
        source=source,
        output=output,
        in_axis=axis,
        out_axis=len(program.shapes[output]) - (2 if on_left else 1),
        groups=1,
        kernels=int(kernels),
        channels=int(channels),
        geometry=Geometry(),
        weight=weight,
        weights=weights,
        bias=biases,
        activation=None,
    )


def _matmul_values(program: Program, node: Node, weight: str, scale: Array | None) -> Array:
    w = program.constant(weight)
    op = node.op.rpartition("::")[2]
    if op == "QLinearMatMul":
        return dequantise(w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=w.ndim - 1)
    if op == "MatMulInteger":
        return dequantise(w, scale, program.constant_or_none(node.input(3)), axis=w.ndim - 1)
    if op == "MatMulIntegerToFloat":
        return dequantise(w, program.constant(node.input(3)), program.constant_or_none(node.input(5)), axis=w.ndim - 1)
    if op == "DynamicQuantizeMatMul":
        return dequantise(w, program.constant(node.input(2)), program.constant_or_none(node.input(3)), axis=w.ndim - 1)
    return w


def _matmul_tail(
    program: Program, node: Node, kernels: int, *, on_left: bool
) -> tuple[tuple[Node, ...], Array | None, Array | None]:
    """What follows a product and belongs to the dense layer: (nodes, weight scale, bias)."""
    op = node.op.rpartition("::")[2]
    if op == "MatMulInteger":
        return integer_tail(program, node)
    inside = {"MatMulIntegerToFloat": 6, "DynamicQuantizeMatMul": 4}.get(op)
    if inside is not None:
        return (), None, program.constant_or_none(node.input(inside))
    user = only_consumer(program, node.outputs[0])
    if on_left or op == "QLinearMatMul" or user is None or user.op != "Add":
        return (), None, None
    value = program.constant_or_none(other_input(user, node.outputs[0]))
    if value is None or value.size not in {1, kernels} or (value.size == kernels and value.shape[-1:] != (kernels,)):
        return (), None, None
    return (user,), None, value
