"""Sequences of tensors as the tensors themselves, once no loop is left that reads or writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx_ir as ir

from cfp_onnx.model.loops import Written, reread
from cfp_onnx.model.values import Model
from cfp_onnx.values import Array

SEQUENCES = frozenset(
    {"SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceEmpty", "SplitToSequence", "SequenceLength",
     "SequenceAt", "ConcatFromSequence"}
)  # fmt: skip

_PLACES = {"SequenceAt": 1, "SequenceErase": 1, "SequenceInsert": 2}
"""The input that says where in a sequence."""


def asked(model: Model) -> tuple[dict[str, str], list[str]]:
    """What must be known to do without sequences.

    Returns:
        Sequences that are split off a tensor, and that tensor: its shape counts, and that of the first piece. Tensors
        whose values count.
    """
    cut: dict[str, str] = {}
    values: list[str] = []
    for node in model.graph.graph:
        names = [v.name or "" if v is not None else "" for v in node.inputs]
        if node.op_type == "SplitToSequence":
            cut[node.outputs[0].name or ""] = names[0]
            values += names[1:]
        elif node.op_type in _PLACES:
            values += names[_PLACES[node.op_type] :]
    return cut, list(dict.fromkeys(n for n in values if n))


def has_sequences(model: Model) -> bool:
    """Whether a node at the top level makes or reads a sequence."""
    return any(n.op_type in SEQUENCES for n in model.graph.graph)


def without_sequences(model: Model, shapes: Mapping[str, Sequence[int]], values: Mapping[str, Array]) -> Model:
    """Replace sequences by their tensors.

    Args:
        model: A loaded model; it is left as it was.
        shapes: Tensors, and the first pieces of the sequences that are split off them, to their shapes.
        values: What it wants the values of.

    Returns:
        A model without sequences; where one comes from elsewhere, or leaves the model, its nodes are left.
    """
    proto = ir.to_proto(model.graph)
    outputs = {o.name for o in proto.graph.output}
    work = _Flattening(model.opset, shapes=shapes, values=values, outputs=outputs)
    for node in proto.graph.node:
        work.flat(node)
    kept = work.nodes
    proto.graph.ClearField("node")
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(work.constants)
    return replace(model, graph=reread(proto, model))


@dataclass
class _Flattening(Written):
    """What was written so far, and the tensors of each sequence."""

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    values: Mapping[str, Array] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)
    items: dict[str, list[str]] = field(default_factory=dict)

    def flat(self, node: onnx.NodeProto) -> None:
        """What takes the place of a node."""
        read = self.items.get(node.input[0]) if node.input else None
        out = node.output[0] if node.output else ""
        if out in self.outputs and node.op_type not in {"SequenceAt", "ConcatFromSequence", "SequenceLength"}:
            self.nodes.append(node)
        elif node.op_type == "SequenceEmpty":
            self.items[out] = []
        elif node.op_type == "SequenceConstruct":
            self.items[out] = list(node.input)
        elif node.op_type == "SplitToSequence":
            self._split(node, out)
        elif read is None:
            self.nodes.append(node)
        elif node.op_type == "Identity":
            self.items[out] = read
        elif node.op_type == "SequenceInsert":
            place = self._place(node, 2, len(read))
            self.items[out] = [*read[:place], node.input[1], *read[place:]]
        elif node.op_type == "SequenceErase":
            place = self._place(node, 1, len(read) - 1)
            self.items[out] = [*read[:place], *read[place + 1 :]]
        elif node.op_type == "SequenceAt":
            self.add("Identity", [read[self._place(node, 1, 0)]], [out], node.name)
        elif node.op_type == "SequenceLength":
            self.constant(out, np.array(len(read), np.int64))
        elif node.op_type == "ConcatFromSequence":
            given = {a.name: a.i for a in node.attribute}
            self.concat(node.name, read, out, given["axis"], wider=bool(given.get("new_axis", 0)))
        else:
            self.nodes.append(node)

    def _place(self, node: onnx.NodeProto, index: int, default: int) -> int:
        if len(node.input) <= index or not node.input[index]:
            return default
        place = int(np.asarray(self.values[node.input[index]]).reshape(-1)[0])
        return place if place >= 0 else place + len(self.items[node.input[0]])

    def _split(self, node: onnx.NodeProto, out: str) -> None:
        given = {a.name: a.i for a in node.attribute}
        shape = self.shapes[node.input[0]]
        axis = given.get("axis", 0) % len(shape)
        whole, sizes = shape[axis], [1] * shape[axis]
        if len(node.input) > 1 and node.input[1]:
            wanted = np.asarray(self.values[node.input[1]])
            size = int(wanted.reshape(-1)[0])
            sizes = wanted.tolist() if wanted.ndim else [min(size, whole - k) for k in range(0, whole, size)]
        cut = [f"{out}/{k}/cut" for k in range(len(sizes))]
        self.split(node.name, node.input[0], axis, sizes, cut)
        self.items[out] = cut
        if len(self.shapes[out]) < len(shape):  # runtimes differ in when `keepdims` counts
            self.items[out] = [f"{out}/{k}" for k in range(len(sizes))]
            for piece, bare in zip(cut, self.items[out], strict=True):
                self.axis("Squeeze", piece, bare, axis)


__all__ = ["SEQUENCES", "asked", "has_sequences", "without_sequences"]
