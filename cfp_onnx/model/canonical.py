"""The canonical form of a graph: functions inlined, constants lifted, nodes sorted, names unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from cfp_onnx.errors import ModelError
from cfp_onnx.model.unpacking import unpack

CALL_DEPTH_LIMIT = 64
"""Most calls of local functions within one another."""

NODE_LIMIT = 200_000
"""Most nodes of a file once its local functions are inlined."""


def call_paths(proto: onnx.ModelProto, file: Path) -> list[tuple[str, str]]:
    """(path of calls, operator) of every node in the order in which inlining leaves them."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    out: list[tuple[str, str]] = []

    def visit(nodes: Iterable[onnx.NodeProto], prefix: str, stack: tuple[tuple[str, str, str], ...]) -> None:
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            label = node.name or next((o for o in node.output if o), node.op_type)
            body = functions.get(key)
            if body is None:
                out.append((prefix + label, node.op_type))
                if len(out) > NODE_LIMIT:
                    raise ModelError(
                        f"{file}: more than {NODE_LIMIT} nodes once its local functions are inlined; export a smaller "
                        "model, or one without functions"
                    )
                continue
            if key in stack or len(stack) >= CALL_DEPTH_LIMIT:
                raise ModelError(
                    f"{file}: local function {node.op_type!r} calls itself or nests too deep; export "
                    "the model without functions"
                )
            visit(body.node, f"{prefix}{label}/", (*stack, key))

    visit(proto.graph.node, "", ())
    return out


def name_nodes(graph: ir.Graph, paths: list[tuple[str, str]]) -> None:
    """Give every node a unique name: the path of calls that led to it, and ``#n`` on repeats.

    Args:
        graph: The inlined graph.
        paths: What `call_paths` gave for the file.
    """
    nodes = list(graph)
    if len(nodes) != len(paths) or any(n.op_type != op for n, (_, op) in zip(nodes, paths, strict=True)):
        paths = [(n.name or n.outputs[0].name or n.op_type, n.op_type) for n in nodes]
    seen: Counter[str] = Counter()
    taken = {name for name, _ in paths}
    for node, (name, _) in zip(nodes, paths, strict=True):
        seen[name] += 1
        unique = name
        while seen[name] > 1 and (unique == name or unique in taken):
            unique = f"{name}#{seen[name]}"
            if unique in taken:
                seen[name] += 1
        taken.add(unique)
        node.name = unique


def tidy(model: ir.Model) -> ir.Model:
    """Constants as initializers of the main graph, initializers that are no inputs, nodes in execution order.

    Packed inputs of attention come apart.
    """
    for rule in (
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.RemoveInitializersFromInputsPass(),
        passes.TopologicalSortPass(),
    ):
        model = rule(model).model
    unpack(model.graph)
    _hold_weights(model.graph)
    return model


_NUMPY_TYPES = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BOOL, ir.DataType.INT8,
     ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.UINT16,
     ir.DataType.UINT32, ir.DataType.UINT64}
)  # fmt: skip


def _hold_weights(graph: ir.Graph) -> None:
    """Weights as arrays: protobuf would hand out a new copy at each look."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.TensorProtoTensor) and tensor.dtype in _NUMPY_TYPES:
            value.const_value = ir.Tensor(tensor.numpy(), name=tensor.name, doc_string=tensor.doc_string)
