"""Files with weights in half precision, and the same files in single precision.

In the stored form each larger float32 initializer is a float16 one and a Cast; both forms are valid ONNX and compute
the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST: Final = 16
"""Initializers with fewer elements stay as they are: a Cast takes more room."""
_SUFFIX: Final = "__half"


def halved(model: onnx.ModelProto) -> None:
    """Store the weights as float16, each followed by a Cast, in place."""
    casts = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < SMALLEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), name + _SUFFIX))
        casts.append(helper.make_node("Cast", [name + _SUFFIX], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def restored(model: onnx.ModelProto) -> None:
    """Undo ``halved`` in place: ordinary float32 initializers, no Cast."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith(_SUFFIX):
            value = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name.removesuffix(_SUFFIX)))
    nodes = [node for node in model.graph.node if not (node.op_type == "Cast" and node.input[0].endswith(_SUFFIX))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
