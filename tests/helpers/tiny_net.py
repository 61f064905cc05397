"""A network of three layers, as a file, and JSON read as strictly as other programs do."""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLIP = (1, 3, 4, 8, 8)


def save(path, nodes, weights, *, shape=CLIP, outputs=("y",), metadata=None, opset=17, domains=()):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=imports, producer_name="tests", ir_version=9)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def tiny_weights(rng):
    return {
        "w1": rng.standard_normal((6, 3, 3, 3, 3)).astype(np.float32),
        "w2": rng.standard_normal((6, 3, 1, 1, 1)).astype(np.float32),
        "fc": rng.standard_normal((6, 4)).astype(np.float32),
    }


TINY = [
    helper.make_node("Conv", ["clip", "w1"], ["a"], name="conv1", pads=[1] * 6),
    helper.make_node("Relu", ["a"], ["b"], name="relu1"),
    helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2", group=2),
    helper.make_node("Add", ["b", "c"], ["d"], name="add"),
    helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
    helper.make_node("Flatten", ["e"], ["f"], name="flat"),
    helper.make_node("MatMul", ["f", "fc"], ["y"], name="head"),
]


def strict(text):
    def no(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=no)
