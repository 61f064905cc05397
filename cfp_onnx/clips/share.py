"""Which input gets what: the clip, what was given beside it, and what stands where neither says anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.clips.clip import InputArray
from cfp_onnx.clips.feed import input_as_it_is
from cfp_onnx.clips.layout import layout_for, layout_of
from cfp_onnx.clips.sources.opened import Arrays
from cfp_onnx.clips.spec import InputSpec, cast_to, dtype_of, shape_text
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.values import Array


def given_inputs(given: Mapping[str, Array], inputs: Sequence[InputSpec]) -> dict[str, InputArray]:
    """What the inputs get that somebody gave by name.

    Raises:
        UsageError: There is no such input.
        ClipError: An array does not fit its input.
    """
    known = {spec.name: spec for spec in inputs}
    for name in given:
        if name not in known:
            raise UsageError(f"the model has no input {name!r}; its inputs are {names_of(inputs)}")
    return {name: _given(np.asarray(array), known[name]) for name, array in given.items()}


def _given(array: Array, spec: InputSpec) -> InputArray:
    """One number everywhere, as many numbers as the input holds, or an array of its shape."""
    where = f"what was given for input {spec.name!r}"
    sizes = tuple(size or 1 for size in spec.shape)
    whole = all(size is not None for size in spec.shape[1:])
    if array.dtype.kind in "iub" and dtype_of(spec).kind == "f":
        array = array.astype(np.float64)
    if array.ndim == 0 and whole:
        value = cast_to(np.broadcast_to(array, sizes), spec, where)
        return InputArray(np.array(value, order="C"), None, None, "given", f"{array} everywhere" if sizes else None)
    if array.ndim == 1 and whole and array.size == np.prod(sizes, dtype=np.int64):
        return InputArray(np.array(cast_to(array.reshape(sizes), spec, where), order="C"), None, None, "given")
    found = input_as_it_is(array, where, spec, None)
    return InputArray(found.array, None, found.layout, "given", found.note)


def filled(spec: InputSpec) -> InputArray:
    """What an input gets that neither the clip nor anybody gives: one number everywhere.

    Raises:
        ClipError: Nothing can be told for it.
    """
    if spec.filling is None or any(size is None for size in spec.shape[1:]):
        raise ClipError(
            f"the clip does not give input {spec.name!r} {shape_text(spec.shape)} ({spec.dtype}); give it with "
            f"--input {spec.name}=VALUE or --input {spec.name}=FILE.npy, or all inputs as an .npz with their names"
        )
    array = np.full(tuple(size or 1 for size in spec.shape), spec.filling, dtype_of(spec))
    word = {0.0: "zeros", 1.0: "ones"}.get(spec.filling, f"{spec.filling:g}") if spec.shape else f"{spec.filling:g}"
    start = ", as before the first step" if spec.filling == 0 and spec.shape else ""
    return InputArray(array, None, None, word, f"nobody gave it{start}; --input {spec.name}=... does")


def arrays_by_input(opened: Arrays, inputs: Sequence[InputSpec]) -> dict[str, Array]:
    """Arrays for the inputs that a clip gives: the one there is, or those of the inputs' names.

    Raises:
        ClipError: An input that must be given is not.
    """
    if len(opened.arrays) == 1:
        name, array = next(iter(opened.arrays.items()))
        if name not in {spec.name for spec in inputs} or len(inputs) == 1:
            return {_main_input(array, opened.file, inputs).name: array}
    missing = [repr(s.name) for s in inputs if s.name not in opened.arrays and s.filling is None]
    if missing:
        found = ", ".join(map(repr, opened.arrays)) or "nothing"
        raise ClipError(
            f"{opened.file} lacks the inputs {', '.join(missing)}; it holds {found}; add them, or "
            "give them with --input"
        )
    return {spec.name: opened.arrays[spec.name] for spec in inputs if spec.name in opened.arrays}


def _main_input(array: Array, file: str, inputs: Sequence[InputSpec]) -> InputSpec:
    """The input that a clip of one array goes to: the only one that must be given, else the only one that it fits."""
    needed = [spec for spec in inputs if spec.filling is None] or list(inputs)
    if len(needed) > 1:
        needed = [spec for spec in needed if _could_be(array, spec)]
    if len(needed) != 1:
        raise ClipError(one_clip_is_not_enough(file, inputs))
    return needed[0]


def _could_be(array: Array, spec: InputSpec) -> bool:
    """Whether an array has an input's own shape."""
    return array.ndim == len(spec.shape) and all(
        fixed in {None, size} for size, fixed in zip(array.shape, spec.shape, strict=True)
    )


def takers_of_frames(file: str, inputs: Sequence[InputSpec], layout: str | None) -> list[InputSpec]:
    """The inputs that footage goes to: the one that takes frames, or pathways that take more and fewer of them.

    Raises:
        ClipError: None of several inputs takes frames, or several take equal ones.
    """
    if len(inputs) == 1:
        return list(inputs)
    inputs = [spec for spec in inputs if spec.filling is None] or inputs
    found = {spec.name: axes for spec in inputs if (axes := _axes_of_frames(spec, layout))}
    frames = [axes.get("T") for axes in found.values()]
    pathways = len(set(frames)) == len(frames) and None not in frames and len({a["H"] for a in found.values()}) == 1
    if not found or (len(found) > 1 and not pathways):
        raise ClipError(one_clip_is_not_enough(file, inputs))
    return [spec for spec in inputs if spec.name in found]


def _axes_of_frames(spec: InputSpec, layout: str | None) -> dict[str, int | None]:
    """The sizes of an input that takes frames, by letter; nothing of another."""
    try:
        letters = layout_of(spec, layout_for(spec, (), layout))
    except UsageError:
        return {}
    axes = dict(zip(letters, spec.shape, strict=True))
    return axes if {"H", "W"} <= set(axes) and axes.get("C") in {None, 1, 3} else {}


def one_clip_is_not_enough(file: str, inputs: Sequence[InputSpec]) -> str:
    """Returns the sentence for one clip and several inputs."""
    return (
        f"the model takes {len(inputs)} inputs, {file} is one clip; pass an .npz with the keys {names_of(inputs)}, or "
        "give the others with --input NAME=FILE.npy"
    )


def names_of(inputs: Sequence[InputSpec]) -> str:
    """Returns the inputs' names as a sentence lists them."""
    return ", ".join(repr(spec.name) for spec in inputs)


__all__ = ["arrays_by_input", "filled", "given_inputs", "names_of", "one_clip_is_not_enough", "takers_of_frames"]
