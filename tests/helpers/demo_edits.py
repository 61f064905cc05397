"""The demonstration model, edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import cfp_onnx as cfp

Array = np.ndarray


DEMO = Path(cfp.__file__).parent / "data" / "demo.onnx"


CLIPS = 5


SEED = 20190524


def initializer(model: onnx.ModelProto, name: str) -> tuple[Any, Array]:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    return tensor, numpy_helper.to_array(tensor).copy()


def edited(folder: Path, change: Callable[[onnx.ModelProto], None], name: str = "edited.onnx") -> Path:
    """The demo model with a change."""
    model = onnx.load(DEMO)
    change(model)
    onnx.save(model, folder / name)
    return folder / name


def weights(layer: str, edit: Callable[[Array], Array]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor, value = initializer(model, f"{layer}.weight")
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(edit(value), np.float32), tensor.name))

    return change


def in_front(*nodes: onnx.NodeProto, **constants: Any) -> Callable[[onnx.ModelProto], None]:
    """Nodes between the input and what read it; the last one writes ``fed``."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["fed" if name == "clip" else name for name in node.input]
        kept = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *kept])
        for name, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    return change


def pruned(value: Array) -> Array:
    return np.where(np.abs(value) <= np.quantile(np.abs(value), 0.3), 0, value)


def drawn(value: Array) -> Array:
    return np.random.default_rng(1).standard_normal(value.shape) * value.std()


def one_kernel(value: Array) -> Array:
    value[7] *= 1.5
    return value


def no_relu(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Relu" and n.input[0] == "getitem_24")
    node.op_type = "Identity"
