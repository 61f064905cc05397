"""Convolutions with constant weights, in every spelling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cfp_onnx.errors import ModelError
from cfp_onnx.graph.part_tail import integer_tail
from cfp_onnx.graph.parts import (
    TRANSPOSED,
    Geometry,
    Part,
    attribute_text,
    axis_size,
    depends_on_input,
    part_output,
    same_pads,
)
from cfp_onnx.graph.quantisation import dequantise
from cfp_onnx.model import Node, Program
from cfp_onnx.text import shape_text
from cfp_onnx.values import Array


def convolution(program: Program, node: Node) -> Part | None:
    """A convolution as a part; None where its weights depend on the input or its layout is not channels first.

    Raises:
        ModelError: If its weights do not fit the channels that it reads.
    """
    quantised = node.op.endswith("QLinearConv")
    weight = node.input(3 if quantised else 1)
    source = node.input(0)
    if not program.is_constant(weight) or program.is_constant(source) or node.attributes.get("channels_last", 0):
        return None
    if depends_on_input(program, node.input(8 if quantised else 2)) and node.op != "ConvInteger":
        return None
    group = int(node.attributes.get("group", 1))
    shape = program.constant(weight).shape
    channels = axis_size(program, source, 1)
    transposed = node.op in TRANSPOSED
    reads = shape[0] if transposed else shape[1] * group
    if group < 1 or reads != channels or shape[0] % group:
        raise ModelError(
            f"{program.model.path}: node {node.name!r} ({node.op}, group {group}) reads {channels} channels "
            f"but its weight {program.stem(weight)!r} {shape_text(shape)} fits {reads}; the export is broken, "
            "repair it or export again"
        )
    tail, scale, bias = integer_tail(program, node) if node.op == "ConvInteger" else ((), None, None)
    output = part_output(node, tail)
    return Part(
        node=node,
        nodes=(node.name, *(n.name for n in tail)),
        kind="deconv" if transposed else "conv",
        source=source,
        output=output,
        in_axis=1,
        out_axis=1,
        groups=group,
        kernels=int(shape[1] * group if transposed else shape[0]),
        channels=channels,
        geometry=_geometry(program, node, source, shape[2:], transposed=transposed),
        weight=weight,
        weights=_conv_weights(program, node, weight, group, scale, transposed=transposed),
        bias=_conv_bias(program, node, bias, shape[1] * group if transposed else shape[0]),
        activation=attribute_text(node.attributes.get("activation")),
        plain_weight=not quantised and node.op != "ConvInteger" and program.constant(weight).dtype == np.float32,
    )


def _geometry(program: Program, node: Node, source: str, kernel: tuple[int, ...], *, transposed: bool) -> Geometry:
    rank = len(kernel)
    a = node.attributes
    strides = tuple(int(x) for x in a.get("strides") or (1,) * rank)
    dilations = tuple(int(x) for x in a.get("dilations") or (1,) * rank)
    pads = tuple(int(x) for x in a.get("pads") or (0,) * (2 * rank))
    begins, ends = pads[:rank], pads[rank:]
    auto = attribute_text(a.get("auto_pad")) or "NOTSET"
    if transposed and (auto != "NOTSET" or a.get("output_shape")):
        outs = program.shapes[node.outputs[0]][2:]
        sizes = program.shapes[source][2:]
        total = [
            (i - 1) * s + d * (k - 1) + 1 - o
            for i, s, d, k, o in zip(sizes, strides, dilations, kernel, outs, strict=True)
        ]
        more = tuple(int(x) for x in a.get("output_padding") or (0,) * rank)  # it is cut off in front and behind
        cut = [max(0, t + m) for t, m in zip(total, more, strict=True)]
        begins = tuple((t // 2 if auto == "SAME_UPPER" else t - t // 2) for t in cut)
        ends = tuple(t - b for t, b in zip(total, begins, strict=True))
    elif auto in {"SAME_UPPER", "SAME_LOWER"}:
        begins, ends = same_pads(program.shapes[source][2:], kernel, strides, dilations, lower=auto == "SAME_LOWER")
    elif auto == "VALID":
        begins = ends = (0,) * rank
    return Geometry(tuple(int(k) for k in kernel), strides, dilations, begins, ends)


def _conv_weights(
    program: Program, node: Node, weight: str, group: int, scale: Array | None, *, transposed: bool
) -> Callable[[], Array]:
    def resolve() -> Array:
        w = program.constant(weight)
        if node.op.endswith("QLinearConv"):
            w = dequantise(w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=0)
        elif node.op == "ConvInteger":
            w = dequantise(w, scale, program.constant_or_none(node.input(3)), axis=0)
        elif transposed:
            w = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
            w = w.reshape(w.shape[0] * w.shape[1], *w.shape[2:])
        return np.asarray(w, dtype=np.float32)

    return resolve


def _conv_bias(program: Program, node: Node, tail_bias: Array | None, kernels: int) -> Callable[[], Array]:
    def resolve() -> Array:
        if node.op == "ConvInteger":
            return np.zeros(kernels, np.float32) if tail_bias is None else tail_bias.reshape(-1).astype(np.float32)
        quantised = node.op.endswith("QLinearConv")
        bias = program.constant_or_none(node.input(8 if quantised else 2))
        if bias is None:
            return np.zeros(kernels, np.float32)
        if not quantised:
            return np.asarray(bias, np.float32).reshape(-1)
        scale = program.constant(node.input(1)).astype(np.float32) * program.constant(node.input(4)).astype(np.float32)
        return np.asarray(bias.astype(np.float32) * scale.reshape(-1), np.float32)

    return resolve
