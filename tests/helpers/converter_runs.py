"""Converters of frameworks other than PyTorch, run in their own environments on the network of `blocks_frameworks`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import blocks_frameworks as blocks
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
CONVERTERS = ROOT / "converters"
FIRST, LAST, TINY = (1, 3, 4, 16, 16), (1, 4, 16, 16, 3), (1, 3, 4, 5, 2)
FAMILIES = Counter(plain=4, pointwise=4, dense=3, factorised=2, grouped=1, depthwise=1)


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


def answer_by_hand(weights: dict[str, np.ndarray]) -> np.ndarray:
    """What the network says to the clip among the weights."""
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


def interpreter(framework: str) -> Path:
    """The framework's own Python; the test is skipped where there is none."""
    named = os.environ.get(f"CFP_{framework.upper()}_PYTHON")
    place = Path(named) if named else ROOT / ".venvs" / framework / "bin" / "python"
    if not place.is_file():
        pytest.skip(f"no environment for {framework}")
    return place


def quiet() -> dict[str, str]:
    """The environment of a child: nothing of this one's warnings and paths."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}


def run_converter(
    framework: str, source: str, shape: tuple[int, ...], out: Path, **asked: Any
) -> subprocess.CompletedProcess[str]:
    """Run a converter on a source, in its framework's environment.

    Args:
        framework: Whose converter.
        source: File, folder or code.
        shape: Input shape.
        out: Where its results go; the current folder too.
        **asked: Other parts of the request.
    """
    request = {"format": 1, "source": source, "weights": None, "input_shape": list(shape), "batch": "dynamic",
               "opset": None, "allow_pickle": False, "seed": 0, "cwd": str(out), **asked}  # fmt: skip
    (out / "request.json").write_text(json.dumps(request))
    script = ROOT / "converters" / framework / "convert.py"
    command = [interpreter(framework), "-B", script, out / "request.json", out]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out, env=quiet())


def source_of(folder: Path, name: str) -> str:
    """A source in a folder; code keeps the name behind its colon."""
    return f"{folder / name.partition(':')[0]}:{name.partition(':')[2]}" if ":" in name else str(folder / name)


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
    """Assert that a file says to the clip what the network says."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    clip = clip if shape[1] == 3 else blocks.channels_last(clip)
    batch = 1 if port.shape[0] == 1 else 2
    (ours,) = session.run(None, {port.name: clip[:batch]})
    np.testing.assert_allclose(ours, logits[:batch], atol=1e-4)


def assert_no_paths(data: bytes, *folders: Path) -> None:
    """Assert that nothing of this machine is in a file."""
    for path in (*folders, ROOT, Path.home(), Path(sys.prefix)):
        if len(path.parts) > 1:
            assert os.fsencode(path) not in data
    assert b"site-packages" not in data
    assert b"Traceback" not in data
