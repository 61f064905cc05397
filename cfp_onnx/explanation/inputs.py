"""What the inputs of a model take from a clip."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError, UsageError
from cfp_onnx.explanation.batches import separate_items
from cfp_onnx.graph.channel_axis import channel_axis
from cfp_onnx.model import Model, Port, input_shape

if TYPE_CHECKING:
    from cfp_onnx.clips.spec import InputSpec

_FEEDABLE = frozenset(
    {"float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"}
)


def specs(model: Model) -> list[InputSpec]:
    """The model's inputs as the clip reader wants them; the graph tells the channel axis where the shape does not."""
    from cfp_onnx.clips.layout import layout_of, usual_layouts
    from cfp_onnx.clips.spec import InputSpec

    for port in model.inputs:
        if port.dtype not in _FEEDABLE:
            raise ModelError(
                f"{model.path}: input {port.name!r} is {port.dtype}, which cannot be fed from a clip; "
                "export the model with float32 inputs"
            )
    shapes = input_shape(model, {})
    out = [
        InputSpec(p.name, tuple(shapes[p.name]), p.dtype, None, separate_items(model, p.name), filling(model, p))
        for p in model.inputs
    ]
    if len(out) != 1 or len(out[0].shape) < 3:
        return out
    try:
        layout_of(out[0])
    except (UsageError, ModelError):
        pass
    else:
        if sum(out[0].shape[axis] in {1, 3} for axis in usual_layouts(out[0])) == 1:
            return out
    try:
        axis = channel_axis(runtime.observe(model, runtime.random_feeds(model)), out[0].name)
    except RunError:
        return out
    return [replace(out[0], channel_axis=axis)] if axis is not None else out


MASK = re.compile(r"mask|valid|keep_?prob", re.IGNORECASE)
"""Names of inputs that let everything through where they are 1."""

RATE = re.compile(r"(^|[_./])(sr|sample_?rate|sampling_?rate)($|[_./:])", re.IGNORECASE)
"""Names of an input that says how many samples a second has."""

SAMPLES = 16000.0
"""Samples a second that networks for speech take."""


def filling(model: Model, port: Port) -> float | None:
    """What an input is filled with where nobody gives it; None where somebody must.

    A state starts as zeros, a mask lets everything through, a threshold or a switch is 0. Only a model with several
    inputs is filled up; what was filled is said in the result.
    """
    if len(model.inputs) == 1 or port.shape is None:
        return None
    if MASK.search(port.name):
        return 1.0
    if port.shape:
        return 0.0 if _is_state(model, port) else None
    if RATE.search(port.name):
        return SAMPLES
    return 0.0 if port.dtype.startswith("float") or port.dtype == "bool" else None


def _is_state(model: Model, port: Port) -> bool:
    """Whether an output hands an input on to the next step: same type, same number of axes, no size that differs."""
    sizes = port.shape or ()
    return any(
        out.dtype == port.dtype
        and out.shape is not None
        and len(out.shape) == len(sizes)
        and all(a is None or b is None or a == b for a, b in zip(sizes, out.shape, strict=True))
        and _named_as_state(port.name, out.name)
        for out in model.outputs
    )


def _named_as_state(ours: str, theirs: str) -> bool:
    return bool(STATE.search(ours)) or ours in theirs or theirs in ours


STATE = re.compile(
    r"(^|[_./:\d])(h|c|hn|cn|hx|cx|h_?in|c_?in|h_?0|c_?0)($|[_./:\d])|state|hidden|cell|cache|memory|past|prev|buffer|"
    r"stream|rnn|lstm|gru|init",
    re.IGNORECASE,
)
"""Names of inputs that carry on what a network kept of the steps before."""


__all__ = ["filling", "specs"]
