"""Which nodes are layers: convolutions and dense operations with weights, in every spelling.

A layer is one weighted operation, or the parallel convolutions between a Split and a Concat that together are one
grouped convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph.convolutions import convolution
from cfp_onnx.graph.dense import gemm, matmul
from cfp_onnx.graph.fibers import Fibers
from cfp_onnx.graph.packed import packed_matmul
from cfp_onnx.graph.parts import CONVOLUTIONS, GEMMS, PACKED, TRANSPOSED, WEIGHTED, Part
from cfp_onnx.graph.recurrent import RECURRENT, recurrent
from cfp_onnx.model import Node, Program


@dataclass(frozen=True)
class KernelLayer:
    """A layer of the network.

    Attributes:
        index: Position in execution order.
        name: The ONNX node's name; of fibers that are one layer, the first's.
        op: ONNX operator.
        weight: Name of the initializer its weights come from.
        nodes: All nodes that make it up.
        kernels: Output channels.
        channels: Input channels, over the whole layer.
        groups: Groups, or fibers.
        kernel_shape: Taps per spatial axis; empty for a dense layer.
        family: plain, pointwise, grouped, depthwise, factorised, dense or recurrent.
        parts: The weighted operations.
        first: Label of its kernel 0.
        source: Tensor its channels are numbered over.
        output: Tensor its kernels are numbered over.
        split: Whether it is written as Split, convolutions and Concat.
        tied: Whether its parts are one operation at each trip of a loop, with the same kernels and channels.
    """

    index: int
    name: str
    op: str
    weight: str
    nodes: tuple[str, ...]
    kernels: int
    channels: int
    groups: int
    kernel_shape: tuple[int, ...]
    family: str
    parts: tuple[Part, ...]
    first: int
    source: str
    output: str
    split: bool = False
    tied: bool = False

    @property
    def recurs(self) -> bool:
        """Whether it is passed once for each step or trip."""
        return self.tied or self.family == RECURRENT


@dataclass(frozen=True)
class Origin:
    """Where labels come from: a layer, an input of the model, or what it is made into before the first layer.

    Attributes:
        layer: Index of the layer; None for an input.
        tensor: The tensor.
        first: Its first label.
        count: How many it has.
        axis: The axis along which they lie, of an input; None where the whole of it is one channel.
    """

    layer: int | None
    tensor: str
    first: int
    count: int
    axis: int | None = 1


def find_layers(program: Program, parts: list[Part], fibers: list[Fibers]) -> list[KernelLayer]:
    """The layers that weighted operations make up, in execution order; the fibers of a set are one layer."""
    inside = {p.node.name: f for f in fibers for p in f.parts}
    out: list[KernelLayer] = []
    first = 0
    used: set[str] = set()
    trips = _trips(program, [p for p in parts if p.node.name not in inside])
    for part in parts:
        group = inside.get(part.node.name)
        if group is not None and group.parts[0].node.name != part.node.name:
            continue
        members = trips.get(part.node.name, (part,)) if group is None else group.parts
        if group is None and members[0].node.name != part.node.name:
            continue
        tied = group is None and len(members) > 1
        kernels, channels = (part.kernels, part.channels) if tied else _summed(members)
        groups = part.groups if group is None else len(members)
        name = program.model.copies.get(part.node.name, part.node.name) if tied else part.node.name
        if name in used:
            name = f"{name}#{sum(u.startswith(name) for u in used) + 1}"
        used.add(name)
        out.append(
            KernelLayer(
                index=len(out),
                name=name,
                op=_op(program, part),
                weight=program.stem(part.weight),
                nodes=part.nodes if group is None else group.nodes,
                kernels=kernels,
                channels=channels,
                groups=groups,
                kernel_shape=part.geometry.kernel,
                family=_family(part, groups, channels),
                parts=members,
                first=first,
                source=part.source if group is None else group.source,
                output=part.output if group is None else group.output,
                split=group is not None,
                tied=tied,
            )
        )
        first += kernels
    return out


def _family(part: Part, groups: int, channels: int) -> str:
    if part.kind in {"dense", RECURRENT}:
        return part.kind
    if groups > 1:
        return "depthwise" if groups == channels else "grouped"
    kernel = part.geometry.kernel
    if all(k == 1 for k in kernel):
        return "pointwise"
    return "factorised" if any(k == 1 for k in kernel) and len(kernel) > 1 else "plain"


def find_origins(program: Program, layers: list[KernelLayer], axes: Mapping[str, int | None]) -> list[Origin]:
    """Label ranges of the layers, and behind them of the inputs.

    Args:
        program: The program.
        layers: Its layers.
        axes: Channel axis of each input; None of one that is a single channel without an axis for it.
    """
    origins = [Origin(layer.index, layer.output, layer.first, layer.kernels) for layer in layers]
    first = layers[-1].first + layers[-1].kernels
    for port in program.model.inputs:
        shape = program.shapes[port.name]
        axis = axes[port.name]
        count = shape[axis] if shape and axis is not None else 1
        origins.append(Origin(None, port.name, first, count, axis))
        first += count
    return origins


def find_parts(program: Program) -> list[Part]:
    """Every weighted operation on the part of the graph that depends on the input, in execution order."""
    inside = {name for found in program.model.recurrent.values() for name in found.inside}
    return [p for node in program.nodes if node.name not in inside and (p := _part(program, node)) is not None]


def _summed(parts: Sequence[Part]) -> tuple[int, int]:
    return sum(p.kernels for p in parts), sum(p.channels for p in parts)


def _trips(program: Program, parts: Sequence[Part]) -> dict[str, tuple[Part, ...]]:
    """Of parts that are one operation at several trips of a loop, all of them."""
    found: dict[tuple[str, int, int], list[list[Part]]] = {}
    for part in parts:
        name = program.model.copies.get(part.node.name)
        if name is None or part.kind == RECURRENT:
            continue
        alike = found.setdefault((name, part.kernels, part.channels), [])
        mine = next((rows for rows in alike if _same_weights(rows[0], part)), None)
        if mine is None:
            alike.append([part])
        else:
            mine.append(part)
    return {p.node.name: tuple(rows) for alike in found.values() for rows in alike for p in rows}


def _same_weights(one: Part, other: Part) -> bool:
    return one.weight == other.weight or np.array_equal(one.weights(), other.weights())


def _op(program: Program, part: Part) -> str:
    found = program.model.recurrent.get(part.node.name)
    return part.node.op.rpartition("::")[2] if found is None else found.op


def _part(program: Program, node: Node) -> Part | None:
    if node.name in program.model.recurrent:
        return recurrent(program, node)
    if node.op not in WEIGHTED or node.name in program.model.fixed:
        return None
    if node.op in CONVOLUTIONS or node.op in TRANSPOSED:
        return convolution(program, node)
    if node.op in PACKED:
        return packed_matmul(program, node)
    return gemm(program, node) if node.op in GEMMS else matmul(program, node)
