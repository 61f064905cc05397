"""What files write in several ways, written in one before the graph is read: domains, types, answers as maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import TensorProto

SPELLED_OUT = "ai.onnx"
"""The name of ONNX's own domain, which nearly all files leave empty."""


def respell(proto: onnx.ModelProto) -> dict[str, tuple[str | int, ...]]:
    """Write a file's graph in the usual way.

    ONNX's own domain is left empty; what is said of the type of a tensor stays only where it is a type that can be
    kept; a `ZipMap` that makes an output of the graph becomes an `Identity`.

    Args:
        proto: The file; it is changed.

    Returns:
        The outputs that were maps, with their keys in order.
    """
    _spell_domain(proto)
    maps = _unzip(proto.graph)
    _drop_types(proto.graph)
    return maps


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those inside its nodes."""
    stack = [graph]
    while stack:
        found = stack.pop()
        yield found
        stack.extend(inner for node in found.node for a in node.attribute for inner in (*a.graphs, a.g))


def _spell_domain(proto: onnx.ModelProto) -> None:
    bodies: list[Iterable[onnx.NodeProto]] = [g.node for g in graphs(proto.graph)]
    bodies += [function.node for function in proto.functions]
    for nodes in bodies:
        for node in nodes:
            if node.domain == SPELLED_OUT:
                node.domain = ""
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        known = {i.domain for i in imports}
        for entry in imports:
            if entry.domain == SPELLED_OUT and "" not in known:
                entry.domain = ""


def _unzip(graph: onnx.GraphProto) -> dict[str, tuple[str | int, ...]]:
    """The tensor itself in the place of a map at an output."""
    outputs = {o.name for o in graph.output}
    maps: dict[str, tuple[str | int, ...]] = {}
    for node in graph.node:
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml" and node.output[0] in outputs:
            keys = [(*a.ints, *(s.decode("utf-8", "replace") for s in a.strings)) for a in node.attribute]
            maps[node.output[0]] = keys[0] if keys else ()
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
    for value in graph.output:
        if value.name in maps:
            value.ClearField("type")
    return maps


def _drop_types(graph: onnx.GraphProto) -> None:
    """Types that say nothing, or that the reader cannot keep; the runtime finds them by itself."""
    for inner in graphs(graph):
        for value in inner.output:
            if not _known(value.type):
                value.ClearField("type")
        vague = [i for i, value in enumerate(inner.value_info) if not _known(value.type)]
        for i in reversed(vague):
            del inner.value_info[i]


def _known(kind: onnx.TypeProto) -> bool:
    match kind.WhichOneof("value"):
        case "tensor_type":
            return bool(kind.tensor_type.elem_type != TensorProto.UNDEFINED)
        case "sparse_tensor_type":
            return bool(kind.sparse_tensor_type.elem_type != TensorProto.UNDEFINED)
        case "sequence_type":
            return _known(kind.sequence_type.elem_type)
        case "optional_type":
            return _known(kind.optional_type.elem_type)
    return False


def labels_of(maps: Mapping[str, tuple[str | int, ...]]) -> tuple[str, ...] | None:
    """Names of the classes, where the only map of a file names them."""
    if len(maps) != 1:
        return None
    (keys,) = maps.values()
    return None if keys == tuple(range(len(keys))) else tuple(str(k) for k in keys)


__all__ = ["labels_of", "respell"]
