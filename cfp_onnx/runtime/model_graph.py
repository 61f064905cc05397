"""A model's graph for the runtime, with probes added to it where wanted.

Weights are handed over from memory once (`ort.OrtValue`), so a session costs no second copy of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.model import Model
from cfp_onnx.runtime.device import Device, import_onnxruntime
from cfp_onnx.runtime.probe import Probe
from cfp_onnx.runtime.session import create_session
from cfp_onnx.values import Array

if TYPE_CHECKING:
    import onnxruntime as ort

EXTERNAL_FROM = 1024
"""Initializers of at least this many bytes are handed over from memory instead of through protobuf."""

FUSED_UNTIL = 8000
"""Most nodes of a graph whose operators the runtime fuses before it runs it."""

PLANNED_UNTIL = 3000
"""Most nodes of a graph for which the runtime plans which tensors may take another's place, the square of the nodes."""


@dataclass(frozen=True)
class Graph:
    """A graph for the runtime: protobuf without its large weights, and the weights as arrays."""

    proto: onnx.ModelProto
    weights: Mapping[str, Array]

    @classmethod
    def of(cls, model: Model, sizes: Mapping[str, Sequence[int]] | None = None) -> Graph:
        """The canonical graph of a model, its inputs fixed to `sizes` where given."""
        weights: dict[str, Array] = {}
        proto = _skeleton(model, weights)
        for value in proto.graph.input:
            if sizes is not None and value.name in sizes:
                elem = value.type.tensor_type.elem_type
                value.CopyFrom(helper.make_tensor_value_info(value.name, elem, list(sizes[value.name])))
        del proto.graph.value_info[:]
        if sizes is not None:
            for value in proto.graph.output:
                if value.type.HasField("tensor_type"):  # reading it makes a tensor of a sequence
                    value.type.tensor_type.ClearField("shape")
        return cls(proto, weights)

    def session(self, device: Device, *, optimise: bool = True) -> ort.InferenceSession:
        """A session on the device.

        Raises:
            ModelError: If the runtime cannot run an operator or refuses the graph.
            DeviceError: If the provider asked for was not obtained.
        """
        rt = import_onnxruntime()
        options = rt.SessionOptions()
        options.log_severity_level = 4
        if device.threads is not None:
            options.intra_op_num_threads = device.threads
        options.execution_order = rt.ExecutionOrder.PRIORITY_BASED
        # Each would hold one more copy, of the activations and of the weights, for a session that runs a few times.
        options.enable_mem_pattern = False
        options.enable_mem_reuse = len(self.proto.graph.node) <= PLANNED_UNTIL
        options.add_session_config_entry("session.disable_prepacking", "1")
        if not optimise:
            options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_DISABLE_ALL
        elif not self._worth_fusing():
            options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_ENABLE_BASIC
        if self.weights:
            values = [rt.OrtValue.ortvalue_from_numpy(a) for a in self.weights.values()]
            options.add_external_initializers(list(self.weights), values)
        return create_session(rt, self.proto.SerializeToString(), options, device)

    def _worth_fusing(self) -> bool:
        """Whether the runtime may fuse operators, which takes the square of the nodes, for a graph that runs once.

        Constants are folded in any case: a graph that is full of them takes longer without. A graph of eight-bit
        numbers is fused whatever its size, since that changes its outputs.
        """
        nodes = self.proto.graph.node
        return len(nodes) <= FUSED_UNTIL or any(n.op_type == "QuantizeLinear" for n in nodes)

    def with_probe(self, probe: Probe, *, keep_outputs: bool = True) -> Graph:
        """This graph with a probe's nodes, constants and outputs added; the model's own nodes stay as they are."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        graph, weights = proto.graph, dict(self.weights)
        for node in graph.node:
            if node.name in probe.with_indices:
                _add_indices(node, probe.with_indices[node.name])
        graph.node.extend(probe.nodes)
        for name, value in probe.constants.items():
            if value.nbytes >= EXTERNAL_FROM and value.dtype == np.float32:
                weights[name] = value
                graph.initializer.append(_placeholder(name, value))
            else:
                graph.initializer.append(numpy_helper.from_array(value, name))
        for name, shape in probe.seeds.items():
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        for name, shape in probe.indices.items():
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
        if not keep_outputs:
            del graph.output[:]
        known = {o.name for o in graph.output}
        graph.output.extend(
            helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(probe.outputs) if n not in known
        )
        return Graph(proto, weights)


def _add_indices(node: onnx.NodeProto, name: str) -> None:
    if len(node.output) > 1:
        node.output[1] = name
    else:
        node.output.append(name)


def _placeholder(name: str, array: Array) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor


def _skeleton(model: Model, weights: dict[str, Array]) -> onnx.ModelProto:
    """Protobuf of the canonical graph; weights of `EXTERNAL_FROM` bytes or more are moved into `weights`."""
    inner = model.graph
    kept: dict[str, Any] = {}
    unused = {
        name for name, value in inner.graph.initializers.items()
        if not (value.uses() or value.is_graph_input() or value.is_graph_output())
    }  # fmt: skip
    for name, value in inner.graph.initializers.items():
        tensor = value.const_value
        if name in unused:
            continue
        outer = any(use.node.graph is inner.graph for use in value.uses())  # what only a branch reads cannot be handed
        if outer and tensor is not None and tensor.nbytes >= EXTERNAL_FROM and tensor.dtype == ir.DataType.FLOAT:
            weights[name] = np.ascontiguousarray(tensor.numpy())
            kept[name] = tensor
            value.const_value = ir.tensor(np.zeros(0, np.float32), name=name)
        elif isinstance(tensor, ir.ExternalTensor):
            kept[name] = tensor
            value.const_value = ir.tensor(tensor.numpy(), name=name)
    try:
        proto = ir.to_proto(inner)
    finally:
        for name, tensor in kept.items():
            inner.graph.initializers[name].const_value = tensor
    for place in reversed(range(len(proto.graph.initializer))):
        if proto.graph.initializer[place].name in unused:  # the runtime drops it, and would miss it when handed weights
            del proto.graph.initializer[place]
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(_placeholder(tensor.name, weights[tensor.name]))
    del proto.functions[:]
    proto.ir_version = max(proto.ir_version, 8)  # older versions want every initializer to be an input as well
    return proto


__all__ = ["EXTERNAL_FROM", "Graph"]
