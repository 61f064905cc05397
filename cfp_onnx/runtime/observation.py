"""A model run once at the real input size: the shape of every tensor, its answer, branches of ``If``, trips of loops.

One with fused operators is run once more, with ordinary nodes in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.errors import CfpError
from cfp_onnx.model import (
    NEWER,
    RAISED_BELOW,
    Model,
    Node,
    Program,
    asked,
    asked_of_recurrent,
    branches,
    canonical_nodes,
    count_trips,
    depends_on_values,
    expand,
    has_sequences,
    loops,
    raised,
    take_branches,
    trips_depend_on_values,
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

    Of a model that is run as it is written its answer to these inputs is noted too (`Program.answers`).

    Args:
        model: A loaded model.
        feeds: Arrays for all inputs.

    Raises:
        ModelError: If the runtime cannot run the model.
        RunError: If it fails on these inputs.
    """
    device, written = Device("cpu"), model.graph
    for _ in range(64):
        if conditions := branches(model):
            values = _fetch(model, feeds, conditions, device)
            model = replace(model, by_clip=model.by_clip or depends_on_values(model, conditions))
            model = take_branches(
                model, {n: bool(np.asarray(v).reshape(-1)[0]) for n, v in zip(conditions, values, strict=True)}
            )
        elif names := loops(model):
            trips = _trips(model, feeds, names, device)
            model = unroll(replace(model, by_clip=model.by_clip or trips_depend_on_values(model, names)), trips)
        else:
            break
    if has_sequences(model):
        model = _without_sequences(model, feeds, device)
    program = _shaped(_newer(model, feeds, device), feeds, device)
    lengths = asked_of_recurrent(program)
    seen = dict(zip(lengths, _fetch(program.model, feeds, lengths, device) if lengths else [], strict=True))
    program.model = replace(program.model, by_clip=program.model.by_clip or bool(lengths))
    while (plain := expand(program, seen)) is not None:  # what was written may hold products to be written anew
        program = _shaped(plain, feeds, device)
    if program.model.graph is not written:
        program.answers = {}
    return program


def _newer(model: Model, feeds: Mapping[str, Array], device: Device) -> Model:
    """A model of an old operator set in the first newer one in which it gives the same outputs, else the model."""
    if model.opset >= RAISED_BELOW:
        return model
    rng = np.random.default_rng(0)
    other = {k: _like(v, rng) for k, v in feeds.items()}
    known = [_outputs(model, f, device) for f in (feeds, other)]
    for opset in NEWER:
        made = raised(model, opset)
        if made is not None and all(_same(made, f, k, device) for f, k in zip((feeds, other), known, strict=True)):
            return made
    return model


def _like(array: Array, rng: np.random.Generator) -> Array:
    """Other numbers of the same shape and kind; whole numbers stay, they may be places."""
    return rng.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else array


def _outputs(model: Model, feeds: Mapping[str, Array], device: Device) -> list[Array]:
    session = Graph.of(model).session(device, optimise=False)
    return run(session, [p.name for p in model.outputs], feeds)


def _same(made: Model, feeds: Mapping[str, Array], known: Sequence[Array], device: Device) -> bool:
    """Whether a model gives known outputs, within float32's rounding."""
    try:
        found = _outputs(made, feeds, device)
    except CfpError:
        return False
    return all(
        type(a) is type(b) and np.shape(a) == np.shape(b) and _close(a, b) for a, b in zip(found, known, strict=True)
    )


def _close(a: Array, b: Array) -> bool:
    if not isinstance(a, np.ndarray) or a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-6 * scale, equal_nan=True))


def _shaped(model: Model, feeds: Mapping[str, Array], device: Device) -> Program:
    """The model with the shape of every tensor."""
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    initializers = {v.name for v in graph.proto.graph.initializer}
    nodes = canonical_nodes(model)
    skip = {o for n in nodes if n.op.rpartition("::")[2] in _SEQUENCES for o in _no_tensors(n)} | _without_shape(model)
    names = [o for n in nodes for o in n.outputs if o and o not in skip and o not in initializers]
    own = [p.name for p in model.outputs if p.dtype == "float32" and p.name in names]
    found, answers = _observed(graph, names, own, feeds, device)
    shapes = dict(zip(names, found, strict=True))
    shapes.update({k: tuple(v.shape) for k, v in feeds.items()})
    return Program(model, shapes, {n: a for n, a in zip(own, answers, strict=True) if a.dtype == np.float32})


def _no_tensors(node: Node) -> list[str]:
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
    return without_sequences(replace(model, by_clip=model.by_clip or depends_on_values(model, read)), shapes, values)


def _shapes_in(graph: Graph, names: Sequence[str], feeds: Mapping[str, Array], device: Device) -> list[tuple[int, ...]]:
    return _observed(graph, names, (), feeds, device)[0]


def _observed(
    graph: Graph, names: Sequence[str], own: Sequence[str], feeds: Mapping[str, Array], device: Device
) -> tuple[list[tuple[int, ...]], list[Array]]:
    """Shapes of tensors, and some tensors themselves."""
    probes = [f"cfp/shape/{i}" for i in range(len(names))]
    for name, probe in zip(names, probes, strict=True):
        graph.proto.graph.node.append(helper.make_node("Shape", [name], [probe]))
    wanted = [*((p, TensorProto.INT64) for p in probes), *((n, None) for n in own)]
    found = run(_only(graph, wanted).session(device, optimise=False), [*probes, *own], feeds)
    return [tuple(int(d) for d in s) for s in found[: len(probes)]], found[len(probes) :]


def _without_shape(model: Model) -> set[str]:
    """Sequences and optional values, as far as the file says what they are, and their copies."""
    values = [v for node in model.graph.graph for v in node.outputs]
    known = {
        v.name for v in (*model.graph.graph.inputs, *values) if isinstance(v.type, ir.SequenceType | ir.OptionalType)
    }
    for node in canonical_nodes(model):
        if node.op == "Identity" and node.inputs[0] in known:
            known.update(node.outputs)
    return {name for name in known if name}


def _fetch(model: Model, feeds: Mapping[str, Array], names: Sequence[str], device: Device) -> list[Array]:
    graph = Graph.of(model, {k: v.shape for k, v in feeds.items()})
    probes = [f"cfp/condition/{i}" for i in range(len(names))]
    for name, probe in zip(names, probes, strict=True):
        graph.proto.graph.node.append(helper.make_node("Cast", [name], [probe], to=TensorProto.INT32))
    graph = _only(graph, [(p, TensorProto.INT32) for p in probes])
    return run(graph.session(device, optimise=False), probes, feeds)


def _only(graph: Graph, outputs: Sequence[tuple[str, int | None]]) -> Graph:
    """The graph cut down to some outputs: the runtime would miss weights that only what is not computed reads."""
    proto = graph.proto
    del proto.graph.output[:]
    proto.graph.output.extend(
        helper.make_empty_tensor_value_info(n) if t is None else helper.make_tensor_value_info(n, t, None)
        for n, t in outputs
    )
    makers = {o: i for i, node in enumerate(proto.graph.node) for o in node.output if o}
    stack, needed, nodes = [n for n, _ in outputs], set[str](), set[int]()
    while stack:
        name = stack.pop()
        if name in needed:
            continue
        needed.add(name)
        if (place := makers.get(name)) is not None and place not in nodes:
            nodes.add(place)
            stack.extend(_read(proto.graph.node[place]))
    for place in reversed(range(len(proto.graph.node))):
        if place not in nodes:
            del proto.graph.node[place]
    for place in reversed(range(len(proto.graph.initializer))):
        if proto.graph.initializer[place].name not in needed:
            del proto.graph.initializer[place]
    return Graph(proto, {k: v for k, v in graph.weights.items() if k in needed})


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Everything a node reads, in the graphs inside it too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for inner in graph.node:
                yield from _read(inner)
            yield from (value.name for value in graph.output)


__all__ = ["observe"]
