"""The only user of onnxruntime: sessions, providers, and runs of a model with probes added to it.

Weights are handed to the runtime from memory once (`ort.OrtValue`), so a session costs no second copy of the file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.errors import DeviceError, ModelError, RunError
from cfp_onnx.model import Model, Program, branches, canonical_nodes, input_shape, take_branches
from cfp_onnx.runtime.probe import Probe
from cfp_onnx.text import first_line, shape_text
from cfp_onnx.values import Array

if TYPE_CHECKING:
    import onnxruntime as ort


EXTERNAL_FROM = 1024
"""Initializers of at least this many bytes are handed over from memory instead of through protobuf."""

_SEQUENCES = frozenset(
    {"SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceEmpty", "SplitToSequence", "Optional",
     "SequenceMap", "ZipMap", "Loop", "Scan", "SequenceLength", "SequenceAt", "ConcatFromSequence"}
)  # fmt: skip


@dataclass(frozen=True)
class Device:
    """Where to run: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``tensorrt``, and with how many threads.

    Attributes:
        name: What was asked for.
        threads: Threads of the CPU provider; None leaves it to the runtime.
    """

    name: str = "auto"
    threads: int | None = None


@functools.cache
def runtime() -> Any:
    """The onnxruntime module; what is installed is looked at once.

    Raises:
        DeviceError: If it is missing, or two flavours of it are installed over each other.
    """
    found = sorted(
        {
            d.metadata["Name"].lower()
            for d in importlib.metadata.distributions()
            if (d.metadata["Name"] or "").lower().startswith("onnxruntime")
        }
        & {"onnxruntime", "onnxruntime-gpu"}
    )
    if len(found) > 1:
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; type: "
            'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "cfp-onnx[gpu]"'
        )
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise DeviceError(f'onnxruntime is not installed ({error}); type: pip install "cfp-onnx[gpu]"') from error
    ort.set_default_logger_severity(4)
    return ort


def providers(device: Device) -> list[Any]:
    """Execution providers for a device, in the order to try.

    Raises:
        DeviceError: If the device asked for is unknown or its provider is not in this runtime.
    """
    ort = runtime()
    available = ort.get_available_providers()
    name, _, index = device.name.partition(":")
    if name == "cpu" and not index:
        return ["CPUExecutionProvider"]
    if name == "auto":
        return [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available and _usable(ort, p)]
    wanted = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}.get(name)
    if wanted is None or (index and not index.isdigit()):
        raise DeviceError(f"unknown device {device.name!r}; choose auto, cpu, cuda, cuda:N or tensorrt")
    if wanted not in available:
        raise DeviceError(
            f"device {device.name!r} was asked for but this onnxruntime has no {wanted}; see `cfp-onnx doctor`"
        )
    _preload(ort)
    chain: list[Any] = [(wanted, {"device_id": int(index or 0)})]
    if name == "tensorrt":
        chain.append(("CUDAExecutionProvider", {"device_id": int(index or 0)}))
    return [*chain, "CPUExecutionProvider"]


def _preload(ort: Any) -> None:
    """Loads NVIDIA's libraries; the runtime prints what is missing, and stdout is for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


def _usable(ort: Any, provider: str) -> bool:
    """Whether ``auto`` may try a provider: CUDA only where a driver shows a device."""
    if provider != "CUDAExecutionProvider":
        return True
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists() and os.name != "nt":
        return False
    _preload(ort)
    return True


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
                value.type.tensor_type.ClearField("shape")
        return cls(proto, weights)

    def session(self, device: Device, *, optimise: bool = True) -> ort.InferenceSession:
        """A session on the device.

        Raises:
            ModelError: If the runtime cannot run an operator or refuses the graph.
            DeviceError: If the provider asked for was not obtained.
        """
        rt = runtime()
        options = rt.SessionOptions()
        options.log_severity_level = 4
        if device.threads is not None:
            options.intra_op_num_threads = device.threads
        options.execution_order = rt.ExecutionOrder.PRIORITY_BASED
        # Each would hold one more copy, of the activations and of the weights, for a session that runs a few times.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.disable_prepacking", "1")
        if not optimise:
            options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self.weights:
            values = [rt.OrtValue.ortvalue_from_numpy(a) for a in self.weights.values()]
            options.add_external_initializers(list(self.weights), values)
        return _create(rt, self.proto.SerializeToString(), options, device)

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
        if tensor is not None and tensor.nbytes >= EXTERNAL_FROM and tensor.dtype == ir.DataType.FLOAT:
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


def _create(rt: Any, source: bytes | str, options: Any, device: Device) -> ort.InferenceSession:
    chain = providers(device)
    try:
        session = rt.InferenceSession(source, options, providers=chain)
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError | ValueError):
            raise ModelError(f"onnxruntime cannot run this model: {_reason(error)}") from error
        raise
    first = chain[0][0] if isinstance(chain[0], tuple) else chain[0]
    if session.get_providers()[0] != first:
        raise DeviceError(
            f"{first} was asked for but the session fell back to {session.get_providers()[0]}; see `cfp-onnx doctor`"
        )
    session.disable_fallback()
    return session


def _reason(error: BaseException) -> str:
    text = first_line(error)
    return text.split("] : ", 1)[-1]


def plain_session(model: Model, device: Device) -> ort.InferenceSession:
    """A session on the file as it is."""
    rt = runtime()
    options = rt.SessionOptions()
    options.log_severity_level = 4
    if device.threads is not None:
        options.intra_op_num_threads = device.threads
    return _create(rt, str(model.path), options, device)


def run(session: ort.InferenceSession, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """One forward pass.

    Raises:
        RunError: If the runtime fails on these inputs; the message quotes it.
    """
    if not names:  # the runtime would return every output
        return []
    try:
        return list(session.run(list(names), dict(feeds)))
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError | ValueError):
            raise RunError(f"onnxruntime failed on this input: {_reason(error)}") from error
        raise


# --------------------------------------------------------------------------------------------- observation


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


def random_feeds(model: Model, given: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    """Seeded arrays of plausible size for every input, for looking at a model without a clip.

    Symbolic sizes become 1 (batch) and common clip sizes; the first that the model runs with is taken.

    Raises:
        UsageError: If a given shape contradicts the file.
        RunError: If no size fits; the message asks for one.
    """
    shapes = input_shape(model, given or {})
    error: RunError | None = None
    plain = Graph.of(model).session(Device("cpu"), optimise=False)
    for clip in ((16, 112), (8, 56), (16, 224), (32, 224), (8, 64)):
        feeds = {p.name: _random(_fill(shapes[p.name], clip), p.dtype) for p in model.inputs}
        try:
            run(plain, [model.outputs[0].name], feeds)
        except RunError as failed:
            error = error or failed
            if all(None not in s for s in shapes.values()):
                raise
            continue
        return feeds
    names = ", ".join(f"{k}={shape_text(s)}" for k, s in shapes.items())
    raise RunError(
        f"no common input size fits {model.path} ({names}); give --input-shape NAME=1,3,16,112,112: {error}"
    ) from error


def _fill(shape: Sequence[int | None], clip: tuple[int, int]) -> tuple[int, ...]:
    frames, size = clip
    out = [1 if i == 0 and d is None else d for i, d in enumerate(shape)]
    if len(out) == 5 and out[1] is None and out[4] not in {1, 3}:
        out[1] = 3
    if len(out) == 4 and out[1] is None and out[3] not in {1, 3}:
        out[1] = 3
    holes = [i for i, d in enumerate(out) if d is None]
    for i in holes:
        temporal = len(out) == 5 and i == (1 if out[4] in {1, 3} or out[2] in {1, 3} else 2)
        out[i] = frames if temporal else size
    return tuple(int(d or 1) for d in out)


def _random(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(0)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


__all__ = ["Device", "Graph", "observe", "plain_session", "providers", "random_feeds", "run", "runtime"]
