"""Attention whose queries, keys and values come packed in one tensor, with these apart.

Only some devices have kernels for the packed forms of onnxruntime's `MultiHeadAttention`: (batch, positions, heads, 3,
size) in the place of the queries, (batch, positions, heads, 2, size) in the place of the keys.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def unpack(graph: ir.Graph) -> None:
    """Put slices in the place of packed inputs.

    Args:
        graph: It is changed.
    """
    for node in list(graph):
        if node.domain != "com.microsoft" or node.op_type != "MultiHeadAttention":
            continue
        inputs = [*node.inputs, *(None,) * 3][: max(3, len(node.inputs))]
        first = 0 if inputs[1] is None else 1
        packed = inputs[first]
        if packed is None or inputs[2] is not None:
            continue
        node.resize_inputs(len(inputs))
        for place, index in enumerate(range(first, 3)):
            nodes = _slice(graph, packed, place, f"{node.name}/{'qkv'[index]}")
            graph.insert_before(node, nodes)
            node.replace_input_with(index, nodes[-1].outputs[0])


def _slice(graph: ir.Graph, packed: ir.Value, place: int, name: str) -> list[ir.Node]:
    """Element `place` of axis 3, with the heads and their features joined."""
    numbers = {"start": [place], "end": [place + 1], "axis": [3], "shape": [0, 0, -1]}
    given = {k: _constant(graph, v, f"{name}/packed/{k}") for k, v in numbers.items()}
    one = ir.node(
        "Slice", [packed, given["start"], given["end"], given["axis"]], outputs=[ir.Value(name=f"{name}/packed")],
        name=f"{name}/packed",
    )  # fmt: skip
    flat = ir.node(
        "Reshape",
        [one.outputs[0], given["shape"]],
        outputs=[ir.Value(name=f"{name}/unpacked")],
        name=f"{name}/unpacked",
    )
    return [one, flat]


def _constant(graph: ir.Graph, numbers: list[int], name: str) -> ir.Value:
    tensor = ir.tensor(np.array(numbers, np.int64), name=name)
    value = ir.Value(name=name, shape=ir.Shape((len(numbers),)), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


__all__ = ["unpack"]
