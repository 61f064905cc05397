"""Frames become one input: chosen, resized, cropped, normalised and put into its layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from cfp_onnx.clips.clip import Frame, InputArray
from cfp_onnx.clips.layout import layout_of
from cfp_onnx.clips.preprocess import INTERPOLATIONS, Preprocess
from cfp_onnx.clips.sources.opened import Frames
from cfp_onnx.clips.sources.regular_file import BYTE_LIMIT
from cfp_onnx.clips.spec import InputSpec, cast_to, dtype_of, shape_text
from cfp_onnx.errors import ClipError, LimitError, UsageError
from cfp_onnx.opencv import PIXEL_LIMIT, cv2
from cfp_onnx.values import Array

_CV2_INTERPOLATIONS = dict(
    zip(INTERPOLATIONS, (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA), strict=True)
)


@dataclass(frozen=True)
class _Plan:
    """Sizes that an input will have, where the model, the options and the defaults are put together."""

    frames: int
    size: tuple[int, int]
    channels: int
    batch: int


def input_from_frames(source: Frames, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> InputArray:
    """Makes one input of frames: chosen, resized, cropped, normalised, and put into the input's layout.

    Raises:
        ClipError: The clip is too short, is cut off, or the input takes no frames.
        UsageError: An option contradicts the model, or the layout is ambiguous.
        LimitError: A frame or the input would be too large.
    """
    letters = layout_of(spec, layout)
    if preprocess.yields:
        preprocess = preprocess.fitted(spec, letters)
    plan = _plan_of(spec, letters, preprocess)
    indices = _chosen_frames(source, plan.frames, preprocess)
    shown = np.stack([_resize_and_crop(frame, plan.size, preprocess) for frame in source.read(indices)])
    array = _in_layout(_normalise(shown, spec, plan, preprocess), letters, plan.batch)
    return InputArray(array, shown, letters, note=_note(source, plan))


def _note(source: Frames, plan: _Plan) -> str | None:
    """What a person should know of the frames and of what was done to them."""
    notes = [source.note] if source.note else []
    if source.still and plan.frames > 1:
        notes.append(f"one picture, shown {plan.frames} times: nothing moves")
    if plan.batch > 1:
        notes.append(f"one clip, fed {plan.batch} times: the model takes {plan.batch} at once")
    return "; ".join(notes) or None


def _plan_of(spec: InputSpec, layout: str, preprocess: Preprocess) -> _Plan:
    """Settles the sizes; what neither the model nor the options fix is 16 frames of 112, or one picture of 224."""
    axes = dict(zip(layout, spec.shape, strict=True))
    if not {"H", "W"} <= set(axes):
        raise ClipError(f"input {spec.name!r} ({layout}) has no height and width for frames; pass an .npy array")
    channels = axes["C"] or 3
    if channels not in (1, 3):
        raise ClipError(
            f"input {spec.name!r} takes {channels} channels, frames have 3 (or 1 as grey); pass a float .npy "
            f"array of shape {shape_text(spec.shape)}"
        )
    side = 112 if "T" in axes else 224
    asked = preprocess.size or (None, None)
    plan = _Plan(
        frames=_settle("frames", preprocess.frames, axes.get("T", 1), 16, spec),
        size=(
            _settle("height", asked[0], axes["H"], side, spec),
            _settle("width", asked[1], axes["W"], side, spec),
        ),
        channels=channels,
        batch=axes.get("N") or 1,
    )
    elements = math.prod(plan.size) * plan.batch * plan.frames * plan.channels
    if elements * 4 > BYTE_LIMIT:
        raise LimitError(f"input {spec.name!r} would hold {elements} values; ask for fewer or smaller frames")
    return plan


def _settle(key: str, asked: int | None, fixed: int | None, default: int, spec: InputSpec) -> int:
    """Puts together what a person asked for and what the model fixes."""
    if fixed is not None and asked not in (None, fixed):
        raise UsageError(f"{key} {asked} was asked for, but input {spec.name!r} takes {fixed}; leave it out")
    return fixed or asked or default


def _chosen_frames(source: Frames, frames: int, preprocess: Preprocess) -> list[int]:
    """Chooses frame indices: every `stride`-th from `start`, or evenly spaced up to the last frame.

    A single frame without a stride is the middle one.
    """
    if source.still:
        return [0] * frames
    end = source.count if preprocess.end is None else min(preprocess.end, source.count)
    rest = end - preprocess.start
    needed = (frames - 1) * (preprocess.stride or 1) + 1
    if rest < needed:
        raise ClipError(_too_short(source, frames, preprocess))
    if preprocess.stride is not None:
        return list(range(preprocess.start, preprocess.start + needed, preprocess.stride))
    if 2 * source.count < source.promised and preprocess.end is None:
        raise ClipError(
            f"{source.file} is cut off: {source.count} of {source.promised} frames can be decoded; mend "
            "the file, or give a stride to use only its beginning"
        )
    if frames == 1:
        return [preprocess.start + rest // 2]
    return [preprocess.start + round(i * (rest - 1) / (frames - 1)) for i in range(frames)]


def _too_short(source: Frames, frames: int, preprocess: Preprocess) -> str:
    plural = "" if source.count == 1 else "s"
    extra = f" at stride {preprocess.stride}" if preprocess.stride not in (None, 1) else ""
    extra += f" from frame {preprocess.start}" if preprocess.start else ""
    extra += f" up to frame {preprocess.end}" if preprocess.end is not None else ""
    return (
        f"clip too short: {source.count} frame{plural}, the model takes {frames}{extra}; use a longer clip "
        f"({source.file})"
    )


def _resize_and_crop(frame: Frame, size: tuple[int, int], preprocess: Preprocess) -> Frame:
    """Resizes the short side, or until `size` is covered, and cuts ``(H, W, 3)`` from the centre."""
    height, width = frame.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    if preprocess.short_side is not None:
        scale = preprocess.short_side / min(height, width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    if tall < size[0] or wide < size[1]:
        raise UsageError(
            f"short_side {preprocess.short_side} makes the frame {tall}x{wide}, smaller than the crop "
            f"{size[0]}x{size[1]}; raise it"
        )
    if tall * wide > PIXEL_LIMIT:
        raise LimitError(f"a {height}x{width} frame would be resized to {tall}x{wide}; crop the clip first")
    if (tall, wide) != (height, width):
        way = _CV2_INTERPOLATIONS[preprocess.interpolation]
        frame = cast("Frame", cv2.resize(frame, (wide, tall), interpolation=way))
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return frame[top : top + size[0], left : left + size[1]]


def _normalise(frames: Frame, spec: InputSpec, plan: _Plan, preprocess: Preprocess) -> Array:
    """Turns ``(T, H, W, 3)`` RGB into ``(T, H, W, C)`` of the input's type: (x / 255 - mean) / std.

    An input of whole numbers takes the frames on their own scale, 0..255.
    """
    dtype = dtype_of(spec)
    colours: Array = frames[..., ::-1] if preprocess.color == "BGR" else frames
    if plan.channels == 1:
        colours = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])[..., None]
    mean = _per_channel("mean", preprocess.mean, plan.channels, spec)
    std = _per_channel("std", preprocess.std, plan.channels, spec)
    if dtype.kind != "f":
        if np.any(mean) or np.any(std != 1):
            raise UsageError(f"input {spec.name!r} takes {spec.dtype} frames, 0..255; leave mean and std out")
        return cast_to(colours, spec, "the clip")
    with np.errstate(all="ignore"):  # a tiny std makes infinities, which are refused below
        scaled = (colours.astype(np.float32) / np.float32(255) - mean) / std
    return cast_to(scaled, spec, "the preprocessed clip")


def _per_channel(key: str, values: tuple[float, ...], channels: int, spec: InputSpec) -> npt.NDArray[np.float32]:
    if channels == 1 and len(set(values)) > 1:
        raise UsageError(f"{key} has {len(values)} values, input {spec.name!r} takes one grey channel; give one")
    return np.array(values[:1] if channels == 1 else values, dtype=np.float32)


def _in_layout(frames: Array, layout: str, batch: int) -> Array:
    """Puts ``(T, H, W, C)`` into a layout; all items of a batch are the same."""
    present = [letter for letter in "THWC" if letter in layout]
    if "T" not in layout:
        frames = frames[0]
    array = frames.transpose([present.index(letter) for letter in layout if letter != "N"])
    if "N" in layout:
        array = np.repeat(np.expand_dims(array, layout.index("N")), batch, axis=layout.index("N"))
    return np.ascontiguousarray(array)
