"""What a held ablation keeps at its recorded value: gates, attention weights, the deviations of norms.

A norm of one node hides its deviation, so it is written out first: y = (x - mean(x)) / deviation * scale + offset.
Means are never held. What is a gate and what it gates is read from the topology, because that is what the rules' own
`hold` refers to; the norms are written out from ONNX's specification alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.topology import Topology

REFUSED: Final = frozenset({"LRN", "LogSoftmax", "Attention", "MultiHeadAttention", "GroupQueryAttention"})
"""Operators with something to hold inside that is not written out here."""


@dataclass(frozen=True)
class Written:
    """A graph with its norms written out.

    Attributes:
        nodes: Its nodes, in order.
        constants: Initializers that it needs besides the model's own.
        held: Tensors that a held ablation keeps.
        ranks: Rank of every deviation that was written out.
        fixed: Names among what was written out that do not depend on the clip.
    """

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    held: frozenset[str]
    ranks: Mapping[str, int]
    fixed: frozenset[str]


def write_out(graph: onnx.GraphProto, topology: Topology, opset: int) -> Written:
    """Write out the norms of a graph and name all that is to be held.

    Args:
        graph: The canonical graph of the topology's model.
        topology: Says which factor of a product is the gate, and which side of an attention the weights.
        opset: The model's opset.

    Raises:
        ModelError: If a node holds something inside that cannot be written out here.
    """
    writer = _Writer(topology, opset)
    for node in graph.node:
        writer.take(node)
    held = frozenset({*writer.deviations, *steering(topology)})
    return Written(writer.nodes, writer.constants, held, writer.deviations, frozenset(writer.fixed))


def steering(topology: Topology) -> set[str]:
    """Gates and attention weights: the inputs of products that only steer."""
    found = set()
    for node in topology.program.nodes:
        match topology.effects.get(node.name):
            case fx.Gate(gate=gate, own=False):
                found.add(node.inputs[gate])
            case fx.Mix(value=value):
                found.add(node.inputs[1 - value])
    return {name for name in found if not topology.program.is_constant(name)}


@dataclass
class _Writer:
    topology: Topology
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    deviations: dict[str, int] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    _stem: str = ""
    _count: int = 0

    def take(self, node: onnx.NodeProto) -> None:
        write = NORMS.get(node.op_type)
        self._stem, self._count = f"held/{node.output[0]}" if node.output else "", 0
        if write is not None and not self.topology.program.is_constant(node.output[0]):
            write(self, node)
            self.nodes[-1].output[0] = node.output[0]
            return
        if node.op_type in REFUSED:
            raise ModelError(f"a held ablation cannot hold what is inside {node.op_type} {node.name!r}")
        self.nodes.append(node)

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._count += 1
        name = f"{self._stem}/{self._count}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        self._count += 1
        name = f"{self._stem}/{self._count}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        self.fixed.add(name)
        return name

    def reduced(self, op: str, x: str, axes: Sequence[int]) -> str:
        if self.opset >= 18:
            return self.add(op, [x, self.constant(axes, np.int64)], keepdims=1)
        return self.add(op, [x], axes=list(axes), keepdims=1)

    def divided(
        self, x: str, axes: Sequence[int], epsilon: float, *, rank: int, centred: bool = True, inside: bool = True
    ) -> str:
        """x, less its mean where it is centred, divided by its deviation, which is noted as held."""
        top = self.add("Sub", [x, self.reduced("ReduceMean", x, axes)]) if centred else x
        least = self.constant(epsilon)
        power = self.reduced("ReduceMean", self.add("Mul", [top, top]), axes)
        if inside:
            deviation = self.add("Sqrt", [self.add("Add", [power, least])])
        else:
            deviation = self.add("Add", [self.add("Sqrt", [power]), least])
        self.deviations[deviation] = rank
        return self.add("Div", [top, deviation])

    def shape(self, name: str) -> tuple[int, ...]:
        return self.topology.program.shapes[name]


def _float(node: onnx.NodeProto, name: str, value: float) -> float:
    return next((a.f for a in node.attribute if a.name == name), value)


def _integer(node: onnx.NodeProto, name: str, value: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), value)


def _scaled(writer: _Writer, y: str, scale: str, offset: str) -> str:
    y = writer.add("Mul", [y, scale]) if scale else y
    y = writer.add("Add", [y, offset]) if offset else y
    return y if scale or offset else writer.add("Identity", [y])


def _optional(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _layer(writer: _Writer, node: onnx.NodeProto) -> None:
    rank = len(writer.shape(node.input[0]))
    axes = range(_integer(node, "axis", -1) % rank, rank)
    centred = node.op_type == "LayerNormalization"
    y = writer.divided(node.input[0], list(axes), _float(node, "epsilon", 1e-5), rank=rank, centred=centred)
    _scaled(writer, y, _optional(node, 1), _optional(node, 2))


def _columns(writer: _Writer, name: str, rank: int) -> str:
    """A vector over channels, shaped to meet axis 1."""
    turned = writer.add("Reshape", [name, writer.constant([1, -1, *[1] * (rank - 2)], np.int64)])
    writer.fixed.add(turned)
    return turned


def _instance(writer: _Writer, node: onnx.NodeProto) -> None:
    rank = len(writer.shape(node.input[0]))
    y = writer.divided(node.input[0], list(range(2, rank)), _float(node, "epsilon", 1e-5), rank=rank)
    _scaled(writer, y, _columns(writer, node.input[1], rank), _columns(writer, node.input[2], rank))


def _group(writer: _Writer, node: onnx.NodeProto) -> None:
    shape = writer.shape(node.input[0])
    groups = _integer(node, "num_groups", shape[1])
    x = writer.add("Reshape", [node.input[0], writer.constant([0, groups, -1], np.int64)])
    y = writer.divided(x, [2], _float(node, "epsilon", 1e-5), rank=3)
    per_group = writer.opset < 21
    if per_group:
        y = _scaled(writer, y, _columns(writer, node.input[1], 3), _columns(writer, node.input[2], 3))
    y = writer.add("Reshape", [y, writer.constant([-1, *shape[1:]], np.int64)])
    if not per_group:
        rank = len(shape)
        _scaled(writer, y, _columns(writer, node.input[1], rank), _columns(writer, node.input[2], rank))


def _moments(writer: _Writer, node: onnx.NodeProto) -> None:
    """MeanVarianceNormalization: its 1e-9 stands on the deviation."""
    axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), [0, 2, 3])
    rank = len(writer.shape(node.input[0]))
    _scaled(writer, writer.divided(node.input[0], axes, 1e-9, rank=rank, inside=False), "", "")


def _length(writer: _Writer, node: onnx.NodeProto) -> None:
    """LpNormalization: the length is what is held."""
    op = "ReduceL1" if _integer(node, "p", 2) == 1 else "ReduceL2"
    length = writer.reduced(op, node.input[0], [_integer(node, "axis", -1)])
    writer.deviations[length] = len(writer.shape(node.input[0]))
    writer.add("Div", [node.input[0], length])


NORMS: Final[dict[str, Callable[[_Writer, onnx.NodeProto], None]]] = {
    "LayerNormalization": _layer,
    "RMSNormalization": _layer,
    "SimplifiedLayerNormalization": _layer,
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "MeanVarianceNormalization": _moments,
    "LpNormalization": _length,
}
"""Norms of one node, by operator."""
