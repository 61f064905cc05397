"""One node with everything that its rules look at, the tables of these rules, and a node on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]


Fields = Sequence[Array | None]


@dataclass(frozen=True)
class Step:
    """One node with everything its adjoint may look at; an omitted input or output is None.

    `held` says which inputs get nothing, `hold` what the walk holds, `carries` whether the output's channels go on to
    a layer or the output of the model.
    """

    op: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array | None, ...]
    live: tuple[bool, ...]
    gate: tuple[bool, ...]
    attention: tuple[bool, ...]
    opset: int
    held: tuple[bool, ...] = (False, False)
    hold: frozenset[str] = frozenset()
    carries: bool = True

    def get(self, index: int) -> Array | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Array:
        value = self.get(index)
        if value is None:
            raise ValueError(f"{self.op} {self.name!r}: input {index} is missing")
        return value

    @property
    def x(self) -> Array:
        return self.need(0)

    @property
    def y(self) -> Array:
        value = self.outputs[0]
        if value is None:
            raise ValueError(f"{self.op} {self.name!r}: no output")
        return value


Adjoint = Callable[[Step, Array], Fields]


ADJOINTS: dict[str, Adjoint] = {}


FORWARD: dict[str, Callable[[Step], Array | Sequence[Array]]] = {}


def adjoint(*ops: str) -> Callable[[Adjoint], Adjoint]:
    def register(function: Adjoint) -> Adjoint:
        for op in ops:
            if op in ADJOINTS:
                raise ValueError(f"two adjoints for {op}")
            ADJOINTS[op] = function
        return function

    return register


Forward = Callable[[Step], "Array | Sequence[Array]"]


def forward(*ops: str) -> Callable[[Forward], Forward]:
    def register(function: Forward) -> Forward:
        FORWARD.update(dict.fromkeys(ops, function))
        return function

    return register


def run_node(step: Step, model: onnx.ModelProto | None = None) -> Sequence[Array]:
    if step.op in FORWARD:
        made = FORWARD[step.op](step)
        return [made] if isinstance(made, np.ndarray) else made
    names = [f"i{i}" if value is not None else "" for i, value in enumerate(step.inputs)]
    outputs = [f"o{i}" for i in range(len(step.outputs))]
    node = onnx.helper.make_node(step.op, names, outputs, **step.attributes)
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in names if n],
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in outputs],
    )
    imports = list(model.opset_import) if model else [onnx.helper.make_opsetid("", step.opset)]
    runner = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))
    return runner.run(None, {n: v for n, v in zip(names, step.inputs, strict=True) if v is not None})


def per_channel(t: Array, axis: int) -> Array:
    axis %= t.ndim
    return np.asarray(t.sum(axis=tuple(i for i in range(t.ndim) if i != axis)))


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    kept = tuple(i for i, size in enumerate(shape) if size == 1 and g.shape[i] != 1)
    return np.asarray(g.sum(axis=kept, keepdims=True)) if kept else g


def columns(values: Array, ndim: int) -> Array:
    return values.reshape(1, -1, *[1] * (ndim - 2))
