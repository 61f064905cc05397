"""Nodes of the canonical graph as plain values, and back as protobuf."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from cfp_onnx.model.values import Model, Node


def canonical_nodes(model: Model) -> list[Node]:
    """All nodes of the loaded graph as plain values, in execution order."""
    return [_as_node(n) for n in model.graph.graph]


def _as_node(node: ir.Node) -> Node:
    domain = node.domain if node.domain not in {"", "ai.onnx"} else ""
    return Node(
        name=node.name or "",
        op=f"{domain}::{node.op_type}" if domain else node.op_type,
        inputs=tuple((v.name or "") if v is not None else "" for v in node.inputs),
        outputs=tuple(v.name or "" for v in node.outputs),
        attributes={k: _attribute(a) for k, a in node.attributes.items()},
    )


def _attribute(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        return np.asarray(attribute.as_tensor().numpy())
    return attribute.value


def captured(node: Node) -> tuple[str, ...]:
    """Names of what graphs inside of a node read, and do not take as their inputs."""
    graphs = [a for a in node.attributes.values() if isinstance(a, ir.Graph)]
    found = {
        v.name or "" for graph in graphs for inner in graph.all_nodes() for v in inner.inputs
        if v is not None and v.graph is not graph
    }  # fmt: skip
    return tuple(sorted(found))


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as protobuf, for a runtime or the reference evaluator."""
    domain, _, op = node.op.rpartition("::")
    attributes: dict[str, Any] = {
        k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else (list(v) if isinstance(v, tuple) else v)
        for k, v in node.attributes.items()
        if v is not None
    }
    return onnx.helper.make_node(op, list(node.inputs), list(node.outputs), node.name, domain=domain, **attributes)
