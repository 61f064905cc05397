"""``Loop`` and ``Scan`` by observation: each is replaced by the trips that it takes, one after the other.

What a trip is made of keeps the body's names, with the loop's in front and the number of the trip behind; layers that
are copies of one node of a body stay one layer (`Model.copies`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes import common as passes

from cfp_onnx.model.canonical import tidy
from cfp_onnx.model.values import Model

TRIPS = 512
"""Most trips that are written out."""

LOOPS = frozenset({"Loop", "Scan"})


def loops(model: Model) -> list[str]:
    """Names of the loops at the top level that may still be written out."""
    return [
        n.name or "" for n in model.graph.graph
        if n.op_type in LOOPS and n.domain in {"", "ai.onnx"} and n.name not in model.unexpanded
    ]  # fmt: skip


def count_trips(graph: onnx.GraphProto, names: Sequence[str]) -> dict[str, str]:
    """Let loops tell how many trips they take.

    Args:
        graph: It is changed: each of the loops gets one more output.
        names: Names of the loops.

    Returns:
        Loop to a tensor that has one element for each trip.
    """
    probes: dict[str, str] = {}
    for node in graph.node:
        if node.op_type not in LOOPS or node.name not in names:
            continue
        body, own = _body(node), f"cfp/trip/{len(probes)}"
        body.node.append(helper.make_node("Constant", [], [own], value=numpy_helper.from_array(np.array(0, np.int64))))
        count = len(body.output) - (node.op_type == "Loop")
        body.output.append(helper.make_tensor_value_info(own, onnx.TensorProto.INT64, []))
        for attribute in node.attribute:
            if attribute.name in {"scan_output_axes", "scan_output_directions"}:
                attribute.ints.append(0)
        node.output.extend([""] * (count - len(node.output)))
        node.output.append(f"{own}/all")
        probes[node.name] = f"{own}/all"
    return probes


def unroll(model: Model, trips: Mapping[str, int]) -> Model:
    """Replace loops by their trips.

    Args:
        model: A loaded model; it is left as it was.
        trips: Loop to its number of trips, as observed.

    Returns:
        A model in which the trips are ordinary nodes; a loop that is not written out is left, and
        `Model.unexpanded` says why.
    """
    proto = ir.to_proto(model.graph)
    outputs = frozenset(o.name for o in proto.graph.output)
    work = _Unrolling(model.opset, copies=dict(model.copies), outputs=outputs)
    refused = dict(model.unexpanded)
    for node in proto.graph.node:
        work.rename_inputs(node)
        reason = _refusal(node, trips[node.name], model.opset) if node.name in trips else None
        if reason:
            refused[node.name] = reason
        if node.name in trips and not reason:
            work.write(node, trips[node.name])
        else:
            work.nodes.append(node)
    kept = work.nodes
    proto.graph.ClearField("node")
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(work.constants)
    return replace(model, graph=reread(proto, model), copies=work.copies, unexpanded=refused)


def reread(proto: onnx.ModelProto, model: Model) -> ir.Model:
    """The canonical form of a changed graph."""
    del proto.graph.value_info[:]
    graph = ir.from_proto(proto)
    ir.external_data.set_base_dir(graph.graph, model.path.parent)
    graph = tidy(graph)
    passes.NameFixPass()(graph)
    return graph


def _refusal(node: onnx.NodeProto, trips: int, opset: int) -> str | None:
    if trips > TRIPS:
        return f"takes {trips} trips, more than the {TRIPS} that are written out"
    if trips == 0:
        return "takes no trip"
    if node.op_type == "Scan" and opset < 9:
        return "has the form of operator set 8"
    return None


def _body(node: onnx.NodeProto) -> onnx.GraphProto:
    found: onnx.GraphProto = next(a.g for a in node.attribute if a.name == "body")
    return found


def _ints(node: onnx.NodeProto, name: str, count: int) -> list[int]:
    found = next((list(a.ints) for a in node.attribute if a.name == name), [])
    return found or [0] * count


@dataclass
class Written:
    """What was written so far.

    Attributes:
        opset: Version of ONNX's own operator set.
        nodes: New nodes, and those that stay.
        constants: New initializers.
    """

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: Any) -> str:
        """A new initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any) -> None:
        """A new node."""
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), name, **attributes))

    def split(self, name: str, tensor: str, axis: int, sizes: Sequence[int], outs: Sequence[str]) -> None:
        """Pieces along an axis."""
        if len(sizes) == 1:
            self.add("Identity", [tensor], outs, name)
        elif self.opset >= 13:
            given = self.constant(f"{name}/sizes", np.array(sizes, np.int64))
            self.add("Split", [tensor, given], outs, name, axis=axis)
        else:
            self.add("Split", [tensor], outs, name, axis=axis, split=list(sizes))

    def axis(self, op: str, tensor: str, out: str, axis: int) -> None:
        """Without an axis of one element (Squeeze), or with one more (Unsqueeze)."""
        if self.opset >= 13:
            self.add(op, [tensor, self.constant(f"{out}/axis", np.array([axis], np.int64))], [out], out)
        else:
            self.add(op, [tensor], [out], out, axes=[axis])

    def concat(self, name: str, rows: Sequence[str], out: str, axis: int, *, wider: bool) -> None:
        """Tensors behind one another, along a new axis where it is to be wider."""
        if wider:
            wide = [f"{out}/{t}" for t in range(len(rows))]
            for row, one in zip(rows, wide, strict=True):
                self.axis("Unsqueeze", row, one, axis)
            rows = wide
        self.add("Concat", rows, [out], name, axis=axis)


@dataclass
class _Unrolling(Written):
    """Trips that were written so far.

    Attributes:
        copies: Node to what all copies of it are called.
        renamed: Output of a loop to the tensor that takes its place.
        outputs: Outputs of the model.
    """

    copies: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()

    def rename_inputs(self, node: onnx.NodeProto) -> None:
        """Let a node read what takes the place of a loop's outputs."""
        _rename(node, self.renamed, inputs_only=True)

    def write(self, node: onnx.NodeProto, trips: int) -> None:
        """The nodes of all trips of a loop, and what its outputs are made of."""
        body, scan = _body(node), node.op_type == "Scan"
        read = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0) if scan else 0
        ends = len(node.input) - read
        carried = list(node.input[0 if scan else 2 : ends])
        pieces = [self._cut(node, k, name, trips, read) for k, name in enumerate(node.input[ends:])]
        gathered: list[list[str]] = [[] for _ in body.output[len(carried) + (not scan) :]]
        for t in range(trips):
            given = [*carried, *(p[t] for p in pieces)]
            if not scan:
                number = self.constant(f"{node.name}/{t}/trip", np.array(t, np.int64))
                goes_on = self.constant(f"{node.name}/{t}/goes_on", np.ones((), bool))
                given = [number, goes_on, *given]
            names = dict(zip((i.name for i in body.input), given, strict=True))
            self._copy(node.name, body, names, t)
            made = [names.get(o.name, o.name) for o in body.output][not scan :]
            carried = made[: len(carried)]
            for rows, name in zip(gathered, made[len(carried) :], strict=True):
                rows.append(name)
        self._give(node, carried, gathered)

    def _give(self, node: onnx.NodeProto, carried: Sequence[str], gathered: Sequence[Sequence[str]]) -> None:
        axes, backs = (_ints(node, f"scan_output_{w}", len(gathered)) for w in ("axes", "directions"))
        for place, name in enumerate(node.output):
            if not name:
                continue
            made = carried[place] if place < len(carried) else f"{node.name}/made_{place}"
            if place >= len(carried):
                k = place - len(carried)
                rows = gathered[k][:: -1 if backs[k] else 1]
                self.concat(made, rows, made, axes[k], wider=True)
            if name in self.outputs:
                self.add("Identity", [made], [name], f"{node.name}/output_{place}")
            else:
                self.renamed[name] = made

    def _copy(self, loop: str, body: onnx.GraphProto, names: dict[str, str], t: int) -> None:
        for name in _defined(body):
            names.setdefault(name, f"{loop}/{t}/{name}")
        for tensor in body.initializer:
            copied = onnx.TensorProto()
            copied.CopyFrom(tensor)
            copied.name = names[tensor.name]
            self.constants.append(copied)
        for node in body.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            self._name(copy, loop, t)
            _rename(copy, names)
            self.nodes.append(copy)

    def _name(self, node: onnx.NodeProto, loop: str, t: int) -> None:
        """A copy's own name, and what all copies are called; so too for nodes of the graphs inside of it."""
        inner = node.name or next((o for o in node.output if o), node.op_type)
        node.name = f"{loop}/{inner}" if t == 0 else f"{loop}/{inner}@{t}"
        self.copies[node.name] = f"{self.copies.get(loop, loop)}/{self.copies.get(inner, inner)}"
        for graph in _graphs(node):
            for one in graph.node:
                self._name(one, loop, t)

    def _cut(self, node: onnx.NodeProto, k: int, tensor: str, trips: int, read: int) -> list[str]:
        """Pieces of what a Scan reads, without the axis that it goes along."""
        axis, back = (_ints(node, f"scan_input_{w}", read)[k] for w in ("axes", "directions"))
        name = f"{node.name}/read_{k}"
        cut, bare = [f"{name}/{t}/cut" for t in range(trips)], [f"{name}/{t}" for t in range(trips)]
        self.split(name, tensor, axis, [1] * trips, cut)
        for whole, piece in zip(cut, bare, strict=True):
            self.axis("Squeeze", whole, piece, axis)
        return bare[:: -1 if back else 1]


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a graph and the graphs inside of it define."""
    yield from (i.name for i in graph.input)
    yield from (t.name for t in graph.initializer)
    for node in graph.node:
        yield from (o for o in node.output if o)
        for inner in _graphs(node):
            yield from _defined(inner)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for a in node.attribute:
        if a.type == onnx.AttributeProto.GRAPH:
            yield a.g
        yield from a.graphs


def _rename(node: onnx.NodeProto, names: Mapping[str, str], *, inputs_only: bool = False) -> None:
    """Other names for tensors of a node and of the graphs inside of it."""
    for place, name in enumerate(node.input):
        node.input[place] = names.get(name, name)
    if not inputs_only:
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
    for inner in _graphs(node):
        for value in (*inner.input, *inner.initializer, *inner.output):
            value.name = names.get(value.name, value.name)
        for one in inner.node:
            _rename(one, names)


__all__ = ["LOOPS", "TRIPS", "Written", "count_trips", "loops", "reread", "unroll"]
