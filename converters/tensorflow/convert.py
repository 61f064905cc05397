"""TensorFlow's own files without their source, through tf2onnx: SavedModel folders and frozen graphs.

Keras has 3-D convolutions in groups compiled by XLA, and the mark that says so hides them from tf2onnx, which ends
well nevertheless: it is taken off a copy, and the outputs are computed by the original.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Array, Converted, Refusal, Request, main, random_clip, unsteady

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Call = Callable[..., Mapping[str, Any]]

MUST_COMPILE = "_XlaMustCompile"
"""Mark of functions and operators that XLA must compile."""

NO_SIGNATURE = {"__saved_model_init_op", "__saved_model_train_op"}
TRAINS = {
    "again": "outputs change from run to run, dropout or noise is on; save it for inference",
    "beside": "what a clip gives depends on the clip beside it, as in training; save for inference",
}
"""What to say of a network that still trains."""


@dataclass(frozen=True)
class Network:
    """What TensorFlow loaded.

    Attributes:
        call: Clips by name to outputs by name.
        declared: Sizes of the inputs, None where they are open.
        outputs: Names of the outputs.
        keep: Owner of the variables, which die with it.
    """

    call: Call
    declared: dict[str, list[int | None] | None]
    outputs: list[str]
    keep: Any


def convert(request: Request) -> Converted:
    """The graph that tf2onnx writes of a SavedModel's signature or of a frozen graph.

    Raises:
        Refusal: If it cannot be read, is not ready for inference, or cannot be exported.
    """
    opset = request.opset_between(13, 18, default=17)
    source, path = request.source, Path(request.source)
    refuse_others(path)
    network = load(path) if path.is_dir() else load_frozen(path)
    shapes, fixed = request.shapes_and_batch(network.declared)
    drawn = random_clip(np.random.default_rng(request.seed), shapes, fixed or 2)
    clips = {name: tf.constant(array) for name, array in drawn.items()}
    call, notes = runnable(source, network, clips)
    if found := unsteady(lambda given: list(call(**given).values()), clips, fixed=fixed is not None):
        raise Refusal(f"{source}: {TRAINS[found]}")
    exported = network
    if path.is_dir():
        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        if freed := drop_mark(saved):
            exported = load_copy(path, saved)
            notes.append(f"{freed} parts that XLA must compile, which tf2onnx does not enter, were freed of that mark")
    graph = freeze(source, exported, shapes, fixed)
    refuse_training(source, graph.graph.as_graph_def())
    model, names = export(source, graph, network, shapes, opset)

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        results = call(**{name: tf.constant(clip[name]) for name in shapes})
        return {name: results[key].numpy() for name, key in zip(names, network.outputs, strict=True)}

    return Converted(
        model=model,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"tensorflow {tf.__version__}",
        exporter=f"tf2onnx {tf2onnx.__version__}",
        kind="savedmodel" if path.is_dir() else "frozen graph",
        notes=notes,
    )


# ------------------------------------------------------------------------------------------------------ loading


def refuse_others(path: Path) -> None:
    """Refuses files and folders that are no SavedModel and no graph, with the converter that takes them.

    Raises:
        Refusal: With what to do.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return
        if (path / "saved_model.pbtxt").is_file():
            raise Refusal(f"{path} holds its graph as text; load it in TensorFlow and save it again")
        if (path / "checkpoint").is_file() or list(path.glob("*.index")):
            raise Refusal(f"{path} is a checkpoint, weights without a network; save the network with model.export()")
        raise Refusal(f"{path} holds no saved_model.pb; save the network with model.export() or tf.saved_model.save")
    with path.open("rb") as stream:
        head = stream.read(8)
    if path.name == "saved_model.pb":
        raise Refusal(f"{path} is one part of a SavedModel; give the folder that holds it, with its variables")
    if head[4:8] == b"TFL3":
        raise Refusal(f"{path} is a TensorFlow Lite file, which is converted with: cfp-onnx convert tflite")
    if head[:2] == b"PK" or head == b"\x89HDF\r\n\x1a\n":
        raise Refusal(f"{path} is neither a SavedModel folder nor a frozen graph; try: cfp-onnx convert keras")
    if path.suffix in {".index", ".ckpt", ".meta"} or ".data-" in path.name:
        raise Refusal(f"{path} is part of a checkpoint, weights without a network; save the network as a SavedModel")


def load(folder: Path) -> Network:
    """The signature in a SavedModel folder that is meant for inference.

    Raises:
        Refusal: If it cannot be loaded, or it is not clear which signature is meant.
    """
    try:
        metas = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    except DecodeError as error:
        raise Refusal(f"{folder}: saved_model.pb cannot be read, it is cut or damaged; copy it again") from error
    tags = [sorted(meta.meta_info_def.tags) for meta in metas]
    if ["serve"] not in tags:
        found = "; ".join("+".join(t) or "none" for t in tags) or "none"
        raise Refusal(f"{folder} has no graph with the tag 'serve', only {found}; save the network for inference")
    try:
        loaded = tf.saved_model.load(str(folder), tags=["serve"])
    except Exception as error:  # TensorFlow raises anything, from OSError to its own
        raise Refusal(f"{folder} cannot be loaded by TensorFlow {tf.__version__}: {said(error)}; save it again") from (
            error
        )
    signatures = {name: s for name, s in loaded.signatures.items() if name not in NO_SIGNATURE}
    if not signatures:
        raise Refusal(f"{folder} has no signature; save it with tf.saved_model.save(.., signatures=..)")
    name = "serving_default" if "serving_default" in signatures or len(signatures) > 1 else next(iter(signatures))
    if name not in signatures:
        listed = ", ".join(signatures)
        raise Refusal(f"{folder} has the signatures {listed} and no serving_default; save it with the one to convert")
    signature = signatures[name]
    specs = signature.structured_input_signature[1]
    return Network(signature, declared(folder, specs), list(signature.structured_outputs), loaded)


def load_frozen(path: Path) -> Network:
    """The graph in a file: placeholders are its inputs, and what nothing reads is an output.

    Raises:
        Refusal: If there is none, or its weights are elsewhere.
    """
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise Refusal(f"{path} is neither a SavedModel folder nor a frozen graph (.pb), or it is cut") from error
    variables = [n.name for n in graph.node if n.op in {"Variable", "VariableV2", "VarHandleOp"}]
    if variables:
        raise Refusal(f"{path} is not frozen, the values of {variables[0]!r} are elsewhere; save a SavedModel folder")
    read = {name.lstrip("^").partition(":")[0] for node in graph.node for name in node.input}
    ports = [node for node in graph.node if node.op == "Placeholder"]
    ends = [n.name for n in graph.node if n.name not in read and n.op not in {"NoOp", "Const", "Placeholder", "Assert"}]
    if not ports or not ends:
        raise Refusal(f"{path} holds no graph with inputs and outputs; save a SavedModel folder")
    try:
        whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        pruned = whole.prune([f"{port.name}:0" for port in ports], [f"{name}:0" for name in ends])
    except Exception as error:  # TensorFlow raises anything
        raise Refusal(f"{path} cannot be loaded by TensorFlow {tf.__version__}: {said(error)}; save it again") from (
            error
        )
    specs = {n.name: tf.TensorSpec(tf.TensorShape(n.attr["shape"].shape), n.attr["dtype"].type) for n in ports}

    def call(**clips: Any) -> dict[str, Any]:
        return dict(zip(ends, pruned(*(clips[port.name] for port in ports)), strict=True))

    return Network(call, declared(path, specs), ends, whole)


def declared(path: Path, specs: Mapping[str, Any]) -> dict[str, list[int | None] | None]:
    """What a signature says of its inputs.

    Raises:
        Refusal: If one is not float32.
    """
    for name, spec in specs.items():
        if spec.dtype != tf.float32:
            raise Refusal(f"{path}: input {name!r} is {spec.dtype.name}; save the network with float32 inputs")
    return {name: None if spec.shape.rank is None else spec.shape.as_list() for name, spec in specs.items()}


# ------------------------------------------------------------------------------------------------------ running


def runnable(source: str, network: Network, clips: Mapping[str, Any]) -> tuple[Call, list[str]]:
    """How TensorFlow computes the outputs, and a note where that is by XLA.

    Raises:
        Refusal: If it cannot.
    """
    try:
        network.call(**clips)
    except (tf.errors.OpError, TypeError, ValueError, RuntimeError) as plain:
        compiled = tf.function(lambda **given: dict(network.call(**given)), jit_compile=True, autograph=False)
        try:
            compiled(**clips)
        except Exception as error:  # TensorFlow raises anything
            raise Refusal(f"{source}: TensorFlow cannot run this network at that size: {said(plain)}") from error
        return compiled, ["TensorFlow has no kernels for this network on a CPU; XLA computed the outputs to compare"]
    return network.call, []


# ----------------------------------------------------------------------------------------------------- exporting


def drop_mark(saved: SavedModel) -> int:
    """Takes XLA's mark off functions and operators; of how many."""
    dropped = 0
    for meta in saved.meta_graphs:
        functions = meta.graph_def.library.function
        for thing in (*meta.graph_def.node, *functions, *(node for f in functions for node in f.node_def)):
            if MUST_COMPILE in thing.attr:
                dropped += thing.attr[MUST_COMPILE].b
                del thing.attr[MUST_COMPILE]
    return dropped


def load_copy(folder: Path, saved: SavedModel) -> Network:
    """A folder's network with another graph; what was saved stays as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "saved"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("saved_model.pb", "fingerprint.pb"))
        (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
        return load(copy)


def freeze(source: str, network: Network, shapes: Mapping[str, Sequence[int]], fixed: int | None) -> Any:
    """The network as one function without variables, for clips of these sizes.

    Raises:
        Refusal: If TensorFlow cannot write it so.
    """
    specs = [tf.TensorSpec([fixed, *sizes[1:]], tf.float32) for sizes in shapes.values()]

    @tf.function(input_signature=specs, autograph=False)
    def whole(*clips: Any) -> list[Any]:
        results = network.call(**dict(zip(shapes, clips, strict=True)))
        return [results[key] for key in network.outputs]

    try:
        return convert_variables_to_constants_v2(
            whole.get_concrete_function(), lower_control_flow=False, aggressive_inlining=True
        )
    except Exception as error:  # TensorFlow raises anything
        raise Refusal(f"{source}: TensorFlow cannot freeze this network: {said(error)}; save it for inference") from (
            error
        )


def refuse_training(source: str, graph: Any) -> None:
    """Refuses batch normalisation in training mode: the exporter would write another network without a word.

    Raises:
        Refusal: With its name.
    """
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            raise Refusal(f"{source}: batch normalisation {node.name!r} is in training mode; save it for inference")


def export(
    source: str, graph: Any, network: Network, shapes: Mapping[str, Sequence[int]], opset: int
) -> tuple[onnx.ModelProto, list[str]]:
    """What tf2onnx writes, with the signature's names, and the names of its outputs.

    Raises:
        Refusal: If it cannot.
    """
    names = [f"{key}_out" if key in shapes else key for key in network.outputs]
    inputs, outputs = ([port.name for port in ports] for ports in (graph.inputs, graph.outputs))
    renamed = {**dict(zip(inputs, shapes, strict=True)), **dict(zip(outputs, names, strict=True))}
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph.graph.as_graph_def(add_shapes=True), name="network", input_names=inputs, output_names=outputs,
            opset=opset, tensors_to_rename=renamed,
        )  # fmt: skip
    except Exception as error:  # tf2onnx raises anything
        raise Refusal(f"{source}: tf2onnx cannot write this network: {said(error)}; try another --opset") from error
    name_layers(model)
    return model, names


def name_layers(model: onnx.ModelProto) -> None:
    """Gives layers their own names: tf2onnx numbers those that it folds a bias into, and names all calls around."""
    taken = set()
    for node in model.graph.node:
        name = node.name
        if re.fullmatch(r"Conv(Transpose)?__\d+", name) and "/" in node.input[1]:
            name = re.sub(r"(/merged_input|/ReadVariableOp)*:\d+$", "", node.input[1])
        name = re.sub(r"^((Stateful)?PartitionedCall/)+", "", name)
        node.name = node.name if name in taken else name
        taken.add(node.name)


def said(error: BaseException) -> str:
    """What an error says, without what TensorFlow puts around it."""
    around = ("Graph execution error", "Detected at node", "<stack traces", "[[{{", "Traceback")
    lines = [line.strip() for line in str(error).splitlines()]
    words = [line for line in lines if line and not line.startswith(around)]
    return (words or [type(error).__name__])[0].rstrip(".:")


if __name__ == "__main__":
    sys.exit(main(convert))
