"""TensorFlow Lite's files, through tf2onnx.

Outputs are TensorFlow Lite's own. Where its interpreter has no kernel, for operators that a file borrows from
TensorFlow and for 3-D convolutions in groups, TensorFlow's kernels compute that operator between two parts of the file.
Weights of 8 bits are compared as numbers, since the interpreter rounds activations for them on the fly.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Array, Converted, Refusal, Request, first_line, main, random_clip, rename, unsteady

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import flatbuffers
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tf2onnx.tflite_utils import map_tflite_dtype_to_tf

Arrays = list[Array]

KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
INTEGERS = {schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT16, schema.TensorType.INT4}
ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: tf.identity,
    schema.ActivationFunctionType.RELU: tf.nn.relu,
    schema.ActivationFunctionType.RELU6: tf.nn.relu6,
}

TRAINS = {
    "again": "outputs change from run to run, dropout or noise is on; write it for inference",
    "beside": "what a clip gives depends on the clip beside it; write it for inference",
}
"""What to say of a network that still trains."""


@dataclass(frozen=True)
class Part:
    """Operators that are run together.

    Attributes:
        run: Arrays of the inputs to arrays of the outputs.
        inputs: Numbers of the tensors that are read.
        outputs: Numbers of the tensors that are written.
    """

    run: Callable[[Arrays], Arrays]
    inputs: list[int]
    outputs: list[int]


def convert(request: Request) -> Converted:
    """The graph that tf2onnx writes of a .tflite file.

    Raises:
        Refusal: If the file cannot be read, computes in integers, or cannot be exported.
    """
    opset = request.opset_between(13, 18, default=17)
    source, path = request.source, Path(request.source)
    data = read(path)
    model = parse(data)
    refuse_integers(source, model)
    inputs, outputs = ports(source, model)
    declared = {name: declared_sizes(source, name, model.subgraphs[0].tensors[k]) for k, name in inputs.items()}
    shapes, fixed = request.shapes_and_batch(declared, verb="written")
    rounded = as_floats(model)
    parts, notes = plan(source, model)
    run = runner(source, parts, inputs, outputs)
    clip = random_clip(np.random.default_rng(request.seed), shapes, fixed or 2)
    if found := unsteady(lambda given: list(run(given).values()), clip, fixed=fixed is not None):
        raise Refusal(f"{source}: {TRAINS[found]}")
    if rounded:
        notes.append(rounding(rounded, run(clip), runner(source, plan(source, parse(data))[0], inputs, outputs)(clip)))
    made = export(source, pack(model) if rounded else data, opset)
    tensors = model.subgraphs[0].tensors
    rename(made, {tensors[k].name.decode(): name for k, name in {**inputs, **outputs}.items()})
    return Converted(
        model=made,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"tensorflow lite {tf.__version__}",
        exporter=f"tf2onnx {tf2onnx.__version__}",
        kind="tflite",
        notes=notes,
    )


# ------------------------------------------------------------------------------------------------------ reading


def read(path: Path) -> bytes:
    """The bytes of a .tflite file.

    Raises:
        Refusal: If it is none, or damaged.
    """
    if path.is_dir():
        raise Refusal(f"{path} is a folder and no .tflite file; try: cfp-onnx convert tensorflow")
    data = path.read_bytes()
    if data[:2] == b"PK" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise Refusal(f"{path} is no .tflite file; try: cfp-onnx convert keras")
    if data[4:8] != b"TFL3":
        raise Refusal(f"{path} is no .tflite file; a frozen graph is converted with: cfp-onnx convert tensorflow")
    try:
        tf.lite.Interpreter(model_content=data)
    except (ValueError, RuntimeError) as error:
        raise Refusal(f"{path} cannot be read, it is cut or damaged: {first_line(error)}; copy it again") from error
    return data


def parse(data: bytes) -> Any:
    """The file as objects that can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def pack(model: Any) -> bytes:
    """Objects as a file."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def ports(source: str, model: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Names of the inputs and of the outputs by the numbers of their tensors.

    Raises:
        Refusal: If there are several signatures.
    """
    signatures = model.signatureDefs or []
    if len(signatures) > 1:
        listed = ", ".join(s.signatureKey.decode() for s in signatures)
        raise Refusal(f"{source} has the signatures {listed}; write a file with one of them alone and convert that")
    graph = model.subgraphs[0]
    named = {p.tensorIndex: p.name.decode() for s in signatures for p in (*s.inputs, *s.outputs)}
    own = {
        k: graph.tensors[k].name.decode().removeprefix("serving_default_").removesuffix(":0") for k in ports_of(graph)
    }
    inputs = {int(k): named.get(k, own[k]) for k in graph.inputs}
    outputs = {int(k): named.get(k, own[k]) for k in graph.outputs}
    return inputs, {k: f"{name}_out" if name in inputs.values() else name for k, name in outputs.items()}


def ports_of(graph: Any) -> list[int]:
    """Numbers of the tensors that come in and go out."""
    return [*map(int, graph.inputs), *map(int, graph.outputs)]


def declared_sizes(source: str, name: str, tensor: Any) -> list[int | None]:
    """Sizes of an input, None where the file leaves them open.

    Raises:
        Refusal: If it is not float32.
    """
    if tensor.type != schema.TensorType.FLOAT32:
        raise Refusal(f"{source}: input {name!r} is {type_name(tensor)}; write the file with float32 inputs")
    sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return [None if size < 0 else int(size) for size in sizes]


def type_name(tensor: Any) -> str:
    """Name of a tensor's type."""
    return next(n.lower() for n, value in vars(schema.TensorType).items() if value == tensor.type)


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether a tensor's values stand in the file."""
    return model.buffers[tensor.buffer].data is not None


def refuse_integers(source: str, model: Any) -> None:
    """Refuses files that compute in integers: what ONNX rounds elsewhere is another network.

    Raises:
        Refusal: With the first tensor that is rounded.
    """
    for tensor in model.subgraphs[0].tensors:
        if tensor.type not in INTEGERS or scales(tensor) is None:
            continue
        if not is_constant(model, tensor):
            raise Refusal(
                f"{source} computes in integers ({tensor.name.decode()!r} is {type_name(tensor)}), which no ONNX file "
                "repeats exactly; convert the network that it was made from, or write it without representative data"
            )
        if tensor.type not in {schema.TensorType.INT8, schema.TensorType.UINT8}:
            raise Refusal(f"{source}: weights {tensor.name.decode()!r} are {type_name(tensor)}; write them in 8 bits")


def scales(tensor: Any) -> Array | None:
    """How much one step of a quantised tensor is; None where it is not quantised."""
    found = None if tensor.quantization is None else tensor.quantization.scale
    return None if found is None or not len(found) else np.asarray(found, np.float32)


# ------------------------------------------------------------------------------------------------------ running


def as_floats(model: Any) -> list[str]:
    """Writes weights of 8 bits as the numbers that they stand for, so that nothing is rounded for them.

    Returns:
        Their names.
    """
    graph, changed = model.subgraphs[0], []
    explicit = {int(op.inputs[0]) for op in graph.operators if kind(model, op) == "DEQUANTIZE"}
    for k, tensor in enumerate(graph.tensors):
        if tensor.type not in INTEGERS or scales(tensor) is None or k in explicit:
            continue
        numbers = stands_for(tensor, np.asarray(model.buffers[tensor.buffer].data, np.uint8))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(numbers.astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, schema.TensorType.FLOAT32, None
        changed.append(tensor.name.decode())
    for operator in graph.operators if changed else ():
        if getattr(operator.builtinOptions, "asymmetricQuantizeInputs", False):
            operator.builtinOptions.asymmetricQuantizeInputs = False  # tf2onnx would round activations for it
    return changed


def stands_for(tensor: Any, stored: Array) -> Array:
    """The numbers that weights of 8 bits stand for: scale * (stored - zero point), per channel where so given."""
    whole = stored.view(np.int8 if tensor.type == schema.TensorType.INT8 else np.uint8).reshape(tensor.shape)
    steps, zeros = scales(tensor), tensor.quantization.zeroPoint
    zeros = np.zeros(1, np.float32) if zeros is None or not len(zeros) else np.asarray(zeros, np.float32)

    def along(values: Array) -> Array:
        sizes = [1] * whole.ndim
        if len(values) > 1:
            sizes[tensor.quantization.quantizedDimension] = -1
        return values.reshape(sizes)

    return (whole - along(zeros)) * along(steps)


def plan(source: str, model: Any) -> tuple[list[Part], list[str]]:
    """The file in parts that can be run one after the other, and a note where TensorFlow must help.

    Raises:
        Refusal: If a part has no kernel anywhere.
    """
    graph, parts, mine, helped = model.subgraphs[0], [], [], []
    for operator in graph.operators:
        outside = foreign(source, model, operator)
        if outside is None:
            mine.append(operator)
            continue
        if mine:
            parts.append(own_part(model, mine))
        mine = []
        read_ = [int(k) for k in operator.inputs if k >= 0]
        parts.append(
            Part(with_constants(model, read_, outside), changing(model, read_), list(map(int, operator.outputs)))
        )
        helped.append(kind(model, operator))
    if mine:
        parts.append(own_part(model, mine))
    if not helped:
        return parts, []
    listed = ", ".join(dict.fromkeys("CONV_3D in groups" if name == "CONV_3D" else name for name in helped))
    return parts, [f"TensorFlow Lite has no kernel here for {listed}; TensorFlow's own kernels computed these"]


def kind(model: Any, operator: Any) -> str:
    """Name of an operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return code.customCode.decode() if code.customCode else KINDS.get(number, str(number))


def foreign(source: str, model: Any, operator: Any) -> Callable[..., Sequence[Any]] | None:
    """How TensorFlow computes an operator that TensorFlow Lite does not; None where it does."""
    name, tensors = kind(model, operator), model.subgraphs[0].tensors
    if name.startswith("Flex"):
        return borrowed(operator)
    if name != "CONV_3D":
        return None
    data, weights = (tensors[k] for k in operator.inputs[:2])
    if len(data.shape) != 5 or data.shape[4] == weights.shape[3]:
        return None
    return grouped(source, operator.builtinOptions)


def borrowed(operator: Any) -> Callable[..., Sequence[Any]]:
    """An operator of TensorFlow's that the file holds as it was, by XLA where there is no other kernel."""
    stored = flexbuffers.GetRoot(bytes(np.asarray(operator.customOptions, np.uint8))).AsVector
    node = tf.compat.v1.NodeDef.FromString(stored[1].AsStringBytes)
    node.name, node.device = "borrowed", ""
    del node.input[:]
    node.input.extend(f"input_{k}" for k in range(len(operator.inputs)))
    names = [f"borrowed:{k}" for k in range(len(operator.outputs))]

    def run(*arrays: Any) -> Sequence[Any]:
        graph = tf.compat.v1.GraphDef()
        for k, array in enumerate(arrays):
            port = graph.node.add(name=f"input_{k}", op="Placeholder")
            port.attr["dtype"].type = array.dtype.as_datatype_enum
            port.attr["shape"].shape.CopyFrom(array.shape.as_proto())
        graph.node.append(node)
        whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        call = whole.prune([f"input_{k}:0" for k in range(len(arrays))], names)
        try:
            return call(*arrays)
        except tf.errors.OpError:
            return tf.function(call, jit_compile=True, autograph=False)(*arrays)

    return run


def grouped(source: str, options: Any) -> Callable[..., Sequence[Any]]:
    """A 3-D convolution in groups, which TensorFlow compiles."""
    if options.fusedActivationFunction not in ACTIVATIONS:
        raise Refusal(f"{source}: a 3-D convolution in groups ends in an activation other than ReLU; write it apart")
    activation = ACTIVATIONS[options.fusedActivationFunction]
    strides = [1, options.strideD, options.strideH, options.strideW, 1]
    dilations = [1, options.dilationDFactor, options.dilationHFactor, options.dilationWFactor, 1]
    padding = "SAME" if options.padding == schema.Padding.SAME else "VALID"

    @tf.function(jit_compile=True, autograph=False)
    def run(data: Any, weights: Any, *bias: Any) -> Sequence[Any]:
        result = tf.nn.conv3d(data, weights, strides, padding, dilations=dilations)
        return [activation(tf.nn.bias_add(result, bias[0]) if bias else result)]

    return run


def changing(model: Any, numbers: Iterable[int]) -> list[int]:
    """Those tensors whose values come from outside: neither in the file nor a state that the interpreter keeps."""
    tensors = model.subgraphs[0].tensors
    return [k for k in numbers if not (is_constant(model, tensors[k]) or tensors[k].isVariable)]


def with_constants(
    model: Any, numbers: Sequence[int], call: Callable[..., Sequence[Any]]
) -> Callable[[Arrays], Arrays]:
    """A call on all of an operator's inputs as one on those that change."""
    tensors = model.subgraphs[0].tensors
    constants = {}
    for k in set(numbers) - set(changing(model, numbers)):
        stored = np.asarray(model.buffers[tensors[k].buffer].data, np.uint8).tobytes()
        type_ = tf.as_dtype(map_tflite_dtype_to_tf(tensors[k].type)).as_numpy_dtype
        constants[k] = np.frombuffer(stored, type_).reshape(() if tensors[k].shape is None else tensors[k].shape)

    def run(arrays: Arrays) -> Arrays:
        given = {**constants, **dict(zip(changing(model, numbers), arrays, strict=True))}
        return [np.asarray(value) for value in call(*(tf.constant(given[k]) for k in numbers))]

    return run


def own_part(model: Any, operators: Sequence[Any]) -> Part:
    """Operators that TensorFlow Lite runs itself, as a file of their own."""
    graph = model.subgraphs[0]
    written = {int(k) for op in operators for k in op.outputs}
    read_ = {int(k) for op in operators for k in op.inputs if k >= 0}
    inside = {id(op) for op in operators}
    later = {int(k) for op in graph.operators if id(op) not in inside for k in op.inputs} | set(map(int, graph.outputs))
    inputs = changing(model, sorted(read_ - written))
    outputs = sorted(written & later)
    whole, part = copy.copy(model), copy.copy(graph)
    part.operators, part.inputs, part.outputs = list(operators), inputs, outputs
    whole.subgraphs = [part, *model.subgraphs[1:]]
    whole.signatureDefs = None
    if len(model.subgraphs) == 1:
        kept = {graph.tensors[k].buffer for k in read_}
        whole.buffers = [b if k in kept else schema.BufferT() for k, b in enumerate(model.buffers)]
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner_ = tf.lite.Interpreter(model_content=pack(whole), experimental_op_resolver_type=resolver)

    def run(arrays: Arrays) -> Arrays:
        for k, array in zip(inputs, arrays, strict=True):
            runner_.resize_tensor_input(k, array.shape)
        runner_.allocate_tensors()
        runner_.reset_all_variables()
        for k, array in zip(inputs, arrays, strict=True):
            runner_.set_tensor(k, array)
        runner_.invoke()
        return [runner_.get_tensor(k) for k in outputs]

    return Part(run, inputs, outputs)


def runner(
    source: str, parts: Sequence[Part], inputs: Mapping[int, str], outputs: Mapping[int, str]
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """All parts as one function of a clip.

    Raises:
        Refusal: When it is called, if a part cannot be run.
    """

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        values = {k: np.asarray(clip[name]) for k, name in inputs.items()}
        try:
            for part in parts:
                values.update(zip(part.outputs, part.run([values[k] for k in part.inputs]), strict=True))
        except (KeyError, RuntimeError, ValueError, tf.errors.OpError) as error:
            raise Refusal(
                f"{source}: TensorFlow Lite cannot run this file at that size: {first_line(error)}"
            ) from error
        return {name: values[k] for k, name in outputs.items()}

    return run


def rounding(names: Sequence[str], floats: Mapping[str, Array], rounded: Mapping[str, Array]) -> str:
    """What the interpreter's rounding of activations changes, as a note."""
    distance = max(float(np.abs(floats[name] - rounded[name]).max(initial=0.0)) for name in floats)
    return (
        f"{len(names)} weights of 8 bits became the float32 numbers that they stand for, and TensorFlow Lite was "
        f"compared on these; as it is, it rounds activations too, which changes outputs by {distance:.2g} here"
    )


# ----------------------------------------------------------------------------------------------------- exporting


def export(source: str, data: bytes, opset: int) -> onnx.ModelProto:
    """What tf2onnx writes of the bytes of a file.

    Raises:
        Refusal: If it cannot.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "network.tflite"
        file.write_bytes(data)
        return _export(source, file, opset)


def _export(source: str, file: Path, opset: int) -> onnx.ModelProto:
    try:
        model, _ = tf2onnx.convert.from_tflite(str(file), opset=opset)
    except Exception as error:  # tf2onnx raises anything
        raise Refusal(f"{source}: tf2onnx cannot write this file: {first_line(error)}; try another --opset") from error
    return model


if __name__ == "__main__":
    sys.exit(main(convert))
