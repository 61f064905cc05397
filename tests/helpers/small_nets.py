"""Small networks in ONNX text with random weights, and the engine on them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import text_net
from onnx import numpy_helper

from cfp_onnx.explanation.engine import Engine

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Net:
    """A small network.

    Attributes:
        name: What it covers.
        inputs: Inputs in ONNX text.
        body: Nodes in ONNX text; ``y`` is the output.
        weights: Shape of a random weight, `Norm`, or a value.
        opset: Version of ONNX's own operator set.
        head: Whether a global pool and a dense layer from ``f`` to ``y`` follow; its number of features.
    """

    name: str
    inputs: str
    body: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 21
    head: int | None = None

    def model(self, seed: int = 0) -> onnx.ModelProto:
        """The network with random weights."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        body, weights = self.body, dict(self.weights)
        if self.head is not None:
            body += "\npooled = GlobalAveragePool (f)\nflat = Flatten (pooled)\ny = Gemm <transB=1> (flat, wy, by)"
            weights |= {"wy": (5, self.head), "by": (5,)}
        inputs = ", ".join(f"float[{shape}] {name}" for name, shape in (i.split("=") for i in self.inputs.split()))
        domains = f'"" : {self.opset}, "com.microsoft" : 1'
        text = f"<ir_version: 9, opset_import: [{domains}]> net ({inputs}) => (float[N] y) {{ {body} }}"
        model = onnx.parser.parse_model(text)
        for name, value in weights.items():
            for full, array in values_of(rng, name, value):
                model.graph.initializer.append(numpy_helper.from_array(array, full))
        return model

    def feeds(self, seed: int = 0) -> dict[str, Array]:
        """Random inputs."""
        rng = np.random.default_rng(seed + 100)
        shapes = dict(i.split("=") for i in self.inputs.split())
        return {k: rng.standard_normal([int(n) for n in v.split(",")]).astype(np.float32) for k, v in shapes.items()}


@dataclass(frozen=True)
class Norm:
    """Scale, offset, mean and variance of a batch norm."""

    size: int


def values_of(rng: np.random.Generator, name: str, value: Any) -> list[tuple[str, Array]]:
    """Name and value of each constant of a weight: five of a batch norm, one otherwise, random where given by shape."""
    if isinstance(value, Norm):
        kinds = {"s": rng.uniform(0.5, 2, value.size), "v": rng.uniform(0.5, 2, value.size)}
        kinds |= {k: 0.3 * rng.standard_normal(value.size) for k in "om"}
        return [(f"{name}_{k}", v.astype(np.float32)) for k, v in kinds.items()]
    if isinstance(value, tuple):
        scale = np.sqrt(2 / max(1, int(np.prod(value[1:])))) if len(value) > 1 else 0.3
        return [(name, (rng.standard_normal(value) * scale).astype(np.float32))]
    array = np.asarray(value)
    return [(name, array.astype(np.float32) if array.dtype == np.float64 else array)]


def bn(name: str, source: str) -> str:
    """A batch norm in ONNX text."""
    return f"{name} = BatchNormalization ({source}, {name}_s, {name}_o, {name}_m, {name}_v)"


def engine_of(model: onnx.ModelProto, feeds: Mapping[str, Array], folder: Path) -> Engine:
    """The engine of a model at the sizes of some inputs, on the CPU; the file is written into the folder."""
    return text_net.engine_of(model, folder, feeds=feeds)


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    """Every initializer by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """A copy with other initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items())
    return copy


def ungrouped(weight: Array, channels: int) -> Array:
    """Weights of a grouped convolution over all channels: zeros where a kernel's group does not reach."""
    kernels, width = weight.shape[:2]
    per = kernels // (channels // width)
    full = np.zeros((kernels, channels, *weight.shape[2:]), weight.dtype)
    for o in range(kernels):
        full[o, o // per * width : o // per * width + width] = weight[o]
    return full
