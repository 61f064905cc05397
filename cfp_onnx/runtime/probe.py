"""What is appended to a model so that only small numbers leave the runtime: nodes, constants, outputs.

`Probe` collects the nodes in the model's own operator set; `Values` gives every tensor of the model as float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.values import Array

SEED = "cfp/seed"
"""Name of the graph input that holds the field at the target."""

SHARED_UNTIL = 4096
"""Most bytes of a constant that is written once for all its readers."""

TUBE_SEED = "cfp/seed/tubes"
"""The same for the walk that makes the tubes."""


@dataclass
class Probe:
    """Nodes to append to a model, and what they give back.

    Attributes:
        nodes: ONNX nodes, in order.
        constants: Their constants.
        outputs: Tensors to fetch.
        with_indices: Nodes of the model that must also return where their maximum lies, and the name to give it.
        seeds: Further graph inputs, fields at the target, with their shapes.
        indices: Further graph inputs of whole numbers, with their shapes.
    """

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    with_indices: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    indices: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _count: int = 0
    _shared: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def fresh(self, hint: str) -> str:
        """A tensor name that no model uses."""
        self._count += 1
        return f"cfp/{hint}/{self._count}"

    def constant(self, value: Array, hint: str = "constant") -> str:
        """Name of a constant; equal small ones are shared."""
        value = np.ascontiguousarray(value)
        if value.nbytes > SHARED_UNTIL:
            name = self.fresh(hint)
        else:
            key = (value.dtype.str, value.shape, value.tobytes())
            if key in self._shared:
                return self._shared[key]
            name = self._shared[key] = self.fresh(hint)
        self.constants[name] = value
        return name

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node with one output and return that output's name."""
        name = self.fresh(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    # Operators whose axes moved from attributes to inputs between operator sets.

    def reduce(self, op: str, tensor: str, axes: Iterable[int], *, keep: bool) -> str:
        """ReduceSum, ReduceMean or ReduceMax over axes."""
        listed = list(axes)
        if not listed:
            return tensor
        since = 13 if op == "ReduceSum" else 18
        if self.opset < since:
            return self.add(op, [tensor], axes=listed, keepdims=int(keep))
        return self.add(op, [tensor, self.constant(np.array(listed, np.int64))], keepdims=int(keep))

    def reshape(self, tensor: str, shape: Sequence[int]) -> str:
        """Reshape to a fixed shape."""
        return self.add("Reshape", [tensor, self.constant(np.array(shape, np.int64))])

    def slice(self, tensor: str, axis: int, start: int, end: int) -> str:
        """Elements start..end of an axis."""
        if self.opset < 10:
            return self.add("Slice", [tensor], axes=[axis], starts=[start], ends=[end])
        arrays = [np.array([v], np.int64) for v in (start, end, axis)]
        return self.add("Slice", [tensor, *(self.constant(a) for a in arrays)])

    def pad(self, tensor: str, before: Sequence[int], after: Sequence[int]) -> str:
        """Zeros around a tensor; negative sizes crop."""
        if not any(before) and not any(after):
            return tensor
        pads = [*before, *after]
        if self.opset < 11:
            return self.add("Pad", [tensor], pads=pads, mode="constant", value=0.0)
        return self.add("Pad", [tensor, self.constant(np.array(pads, np.int64))], mode="constant")

    def zeros(self, shape: Sequence[int]) -> str:
        """A tensor of zeros."""
        small = self.constant(np.zeros((1,) * len(shape), np.float32))
        return self.add("Expand", [small, self.constant(np.array(shape, np.int64))])

    def mask(self, condition: str, tensor: str) -> str:
        """The tensor where a boolean holds, 0 elsewhere."""
        return self.add("Mul", [tensor, self.add("Cast", [condition], to=TensorProto.FLOAT)])

    def where(self, condition: str, yes: str, no: str) -> str:
        """Element-wise choice."""
        if self.opset < 9:
            other = self.mask(self.add("Not", [condition]), no)
            return self.add("Add", [self.mask(condition, yes), other])
        return self.add("Where", [condition, yes, no])

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))


class Values:
    """Tensors of the model as float32, whatever type the file keeps them in."""

    def __init__(self, topology: Topology, probe: Probe) -> None:
        self.topology = topology
        self.program = topology.program
        self.probe = probe
        self._made: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Name of the float32 form of a tensor."""
        if name not in self._made:
            self._made[name] = self._convert(name)
        return self._made[name]

    def _convert(self, name: str) -> str:
        if self.program.is_constant(name):
            value = self.program.constant(name)
            return name if value.dtype == np.float32 else self.probe.constant(value.astype(np.float32))
        state = self.topology.states.get(name, State())
        kind = self.program.dtypes.get(name, "float32")
        if state.quantised is not None and kind in {"uint8", "int8", "uint16", "int16", "int32"}:
            return self._dequantise(name, state.quantised)
        return name if kind == "float32" else self.probe.add("Cast", [name], to=TensorProto.FLOAT)

    def _dequantise(self, name: str, quantised: tuple[str, str]) -> str:
        real = self.probe.add("Cast", [name], to=TensorProto.FLOAT)
        scale, zero = quantised
        if zero:
            real = self.probe.add("Sub", [real, self.probe.add("Cast", [zero], to=TensorProto.FLOAT)])
        return self.probe.add("Mul", [real, self.probe.add("Cast", [scale], to=TensorProto.FLOAT)])

    def shape(self, name: str) -> tuple[int, ...]:
        """Observed shape."""
        found = self.program.shapes.get(name)
        return found if found is not None else tuple(self.program.constant(name).shape)

    def channel_axis(self, name: str) -> int | None:
        """The one axis along which a tensor's labels vary; None where there is none or several."""
        axes = self.topology.states.get(name, State()).channel_axes()
        return axes[0] if len(axes) == 1 else None
