"""A network that was read at one input size: what is known without a clip."""

from __future__ import annotations

from cfp_onnx.errors import ModelError, TargetError
from cfp_onnx.graph.topology import channel_axis
from cfp_onnx.model.reader import Model, Program


def output_named(model: Model, name: str | None) -> str:
    names = [p.name for p in model.outputs]
    if name is None:
        if not names:
            raise ModelError(f"{model.path}: the model has no output")
        return names[0]
    if name not in names:
        raise TargetError(f"{model.path} has no output {name!r}; its outputs are: {', '.join(names)}")
    return name


def channel_axes(program: Program) -> dict[str, int]:
    """Channel axis of every input: what its first layers read, else axis 1."""
    axes = {}
    for port in program.model.inputs:
        rank = len(program.shapes[port.name])
        found = channel_axis(program, port.name)
        axes[port.name] = found if found is not None else min(1, max(0, rank - 1))
    return axes


__all__ = ["channel_axes", "output_named"]
