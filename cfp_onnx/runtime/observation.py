"""A model run once at the real input size: the shape of every tensor and the branch of every ``If``.

One with fused operators is run once more, with ordinary nodes in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from cfp_onnx.model import Model, Program, branches, canonical_nodes, expand, take_branches
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
        conditions = branches(model)
        if not conditions:
            break
        values = _fetch(model, feeds, conditions, device)
        model = take_branches(
            model, {n: bool(np.asarray(v).reshape(-1)[0]) for n, v in zip(conditions, values, strict=True)}
        )
    program = _shaped(model, feeds, device)
    plain = expand(program)
    return program if plain is None else _shaped(plain, feeds, device)


def _shaped(model: Model, feeds: Mapping[str, Array], device: Device) -> Program:
    """The model with the shape of every tensor."""
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    initializers = {v.name for v in graph.proto.graph.initializer}
    nodes = canonical_nodes(model)
    skip = {o for n in nodes if n.op in _SEQUENCES for o in n.outputs}
    names = [o for n in nodes for o in n.outputs if o and o not in skip and o not in initializers]
    probes = [f"cfp/shape/{i}" for i in range(len(names))]
    for name, probe in zip(names, probes, strict=True):
        graph.proto.graph.node.append(helper.make_node("Shape", [name], [probe]))
    _only_outputs(graph.proto, [(p, TensorProto.INT64) for p in probes])
    session = graph.session(device, optimise=False)
    shapes = {n: tuple(int(d) for d in s) for n, s in zip(names, run(session, probes, feeds), strict=True)}
    shapes.update({k: tuple(v.shape) for k, v in feeds.items()})
    return Program(model, shapes)


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
