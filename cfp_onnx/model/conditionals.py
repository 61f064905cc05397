"""``If`` by observation: each is replaced by the branch that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes import common as passes

from cfp_onnx.model.canonical import tidy
from cfp_onnx.model.values import Model


def branches(model: Model) -> list[str]:
    """Names of the condition tensors of the ``If`` nodes at the top level."""
    return [n.inputs[0].name or "" for n in model.graph.graph if n.op_type == "If" and n.inputs[0] is not None]


def take_branches(model: Model, conditions: Mapping[str, bool]) -> Model:
    """Replace each ``If`` whose condition was observed by the branch it takes.

    Args:
        model: A loaded model; it is left as it was.
        conditions: Condition tensor to its observed value.

    Returns:
        A model in which those sub-graphs are ordinary nodes.
    """
    copy = ir.from_proto(ir.to_proto(model.graph))
    ir.external_data.set_base_dir(copy.graph, model.path.parent)
    for node in [n for n in copy.graph if n.op_type == "If"]:
        condition = node.inputs[0]
        if condition is None or condition.name is None or condition.name not in conditions:
            continue
        name = "then_branch" if conditions[condition.name] else "else_branch"
        _splice(copy.graph, node, node.attributes[name].as_graph())
    copy = tidy(copy)
    passes.NameFixPass()(copy)
    return replace(model, graph=copy)


def _splice(graph: ir.Graph, call: ir.Node, body: ir.Graph) -> None:
    """Put a branch's nodes in the place of the ``If``; an output of the graph is handed on by an `Identity`."""
    results, inner = list(body.outputs), list(body)
    for node in inner:
        node.name = node.name or f"{call.name}/{node.outputs[0].name}"
        for value in node.outputs:
            value.name = f"{call.name}/{value.name}" if value.name else value.name
    body.outputs.clear()
    body.remove(inner)
    graph.insert_before(call, inner)
    for old, new in zip(call.outputs, results, strict=True):
        for use in list(old.uses()):
            use.node.replace_input_with(use.idx, new)
        places = [i for i, v in enumerate(graph.outputs) if v is old]
        if not places:
            continue
        name, old.name = old.name, f"{old.name}/untaken"
        handed = ir.node(
            "Identity", [new], outputs=[ir.Value(name=name, type=old.type, shape=old.shape)], name=f"{call.name}/{name}"
        )
        graph.insert_before(call, handed)
        for i in places:
            graph.outputs[i] = handed.outputs[0]
    graph.remove(call, safe=True)
