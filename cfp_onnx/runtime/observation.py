"""A model run once at the real input size: the shape of every tensor, branches of ``If``, trips of loops.

One with fused operators is run once more, with ordinary nodes in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.model import (
    Model,
    Node,
    Program,
    asked,
    branches,
    canonical_nodes,
    count_trips,
    expand,
    has_sequences,
    loops,
    take_branches,
    unroll,
    without_sequences,
)
from cfp_onnx.runtime.device import Device
from cfp_onnx.runtime.model_graph import Graph
from cfp_onnx.runtime.session import run
from cfp_onnx.values import Array

_SEQUENCES = frozenset(
    {"SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceEmpty", "SplitToSequence", "Optional",
     "SequenceMap", "ZipMap", "Loop", "Scan", "SequenceLength", "SequenceAt", "ConcatFromSequence"}
)  # fmt: skip


def observe(model: Model, feeds: Mapping[str, Array]) -> Program:
    """Run the model once at the real input size and note the shape of every tensor and the branch of every ``If``.

    Args:
        model: A loaded model.
        feeds: Arrays for all inputs.

    Raises:
        ModelError: If the runtime cannot run the model.
        RunError: If it fails on these inputs.
    """
    device = Device("cpu")
    for _ in range(64):
        if conditions := branches(model):
            values = _fetch(model, feeds, conditions, device)
            model = take_branches(
                model, {n: bool(np.asarray(v).reshape(-1)[0]) for n, v in zip(conditions, values, strict=True)}
            )
        elif names := loops(model):
            model = unroll(model, _trips(model, feeds, names, device))
        else:
            break
    if has_sequences(model):
        model = _without_sequences(model, feeds, device)
    program = _shaped(model, feeds, device)
    plain = expand(program)
    return program if plain is None else _shaped(plain, feeds, device)


def _shaped(model: Model, feeds: Mapping[str, Array], device: Device) -> Program:
    """The model with the shape of every tensor."""
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    initializers = {v.name for v in graph.proto.graph.initializer}
    nodes = canonical_nodes(model)
    skip = {o for n in nodes if n.op in _SEQUENCES for o in _without_shape(n)}
    names = [o for n in nodes for o in n.outputs if o and o not in skip and o not in initializers]
    shapes = dict(zip(names, _shapes_in(graph, names, feeds, device), strict=True))
    shapes.update({k: tuple(v.shape) for k, v in feeds.items()})
    return Program(model, shapes)


def _without_shape(node: Node) -> list[str]:
    """Outputs that are no tensors, or may not be; of a loop that was left, its body tells."""
    body = node.attributes.get("body")
    if not isinstance(body, ir.Graph):
        return list(node.outputs)
    made = body.outputs[node.op == "Loop" :]
    return [o for o, value in zip(node.outputs, made, strict=False) if not isinstance(value.type, ir.TensorType)]


def _trips(model: Model, feeds: Mapping[str, Array], names: Sequence[str], device: Device) -> dict[str, int]:
    """How many trips each loop takes."""
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    probes = count_trips(graph.proto.graph, names)
    found = _shapes_in(graph, list(probes.values()), feeds, device)
    return {name: shape[0] for name, shape in zip(probes, found, strict=True)}


def _without_sequences(model: Model, feeds: Mapping[str, Array], device: Device) -> Model:
    cut, read = asked(model)
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    graph.proto.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "cfp/first"))
    for name in cut:
        graph.proto.graph.node.append(helper.make_node("SequenceAt", [name, "cfp/first"], [f"cfp/first/{name}"]))
    measured = [*dict.fromkeys(cut.values()), *(f"cfp/first/{name}" for name in cut)]
    found = _shapes_in(graph, measured, feeds, device) if measured else []
    shapes = {name.removeprefix("cfp/first/"): shape for name, shape in zip(measured, found, strict=True)}
    values = dict(zip(read, _fetch(model, feeds, read, device) if read else [], strict=True))
    return without_sequences(model, shapes, values)


def _shapes_in(graph: Graph, names: Sequence[str], feeds: Mapping[str, Array], device: Device) -> list[tuple[int, ...]]:
    probes = [f"cfp/shape/{i}" for i in range(len(names))]
    for name, probe in zip(names, probes, strict=True):
        graph.proto.graph.node.append(helper.make_node("Shape", [name], [probe]))
    _only_outputs(graph.proto, [(p, TensorProto.INT64) for p in probes])
    session = graph.session(device, optimise=False)
    return [tuple(int(d) for d in s) for s in run(session, probes, feeds)]


def _fetch(model: Model, feeds: Mapping[str, Array], names: Sequence[str], device: Device) -> list[Array]:
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    probes = [f"cfp/condition/{i}" for i in range(len(names))]
    for name, probe in zip(names, probes, strict=True):
        graph.proto.graph.node.append(helper.make_node("Cast", [name], [probe], to=TensorProto.INT32))
    _only_outputs(graph.proto, [(p, TensorProto.INT32) for p in probes])
    return run(graph.session(device, optimise=False), probes, feeds)


def _only_outputs(proto: onnx.ModelProto, outputs: Iterable[tuple[str, int]]) -> None:
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(n, t, None) for n, t in outputs)


__all__ = ["observe"]
