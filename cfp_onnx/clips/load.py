"""From a clip as people keep it to the arrays that a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.clips.clip import Clip, Fed, InputArray, Source
from cfp_onnx.clips.feed import input_as_it_is
from cfp_onnx.clips.layout import layout_for, layout_of
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.sample import input_from_frames
from cfp_onnx.clips.share import arrays_by_input, filled, given_inputs, names_of, takers_of_frames
from cfp_onnx.clips.sources.arrays import frames_of_array
from cfp_onnx.clips.sources.choose import open_source
from cfp_onnx.clips.sources.opened import Arrays, Frames
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.values import Array

_DEFAULT = Preprocess()
_NOTHING: Mapping[str, Array] = {}


def load_clip(
    source: Source,
    inputs: Sequence[InputSpec],
    *,
    preprocess: Preprocess = _DEFAULT,
    layout: str | None = None,
    given: Mapping[str, Array] = _NOTHING,
) -> Clip:
    """Turns a clip into the arrays that a network takes.

    A video, a folder or pattern of frames, a picture, a frame database and a uint8 array ``(T, H, W, 3)`` or
    ``(H, W, 3)`` are preprocessed; any other array must have an input's shape and is fed as it is.

    Args:
        source: A path, an array, or arrays by input name.
        inputs: The network's inputs.
        preprocess: How frames become an input.
        layout: Letters of the axes; wins over `preprocess.layout`.
        given: What inputs get that the clip does not give, by their names: a number, or an array.

    Raises:
        ClipError: The clip cannot be read, is too short, or does not fit.
        UsageError: An option contradicts the model, or the layout is ambiguous.
        LimitError: A frame, a file or the array asked for is too large.
    """
    if not inputs:
        raise ClipError("the model has no input to feed a clip to")
    parts = given_inputs(given, inputs)
    rest = [spec for spec in inputs if spec.name not in parts]
    if not rest:
        raise UsageError(f"all inputs were given ({names_of(inputs)}); leave out the one that takes the clip")
    opened = open_source(source)
    found = _parts_of(opened, rest, preprocess, layout if layout is not None else preprocess.layout)
    parts |= found | {spec.name: filled(spec) for spec in rest if spec.name not in found}
    ordered = {spec.name: parts[spec.name] for spec in inputs}
    shown = next((part.frames for part in ordered.values() if part.frames is not None), None)
    return Clip(
        {name: part.array for name, part in ordered.items()}, shown, opened.file, opened.sha256,
        found[next(spec.name for spec in rest if spec.name in found)].layout,
        {name: Fed(tuple(part.array.shape), part.source, part.note) for name, part in ordered.items()},
    )  # fmt: skip


def _parts_of(
    opened: Frames | Arrays, inputs: Sequence[InputSpec], preprocess: Preprocess, layout: str | None
) -> dict[str, InputArray]:
    """What each input gets that the clip gives, by its name."""
    alone = next(iter(opened.arrays.values())) if isinstance(opened, Arrays) and len(opened.arrays) == 1 else None
    if len(inputs) > 1 and alone is not None and _are_frames(alone):
        opened = frames_of_array(alone, opened.file)
    if isinstance(opened, Frames):
        takers = takers_of_frames(opened.file, inputs, layout)
        return {
            spec.name: input_from_frames(opened, spec, preprocess, layout_for(spec, inputs, layout)) for spec in takers
        }
    arrays = arrays_by_input(opened, inputs)
    return {
        spec.name: _from_array(arrays[spec.name], opened.file, spec, preprocess, layout_for(spec, inputs, layout))
        for spec in inputs
        if spec.name in arrays
    }


def _from_array(array: Array, file: str, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> InputArray:
    """Preprocesses uint8 frames; feeds anything else as it is."""
    own = spec.dtype == "uint8" and array.shape == spec.shape and preprocess.color == "RGB"
    frames = None if own else _frames_in(array, spec, layout)
    if frames is not None:
        return input_from_frames(frames_of_array(frames, file), spec, preprocess, layout)
    return input_as_it_is(array, file, spec, layout)


def _are_frames(array: Array) -> bool:
    return bool(array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3 and array.size)


def _frames_in(array: Array, spec: InputSpec, layout: str | None) -> Array | None:
    """An array as frames ``(T, H, W, C)`` or one ``(H, W, C)``; None where it is something else.

    Beside three colours these are as many channels as the input takes (flow, depth, further bands), and ``(T, H, W)``
    where it takes one.
    """
    if _are_frames(array) or array.dtype != np.uint8 or not array.size or array.shape == spec.shape:
        return array if _are_frames(array) else None
    try:
        axes = dict(zip(layout_of(spec, layout), spec.shape, strict=True))
    except UsageError:
        return None
    if not {"C", "H", "W"} <= set(axes):
        return None
    if array.ndim == 4 and array.shape[-1] == axes["C"]:
        return array
    grey = axes["C"] == 1 and array.ndim == (3 if "T" in axes else 2)
    return array[..., None] if grey else None


__all__ = ["load_clip"]
