"""Ordinary nodes in the place of one fused node, named after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node, Recurrence
from cfp_onnx.values import Array


class NotExpandableError(Exception):
    """A form of a fused operator that is not understood; its text says what it has that others lack."""


class Writer:
    """Writes what takes the place of one node.

    Args:
        program: The network, with every shape and constant.
        node: The node.
        original: The same node of the graph that is changed.
        taken: Names that are in use; those of new nodes and tensors are added.
        observed: Values that were seen of tensors that depend on the model's input.

    Attributes:
        nodes: What was written.
        constants: New constants.
        made: The node's output by index, and what takes its place.
        recurrence: Of a recurrent layer, what its nodes are.
        maps: Names of products with a constant matrix that is no layer's weights.
        unread: Inputs that are not read any more; what made them for this node alone goes.
    """

    def __init__(
        self,
        program: Program,
        node: Node,
        original: ir.Node,
        taken: set[str],
        observed: Mapping[str, Array] | None = None,
    ) -> None:
        self.program = program
        self.node = node
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self.made: dict[int, ir.Value] = {}
        self.recurrence: Recurrence | None = None
        self.maps: set[str] = set()
        self.unread: list[ir.Value] = []
        self._original = original
        self._taken = taken
        self._observed = observed or {}

    # What the node has.

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return bool(self.node.input(index))

    def tensor(self, index: int) -> ir.Value:
        """An input that is given."""
        value = self._original.inputs[index]
        if value is None:
            raise NotExpandableError(f"lacks its input {index}")
        return value

    def other(self, name: str) -> ir.Value:
        """A tensor of the graph that the node does not read itself."""
        graph = self._original.graph
        if graph is None:
            raise NotExpandableError("stands in no graph")
        values = [*graph.inputs, *(v for node in graph for v in node.outputs)]
        return next(v for v in values if v.name == name)

    def shape(self, index: int) -> tuple[int, ...]:
        """Observed shape of an input that is given."""
        name = self.node.input(index)
        if not name:
            raise NotExpandableError(f"lacks its input {index}")
        found = self.program.shapes.get(name)
        return found if found is not None else tuple(self.program.constant(name).shape)

    def out_shape(self, index: int) -> tuple[int, ...]:
        """Observed shape of an output."""
        return self.program.shapes[self.node.outputs[index]]

    def value(self, index: int) -> Array | None:
        """An input that does not depend on the model's input; None for any other."""
        return self.program.constant_or_none(self.node.input(index))

    def seen(self, index: int) -> Array | None:
        """An input's value, of one that depends on the model's input as it was seen; None where it was not."""
        found = self.value(index)
        return self._observed.get(self.node.input(index)) if found is None else found

    def attribute(self, name: str, default: float) -> float:
        """A number among the attributes."""
        given = self.node.attributes.get(name)
        return default if given is None else float(given)

    def text(self, name: str, default: str) -> str:
        """A string among the attributes."""
        given = self.node.attributes.get(name)
        return default if given is None else _text(given)

    def texts(self, name: str) -> list[str]:
        """Strings among the attributes."""
        return [_text(x) for x in self.node.attributes.get(name) or ()]

    def numbers(self, name: str) -> list[float]:
        """Numbers among the attributes."""
        return [float(x) for x in self.node.attributes.get(name) or ()]

    def reads(self, index: int) -> bool:
        """Whether something reads an output."""
        outputs = self._original.outputs
        return index < len(outputs) and bool(outputs[index].uses() or outputs[index].is_graph_output())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the first input."""
        name = self.node.input(0)
        found = self.program.constant_or_none(name)
        return np.dtype(self.program.dtypes.get(name, "float32") if found is None else found.dtype)

    def refuse(self, *given: tuple[int, str]) -> None:
        """Refuse inputs that are not understood.

        Raises:
            NotExpandableError: If one of them is given.
        """
        for index, what in given:
            if self.has(index):
                raise NotExpandableError(f"has {what}")

    # What is written.

    def add(self, op: str, inputs: Sequence[ir.Value], part: str, **attributes: Any) -> ir.Value:
        """One node with one output.

        Args:
            op: Operator of ONNX's own domain.
            inputs: Its inputs.
            part: What it is of the fused node, as a part of its name.
            attributes: Its attributes.
        """
        name = self._named(part)
        out = ir.Value(name=name)
        self.nodes.append(ir.node(op, list(inputs), attributes, outputs=[out], name=name))
        return out

    def add_named(self, op: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        """The one node that takes the fused node's own name."""
        out = ir.Value(name=self._named("units"))
        self.nodes.append(ir.node(op, list(inputs), attributes, outputs=[out], name=self.node.name))
        return out

    def fixed(self, tensor: ir.Value, matrix: Array, part: str) -> ir.Value:
        """The last axis of a tensor times a matrix that is no layer's weights.

        Args:
            tensor: (..., before).
            matrix: (before, after).
            part: What it is of the fused node.
        """
        made = self.add("MatMul", [tensor, self.number(matrix, f"{part}/matrix")], part)
        self.maps.add(str(self.nodes[-1].name))
        return made

    def split(self, tensor: ir.Value, axis: int, sizes: Sequence[int], part: str) -> list[ir.Value]:
        """Pieces along an axis."""
        if len(sizes) == 1:
            return [tensor]
        name = self._named(part)
        outs = [ir.Value(name=self._named(f"{part}_{k}")) for k in range(len(sizes))]
        inputs, attributes = [tensor], {"axis": axis}
        if self.program.model.opset >= 13:
            inputs.append(self.constant(np.array(sizes, np.int64), f"{part}/sizes"))
            self.nodes.append(ir.node("Split", inputs, attributes, outputs=outs, name=name))
        else:
            self.nodes.append(ir.node("Split", inputs, {**attributes, "split": list(sizes)}, outputs=outs, name=name))
        return outs

    def constant(self, array: Array, part: str) -> ir.Value:
        """A constant."""
        name = self._named(part)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.constants.append(value)
        return value

    def number(self, value: float | Array, part: str) -> ir.Value:
        """A constant of the node's own number type."""
        return self.constant(np.asarray(value, self.dtype), part)

    def reshape(self, tensor: ir.Value, shape: Sequence[int], part: str) -> ir.Value:
        """Another shape."""
        return self.add("Reshape", [tensor, self.constant(np.array(shape, np.int64), f"{part}/shape")], part)

    def slice(self, tensor: ir.Value, axis: int, start: int, end: int, part: str) -> ir.Value:
        """Elements start..end of an axis."""
        if self.program.model.opset < 10:
            return self.add("Slice", [tensor], part, starts=[start], ends=[end], axes=[axis])
        bounds = [
            self.constant(np.array([n], np.int64), f"{part}/{what}")
            for n, what in ((start, "start"), (end, "end"), (axis, "axis"))
        ]
        return self.add("Slice", [tensor, *bounds], part)

    def give(self, index: int, value: ir.Value) -> None:
        """What takes the place of one of the node's outputs."""
        self.made[index] = value

    def _named(self, part: str) -> str:
        name, count = f"{self.node.name}/{part}", 1
        while name in self._taken:
            count += 1
            name = f"{self.node.name}/{part}#{count}"
        self._taken.add(name)
        return name


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


__all__ = ["NotExpandableError", "Writer"]
