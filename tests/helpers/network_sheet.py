"""A network that is written down node by node, and files with other names or weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp

Array = NDArray[Any]


CLIP = (1, 3, 12, 12)


CLASSES = 5


@dataclass
class Sheet:
    """A network that is being written; every name and every weight depends on the seed and the order alone."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, op: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}:0"], name, domain=domain, **attributes))
        return f"{name}:0"

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def draw(self, name: str, *shape: int, size: float = 1.0) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        return self.constant(name, (size * self.rng.standard_normal(shape) / fan**0.5).astype(np.float32))

    def conv(self, x: str, name: str, kernels: int, channels: int, taps: int = 3, **attributes: Any) -> str:
        inputs = [x, self.draw(f"{name}.w", kernels, channels, taps, taps, size=1.4), self.draw(f"{name}.b", kernels)]
        pads = [taps // 2] * 4
        return self.add("Conv", inputs, name, kernel_shape=[taps, taps], pads=pads, **attributes)

    def relu(self, x: str, name: str) -> str:
        return self.add("Relu", [x], f"{name}/relu")

    def norm(self, x: str, name: str, kernels: int) -> str:
        drawn = {
            "gamma": self.rng.uniform(0.6, 1.5, kernels), "beta": self.rng.normal(0.1, 0.2, kernels),
            "mean": self.rng.normal(0, 0.3, kernels), "var": self.rng.uniform(0.4, 2.0, kernels),
        }  # fmt: skip
        inputs = [self.constant(f"{name}.{k}", v.astype(np.float32)) for k, v in drawn.items()]
        return self.add("BatchNormalization", [x, *inputs], f"{name}/bn", epsilon=1e-5)

    def dense(self, x: str, name: str, kernels: int, channels: int) -> str:
        inputs = [x, self.draw(f"{name}.w", channels, kernels, size=1.4), self.draw(f"{name}.b", kernels)]
        return self.add("Gemm", inputs, name)

    def head(self, x: str, channels: int, classes: int = CLASSES) -> str:
        x = self.add("Flatten", [self.add("GlobalAveragePool", [x], "pool")], "flat")
        return self.dense(x, "fc", classes, channels)

    def save(self, path: Path, output: str, clip: Sequence[int] = CLIP) -> Path:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, clip)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )  # fmt: skip
        domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
        return path


def compare(a: Path, b: Path, clip: Array | None = None) -> Any:
    if clip is None:
        clip = np.random.default_rng(3).standard_normal(CLIP).astype(np.float32)
    return cfp.compare(a, b, clip, device="cpu", threads=1, tubes=False)


def renamed(source: Path, path: Path) -> Path:
    """The same file without the names of its layers and weights."""
    model = onnx.load(source)
    fixed = {p.name for p in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {}

    def other(name: str) -> str:
        return name if not name or name in fixed else names.setdefault(name, f"t{len(names)}")

    for node in model.graph.node:
        node.name = ""
        for listed in (node.input, node.output):
            listed[:] = [other(n) for n in listed]
    for value in model.graph.initializer:
        value.name = other(value.name)
    onnx.save(model, path)
    return path


def edited(source: Path, path: Path, **changes: Any) -> Path:
    """The same file with functions applied to some of its weights (`fc_b` is the weight fc.b)."""
    model = onnx.load(source)
    left = {k.replace("__", "/").replace("_", "."): f for k, f in changes.items()}
    for value in model.graph.initializer:
        if value.name in left:
            new = left.pop(value.name)(numpy_helper.to_array(value))
            value.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), value.name))
    assert not left
    onnx.save(model, path)
    return path


def exchanged(one: int, two: int) -> Any:
    def edit(value: Array) -> Array:
        order = np.arange(len(value))
        order[[one, two]] = two, one
        return value[order]

    return edit
