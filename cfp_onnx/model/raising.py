"""A model of an old operator set in a newer one, as far as ONNX's own converter can write it."""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnx_ir as ir
from onnx import helper, version_converter

from cfp_onnx.model.canonical import name_nodes, tidy
from cfp_onnx.model.values import Model

RAISED_BELOW = 9
"""Operator sets before this one lack what probes are made of."""

NEWER = (17, 11, 9)
"""Operator sets that are tried, in turn."""

_ONNX = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError)

SMALL = 1024
"""Constants of fewer bytes are shown to the converter, which turns some into attributes and others into inputs."""


def raised(model: Model, opset: int) -> Model | None:
    """The model in a newer operator set; None where the converter cannot write it.

    The converter sees large weights as inputs. Whether both models compute the same is for the caller to find out.

    Args:
        model: A loaded model.
        opset: The operator set.
    """
    graph = model.graph.graph
    large = {k: v.const_value for k, v in graph.initializers.items() if v.const_value is not None and _large(v)}
    proto = _without(model.graph, large)
    try:
        made = ir.from_proto(version_converter.convert_version(proto, opset))
    except (RuntimeError, ValueError, TypeError, IndexError, *_ONNX):
        return None
    for value in list(made.graph.inputs):
        if value.name in large:
            made.graph.inputs.remove(value)
            value.const_value = large[value.name]
            made.graph.register_initializer(value)
    name_nodes(made.graph, [])
    _rename(made.graph, graph)
    return replace(model, graph=tidy(made), opset=opset)


def _rename(graph: ir.Graph, old: ir.Graph) -> None:
    """Give tensors that the converter made anew the names that they had, as far as the nodes around them stayed."""
    nodes = {n.name: n for n in old}
    names = {v.name for n in old for v in n.outputs}
    taken = {v.name for n in graph for v in n.outputs}
    for node in graph:
        was = nodes.get(node.name)
        if was is None or was.op_type != node.op_type or len(was.inputs) != len(node.inputs):
            continue
        pairs = [*zip(node.outputs, was.outputs, strict=False), *zip(node.inputs, was.inputs, strict=True)]
        for value, known in pairs:
            if value is None or known is None or value.name in names or known.name in taken or known.name not in names:
                continue
            taken.add(known.name)
            value.name = known.name


def _large(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes >= SMALL


def _without(model: ir.Model, large: dict[str, ir.TensorProtocol]) -> onnx.ModelProto:
    """Protobuf of a model with some initializers as inputs."""
    graph = model.graph
    for name in large:
        graph.initializers[name].const_value = ir.tensor([0.0], name=name)
    try:
        proto = ir.to_proto(model)
    finally:
        for name, tensor in large.items():
            graph.initializers[name].const_value = tensor
    kept = [t for t in proto.graph.initializer if t.name not in large]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, int(tensor.dtype), list(tensor.shape.numpy()))
        for name, tensor in large.items()
    )
    del proto.graph.value_info[:]
    proto.ir_version = max(proto.ir_version, 8)
    return proto


__all__ = ["NEWER", "RAISED_BELOW", "raised"]
