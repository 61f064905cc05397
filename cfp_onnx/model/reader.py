"""The only reader of ``.onnx`` files: whatever an exporter wrote, the rest of the package sees one form.

A file becomes a `Model` (functions inlined, constants lifted, nodes sorted); a `Model` whose tensor shapes have
been observed at one input size becomes a `Program`: the nodes that depend on the input's *values*, with every
weight and every piece of shape arithmetic resolved to an array on demand.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common as passes

from cfp_onnx.errors import ModelError, UsageError
from cfp_onnx.values import Array

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"})
"""Domains a local function may not live in: a runtime and an inliner would disagree about such a function."""

RESOLVE_LIMIT = 2**31
"""Largest constant expression, in bytes, that is evaluated on behalf of a file."""

DEQUANTISES = 19
"""First operator set for which the reference evaluator has DequantizeLinear; on what it took before it is the same."""

CALL_DEPTH_LIMIT = 64
NODE_LIMIT = 200_000


@dataclass(frozen=True)
class Node:
    """One operator call of the canonical graph.

    Attributes:
        name: The ONNX node's name, with the path of function calls in front and ``#n`` on repeats.
        op: Operator type; operators outside ONNX's own domain carry it in front (``com.microsoft::FusedConv``).
        inputs: Tensor names; an omitted optional input is ``""``.
        outputs: Tensor names; an omitted optional output is ``""``.
        attributes: Attribute values as Python numbers, strings, lists and arrays.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def input(self, index: int) -> str:
        """Name of an input, ``""`` where it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True)
class Port:
    """An input or output of the model: name, shape (None where symbolic) and NumPy type name."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class Model:
    """A loaded file. `graph` is shared and must not be changed by readers.

    Attributes:
        path: The file.
        sha256: Hash of the file's bytes.
        producer: Name and version of the tool that wrote it.
        opset: Version of ONNX's own operator set.
        inputs: Graph inputs that are not weights.
        outputs: Graph outputs.
        metadata: The file's metadata strings.
        graph: onnx-ir model, inlined, constants lifted, sorted; node names are unique.
    """

    path: Path
    sha256: str
    producer: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    graph: ir.Model

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class labels that travel in the file's metadata (``cfp_onnx.labels``), else None.

        Raises:
            ModelError: If the metadata is there but is not a JSON list of strings.
        """
        text = self.metadata.get("cfp_onnx.labels")
        if text is None:
            return None
        labels = _json(text, "cfp_onnx.labels", self.path)
        if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
            raise ModelError(f"{self.path}: metadata cfp_onnx.labels is not a list of strings")
        return tuple(labels)

    @property
    def preprocess(self) -> Mapping[str, Any] | None:
        """Preprocessing that travels in the file's metadata (``cfp_onnx.preprocess``), else None."""
        text = self.metadata.get("cfp_onnx.preprocess")
        if text is None:
            return None
        value = _json(text, "cfp_onnx.preprocess", self.path)
        if not isinstance(value, dict):
            raise ModelError(f"{self.path}: metadata cfp_onnx.preprocess is not an object")
        return value


def _json(text: str, key: str, path: Path) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: metadata {key} is not JSON: {error}") from error


# ------------------------------------------------------------------------------------------------ reading


def load(path: str | os.PathLike[str]) -> Model:
    """Read an ONNX file into its canonical form.

    Args:
        path: A ``.onnx`` file; external data are looked for in its folder only.

    Returns:
        The model; no session is created and nothing is run.

    Raises:
        ModelError: If the file is missing, is not ONNX, or cannot be analysed as it stands; the message says why.
    """
    file = Path(path)
    digest = _sniff(file)
    try:
        proto = onnx.load(file, load_external_data=False)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{file}: not an ONNX file, or a damaged one ({first_line(error)})") from error
    _check_proto(proto, file)
    paths = _call_paths(proto, file)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, file.parent)
        passes.InlinePass()(model)
        _name_nodes(model.graph, paths)
        model = _tidy(model)
    except (ValueError, TypeError, KeyError, RuntimeError, ir.passes.PassError) as error:
        raise ModelError(f"{file}: the graph is not well-formed: {first_line(error)}") from error
    _check_external(model, file)
    return _describe(model, file, digest)


def _sniff(file: Path) -> str:
    """Hash of the file, once it looks like something that may be ONNX."""
    if not file.exists():
        raise ModelError(f"{file}: no such file")
    if not file.is_file():
        raise ModelError(f"{file}: not a regular file; give the .onnx file itself")
    with file.open("rb") as stream:
        head = stream.read(16)
        if not head:
            raise ModelError(f"{file}: the file is empty")
        if head[4:8] == b"ORTM":
            raise ModelError(f"{file}: this is onnxruntime's own format (.ort); give the .onnx file it was made from")
        digest = hashlib.sha256(head)
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an error of somebody else's, short enough for one sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


REPACKED = "com.microsoft.nchwc"


def _check_proto(proto: onnx.ModelProto, file: Path) -> None:
    if not proto.ir_version or not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError(f"{file}: not an ONNX model (it holds no graph)")
    if not proto.opset_import and proto.ir_version >= 3:
        raise ModelError(f"{file}: not a valid ONNX model (it imports no operator set)")
    if any(node.domain == REPACKED for node in proto.graph.node):
        raise ModelError(
            f"{file}: its weights were repacked by onnxruntime for one machine ({REPACKED}) and cannot be read back; "
            "give the file from before that optimisation, or optimise at the EXTENDED level"
        )
    for function in proto.functions:
        if function.domain in STANDARD_DOMAINS:
            raise ModelError(
                f"{file}: local function {function.name!r} overrides an operator of a standard domain; "
                "a runtime and an analysis would disagree about it, export the model without it"
            )


def _call_paths(proto: onnx.ModelProto, file: Path) -> list[tuple[str, str]]:
    """(path of calls, operator) of every node in the order in which inlining leaves them."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    out: list[tuple[str, str]] = []

    def visit(nodes: Iterable[onnx.NodeProto], prefix: str, stack: tuple[tuple[str, str, str], ...]) -> None:
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            label = node.name or (node.output[0] if node.output else node.op_type)
            body = functions.get(key)
            if body is None:
                out.append((prefix + label, node.op_type))
                if len(out) > NODE_LIMIT:
                    raise ModelError(f"{file}: more than {NODE_LIMIT} nodes once its local functions are inlined")
                continue
            if key in stack or len(stack) >= CALL_DEPTH_LIMIT:
                raise ModelError(f"{file}: local function {node.op_type!r} calls itself or nests too deep")
            visit(body.node, f"{prefix}{label}/", (*stack, key))

    visit(proto.graph.node, "", ())
    return out


def _name_nodes(graph: ir.Graph, paths: list[tuple[str, str]]) -> None:
    nodes = list(graph)
    if len(nodes) != len(paths) or any(n.op_type != op for n, (_, op) in zip(nodes, paths, strict=True)):
        paths = [(n.name or n.outputs[0].name or n.op_type, n.op_type) for n in nodes]
    seen: Counter[str] = Counter()
    taken = {name for name, _ in paths}
    for node, (name, _) in zip(nodes, paths, strict=True):
        seen[name] += 1
        unique = name
        while seen[name] > 1 and (unique == name or unique in taken):
            unique = f"{name}#{seen[name]}"
            if unique in taken:
                seen[name] += 1
        taken.add(unique)
        node.name = unique


def _tidy(model: ir.Model) -> ir.Model:
    for rule in (
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.RemoveInitializersFromInputsPass(),
        passes.TopologicalSortPass(),
    ):
        model = rule(model).model
    _hold(model.graph)
    return model


_HELD = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BOOL, ir.DataType.INT8,
     ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.UINT16,
     ir.DataType.UINT32, ir.DataType.UINT64}
)  # fmt: skip


def _hold(graph: ir.Graph) -> None:
    """Weights as arrays: protobuf would hand out a new copy at each look."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.TensorProtoTensor) and tensor.dtype in _HELD:
            value.const_value = ir.Tensor(tensor.numpy(), name=tensor.name, doc_string=tensor.doc_string)


def _check_external(model: ir.Model, file: Path) -> None:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        location = Path(tensor.location)
        data = file.parent / location
        if location.is_absolute() or ".." in location.parts:
            raise ModelError(f"{file}: weight {value.name!r} points outside the model's folder ({location})")
        if not data.is_file():
            raise ModelError(f"{file}: external data file {str(location)!r} is missing beside the model; copy it there")
        need = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
        if data.stat().st_size < need:
            raise ModelError(f"{file}: external data file {str(location)!r} is too short for weight {value.name!r}")


def _describe(model: ir.Model, file: Path, digest: str) -> Model:
    opset = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 1))
    return Model(
        path=file,
        sha256=digest,
        producer=" ".join(x for x in (model.producer_name, model.producer_version) if x),
        opset=opset,
        inputs=tuple(_port(v) for v in model.graph.inputs),
        outputs=tuple(_port(v) for v in model.graph.outputs),
        metadata=dict(model.metadata_props),
        graph=model,
    )


def _port(value: ir.Value) -> Port:
    shape = None
    if value.shape is not None:
        shape = tuple(_dimension(d) for d in value.shape)
    return Port(value.name or "", shape, _dtype_name(value.dtype))


def _dimension(dim: int | ir.SymbolicDim) -> int | None:
    """A fixed size, or None; some exporters write a number into the symbolic name, others 0 for unknown."""
    if isinstance(dim, int):
        return dim if dim > 0 else None
    text = str(dim.value or "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def _dtype_name(dtype: ir.DataType | None) -> str:
    if dtype is None:
        return "float32"
    try:
        return str(np.dtype(dtype.numpy()).name)
    except TypeError:
        return dtype.name.lower()


# ------------------------------------------------------------------------------------ sub-graphs by observation


def branches(model: Model) -> list[str]:
    """Names of the condition tensors of the ``If`` nodes at the top level."""
    return [n.inputs[0].name or "" for n in model.graph.graph if n.op_type == "If" and n.inputs[0] is not None]


def take_branches(model: Model, conditions: Mapping[str, bool]) -> Model:
    """Replace each ``If`` whose condition was observed by the branch it takes.

    Args:
        model: A loaded model; it is left as it was.
        conditions: Condition tensor to its observed value.

    Returns:
        A model in which those sub-graphs are ordinary nodes.
    """
    copy = ir.from_proto(ir.to_proto(model.graph))
    ir.external_data.set_base_dir(copy.graph, model.path.parent)
    for node in [n for n in copy.graph if n.op_type == "If"]:
        condition = node.inputs[0]
        if condition is None or condition.name is None or condition.name not in conditions:
            continue
        name = "then_branch" if conditions[condition.name] else "else_branch"
        _splice(copy.graph, node, node.attributes[name].as_graph())
    copy = _tidy(copy)
    passes.NameFixPass()(copy)
    return replace(model, graph=copy)


def _splice(graph: ir.Graph, call: ir.Node, body: ir.Graph) -> None:
    results = list(body.outputs)
    inner = list(body)
    for node in inner:
        node.name = node.name or f"{call.name}/{node.outputs[0].name}"
    for value in [*(v for n in inner for v in n.outputs)]:
        value.name = f"{call.name}/{value.name}"
    body.remove(inner)
    graph.insert_before(call, inner)
    for old, new in zip(call.outputs, results, strict=True):
        name = old.name
        outputs = [i for i, v in enumerate(graph.outputs) if v is old]
        for use in list(old.uses()):
            use.node.replace_input_with(use.idx, new)
        for i in outputs:
            old.name = f"{name}/taken"
            new.name = name
            graph.outputs[i] = new
    graph.remove(call, safe=True)


# ------------------------------------------------------------------------------------------------- program


_SHAPE_ONLY = frozenset({"Shape", "Size"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


class Program:
    """A model at one input size: what depends on the clip, and the value of everything that does not.

    Attributes:
        model: The file it came from.
        nodes: Nodes whose output depends on the values of an input, in execution order.
        shapes: Observed shape of every tensor such a node reads or writes.
        producers: Tensor to the node that makes it.
        consumers: Tensor to the nodes that read it.
    """

    def __init__(self, model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self._initializers = dict(model.graph.graph.initializers)
        self._cache: dict[str, Array] = {}
        self._static_nodes: dict[str, Node] = {}
        self.shapes: dict[str, tuple[int, ...]] = dict(shapes)
        dynamic: list[Node] = []
        live = {p.name for p in model.inputs}
        for node in canonical_nodes(model):
            depends = any(i in live for i in node.inputs) and node.op not in _SHAPE_ONLY
            if depends or node.op in _RANDOM or _has_graph(node):
                dynamic.append(node)
                live.update(o for o in node.outputs if o)
            else:
                self._static_nodes.update((o, node) for o in node.outputs if o)
        self.nodes = tuple(dynamic)
        self.producers: dict[str, Node] = {o: n for n in self.nodes for o in n.outputs if o}
        self.consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self.dtypes = _dtypes(self)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the values of an input."""
        return name in self._initializers or name in self._static_nodes

    def constant(self, name: str) -> Array:
        """Value of a tensor that does not depend on the input, following its constant expression.

        Raises:
            ModelError: If it is no constant, or its expression cannot be evaluated within `RESOLVE_LIMIT` bytes.
        """
        if name not in self._cache:
            self._cache[name] = self._resolve(name)
        return self._cache[name]

    def constant_or_none(self, name: str) -> Array | None:
        """`constant`, or None where the tensor is omitted or depends on the input."""
        return self.constant(name) if name and self.is_constant(name) else None

    def stem(self, name: str) -> str:
        """The initializer a constant expression starts from: the largest one that feeds it, else the name itself."""
        found = [i for i in self._sources(name) if i in self._initializers]
        sizes = {i: self._initializers[i].const_value for i in found}
        ranked = sorted(found, key=lambda i: -(t.size if (t := sizes[i]) is not None else 0))
        return ranked[0] if ranked else name

    def _sources(self, name: str) -> Iterator[str]:
        stack, seen = [name], set()
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            yield current
            if current in self._static_nodes:
                stack.extend(i for i in self._static_nodes[current].inputs if i)

    def _resolve(self, name: str) -> Array:
        if name in self._initializers:
            tensor = self._initializers[name].const_value
            if tensor is None:
                raise ModelError(f"{self.model.path}: weight {name!r} has no data")
            return np.asarray(tensor.numpy())
        node = self._static_nodes.get(name)
        if node is None:
            raise ModelError(f"{self.model.path}: tensor {name!r} depends on the input, a constant was expected")
        if node.op in _SHAPE_ONLY:
            return self._shape_value(node)
        values = self._evaluate(node)
        self._cache.update(values)
        return values[name]

    def _shape_value(self, node: Node) -> Array:
        shape = self.shapes.get(node.inputs[0])
        if shape is None:
            shape = self.constant(node.inputs[0]).shape
        if node.op == "Size":
            return np.asarray(np.prod(shape, dtype=np.int64))
        return np.asarray(shape[node.attributes.get("start", 0) : node.attributes.get("end", None)], dtype=np.int64)

    def _evaluate(self, node: Node) -> dict[str, Array]:
        feeds = {i: self.constant(i) for i in node.inputs if i}
        _check_size(node, feeds, self.model.path)
        proto = node_proto(node)
        versions = {d or "": v for d, v in self.model.graph.graph.opset_imports.items()}
        if proto.op_type == "DequantizeLinear":
            proto.domain, versions[""] = "", max(DEQUANTISES, versions.get("", 0))
        opset = [onnx.helper.make_opsetid(d, v) for d, v in versions.items()]
        names = [o for o in node.outputs if o]
        graph = onnx.helper.make_graph(
            [proto],
            "constant",
            [
                onnx.helper.make_tensor_value_info(i, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for i, a in feeds.items()
            ],
            [onnx.helper.make_tensor_value_info(o, onnx.TensorProto.UNDEFINED, None) for o in names],
        )
        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opset)).run(None, feeds)
        except (
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
            IndexError,
            KeyError,
            AttributeError,
        ) as error:
            raise ModelError(
                f"{self.model.path}: the constant expression at node {node.name!r} ({node.op}) cannot be evaluated: "
                f"{first_line(error)}"
            ) from error
        return {o: np.asarray(r) for o, r in zip(names, results, strict=True)}


def _check_size(node: Node, feeds: Mapping[str, Array], path: Path) -> None:
    """Refuse expressions that blow a few bytes up to more than `RESOLVE_LIMIT`."""
    size = sum(a.nbytes for a in feeds.values())
    if node.op in {"ConstantOfShape", "Expand", "Tile"}:
        shape = feeds[node.inputs[-1]] if node.inputs else np.ones(1)
        size *= 1 if node.op != "Tile" else max(1, int(np.prod(shape.astype(object))))
        if node.op != "Tile":
            size = 8 * int(np.prod(shape.astype(object)))
    if size > RESOLVE_LIMIT:
        raise ModelError(f"{path}: constant at node {node.name!r} would take {size} bytes, more than {RESOLVE_LIMIT}")


def _has_graph(node: Node) -> bool:
    return any(isinstance(a, ir.Graph) for a in node.attributes.values())


def canonical_nodes(model: Model) -> list[Node]:
    """All nodes of the loaded graph as plain values, in execution order."""
    return [_node(n) for n in model.graph.graph]


def _node(node: ir.Node) -> Node:
    domain = node.domain if node.domain not in {"", "ai.onnx"} else ""
    return Node(
        name=node.name or "",
        op=f"{domain}::{node.op_type}" if domain else node.op_type,
        inputs=tuple((v.name or "") if v is not None else "" for v in node.inputs),
        outputs=tuple(v.name or "" for v in node.outputs),
        attributes={k: _attribute(a) for k, a in node.attributes.items()},
    )


def _attribute(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        return np.asarray(attribute.as_tensor().numpy())
    return attribute.value


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as protobuf, for a runtime or the reference evaluator."""
    domain, _, op = node.op.rpartition("::")
    attributes: dict[str, Any] = {
        k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else (list(v) if isinstance(v, tuple) else v)
        for k, v in node.attributes.items()
        if v is not None
    }
    return onnx.helper.make_node(op, list(node.inputs), list(node.outputs), node.name, domain=domain, **attributes)


_INT64_OUT = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin"})
_BOOL_OUT = frozenset(
    {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"}
)
_INT32_OUT = frozenset({"ConvInteger", "MatMulInteger"})


def _dtypes(program: Program) -> dict[str, str]:
    """NumPy type name of every tensor on the dynamic part, by each operator's typing rule."""
    types = {p.name: p.dtype for p in program.model.inputs}

    def of(name: str) -> str:
        if name in types:
            return types[name]
        return str(program.constant(name).dtype.name) if name and program.is_constant(name) else "float32"

    for node in program.nodes:
        kinds = [_out_dtype(node, k, of) for k in range(len(node.outputs))]
        types.update({o: t for o, t in zip(node.outputs, kinds, strict=True) if o})
    return types


def _out_dtype(node: Node, index: int, of: Callable[[str], str]) -> str:
    op = node.op.rpartition("::")[2]
    if op in _INT64_OUT or (op in {"TopK", "MaxPool", "Unique"} and index == 1):
        return "int64"
    if op in _BOOL_OUT or (op == "Dropout" and index == 1):
        return "bool"
    if op in _INT32_OUT:
        return "int32"
    if op == "Cast":
        return _dtype_name(ir.DataType(node.attributes["to"]))
    if op == "DynamicQuantizeLinear":
        return "uint8" if index != 1 else "float32"
    if op == "QuantizeLinear":
        zero = node.input(2)
        return of(zero) if zero else "uint8"
    if op in {"DequantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}:
        return of(node.input(1)) if op == "DequantizeLinear" else "float32"
    if op == "QLinearConcat":
        return of(node.input(1))
    if op == "QGemm":
        return of(node.input(8)) if node.input(8) else "float32"
    if op == "Where":
        return of(node.input(1))
    return of(node.input(0))


def input_shape(model: Model, given: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the inputs as declared, with what the caller gives taking the place of symbolic sizes.

    Raises:
        UsageError: If a given shape names no input or contradicts the file.
    """
    shapes: dict[str, tuple[int | None, ...]] = {}
    unknown = set(given) - {p.name for p in model.inputs}
    if unknown:
        names = ", ".join(p.name for p in model.inputs)
        raise UsageError(f"{model.path} has no input {sorted(unknown)[0]!r}; its inputs are: {names}")
    for port in model.inputs:
        want = given.get(port.name)
        declared = port.shape if port.shape is not None else want
        if declared is None:
            raise UsageError(f"{model.path}: input {port.name!r} declares no shape; give --input-shape {port.name}=...")
        if want is None:
            shapes[port.name] = declared
            continue
        if len(want) != len(declared) or any(d not in {None, w} for d, w in zip(declared, want, strict=True)):
            raise UsageError(f"input {port.name!r} of {model.path} has shape {show(declared)}, not {show(want)}")
        shapes[port.name] = tuple(want)
    return shapes


def show(shape: Iterable[int | None]) -> str:
    """A shape as people write it: ``(?, 3, 16, 112, 112)``."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
