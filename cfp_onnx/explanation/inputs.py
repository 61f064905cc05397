"""What the inputs of a model take from a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError, UsageError
from cfp_onnx.graph.channel_axis import channel_axis
from cfp_onnx.model import Model, input_shape

if TYPE_CHECKING:
    from cfp_onnx.clips.spec import InputSpec

_FEEDABLE = frozenset(
    {"float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"}
)


def specs(model: Model) -> list[InputSpec]:
    """The model's inputs as the clip reader wants them; the graph tells the channel axis where the shape does not."""
    from cfp_onnx.clips.layout import layout_of
    from cfp_onnx.clips.spec import InputSpec

    for port in model.inputs:
        if port.dtype not in _FEEDABLE:
            raise ModelError(
                f"{model.path}: input {port.name!r} is {port.dtype}, which cannot be fed from a clip; "
                "export the model with float32 inputs"
            )
    shapes = input_shape(model, {})
    out = [InputSpec(p.name, tuple(shapes[p.name]), p.dtype, None) for p in model.inputs]
    if len(out) != 1 or len(out[0].shape) < 3:
        return out
    try:
        layout_of(out[0])
    except (UsageError, ModelError):
        pass
    else:
        if sum(d in {1, 3} for d in out[0].shape[1:]) == 1:
            return out
    try:
        axis = channel_axis(runtime.observe(model, runtime.random_feeds(model)), out[0].name)
    except RunError:
        return out
    return [replace(out[0], channel_axis=axis)] if axis is not None else out


__all__ = ["specs"]
