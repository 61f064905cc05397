"""From a clip as people keep it to the arrays a network takes; OpenCV reads it.

Every source becomes either *footage* (RGB frames that are sampled, resized, cropped and normalised, one frame
in memory at a time) or *arrays* (fed as they are once they fit). Which of the two is decided by a file's
first bytes, never by its name: FFmpeg would follow a playlist that calls itself a video to any other file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.clips.clip import Clip, InputArray, Source
from cfp_onnx.clips.layout import array_fits, layout_for, layout_if_known, transposition_hint
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.sample import input_from_footage
from cfp_onnx.clips.sources.arrays import array_footage
from cfp_onnx.clips.sources.choose import open_source
from cfp_onnx.clips.sources.opened import Arrays, Footage
from cfp_onnx.clips.spec import InputSpec, cast_to, dtype_of, shape_text
from cfp_onnx.errors import ClipError
from cfp_onnx.values import Array

_DEFAULT = Preprocess()


def load_clip(
    source: Source,
    inputs: Sequence[InputSpec],
    *,
    preprocess: Preprocess = _DEFAULT,
    layout: str | None = None,
) -> Clip:
    """Turns a clip into the arrays that a network takes.

    A video, a folder or pattern of frames, a picture, a frame database and a uint8 array ``(T, H, W, 3)`` or
    ``(H, W, 3)`` are preprocessed; any other array must have an input's shape and is fed as it is.

    Args:
        source: A path, an array, or arrays by input name.
        inputs: The network's inputs.
        preprocess: How frames become an input.
        layout: Letters of the axes; wins over `preprocess.layout`.

    Raises:
        ClipError: The clip cannot be read, is too short, or does not fit.
        UsageError: An option contradicts the model, or the layout is ambiguous.
        LimitError: A frame, a file or the array asked for is too large.
    """
    if not inputs:
        raise ClipError("the model has no input to feed a clip to")
    opened = open_source(source)
    layout = layout if layout is not None else preprocess.layout
    if isinstance(opened, Footage):
        if len(inputs) > 1:
            raise ClipError(_several(opened.file, inputs))
        parts = {inputs[0].name: input_from_footage(opened, inputs[0], preprocess, layout)}
    else:
        arrays = _by_input(opened, inputs)
        parts = {
            s.name: _from_array(arrays[s.name], opened.file, s, preprocess, layout_for(s, inputs, layout))
            for s in inputs
        }
    shown = next((part.frames for part in parts.values() if part.frames is not None), None)
    feeds = {name: part.array for name, part in parts.items()}
    return Clip(feeds, shown, opened.file, opened.sha256, parts[inputs[0].name].layout)


def _several(file: str, inputs: Sequence[InputSpec]) -> str:
    names = ", ".join(repr(spec.name) for spec in inputs)
    return f"the model takes {len(inputs)} inputs, {file} is one clip; pass an .npz with the keys {names}"


def _by_input(opened: Arrays, inputs: Sequence[InputSpec]) -> dict[str, Array]:
    names = [spec.name for spec in inputs]
    if len(opened.arrays) == 1 and len(names) == 1:
        return {names[0]: next(iter(opened.arrays.values()))}
    if "" in opened.arrays and "" not in names:
        raise ClipError(_several(opened.file, inputs))
    missing = [repr(name) for name in names if name not in opened.arrays]
    if missing:
        found = ", ".join(map(repr, opened.arrays)) or "nothing"
        raise ClipError(f"{opened.file} lacks the inputs {', '.join(missing)}; it holds {found}")
    return {name: opened.arrays[name] for name in names}


def _from_array(array: Array, file: str, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> InputArray:
    """Preprocesses uint8 frames; feeds anything else as it is."""
    if array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3 and array.size:
        return input_from_footage(array_footage(array, file), spec, preprocess, layout)
    return _as_is(array, file, spec, layout)


def _as_is(array: Array, file: str, spec: InputSpec, layout: str | None) -> InputArray:
    """Checks an array of an input's shape; of its batch the first item counts."""
    if array.dtype.kind not in "fiub" or (array.dtype == np.uint8 and dtype_of(spec).kind == "f"):
        raise ClipError(
            f"{file} holds a {array.dtype} array {shape_text(array.shape)}; pass uint8 frames (T, H, W, 3) or a "
            f"{spec.dtype} array {shape_text(spec.shape)}"
        )
    letters = layout_if_known(spec, layout)
    batch_axis = letters.find("N") if letters else 0
    if array.ndim == len(spec.shape) - 1 and batch_axis >= 0:
        array = np.expand_dims(array, batch_axis)
    if array.ndim != len(spec.shape) or not array_fits(array.shape, spec, batch_axis):
        raise ClipError(
            f"{file} has shape {shape_text(array.shape)}, input {spec.name!r} takes {shape_text(spec.shape)}"
            f"{transposition_hint(array.shape, spec, letters)}"
        )
    if batch_axis >= 0:
        array = np.repeat(array.take([0], axis=batch_axis), spec.shape[batch_axis] or 1, axis=batch_axis)
    return InputArray(np.ascontiguousarray(cast_to(array, spec, file)), None, letters)
