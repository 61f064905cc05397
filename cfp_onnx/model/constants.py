"""The value of a node whose inputs are constants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cfp_onnx.errors import ModelError
from cfp_onnx.model.nodes import node_proto
from cfp_onnx.model.values import Node
from cfp_onnx.text import first_line
from cfp_onnx.values import Array

RESOLVE_LIMIT = 2**31
"""Largest constant expression, in bytes, that is evaluated on behalf of a file."""


DEQUANTISES = 19
"""First operator set in which the reference evaluator has DequantizeLinear as it is needed here; what older sets
allow means the same there."""


def evaluate(node: Node, feeds: dict[str, Array], versions: Mapping[str, int], path: Path) -> dict[str, Array]:
    """The outputs of one node under `onnx.reference`.

    Args:
        node: The node.
        feeds: Its inputs.
        versions: Operator set version of each domain.
        path: The file, for messages.

    Raises:
        ModelError: If it cannot be evaluated, or not within `RESOLVE_LIMIT` bytes.
    """
    _check_size(node, feeds, path)
    proto, versions = node_proto(node), dict(versions)
    if proto.op_type == "DequantizeLinear":
        proto.domain, versions[""] = "", max(DEQUANTISES, versions.get("", 0))
    opset = [onnx.helper.make_opsetid(d, v) for d, v in versions.items()]
    names = [o for o in node.outputs if o]
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [
            onnx.helper.make_tensor_value_info(i, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for i, a in feeds.items()
        ],
        [onnx.helper.make_tensor_value_info(o, onnx.TensorProto.UNDEFINED, None) for o in names],
    )
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opset)).run(None, feeds)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path}: the constant expression at node {node.name!r} ({node.op}) cannot be evaluated: "
            f"{first_line(error)}; export the model with its constants folded"
        ) from error
    return {o: np.asarray(r) for o, r in zip(names, results, strict=True)}


def _check_size(node: Node, feeds: Mapping[str, Array], path: Path) -> None:
    """Refuse expressions that blow a few bytes up to more than `RESOLVE_LIMIT`."""
    size = sum(a.nbytes for a in feeds.values())
    if node.op in {"ConstantOfShape", "Expand", "Tile"}:
        shape = feeds[node.inputs[-1]] if node.inputs else np.ones(1)
        size *= 1 if node.op != "Tile" else max(1, int(np.prod(shape.astype(object))))
        if node.op != "Tile":
            size = 8 * int(np.prod(shape.astype(object)))
    if size > RESOLVE_LIMIT:
        raise ModelError(
            f"{path}: constant at node {node.name!r} would take {size} bytes, more than {RESOLVE_LIMIT}; export "
            "the model with its constants folded"
        )
