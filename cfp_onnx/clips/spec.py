"""What a network takes: name, sizes and element type of one input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfp_onnx.errors import ClipError
from cfp_onnx.values import Array


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Attributes:
        name: The graph input's name.
        shape: Sizes of its axes; None where the model leaves one open.
        dtype: NumPy's name of its element type, e.g. ``"float32"``.
        channel_axis: The axis that the graph treats as channels; None where the graph does not tell.
        separate: Told the whole shape of an array with several items along the first axis, says whether the network
            treats them apart, as a batch; None where they are known to be one.
        filling: What every element is where nobody gives the input; None where somebody must.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    channel_axis: int | None = None
    separate: Callable[[tuple[int, ...]], bool] | None = field(default=None, compare=False, repr=False)
    filling: float | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if any(size is not None and size < 1 for size in self.shape):
            raise ClipError(f"input {self.name!r} has an empty axis in {shape_text(self.shape)}; export the model anew")

    def has_batch(self, shape: tuple[int, ...] | None = None) -> bool:
        """Whether the first axis holds items that the network treats apart.

        Args:
            shape: Of the array that is fed; the input's own by default, with 1 on its open axes.
        """
        sizes = tuple(size or 1 for size in self.shape) if shape is None else shape
        if not sizes:
            return False
        return sizes[0] == 1 or self.separate is None or self.separate(sizes)


def shape_text(shape: Sequence[int | None]) -> str:
    """Returns a shape as people write it, ``?`` for an open size."""
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def dtype_of(spec: InputSpec) -> np.dtype[Any]:
    """Returns the NumPy type of an input.

    Raises:
        ClipError: NumPy has no such type.
    """
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise ClipError(
            f"input {spec.name!r} takes {spec.dtype}, which NumPy lacks; export the model in float32"
        ) from error


def cast_to(array: Array, spec: InputSpec, file: str) -> Array:
    """Converts an array to an input's type without changing a value; only floats are rounded.

    Raises:
        ClipError: A value is not finite, or the type cannot hold it.
    """
    dtype = dtype_of(spec)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ClipError(f"{file} holds NaN or infinity; mend the array for input {spec.name!r}")
    with np.errstate(all="ignore"):
        result = array.astype(dtype)
    exact = dtype.kind == "f" or np.array_equal(result, array)
    if not exact or (dtype.kind == "f" and not np.isfinite(result).all()):
        raise ClipError(f"{file} has values that input {spec.name!r} cannot hold as {spec.dtype}; rescale them")
    return result
