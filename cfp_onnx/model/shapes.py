"""Shapes of a model's inputs: as declared, and as the caller gives them."""

from __future__ import annotations

from collections.abc import Mapping

from cfp_onnx.errors import UsageError
from cfp_onnx.model.values import Model
from cfp_onnx.text import shape_text


def input_shape(model: Model, given: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the inputs as declared, with what the caller gives taking the place of symbolic sizes.

    Raises:
        UsageError: If a given shape names no input or contradicts the file.
    """
    shapes: dict[str, tuple[int | None, ...]] = {}
    unknown = set(given) - {p.name for p in model.inputs}
    if unknown:
        names = ", ".join(p.name for p in model.inputs)
        raise UsageError(f"{model.path} has no input {sorted(unknown)[0]!r}; its inputs are: {names}")
    for port in model.inputs:
        want = given.get(port.name)
        declared = port.shape if port.shape is not None else want
        if declared is None:
            raise UsageError(f"{model.path}: input {port.name!r} declares no shape; give --input-shape {port.name}=...")
        if want is None:
            shapes[port.name] = declared
            continue
        if len(want) != len(declared) or any(d not in {None, w} for d, w in zip(declared, want, strict=True)):
            raise UsageError(
                f"input {port.name!r} of {model.path} has shape {shape_text(declared)}, not {shape_text(want)}"
            )
        shapes[port.name] = tuple(want)
    return shapes
