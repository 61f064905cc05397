"""Small networks from ONNX text, and the engine on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import load

Array = npt.NDArray[Any]


def network(
    body: str, weights: Mapping[str, Any], inputs: str = "float[1,3,6,6] x", opset: int = 21, extra: str = ""
) -> onnx.ModelProto:
    """A model from ONNX text; a tuple is the shape of a random weight."""
    domains = f'"" : {opset}, "local" : 1, "com.microsoft" : 1'
    text = f"<ir_version: 9, opset_import: [{domains}]> net ({inputs}) => (float[N] y) {{ {body} }} {extra}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(3)
    for name, value in weights.items():
        array = rng.standard_normal(value) if isinstance(value, tuple) else np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def engine_of(
    model: onnx.ModelProto, folder: Path, *, barriers: bool = False, feeds: Mapping[str, Array] | None = None
) -> Engine:
    loaded = load(saved(model, folder))
    return Engine(loaded, feeds or runtime.random_feeds(loaded), device=runtime.Device("cpu"), barriers=barriers)


NESTED = """a = Conv (x, w)
r = Relu (a)
b = Conv (r, v)
s = Add (b, r)
t = Relu (s)
c = Conv (t, u)
p = Add (c, t)
q = Relu (p)
d = Conv (q, z)
g = GlobalAveragePool (d)
y = Flatten (g)"""
"""Two shortcuts, one inside the other."""

NESTED_WEIGHTS = {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "u": (4, 4, 1, 1), "z": (5, 4, 1, 1)}
