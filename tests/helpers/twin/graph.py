"""The graph around a node, and the value of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from .steps import Array, Step, run_node

FINAL = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})


GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Clip"})


GATE_CHAIN = frozenset({"Reshape", "Unsqueeze", "Expand", "Transpose", "Identity"})


HEAD_CHAIN = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout"})


ATTENTION_CHAIN = GATE_CHAIN | HEAD_CHAIN | {"Mul", "Div", "Where"}


def evaluate(
    model: onnx.ModelProto, feeds: Mapping[str, Array], *, held: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Every tensor of ``model`` in float64; a tensor named in ``held`` takes that value instead."""
    model = inlined(model)
    held = held or {}
    values = {t.name: _wide(numpy_helper.to_array(t)) for t in model.graph.initializer}
    values |= {name: _wide(np.asarray(value)) for name, value in feeds.items()}
    values |= {name: _wide(np.asarray(value)) for name, value in held.items()}
    for node in model.graph.node:
        results = run_node(step_of(model, node, values), model)
        for name, result in zip(node.output, results, strict=False):
            if name and name not in held:
                values[name] = _wide(np.asarray(result))
    return values


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    return inliner.inline_local_functions(model) if model.functions else model


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output if name}


def live_tensors(model: onnx.ModelProto, feeds: Iterable[str]) -> set[str]:
    """Tensors whose values depend on the feeds; a tensor's shape does not count."""
    live = set(feeds)
    for node in model.graph.node:
        if node.op_type not in {"Shape", "Size"} and any(name in live for name in node.input):
            live.update(name for name in node.output if name)
    return live


def before_final(model: onnx.ModelProto, output: str) -> str:
    made, name = producers(model), output
    while (node := made.get(name)) is not None:
        if node.op_type in FINAL:
            return node.input[0]
        if node.op_type not in HEAD_CHAIN:
            break
        name = node.input[0]
    return output


def _chain_has(
    producers: Mapping[str, onnx.NodeProto], name: str, through: frozenset[str], wanted: frozenset[str]
) -> bool:
    node = producers.get(name)
    if node is None:
        return False
    if node.op_type in wanted:
        return True
    return node.op_type in through and any(_chain_has(producers, i, through, wanted) for i in node.input)


def step_of(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: Mapping[str, Array],
    live: set[str] | None = None,
) -> Step:
    gate = attention = (False,) * len(node.input)
    if live is not None and node.op_type in {"Mul", "MatMul"}:
        made = producers(model)
        gate = tuple(_chain_has(made, i, GATE_CHAIN, GATES) for i in node.input)
        attention = tuple(_chain_has(made, i, ATTENTION_CHAIN, frozenset({"Softmax"})) for i in node.input)
    return Step(
        op=node.op_type,
        name=node.name or next(iter(node.output)),
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        inputs=tuple(values[name] if name else None for name in node.input),
        outputs=tuple(values.get(name) for name in node.output),
        live=tuple(name in (live or ()) for name in node.input),
        gate=gate,
        attention=attention,
        opset=max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=1),
    )


def _wide(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" or value.dtype.name == "bfloat16" else value
