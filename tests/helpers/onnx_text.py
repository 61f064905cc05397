"""Models from ONNX text with given weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def small(text: str, **arrays: np.ndarray) -> onnx.ModelProto:
    """A model from the text of its graph, and initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    return model
