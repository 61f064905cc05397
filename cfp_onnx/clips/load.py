"""From a clip as people keep it to the arrays that a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.clips.clip import Clip, InputArray, Source
from cfp_onnx.clips.feed import arrays_by_input, input_as_it_is, one_clip_is_not_enough
from cfp_onnx.clips.layout import layout_for
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.sample import input_from_frames
from cfp_onnx.clips.sources.arrays import frames_of_array
from cfp_onnx.clips.sources.choose import open_source
from cfp_onnx.clips.sources.opened import Arrays, Frames
from cfp_onnx.clips.spec import InputSpec
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
    parts = _parts_of(opened, inputs, preprocess, layout if layout is not None else preprocess.layout)
    shown = next((part.frames for part in parts.values() if part.frames is not None), None)
    feeds = {name: part.array for name, part in parts.items()}
    return Clip(feeds, shown, opened.file, opened.sha256, parts[inputs[0].name].layout)


def _parts_of(
    opened: Frames | Arrays, inputs: Sequence[InputSpec], preprocess: Preprocess, layout: str | None
) -> dict[str, InputArray]:
    """What each input gets, by its name."""
    if isinstance(opened, Frames):
        if len(inputs) > 1:
            raise ClipError(one_clip_is_not_enough(opened.file, inputs))
        return {inputs[0].name: input_from_frames(opened, inputs[0], preprocess, layout)}
    arrays = arrays_by_input(opened, inputs)
    return {
        spec.name: _from_array(arrays[spec.name], opened.file, spec, preprocess, layout_for(spec, inputs, layout))
        for spec in inputs
    }


def _from_array(array: Array, file: str, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> InputArray:
    """Preprocesses uint8 frames; feeds anything else as it is."""
    if array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3 and array.size:
        return input_from_frames(frames_of_array(array, file), spec, preprocess, layout)
    return input_as_it_is(array, file, spec, layout)


__all__ = ["load_clip"]
