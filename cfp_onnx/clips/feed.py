"""Arrays that are fed to a network as they are, once they fit its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.clips.clip import InputArray
from cfp_onnx.clips.layout import LAYOUTS, layout_of
from cfp_onnx.clips.sources.opened import Arrays
from cfp_onnx.clips.spec import InputSpec, cast_to, dtype_of, shape_text
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.values import Array


def arrays_by_input(opened: Arrays, inputs: Sequence[InputSpec]) -> dict[str, Array]:
    """Returns an array for each input: the one there is, or that of the input's name.

    Raises:
        ClipError: An input has none.
    """
    names = [spec.name for spec in inputs]
    if len(opened.arrays) == 1 and len(names) == 1:
        return {names[0]: next(iter(opened.arrays.values()))}
    if "" in opened.arrays and "" not in names:
        raise ClipError(one_clip_is_not_enough(opened.file, inputs))
    missing = [repr(name) for name in names if name not in opened.arrays]
    if missing:
        found = ", ".join(map(repr, opened.arrays)) or "nothing"
        raise ClipError(f"{opened.file} lacks the inputs {', '.join(missing)}; it holds {found}")
    return {name: opened.arrays[name] for name in names}


def one_clip_is_not_enough(file: str, inputs: Sequence[InputSpec]) -> str:
    """Returns the sentence for one clip and several inputs."""
    names = ", ".join(repr(spec.name) for spec in inputs)
    return f"the model takes {len(inputs)} inputs, {file} is one clip; pass an .npz with the keys {names}"


def input_as_it_is(array: Array, file: str, spec: InputSpec, layout: str | None) -> InputArray:
    """Checks an array of an input's shape; of a batch the first item is taken, as often as the model needs it.

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
    batch_axis = letters.find("N") if letters else 0
    if array.ndim == len(spec.shape) - 1 and batch_axis >= 0:
        array = np.expand_dims(array, batch_axis)
    if array.ndim != len(spec.shape) or not _fits(array.shape, spec, batch_axis):
        raise ClipError(
            f"{file} has shape {shape_text(array.shape)}, input {spec.name!r} takes {shape_text(spec.shape)}"
            f"{_transposition_hint(array.shape, spec, letters)}"
        )
    if batch_axis >= 0:
        array = np.repeat(array.take([0], axis=batch_axis), spec.shape[batch_axis] or 1, axis=batch_axis)
    return InputArray(np.ascontiguousarray(cast_to(array, spec, file)), None, letters)


def _layout_if_known(spec: InputSpec, layout: str | None) -> str | None:
    """The layout, None where it is ambiguous: an array is fed as it is, so only a layout asked for can be wrong."""
    if layout is not None:
        return layout_of(spec, layout)
    try:
        return layout_of(spec)
    except UsageError:
        return None


def _fits(shape: Sequence[int], spec: InputSpec, batch_axis: int | None) -> bool:
    """Whether an array of this shape may be fed, its batch axis being cut or repeated."""

    def fits(axis: int, size: int, fixed: int | None) -> bool:
        free = fixed is None or (axis == batch_axis and fixed > 1)
        return size == fixed or (free and size > 0)

    pairs = enumerate(zip(shape, spec.shape, strict=True))
    return all(fits(axis, size, fixed) for axis, (size, fixed) in pairs)


def _transposition_hint(shape: tuple[int, ...], spec: InputSpec, layout: str | None) -> str:
    """Says which transposition would make an array fit; empty where none of the usual ones does."""
    for other in LAYOUTS.get(len(shape), {}).values():
        if layout is None or other == layout or set(other) != set(layout):
            continue
        order = tuple(other.index(letter) for letter in layout)
        if _fits([shape[axis] for axis in order], spec, layout.find("N")):
            return f"; if it is {other}, pass array.transpose{order} to make it {layout}"
    return ""
