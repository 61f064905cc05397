"""One network with the same weights as everywhere, in the own files of frameworks other than PyTorch: a row for each.

A framework's tests run where its environment is: ``$CFP_<FRAMEWORK>_PYTHON``, or ``.venvs/<framework>`` beside this
folder. The authority for the logits is
the same network written as an ONNX graph by hand, run without any fusion.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import blocks_frameworks as blocks
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cfp_onnx.explanation.call import topology

ROOT = Path(__file__).resolve().parents[2]
CONVERTERS = ROOT / "converters"
OTHERS = ("keras", "tensorflow", "tflite", "jax", "paddle", "mxnet")
FIRST, LAST, TINY = (1, 3, 4, 16, 16), (1, 4, 16, 16, 3), (1, 3, 4, 5, 2)
FAMILIES = Counter(plain=4, pointwise=4, dense=3, factorised=2, grouped=1, depthwise=1)

# One row per form of source: framework, file, input shape, what is asked for besides, words of the notes.
SOURCES: list[tuple[str, str, tuple[int, ...], dict[str, Any], str]] = [
    ("keras", "blocks.keras", LAST, {}, ""),
    ("keras", "blocks.h5", LAST, {}, ""),
    ("keras", "fixed.keras", LAST, {}, ""),
    ("keras", "blocks.keras", LAST, {"batch": 1, "opset": 18}, ""),
    ("keras", "sequence.keras", LAST, {}, ""),
    ("paddle", "blocks.json", FIRST, {}, ""),
    ("paddle", "blocks", FIRST, {"batch": 1, "opset": 13}, ""),
    ("paddle", "folder", FIRST, {"opset": 21}, ""),
    ("paddle", "fixed.json", FIRST, {}, ""),
    ("paddle", "free.json", FIRST, {}, ""),
    ("paddle", "old.pdmodel", FIRST, {}, ""),
    ("paddle", "old", FIRST, {"batch": 1, "opset": 11}, ""),
    ("paddle", "apart.json", FIRST, {"weights": "blocks.pdiparams"}, ""),
    ("paddle", "apart.pdmodel", FIRST, {"weights": "old.pdiparams"}, ""),
    ("mxnet", "blocks-symbol.json", FIRST, {}, "66 weights that were graph inputs"),
    ("mxnet", "blocks", FIRST, {"batch": 1, "opset": 12}, ""),
    ("mxnet", "codes-symbol.json", FIRST, {}, "reshapes with codes"),
    ("mxnet", "fixed-symbol.json", FIRST, {}, ""),
    ("mxnet", "apart-symbol.json", FIRST, {"weights": "blocks-0000.params"}, ""),
    ("jax", "blocks_jax.py:of_nnx", LAST, {}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.npz", "opset": 18}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "slashes.npz", "batch": 1}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.safetensors", "batch": 2}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.msgpack", "opset": 23}, ""),
    ("jax", "blocks_jax.py:of_bfloat16", LAST, {}, "weights of bfloat16 became float32"),
    ("jax", "blocks_jax.py:of_linen", LAST, {}, ""),
    ("jax", "blocks_jax.py:bare_linen", LAST, {"weights": "linen.msgpack"}, ""),
    ("jax", "blocks_jax.py:of_function", FIRST, {}, ""),
    ("jax", "blocks_jax.py:of_closure", FIRST, {"batch": 1, "opset": 18}, ""),
    ("jax", "blocks_jax.py:of_doubles", FIRST, {}, "jax_enable_x64 was switched off"),
    ("jax", "blocks_jax.py:one_by_one", FIRST, {}, "the batch is fixed at 1: the code cannot be traced"),
    ("tensorflow", "blocks", LAST, {}, "groups of convolutions were lost"),
    ("tensorflow", "blocks", LAST, {"batch": 1, "opset": 13}, "that XLA must compile"),
    ("tensorflow", "split", LAST, {}, ""),
    ("tensorflow", "plain", LAST, {}, "XLA computed the outputs"),
    ("tensorflow", "compiled", LAST, {"opset": 18}, "that XLA must compile"),
    ("tensorflow", "fixed", LAST, {}, "groups of convolutions were lost"),
    ("tensorflow", "tf1", LAST, {}, ""),
    ("tensorflow", "frozen.pb", LAST, {}, ""),
    ("tflite", "alone.tflite", LAST, {}, ""),
    ("tflite", "blocks.tflite", LAST, {}, "no kernel here for FlexMaxPool3D, CONV_3D in groups"),
    ("tflite", "blocks.tflite", LAST, {"batch": 1, "opset": 13}, "groups of convolutions were lost"),
    ("tflite", "float16.tflite", LAST, {"opset": 18}, ""),
    ("tflite", "dynamic_range.tflite", LAST, {}, "2 weights of 8 bits"),
    ("tflite", "alone_dynamic_range.tflite", LAST, {}, "it rounds activations too"),
    ("tflite", "fixed.tflite", LAST, {}, "no kernel here for FlexMaxPool3D, FlexConv3D"),
]

# One row per refusal: framework, file, input shape, what is asked for besides, words of the sentence.
REFUSED: list[tuple[str, str, tuple[int, ...], dict[str, Any], str]] = [
    ("keras", "lambda.keras", LAST, {}, "Lambda layer"),
    ("keras", "only.weights.h5", LAST, {}, "weights only"),
    ("keras", "logits.npy", LAST, {}, "neither a .keras nor an .h5"),
    ("keras", "blocks.keras", FIRST, {}, "is 1,4,16,16,3, not 1,3,4,16,16"),
    ("keras", "blocks.keras", LAST, {"opset": 13}, "writes 18 to"),
    ("keras", "fixed.keras", LAST, {"batch": 3}, "saved for a batch of 2"),
    ("tensorflow", "blocks", FIRST, {}, "is 1,4,16,16,3, not 1,3,4,16,16"),
    ("tensorflow", "blocks", LAST, {"opset": 20}, "writes 13 to 18"),
    ("tensorflow", "fixed", LAST, {"batch": 3}, "saved for a batch of 2"),
    ("tensorflow", "several", LAST, {}, "has the signatures first, second and no serving_default"),
    ("tensorflow", "unsigned", LAST, {}, "has no signature"),
    ("tensorflow", "tagged", LAST, {}, "only gpu+train"),
    ("tensorflow", "cut", LAST, {}, "cut or damaged"),
    ("tensorflow", "weightless", LAST, {}, "cannot be loaded by TensorFlow"),
    ("tensorflow", "checkpoint", LAST, {}, "weights without a network"),
    ("tensorflow", "blocks/saved_model.pb", LAST, {}, "give the folder"),
    ("tensorflow", "blocks/assets", LAST, {}, "no saved_model.pb"),
    ("tensorflow", "cut.pb", LAST, {}, "neither a SavedModel folder nor a frozen graph"),
    ("tensorflow", "logits.npy", LAST, {}, "neither a SavedModel folder nor a frozen graph"),
    ("tensorflow", "blocks.keras", LAST, {}, "cfp-onnx convert keras"),
    ("tensorflow", "relu.tflite", LAST, {}, "cfp-onnx convert tflite"),
    ("tensorflow", "trains", TINY, {}, "depends on the clip beside it"),
    ("tensorflow", "trains_alone", TINY, {}, "is in training mode"),
    ("tensorflow", "beside", TINY, {}, "depends on the clip beside it"),
    ("tensorflow", "random", TINY, {}, "change from run to run"),
    ("tensorflow", "strange", TINY, {}, "left MatrixInverse"),
    ("tensorflow", "double", TINY, {}, "is float64"),
    ("tflite", "blocks.tflite", FIRST, {}, "is 1,4,16,16,3, not 1,3,4,16,16"),
    ("tflite", "blocks.tflite", LAST, {"opset": 19}, "writes 13 to 18"),
    ("tflite", "fixed.tflite", LAST, {"batch": 3}, "written for a batch of 2"),
    ("tflite", "integers.tflite", LAST, {}, "computes in integers"),
    ("tflite", "bytes_in.tflite", LAST, {}, "computes in integers"),
    ("tflite", "four_bits.tflite", LAST, {}, "are int4"),
    ("tflite", "counts.tflite", TINY, {}, "is int32"),
    ("tflite", "several.tflite", TINY, {}, "has the signatures one, two"),
    ("tflite", "strange.tflite", TINY, {}, "left MatrixInverse"),
    ("tflite", "custom.tflite", TINY, {}, "unresolved custom op: BesselI0e"),
    ("tflite", "beside.tflite", TINY, {}, "depends on the clip beside it"),
    ("tflite", "cut.tflite", LAST, {}, "cut or damaged"),
    ("tflite", "logits.npy", LAST, {}, "no .tflite file"),
    ("tflite", "several", LAST, {}, "cfp-onnx convert tensorflow"),
    ("jax", "nnx.npz", LAST, {}, "JAX has no file that holds a network without its code"),
    ("jax", "nothing.py:of_nnx", LAST, {}, "cannot be made (FileNotFoundError"),
    ("jax", "blocks_jax.py:nothing", LAST, {}, "has no attribute 'nothing'"),
    ("jax", "blocks_jax.py:failing", LAST, {}, "cannot be made (ValueError: no such checkpoint)"),
    ("jax", "blocks_jax.py:exiting", LAST, {}, "cannot be made (SystemExit: 0)"),
    ("jax", "blocks_jax.py:number", LAST, {}, "gives a int; return an nnx.Module"),
    ("jax", "blocks_jax.py:bare_linen", LAST, {}, "gives a Linen module without variables"),
    ("jax", "blocks_jax.py:of_nnx", FIRST, {}, "does not take a float32 input of (1, 3, 4, 16, 16)"),
    ("jax", "blocks_jax.py:of_function", (1, 3, 16, 16), {}, "does not take a float32 input of (1, 3, 16, 16)"),
    ("jax", "blocks_jax.py:of_nnx", LAST, {"opset": 13}, "writes 18 to 23"),
    ("jax", "blocks_jax.py:of_nnx", LAST, {"input_shape": {"a": LAST, "b": LAST}}, "does not take a float32 input"),
    (
        "jax",
        "blocks_jax.py:branching",
        FIRST,
        {},
        "looks at the values of a clip (TracerBoolConversionError, blocks_jax",
    ),
    ("jax", "blocks_jax.py:numpying", FIRST, {}, "values of a clip (TracerArrayConversionError"),
    ("jax", "blocks_jax.py:normalising", FIRST, {}, "change with the clip beside it"),
    ("jax", "blocks_jax.py:dropping", FIRST, {"batch": 1}, "draws random numbers"),
    ("jax", "blocks_jax.py:training", LAST, {}, "changes bn.mean when it runs"),
    ("jax", "blocks_jax.py:drops", LAST, {}, "draws random numbers"),
    ("jax", "blocks_jax.py:linen_trains", LAST, {}, "batch norm is in training mode"),
    ("jax", "blocks_jax.py:linen_drops", LAST, {}, "wants random keys"),
    ("jax", "blocks_jax.py:narrow", FIRST, {}, "computes in bfloat16"),
    ("jax", "blocks_jax.py:classes", FIRST, {}, "returns int32, not float32"),
    ("jax", "blocks_jax.py:indexing", FIRST, {}, "does not take a float32 input"),
    ("jax", "blocks_jax.py:over_channels", FIRST, {}, "over batch and channels"),
    ("jax", "blocks_jax.py:transposed", FIRST, {}, "transposed convolution on three axes"),
    ("jax", "blocks_jax.py:calling_back", FIRST, {"batch": 1}, "jax2onnx cannot write this network"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "short.npz"}, "missing stem_conv.kernel"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "long.npz"}, "left over more"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "other.npz"}, "fc.kernel is (64, 11), not (64, 10)"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "linen.msgpack"}, "missing dw_bn.bias"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "cut.npz"}, "or a damaged one"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "cut.safetensors"}, "damaged"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "text.msgpack"}, "no .npz, .safetensors or msgpack file"),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "orbax"}, "a folder, such as Orbax writes"),
    ("jax", "blocks_jax.py:of_closure", FIRST, {"weights": "nnx.npz"}, "a function, which has no weights to set"),
    ("paddle", "blocks.json", LAST, {}, "is 1,3,4,16,16, not 1,4,16,16,3"),
    ("paddle", "blocks.json", FIRST[:4], {}, "is 1,3,4,16,16, not 1,3,4,16"),
    ("paddle", "blocks.json", FIRST, {"opset": 22}, "writes 7 to 21"),
    ("paddle", "blocks.json", FIRST, {"opset": 7}, "needs 11 at least"),
    ("paddle", "blocks.json", FIRST, {"weights": "nowhere.pdiparams"}, "no such file"),
    ("paddle", "blocks.json", FIRST, {"weights": "logits.npy"}, "not the weights of blocks.json"),
    ("paddle", "narrow.json", FIRST, {"weights": "wide.pdiparams"}, "is [12], not [8]"),
    ("paddle", "old.pdmodel", FIRST, {"weights": "narrow.pdiparams"}, "not the weights of old.pdmodel"),
    ("paddle", "fixed.json", FIRST, {"batch": 3}, "saved for a batch of 2"),
    ("paddle", "cut_blocks.json", FIRST, {}, "cannot read it"),
    ("paddle", "cut_old.pdmodel", FIRST, {}, "cannot read it"),
    ("paddle", "short_blocks.json", FIRST, {}, "not all of them"),
    ("paddle", "short_old.pdmodel", FIRST, {}, "not all of them"),
    ("paddle", "apart.json", FIRST, {}, "no weights beside it, apart.pdiparams"),
    ("paddle", "apart.pdmodel", FIRST, {}, "no weights beside it, apart.pdiparams"),
    ("paddle", "apart", FIRST, {}, "has 2 networks, apart.json, apart.pdmodel"),
    ("paddle", "both", FIRST, {}, "has 2 networks, blocks.json, narrow.json"),
    ("paddle", "blocks.pdiparams", FIRST, {}, "holds weights only"),
    ("paddle", "logits.npy", FIRST, {}, "no inference file of Paddle"),
    ("paddle", "other.json", FIRST, {}, "no inference file of Paddle"),
    ("paddle", "nowhere", FIRST, {}, "no inference file of Paddle"),
    ("paddle", "stats.json", FIRST, {}, "batch_norm_ computes with statistics"),
    ("paddle", "erfinv.json", FIRST, {}, "does not know one of add, conv3d, erfinv"),
    ("paddle", "one.json", FIRST, {}, "try --batch 1"),
    ("paddle", "integers.json", FIRST, {}, "float32 inputs"),
    ("mxnet", "blocks-symbol.json", LAST, {}, "on this input stem_conv_weight is [32, 4, 3, 3, 3]"),
    ("mxnet", "blocks-symbol.json", FIRST[:4], {}, "cannot run this network on 1,3,4,16"),
    ("mxnet", "blocks-symbol.json", FIRST, {"opset": 17}, "writes 12 to 13"),
    ("mxnet", "blocks-symbol.json", FIRST, {"weights": "nowhere.params"}, "no such file"),
    ("mxnet", "blocks-symbol.json", FIRST, {"weights": "gamma-0000.params"}, "lacks"),
    ("mxnet", "narrow-symbol.json", FIRST, {"weights": "wide-0000.params"}, "wide-0000.params holds [12, 3, 3, 3, 3]"),
    ("mxnet", "fixed-symbol.json", FIRST, {"batch": 3}, "saved for a batch of 2"),
    ("mxnet", "fixed-symbol.json", (1, 3, 8, 16, 16), {}, "is 1,3,4,16,16, not 1,3,8,16,16"),
    ("mxnet", "cut-symbol.json", FIRST, {}, "no symbol of MXNet or is cut off"),
    ("mxnet", "short-symbol.json", FIRST, {}, "cannot be read as weights"),
    ("mxnet", "junk-symbol.json", FIRST, {}, "cannot be read as weights"),
    ("mxnet", "strange-symbol.json", FIRST, {}, "Operator Unheard is not registered"),
    ("mxnet", "fewer-symbol.json", FIRST, {}, "lacks fc_weight"),
    ("mxnet", "apart-symbol.json", FIRST, {}, "no weights beside it, apart-0000.params"),
    ("mxnet", "both-symbol.json", FIRST, {}, "has 2 files of weights"),
    ("mxnet", "other-symbol.json", FIRST, {}, "JSON but no symbol"),
    ("mxnet", "blocks-0000.params", FIRST, {}, "holds weights only"),
    ("mxnet", "logits.npy", FIRST, {}, "no symbol of MXNet"),
    ("mxnet", "nowhere", FIRST, {}, "no symbol of MXNet"),
    ("mxnet", "always-symbol.json", FIRST, {}, "Dropout does not currently support mode"),
    ("mxnet", "erfinv-symbol.json", FIRST, {}, "op type erfinv"),
    ("mxnet", "one-symbol.json", FIRST, {}, "on 2x3x4x16x16"),
    ("mxnet", "integers-symbol.json", FIRST, {}, "float32 inputs"),
    ("mxnet", "half-symbol.json", FIRST, {}, "net.cast('float32')"),
]

# One row per fault of an exporter that is mended: framework, file, words of the notes, operators that must be there.
MENDED: list[tuple[str, str, str, set[str]]] = [
    ("mxnet", "gamma-symbol.json", "fix_gamma", {"BatchNormalization"}),
    ("mxnet", "minus-symbol.json", "", {"Sub"}),
    ("mxnet", "over-symbol.json", "", {"Div"}),
    ("mxnet", "axes-symbol.json", "", {"ReduceMean"}),
    ("mxnet", "two-symbol.json", "", {"Gemm"}),
    ("mxnet", "loss-symbol.json", "", {"Softmax"}),
    ("mxnet", "flat-symbol.json", "", {"Flatten"}),
]


# ------------------------------------------------------------------------------------------ the network by hand


class OnnxOps:
    """The network as ONNX nodes."""

    def __init__(self, weights: blocks.Weights) -> None:
        self.weights, self.nodes, self.initializers = weights, [], []

    def put(self, op: str, inputs: list[str], arrays: list[np.ndarray] = (), **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        for k, array in enumerate(arrays):
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_{k}"))
            inputs = [*inputs, f"{name}_{k}"]
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def conv(self, x: str, name: str) -> str:
        kernel, stride, pad, groups = blocks.CONVS[name]
        w = self.weights[f"{name}.conv.weight"]
        x = self.put("Conv", [x], [w], kernel_shape=kernel, strides=stride, pads=[*pad, *pad], group=groups)
        statistics = [self.weights[f"{name}.bn.{k}"] for k in blocks.BN]
        return self.put("BatchNormalization", [x], statistics, epsilon=blocks.EPSILON)

    def relu(self, x: str) -> str:
        return self.put("Relu", [x])

    def sigmoid(self, x: str) -> str:
        return self.put("Sigmoid", [x])

    def add(self, a: str, b: str) -> str:
        return self.put("Add", [a, b])

    def concat(self, parts: list[str]) -> str:
        return self.put("Concat", parts, axis=1)

    def pool(self, x: str) -> str:
        return self.put("MaxPool", [x], kernel_shape=[3, 3, 3], pads=[1] * 6, strides=[1, 1, 1])

    def shuffle(self, x: str) -> str:
        x = self.put("Reshape", [x], [np.array([0, blocks.GROUPS, 48 // blocks.GROUPS, 2, 4, 4])])
        x = self.put("Transpose", [x], perm=[0, 2, 1, 3, 4, 5])
        return self.put("Reshape", [x], [np.array([0, 48, 2, 4, 4])])

    def mean(self, x: str) -> str:
        return self.put("Flatten", [self.put("GlobalAveragePool", [x])])

    def dense(self, x: str, name: str) -> str:
        return self.put("Gemm", [x], [self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]], transB=1)

    def gate(self, x: str, held: str) -> str:
        return self.put("Mul", [x, self.put("Unsqueeze", [held], [np.array([2, 3, 4])])])


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return blocks.seeded_weights()


@pytest.fixture(scope="module")
def logits(weights: dict[str, np.ndarray]) -> np.ndarray:
    """What the network says to the clip."""
    ops = OnnxOps(weights)
    last = blocks.network(ops, "clip")
    shape = [None, *weights["clip"].shape[1:]]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("clip", shape), (last, [None, 10]))]
    graph = helper.make_graph(ops.nodes, "blocks", ports[:1], ports[1:], ops.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run_plain(model, {"clip": weights["clip"]})


def run_plain(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The runtime without any fusion; the reference evaluator's own pools fail on three axes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )[0]


# ------------------------------------------------------------------------------------------------- the frameworks


def interpreter(framework: str) -> Path:
    """The framework's own Python; the test is skipped where there is none."""
    named = os.environ.get(f"CFP_{framework.upper()}_PYTHON")
    place = Path(named) if named else ROOT / ".venvs" / framework / "bin" / "python"
    if not place.is_file():
        pytest.skip(f"no environment for {framework}")
    return place


@pytest.fixture(scope="module")
def saved(
    weights: dict[str, np.ndarray], logits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Folder with each form of source of a framework, which agrees with the reference."""
    done: dict[str, Path] = {}

    def save(framework: str) -> Path:
        python = interpreter(framework)
        if framework not in done:
            folder = tmp_path_factory.mktemp(framework)
            np.savez(folder / "weights.npz", **weights)
            command = [python, blocks.__file__, framework, folder / "weights.npz", folder]
            run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=quiet())
            assert run.returncode == 0, run.stderr[-3000:]
            np.testing.assert_allclose(np.load(folder / "logits.npy"), logits, atol=1e-4)
            done[framework] = folder
        return done[framework]

    return save


def quiet() -> dict[str, str]:
    """The environment of a child: nothing of this one's warnings and paths."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}


def run_converter(
    framework: str, source: str, shape: tuple[int, ...], out: Path, **asked: Any
) -> subprocess.CompletedProcess[str]:
    request = {"format": 1, "source": source, "weights": None, "input_shape": list(shape), "batch": "dynamic",
               "opset": None, "allow_pickle": False, "seed": 0, "cwd": str(out), **asked}  # fmt: skip
    (out / "request.json").write_text(json.dumps(request))
    script = ROOT / "converters" / framework / "convert.py"
    command = [interpreter(framework), "-B", script, out / "request.json", out]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out, env=quiet())


def source_of(folder: Path, name: str) -> str:
    return f"{folder / name.partition(':')[0]}:{name.partition(':')[2]}" if ":" in name else str(folder / name)


@pytest.mark.converters
@pytest.mark.parametrize(
    ("framework", "name", "shape", "asked", "words"),
    SOURCES,
    ids=[f"{r[0]}-{r[1]}-{'-'.join(map(str, r[3].values()))}" for r in SOURCES],
)
def test_the_same_network_comes_out(
    saved: Callable[[str], Path],
    weights: dict[str, np.ndarray],
    logits: np.ndarray,
    tmp_path: Path,
    framework: str,
    name: str,
    shape: tuple[int, ...],
    asked: dict[str, Any],
    words: str,
) -> None:
    folder = saved(framework)
    asked = {k: str(folder / v) if k == "weights" else v for k, v in asked.items()}
    done = run_converter(framework, source_of(folder, name), shape, tmp_path, **asked)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == 1
    assert report["framework"]
    assert report["exporter"]
    assert report["source_kind"]
    assert words in " ".join(report["notes"])
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert report["opset"] == asked.get("opset", report["opset"]) == model.opset_import[0].version
    assert_no_paths((tmp_path / "model.onnx").read_bytes(), folder)
    assert not [n.name for n in model.graph.node if n.op_type == "Conv" and n.name.startswith("Conv__")]
    worst = run_probe(tmp_path)
    assert worst <= 1e-4
    if "float16" not in name and "dynamic_range" not in name:
        assert_logits(tmp_path / "model.onnx", weights["clip"], shape, logits)
    sizes = {model.graph.input[0].name: shape}
    if (batch := model.graph.input[0].type.tensor_type.shape.dim[0].dim_value) > 0:
        sizes = {n: (batch, *s[1:]) for n, s in sizes.items()}
    engine = topology(tmp_path / "model.onnx", input_shape=sizes)
    assert Counter(str(layer.family) for layer in engine.topology.layers) == FAMILIES
    assert engine.coverage.channels == 1.0


@pytest.mark.converters
@pytest.mark.parametrize(("name", "shape"), [("windows", LAST), ("numbered", FIRST)])
@pytest.mark.parametrize("asked", [{}, {"batch": 2, "opset": 18}], ids=["", "batch"])
def test_jax_windows_come_out_in_every_form(
    saved: Callable[[str], Path], tmp_path: Path, name: str, shape: tuple[int, ...], asked: dict[str, Any]
) -> None:
    done = run_converter("jax", f"{saved('jax') / 'blocks_jax.py'}:{name}", shape, tmp_path, **asked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "report.json").read_text())["notes"] == []
    assert run_probe(tmp_path) <= 1e-4


@pytest.mark.converters
def test_jax_products_with_weights_are_layers(saved: Callable[[str], Path], tmp_path: Path) -> None:
    done = run_converter("jax", f"{saved('jax') / 'blocks_jax.py'}:products", LAST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_probe(tmp_path) <= 1e-4
    engine = topology(tmp_path / "model.onnx", input_shape={"clip": LAST})
    assert [layer.name for layer in engine.topology.layers] == ["pointwise", "spread", "summed", "last"]
    assert engine.coverage.channels == 1.0


@pytest.mark.converters
def test_jax_code_is_found_in_the_current_folder_and_names_its_layers(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    done = run_converter("jax", "blocks_jax:of_nnx", LAST, tmp_path, cwd=str(saved("jax")))
    assert done.returncode == 0, done.stderr[-3000:]
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    layers = {node.name for node in nodes if node.op_type in {"Conv", "Gemm", "MatMul"}}
    names = {f"{n.replace('.', '_')}_conv" for n in blocks.CONVS} | {n.replace(".", "_") for n in blocks.DENSE}
    assert layers == names


def run_probe(folder: Path) -> float:
    """Largest difference between the file and the framework on the probe's clips, of batch 1 and 2 where it may."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    clips: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    with np.load(folder / "probe.npz") as probe:
        for key in probe.files:
            side, k, name = key.split("_", 2)
            clips.setdefault(k, ({}, {}))[side == "output"][name] = probe[key]
    assert sorted(clips) == ["0", "1", "2"]
    batches = [len(next(iter(inputs.values()))) for inputs, _ in clips.values()]
    assert batches == ([1, 1, 2] if isinstance(session.get_inputs()[0].shape[0], str) else [batches[0]] * 3)
    worst = 0.0
    for inputs, outputs in clips.values():
        for name, theirs in outputs.items():
            (ours,) = session.run([name], inputs)
            assert ours.shape == theirs.shape
            worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())))
    return worst


def assert_logits(file: Path, clip: np.ndarray, shape: tuple[int, ...], logits: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    clip = clip if shape[1] == 3 else blocks.channels_last(clip)
    batch = 1 if port.shape[0] == 1 else 2
    (ours,) = session.run(None, {port.name: clip[:batch]})
    np.testing.assert_allclose(ours, logits[:batch], atol=1e-4)


def assert_no_paths(data: bytes, *folders: Path) -> None:
    for path in (*folders, ROOT, Path.home(), Path(sys.prefix)):
        if len(path.parts) > 1:
            assert os.fsencode(path) not in data
    assert b"site-packages" not in data
    assert b"Traceback" not in data


@pytest.mark.converters
@pytest.mark.parametrize(
    ("framework", "name", "shape", "asked", "words"), REFUSED, ids=[f"{r[0]}-{r[1]}-{r[4][:14]}" for r in REFUSED]
)
def test_what_cannot_be_converted_is_refused_in_a_sentence(
    saved: Callable[[str], Path],
    tmp_path: Path,
    framework: str,
    name: str,
    shape: tuple[int, ...],
    asked: dict[str, Any],
    words: str,
) -> None:
    folder = saved(framework)
    asked = {k: str(folder / v) if k == "weights" else v for k, v in asked.items()}
    done = run_converter(framework, source_of(folder, name), shape, tmp_path, **asked)
    assert done.returncode == 2, done.stderr[-3000:]
    assert words in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.converters
@pytest.mark.parametrize(("framework", "name", "words", "operators"), MENDED, ids=[f"{r[0]}-{r[1]}" for r in MENDED])
def test_what_an_exporter_gets_wrong_is_mended(
    saved: Callable[[str], Path], tmp_path: Path, framework: str, name: str, words: str, operators: set[str]
) -> None:
    done = run_converter(framework, source_of(saved(framework), name), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert words in " ".join(json.loads((tmp_path / "report.json").read_text())["notes"])
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} >= operators
    assert run_probe(tmp_path) <= 1e-4
    engine = topology(tmp_path / "model.onnx", input_shape={model.graph.input[0].name: FIRST})
    assert engine.coverage.channels == 1.0


SPY = """
import os, sys
log = open(os.environ["CFP_SPY"], "a", buffering=1)
def spy(event, args):
    if event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "import"}:
        log.write(f"{event} {args[0]} {args[1] if event == 'subprocess.Popen' else ''}\\n")
sys.addaudithook(spy)
"""


@pytest.mark.converters
def test_the_exporter_of_paddle_installs_nothing(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone it runs pip against a foreign index while it converts; every process of the converter is watched."""
    folder = saved("paddle")
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    own = {"CFP_SPY": str(tmp_path / "log"), "PYTHONPATH": str(tmp_path / "spy"), "PIP_INDEX_URL": "http://127.0.0.1:9"}
    monkeypatch.setattr(sys.modules[__name__], "quiet", lambda: {**os.environ, **own})
    done = run_converter("paddle", str(folder / "blocks.json"), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = (tmp_path / "log").read_text().splitlines()
    started = [line for line in seen if not line.startswith("import ")]
    assert len([line for line in started if "export.py" in line]) == 1
    assert "import paddle2onnx " in seen
    assert not [line for line in started if "pip" in line or line.startswith("socket.connect")]
    assert not [line for line in seen if line.startswith(("import pip ", "import polygraphy"))]


@pytest.mark.converters
@pytest.mark.parametrize(
    ("framework", "name", "layers"),
    [("paddle", "blocks.json", {"conv3d_0", "conv3d_11", "linear_2"}), ("mxnet", "blocks", {"stem_conv", "fc"})],
)
def test_layers_keep_the_names_that_the_framework_knows(
    saved: Callable[[str], Path], tmp_path: Path, framework: str, name: str, layers: set[str]
) -> None:
    done = run_converter(framework, source_of(saved(framework), name), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {node.name for node in onnx.load(tmp_path / "model.onnx").graph.node} >= layers


@pytest.mark.converters
@pytest.mark.parametrize("framework", OTHERS)
def test_the_command_keeps_a_verified_file(saved: Callable[[str], Path], tmp_path: Path, framework: str) -> None:
    convert = pytest.importorskip("cfp_onnx.conversion.call")
    folder = saved(framework)
    _, name, shape, asked, _ = next(row for row in SOURCES if row[0] == framework)
    extra = {"weights": folder / asked["weights"]} if "weights" in asked else {}
    made = convert.convert(
        framework, source_of(folder, name), tmp_path / "kept.onnx", input_shape=shape,
        labels=[f"class {k}" for k in range(10)], python=interpreter(framework), **extra,
    )  # fmt: skip
    assert made.difference <= 1e-4
    assert made.layers == 15
    assert made.coverage == 1.0
    kept = onnx.load(tmp_path / "kept.onnx")
    assert {p.key for p in kept.metadata_props} >= {"cfp_onnx.labels", "cfp_onnx.source"}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.onnx"]


# --------------------------------------------------------------------- repairs, which need no framework


def shared(name: str) -> ModuleType:
    """A file that all converters share."""
    sys.path.insert(0, str(CONVERTERS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(CONVERTERS))


contract, repairs = shared("contract"), shared("repairs")


def small(text: str, **arrays: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    return model


def test_lost_groups_are_set_from_the_weights(rng: np.random.Generator) -> None:
    w = rng.standard_normal((8, 2, 1, 3, 3)).astype(np.float32)
    model = small("g (float[N,4,5,6,7] x) => (float[N,8,5,4,5] y) { y = Conv <group = 1> (x, w) }", w=w)
    notes = repairs.repair(model, {"x": [1, 4, 5, 6, 7]})
    assert "groups of convolutions were lost" in notes[0]
    x = rng.standard_normal((2, 4, 5, 6, 7)).astype(np.float32)
    halves = [small("g (float[N,2,5,6,7] x) => (float[N,4,5,4,5] y) { y = Conv (x, w) }", w=v) for v in np.split(w, 2)]
    parts = [ReferenceEvaluator(m).run(None, {"x": h})[0] for m, h in zip(halves, np.split(x, 2, axis=1), strict=True)]
    got = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, np.concatenate(parts, axis=1), atol=1e-5)


def test_groups_behind_shape_arithmetic_are_found(rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 2, 1)).astype(np.float32)
    model = small(
        "g (float[N,4,6] x) => (float[N,4,6] y) {"
        " s = Shape <end = 1> (x) r = Concat <axis = 0> (s, rest) t = Reshape (x, r) y = Conv (t, w) }",
        w=w, rest=np.array([4, 6]),
    )  # fmt: skip
    assert repairs.repair(model, {"x": [1, 4, 6]})
    assert helper.get_attribute_value(model.graph.node[-1].attribute[0]) == 2


def test_weights_that_fit_no_groups_are_refused() -> None:
    model = small("g (float[N,5,9] x) => (float[N,4,7] y) { y = Conv (x, w) }", w=np.zeros((4, 2, 3), dtype=np.float32))
    with pytest.raises(contract.Refusal, match="no number of groups fits"):
        repairs.repair(model, {"x": [1, 5, 9]})


def test_pools_over_batch_and_channels_become_spatial(rng: np.random.Generator) -> None:
    model = small(
        "g (float[N,4,5,6,3] x) => (float[N,4,5,6,3] y) {"
        " y = MaxPool <kernel_shape = [1, 3, 3, 3, 1], strides = [1, 1, 1, 1, 1],"
        " pads = [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]> (x) }"
    )
    assert "pooling" in repairs.repair(model, {"x": [1, 4, 5, 6, 3]})[0]
    x = rng.standard_normal((2, 4, 5, 6, 3)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
    np.testing.assert_array_equal(run_plain(model, {"x": x}), windows.max(axis=(-3, -2, -1)))


def test_pools_over_channels_are_refused() -> None:
    model = small(
        "g (float[N,4,6,8] x) => (float[N,4,6,4] y) {"
        " y = MaxPool <kernel_shape = [1, 1, 1, 2], strides = [1, 1, 1, 2]> (x) }"
    )
    repairs.repair(model, {"x": [1, 4, 6, 8]})
    model.graph.node[0].CopyFrom(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 1, 1, 2]))
    with pytest.raises(contract.Refusal, match="pools over batch or channels"):
        repairs.repair(model, {"x": [1, 4, 6, 8]})


def test_training_mode_becomes_inference(rng: np.random.Generator) -> None:
    arrays = {n: rng.uniform(0.5, 1.5, 3).astype(np.float32) for n in ("scale", "bias", "mean", "var")}
    text = "g (float[N,3,5] x) => (float[N,3,5] y) {{ {} = BatchNormalization {} (x, scale, bias, mean, var) {} }}"
    trained = small(text.format("y, m, v", "<training_mode = 1>", ""), **arrays)
    assert "training mode" in repairs.repair(trained, {"x": [1, 3, 5]})[0]
    onnx.checker.check_model(trained)
    x = rng.standard_normal((2, 3, 5)).astype(np.float32)
    plain = small(text.format("y", "", ""), **arrays)
    got, want = (ReferenceEvaluator(m).run(None, {"x": x})[0] for m in (trained, plain))
    np.testing.assert_array_equal(got, want)
    read = small(text.format("z, m, v", "<training_mode = 1>", "y = Add (z, m)"), **arrays)
    with pytest.raises(contract.Refusal, match="statistics are read"):
        repairs.repair(read, {"x": [1, 3, 5]})


def test_weights_among_the_inputs_become_initializers_only() -> None:
    model = small(
        "g (float[N,2,5] x, float[3,2,1] w) => (float[N,3,5] y) { y = Conv (x, w) }",
        w=np.ones((3, 2, 1), dtype=np.float32),
    )
    assert "1 weights" in repairs.repair(model, {"x": [1, 2, 5]})[0]
    assert [port.name for port in model.graph.input] == ["x"]


def test_a_complement_of_the_error_function_is_written_out() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { a = Erfc (x) b = Relu (a) c = Erfc (b) y = Neg (c) }")
    repairs.repair(model, {"x": [1, 2]})
    repairs.refuse_broken(model)
    onnx.checker.check_model(model)
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.array([[0.5, -1.0]], np.float32)})
    want = [-math.erfc(max(0.0, math.erfc(x))) for x in (0.5, -1.0)]
    np.testing.assert_allclose(y[0], want, atol=1e-6)


def test_foreign_operators_are_refused() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = StatefulPartitionedCall (x) }")
    with pytest.raises(contract.Refusal, match="left StatefulPartitionedCall"):
        repairs.refuse_broken(model)


def test_stack_traces_and_documentation_are_stripped() -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    for thing in (model, model.graph, model.graph.node[0], model.graph.input[0]):
        thing.doc_string = "File /home/somebody/model.py, line 3"
        thing.metadata_props.add(key="stack_trace", value="/home/somebody/model.py")
    repairs.clean(model)
    assert b"somebody" not in model.SerializeToString()


def test_sizes_that_contradict_the_source_are_named() -> None:
    request = contract.Request("m.keras", None, [1, 3, 8, 8], "dynamic", None, 0, None)
    assert request.shapes({"x": (None, 3, None, 8)}) == {"x": [1, 3, 8, 8]}
    with pytest.raises(contract.Refusal, match=r"input 'x' is 1,8,8,3, not 1,3,8,8"):
        request.shapes({"x": (None, 8, 8, 3)})
    with pytest.raises(contract.Refusal, match="has 2 inputs, a, b"):
        request.shapes({"a": None, "b": None})


def test_inputs_stand_in_the_order_of_the_source_whatever_the_callers() -> None:
    named = {"rgb": [1, 8, 8, 3], "flow": [1, 8, 8, 2]}
    request = contract.Request("m.keras", None, named, "dynamic", None, 0, None)
    shapes = request.shapes({"flow": (None, 8, 8, 2), "rgb": (None, 8, 8, 3)})
    assert list(shapes.items()) == [("flow", [1, 8, 8, 2]), ("rgb", [1, 8, 8, 3])]


def request_of(**asked: Any) -> Any:
    plain = {"source": "m.keras", "weights": None, "input_shape": [1, 3, 8, 8], "batch": "dynamic", "opset": None}
    return contract.Request(**{**plain, "seed": 0, "cwd": None, **asked})


def test_a_batch_that_the_source_fixes_is_kept_or_refused() -> None:
    declared = {"x": (2, 3, 8, 8)}
    assert request_of().shapes_and_batch(declared) == ({"x": [2, 3, 8, 8]}, 2)
    assert request_of().shapes_and_batch({"x": (None, 3, 8, 8)}) == ({"x": [1, 3, 8, 8]}, None)
    assert request_of(batch=5).shapes_and_batch({"x": None}) == ({"x": [5, 3, 8, 8]}, 5)
    with pytest.raises(contract.Refusal, match="was written for a batch of 2"):
        request_of(batch=3).shapes_and_batch(declared, verb="written")


def test_networks_that_still_train_show_it() -> None:
    clips = {"x": np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)}
    runs = iter(range(100))
    assert contract.unsteady(lambda clip: [clip["x"] * 2], clips, fixed=False) is None
    assert contract.unsteady(lambda clip: [clip["x"] + next(runs)], clips, fixed=False) == "again"
    assert contract.unsteady(lambda clip: [clip["x"] - clip["x"].mean(0)], clips, fixed=False) == "beside"
    assert contract.unsteady(lambda clip: [clip["x"] - clip["x"].mean(0)], clips, fixed=True) is None


def test_clips_beside_each_other() -> None:
    one, other = ({"x": np.full((1, 2), value, np.float32)} for value in (1, 4))

    def alone(answer: Callable[[Any], Any]) -> bool | None:
        return contract.same_beside(answer, [one, other], [answer(one), answer(other)])

    def single(clip: dict[str, np.ndarray]) -> list[np.ndarray]:
        if len(clip["x"]) > 1:
            raise contract.Refusal("one clip only")
        return [clip["x"]]

    assert alone(lambda clip: [clip["x"] * 2]) is True
    assert alone(lambda clip: [clip["x"] - clip["x"].mean(0)]) is False
    assert alone(single) is None


def test_a_probe_that_was_run_before_the_export_is_written_as_it_is(tmp_path: Path) -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    clip, ports = np.array([[-1.0, 2.0]], np.float32), (("input", "x"), ("output", "y"))
    made = contract.Converted(
        model, None, {"x": [1, 2]}, None, "by hand", "by hand", "graph",
        answered=[({"x": clip + k}, {"y": np.maximum(clip + k, 0)}) for k in range(3)], pinned=True,
    )  # fmt: skip
    contract._write(made, request_of(out=tmp_path))
    with np.load(tmp_path / "probe.npz") as probe:
        assert set(probe.files) == {f"{port}_{k}_{name}" for k in range(3) for port, name in ports}
        np.testing.assert_array_equal(probe["output_2_y"], [[1.0, 4.0]])
    assert onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


# ------------------------------------------------------------------------------- where the shared files are found


STARTED = """
import ast, importlib.util, sys
from pathlib import Path

script = Path(sys.argv[1])
body = ast.parse(script.read_text("utf-8")).body
(end,) = (k for k, line in enumerate(body) if ast.unparse(line) == "sys.path.pop(0)")
before, known = list(sys.path), set(sys.modules)
exec(compile(ast.Module(body[: end + 1], []), str(script), "exec"), {"__file__": str(script), "__name__": "convert"})
assert Path(sys.modules["contract"].__file__).parent == script.parents[1]
assert sys.path == before, "the folders of the frameworks would stand for packages that are not installed"
"""


@pytest.mark.parametrize("script", sorted(CONVERTERS.glob("*/convert.py")), ids=lambda script: script.parent.name)
def test_a_converter_finds_the_contract_and_leaves_no_folder_where_packages_are_looked_for(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", STARTED, script], capture_output=True, text=True, check=False, env=quiet()
    )
    assert done.returncode == 0, done.stderr


def test_the_users_own_modules_are_found_whatever_their_names(tmp_path: Path) -> None:
    """A network's code may well lie in `convert.py`, or import its own `contract`."""
    for folder in ("own", "user"):
        (tmp_path / folder).mkdir()
    (tmp_path / "own" / "convert.py").write_text(
        f"import sys\nsys.path.insert(0, {str(CONVERTERS)!r})\n"
        "from contract import Request, from_code, look_in\nsys.path.pop(0)\nlook_in(sys.argv[1])\n"
        "print(from_code(Request('convert:made', None, None, 'dynamic', None, 0, sys.argv[1]), str))\n"
    )
    (tmp_path / "user" / "contract.py").write_text("word = 'the user'")
    (tmp_path / "user" / "convert.py").write_text("import contract\ndef made():\n    return contract.word")
    command = [sys.executable, "-B", tmp_path / "own" / "convert.py", tmp_path / "user"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=quiet())
    assert done.stdout == "the user\n", done.stderr
