"""Arrays that are fed to a network as they are, once they fit its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.clips.clip import InputArray
from cfp_onnx.clips.layout import LAYOUTS, layout_of
from cfp_onnx.clips.spec import InputSpec, cast_to, dtype_of, shape_text
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.values import Array


def input_as_it_is(array: Array, file: str, spec: InputSpec, layout: str | None) -> InputArray:
    """Checks an array of an input's shape, which is then fed untouched.

    Only where the first axis is a batch, whose items the network treats apart, one item counts: the first is taken, as
    often as the model needs it, and the note says so. An array that lacks a batch axis gets one.

    Raises:
        ClipError: The array has another shape or kind, or the input's type cannot hold a value.
        UsageError: The layout that was asked for contradicts the model.
    """
    if array.dtype.kind not in "fiub" or (array.dtype == np.uint8 and dtype_of(spec).kind == "f"):
        raise ClipError(
            f"{file} holds a {array.dtype} array {shape_text(array.shape)}; pass uint8 frames (T, H, W, 3) or a "
            f"{spec.dtype} array {shape_text(spec.shape)}"
        )
    letters = _layout_if_known(spec, layout)
    axis = letters.find("N") if layout is not None and letters else 0
    found = _fitted(array, spec, axis, asked=layout is not None)
    if found is None:
        lacking = (1,) if array.ndim == len(spec.shape) - 1 and axis == 0 else ()
        raise ClipError(
            f"{file} has shape {shape_text(array.shape)}, input {spec.name!r} takes {shape_text(spec.shape)}"
            f"{_transposition_hint(lacking + array.shape, spec, letters)}"
        )
    fed, note = found
    return InputArray(np.asarray(cast_to(fed, spec, file), order="C"), None, letters, note=note)


def _fitted(array: Array, spec: InputSpec, axis: int, *, asked: bool) -> tuple[Array, str | None] | None:
    """The array as it is fed and what was done to it; None where it does not fit.

    Args:
        array: The array.
        spec: The input.
        axis: The axis that may be a batch; -1 where a layout without one was asked for.
        asked: Whether a person named that axis.
    """
    if not spec.shape:
        return (array.reshape(()), None) if array.size == 1 else None
    if array.ndim == len(spec.shape) - 1 and axis >= 0:
        array = np.expand_dims(array, axis)
    if array.ndim == len(spec.shape) + 1 and len(array) == 1 and _is_own(array.shape[1:], spec):
        return array[0], "its first axis, of length 1, is left out"
    if array.ndim != len(spec.shape):
        return None
    if _is_own(array.shape, spec):
        return _one_item(array, spec, axis, asked=asked) if axis >= 0 else (array, None)
    own = [1 if a == axis else n for a, n in enumerate(array.shape)]
    wanted = spec.shape[axis]
    cut = [wanted if a == axis else n for a, n in enumerate(own)]
    if axis < 0 or wanted in {None, 1} or not array.shape[axis] or not _is_own(cut, spec):
        return None
    if not (asked or spec.has_batch(tuple(n or 1 for n in cut))):
        return None
    return _copies(array, axis, wanted or 1)


def _one_item(array: Array, spec: InputSpec, axis: int, *, asked: bool) -> tuple[Array, str | None]:
    """An array of the input's own shape; of several items that differ and are treated apart, the first."""
    items = array.shape[axis]
    first = array.take([0], axis=axis)
    if items == 1 or np.array_equal(np.broadcast_to(first, array.shape), array):
        return array, None
    if not (asked or spec.has_batch(array.shape)):
        return array, None
    return _copies(array, axis, spec.shape[axis] or 1)


def _copies(array: Array, axis: int, wanted: int) -> tuple[Array, str]:
    """The first item of a batch as often as it is wanted, and a sentence that says so."""
    items = array.shape[axis]
    which = f"the first of {items} items" if items > 1 else "one item"
    rest = f", fed {wanted} times: the model takes {wanted} at once" if wanted > 1 else " is explained"
    return np.repeat(array.take([0], axis=axis), wanted, axis=axis), f"{which}{rest}"


def _layout_if_known(spec: InputSpec, layout: str | None) -> str | None:
    """The layout, None where it is ambiguous: an array is fed as it is, so only a layout asked for can be wrong."""
    if layout is not None:
        return layout_of(spec, layout)
    try:
        return layout_of(spec)
    except UsageError:
        return None


def _is_own(shape: Sequence[int | None], spec: InputSpec) -> bool:
    """Whether a shape is the input's own, with any size on its open axes."""
    return all(size and fixed in {None, size} for size, fixed in zip(shape, spec.shape, strict=True))


def _transposition_hint(shape: tuple[int, ...], spec: InputSpec, layout: str | None) -> str:
    """Says which transposition would make an array fit; empty where none of the usual ones does."""
    for other in LAYOUTS.get(len(shape), {}).values():
        if layout is None or other == layout or set(other) != set(layout):
            continue
        order = tuple(other.index(letter) for letter in layout)
        turned = [shape[axis] for axis in order]
        free = [spec.shape[0] if turned[0] else 0, *turned[1:]] if (spec.shape[0] or 1) > 1 else turned
        if _is_own(free, spec):
            return f"; if it is {other}, pass array.transpose{order} to make it {layout}"
    return ""


__all__ = ["input_as_it_is"]
