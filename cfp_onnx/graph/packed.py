"""Dense layers with weights of a few bits each: `MatMulNBits` of onnxruntime (its ContribOperators.md)."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph.parts import Geometry, Part, depends_on_input
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


def packed_matmul(program: Program, node: Node) -> Part | None:
    """The operation as a part; None where its weights depend on the input, or their blocks are shuffled."""
    bits = int(node.attributes.get("bits", 4))
    given = [node.input(i) for i in (1, 2, 3, 5)]
    shuffled = bool(node.input(4)) or int(node.attributes.get("weight_prepacked", 0)) != 0
    if program.is_constant(node.input(0)) or any(depends_on_input(program, n) for n in given) or shuffled:
        return None
    if bits not in {2, 4, 8}:
        return None
    kernels, channels = int(node.attributes["N"]), int(node.attributes["K"])
    size = int(node.attributes["block_size"])

    def weights() -> Array:
        return _weights(program, node, bits, size)

    def bias() -> Array:
        found = program.constant_or_none(node.input(5))
        return np.zeros(kernels, np.float32) if found is None else np.asarray(found, np.float32).reshape(-1)

    axis = len(program.shapes[node.input(0)]) - 1
    return Part(
        node=node, nodes=(node.name,), kind="dense", source=node.input(0), output=node.outputs[0], in_axis=axis,
        out_axis=axis, groups=1, kernels=kernels, channels=channels, geometry=Geometry(), weight=node.input(1),
        weights=weights, bias=bias,
    )  # fmt: skip


def _weights(program: Program, node: Node, bits: int, size: int) -> Array:
    """(kernels, channels) float32: (q - zero) * scale, block by block along the channels."""
    kernels, channels = int(node.attributes["N"]), int(node.attributes["K"])
    blocks = -(-channels // size)
    q = _unpacked(program.constant(node.input(1)).reshape(kernels, blocks, -1), bits)[..., :size]
    scales = program.constant(node.input(2)).astype(np.float32).reshape(kernels, blocks, 1)
    zero = program.constant_or_none(node.input(3))
    if zero is None:
        points = np.full((kernels, blocks, 1), float(1 << (bits - 1)), np.float32)
    elif zero.dtype == np.uint8:
        points = _unpacked(zero.reshape(kernels, -1), bits)[:, :blocks, None].astype(np.float32)
    else:
        points = zero.astype(np.float32).reshape(kernels, blocks, 1)
    return np.ascontiguousarray(((q.astype(np.float32) - points) * scales).reshape(kernels, -1)[:, :channels])


def _unpacked(values: Array, bits: int) -> Array:
    """Bytes of several numbers each, the first in the lowest bits, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    apart = (values[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(apart.reshape(*values.shape[:-1], -1))


__all__ = ["packed_matmul"]
