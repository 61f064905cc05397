"""Operators that move elements or copy them: they are inverted by sending the elements' numbers through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from .steps import Array, Fields, Step, adjoint, forward, run_node

MOVES: dict[str, tuple[int, ...] | None] = dict.fromkeys(
    [
        *("Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather"),
        *("GatherND", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Trilu", "Resize"),
    ],
    (0,),
) | {"Concat": None, "Where": (1, 2)}
"""Operator -> the inputs whose elements it moves (None: all of them)."""


def moved_back(step: Step, gs: Sequence[Array | None]) -> Fields:
    """Send the elements' numbers 1, 2, ... forwards; each field element goes to its number (0: to none)."""
    if step.op == "Resize" and step.attributes.get("mode", b"nearest") != b"nearest":
        raise NotImplementedError(f"Resize {step.name!r}: only mode nearest moves elements")
    moved = MOVES[step.op] or tuple(range(len(step.inputs)))
    back: list[Array | None] = [None] * len(step.inputs)
    for index in moved:
        if step.live[index]:
            back[index] = _numbered(step, index, moved, gs)
    return back


def _numbered(step: Step, index: int, moved: Sequence[int], gs: Sequence[Array | None]) -> Array:
    inputs = [np.zeros_like(x) if i in moved and x is not None else x for i, x in enumerate(step.inputs)]
    source = step.need(index)
    inputs[index] = np.arange(1, source.size + 1, dtype=np.float64).reshape(source.shape)
    attributes = dict(step.attributes)
    if step.op == "Pad":
        attributes.pop("value", None)
        inputs[2:3] = [np.zeros(())] if len(inputs) > 2 else []
    total = np.zeros(source.size + 1)
    numbers = run_node(replace(step, inputs=tuple(inputs), attributes=attributes))
    for number, g in zip(numbers, gs, strict=False):
        if g is not None:
            np.add.at(total, np.rint(number).astype(np.int64).reshape(-1), g.reshape(-1))
    return total[1:].reshape(source.shape)


@adjoint("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear")
def _same(step_of: Step, g: Array) -> Fields:
    return [g]


@forward("Identity", "Dropout")
def _pass(step: Step) -> Array:
    return step.x


@forward("Cast")
def _cast(step: Step) -> Array:
    kind = onnx.helper.tensor_dtype_to_np_dtype(step.attributes["to"])
    wide = np.dtype(kind).kind == "f" or np.dtype(kind).name == "bfloat16"
    return step.x.astype(np.float64 if wide else kind)
