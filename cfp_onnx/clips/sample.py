"""Frames become one input: chosen, resized, cropped, normalised and put into its layout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from cfp_onnx.clips.clip import Frame, InputArray
from cfp_onnx.clips.layout import COLOURS, frames_in_channels, layout_of
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
    """Sizes that an input will have, where the model, the options and the defaults are put together.

    Attributes:
        frames: Frames of each view.
        size: Height and width.
        channels: Channels of a frame.
        batch: Items that the model takes at once, all the same.
        clips: Clips, each a view or several.
        crops: Places that each clip is cut from.
    """

    frames: int
    size: tuple[int, int]
    channels: int
    batch: int
    clips: int
    crops: int


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
    plan = _plan_of(spec, letters, preprocess, source.channels)
    frames = _views(source, plan, preprocess)
    values = _normalise(frames.reshape(-1, *frames.shape[2:]), spec, plan, preprocess)
    array = _in_layout(values.reshape(*frames.shape[:-1], values.shape[-1]), letters, plan.batch)
    return InputArray(array, _shown(frames.reshape(-1, *frames.shape[2:])), letters, note=_note(source, plan))


def _views(source: Frames, plan: _Plan, preprocess: Preprocess) -> Frame:
    """Frames of every view ``(S, T, H, W, C)``: crop by crop, and of each crop clip by clip."""
    chosen = _chosen_clips(source, plan, preprocess)
    places = [0.5] if plan.crops == 1 else [0.0, 0.5, 1.0]
    wanted = sorted({index for clip in chosen for index in clip})
    cut: dict[int, list[Frame]] = {}
    for index, frame in zip(wanted, source.read(wanted), strict=True):
        resized = _resized(frame, plan.size, preprocess)
        cut[index] = [_cut(resized, plan.size, place) for place in places]
    return np.stack([np.stack([cut[i][crop] for i in clip]) for crop in range(plan.crops) for clip in chosen])


def _shown(frames: Frame) -> Frame:
    """Frames as a person sees them: the first three channels, or the first alone as grey."""
    return frames[..., :3] if frames.shape[-1] >= 3 else np.repeat(frames[..., :1], 3, axis=-1)


def _note(source: Frames, plan: _Plan) -> str | None:
    """What a person should know of the frames and of what was done to them."""
    notes = [source.note] if source.note else []
    if source.still and plan.frames > 1:
        notes.append(f"one picture, shown {plan.frames} times: nothing moves")
    if plan.frames == 1 and source.count > 1 and plan.clips == 1:
        notes.append(f"one frame of {source.count}: the model takes one at a time")
    if plan.clips * plan.crops > 1:
        notes.append(f"{plan.clips} clips of {plan.crops} crop{'s' * (plan.crops > 1)}, crop by crop")
    if plan.batch > 1:
        notes.append(f"one clip, fed {plan.batch} times: the model takes {plan.batch} at once")
    return "; ".join(notes) or None


def _plan_of(spec: InputSpec, layout: str, preprocess: Preprocess, given: int) -> _Plan:
    """Settles the sizes; what neither the model nor the options fix is 16 frames of 112, or one picture of 224.

    Args:
        spec: The input.
        layout: Letters of its axes.
        preprocess: What was asked for.
        given: Channels of each frame.
    """
    axes = dict(zip(layout, spec.shape, strict=True))
    if not {"H", "W"} <= set(axes):
        raise ClipError(f"input {spec.name!r} ({layout}) has no height and width for frames; pass an .npy array")
    folded = "C" not in axes
    channels = COLOURS if folded else axes["C"] or given
    _check_channels(spec, layout, channels, given)
    side = 112 if "T" in axes or folded else 224
    asked = preprocess.size or (None, None)
    clips, crops = _clips_and_crops(spec, axes, preprocess)
    fixed = frames_in_channels(layout, spec.shape) if folded else axes.get("T", 1)
    plan = _Plan(
        frames=_settle("frames", preprocess.frames, fixed, 16, spec),
        size=(
            _settle("height", asked[0], axes["H"], side, spec),
            _settle("width", asked[1], axes["W"], side, spec),
        ),
        channels=channels,
        batch=axes.get("N") or 1,
        clips=clips,
        crops=crops,
    )
    elements = math.prod(plan.size) * plan.batch * plan.frames * plan.channels * clips * crops
    if elements * 4 > BYTE_LIMIT:
        raise LimitError(f"input {spec.name!r} would hold {elements} values; ask for fewer or smaller frames")
    return plan


def _check_channels(spec: InputSpec, layout: str, channels: int, given: int) -> None:
    """Refuses frames of other channels than an input takes; colours become grey where it takes one."""
    folded = next((n for letter, n in zip(layout, spec.shape, strict=True) if letter in "FG"), None)
    if folded is not None and folded % COLOURS:
        raise UsageError(
            f"input {spec.name!r} has {folded} channels, which are no frames of three colours; see --layout"
        )
    if channels == given or (channels, given) == (1, COLOURS):
        return
    if channels > COLOURS and channels % COLOURS == 0 and "T" not in layout:
        ways = " or ".join(layout.replace("C", way) for way in ("(TC)", "(CT)"))
        raise ClipError(
            f"input {spec.name!r} takes {channels} channels, frames have {given}; if they are {channels // COLOURS} "
            f"frames, say whether they lie frame by frame or colour by colour, with --layout {ways}; else pass an .npy "
            f"array of shape {shape_text(spec.shape)}"
        )
    raise ClipError(
        f"input {spec.name!r} takes {channels} channels, frames have {given} (or 1 as grey); pass a float .npy "
        f"array of shape {shape_text(spec.shape)}, or uint8 frames (T, H, W, {channels})"
    )


def _clips_and_crops(spec: InputSpec, axes: Mapping[str, int | None], preprocess: Preprocess) -> tuple[int, int]:
    """How many clips, and how many crops of each, make up the views that an input takes at once."""
    clips, crops = preprocess.view_clips, preprocess.view_crops or 1
    if "S" not in axes:
        if (clips or 1) * crops > 1:
            raise UsageError(f"input {spec.name!r} takes one view; leave out --clips and --crops")
        return 1, 1
    views = axes["S"]
    if views is None:
        return clips or 1, crops
    if views % crops or clips not in {None, views // crops}:
        asked = " and ".join(
            f"--{k} {v}" for k, v in (("clips", clips), ("crops", preprocess.view_crops)) if v is not None
        )
        raise UsageError(
            f"input {spec.name!r} takes {views} views, which {asked} cannot make; their product must be {views}"
        )
    return views // crops, crops


def _settle(key: str, asked: int | None, fixed: int | None, default: int, spec: InputSpec) -> int:
    """Puts together what a person asked for and what the model fixes."""
    if fixed is not None and asked not in (None, fixed):
        raise UsageError(f"{key} {asked} was asked for, but input {spec.name!r} takes {fixed}; leave it out")
    return fixed or asked or default


def _chosen_clips(source: Frames, plan: _Plan, preprocess: Preprocess) -> list[list[int]]:
    """Frame indices of each clip: the whole, or equal parts of it; with a stride, windows spread evenly over it."""
    if plan.clips == 1 or source.still:
        return [_chosen_frames(source, plan.frames, preprocess)] * plan.clips
    start, end = preprocess.start, min(preprocess.end or source.count, source.count)
    span = (plan.frames - 1) * (preprocess.stride or 1) + 1
    if preprocess.stride is not None:
        if end - start < span:
            raise ClipError(_too_short(source, plan.frames, preprocess))
        firsts = [start + int((i + 0.5) * (end - start - span + 1) / plan.clips) for i in range(plan.clips)]
        return [list(range(first, first + span, preprocess.stride)) for first in firsts]
    edges = [start + (end - start) * i // plan.clips for i in range(plan.clips + 1)]
    parts = list(itertools.pairwise(edges))
    if min(b - a for a, b in parts) < plan.frames:
        raise ClipError(
            f"clip too short: {source.count} frames, the model takes {plan.clips} clips of {plan.frames}; use a longer "
            f"one, fewer clips with more --crops, or --stride 1, which lets them overlap ({source.file})"
        )
    return [_chosen_frames(source, plan.frames, replace(preprocess, start=a, end=b)) for a, b in parts]


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


def _resized(frame: Frame, size: tuple[int, int], preprocess: Preprocess) -> Frame:
    """Resizes the short side, or until `size` is covered."""
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
        frame = cast("Frame", cv2.resize(frame, (wide, tall), interpolation=way)).reshape(tall, wide, -1)
    return frame


def _cut(frame: Frame, size: tuple[int, int], place: float) -> Frame:
    """Cuts a frame to `size`: from the centre, or along its longer side from elsewhere (0 the beginning, 1 the end)."""
    tall, wide = frame.shape[0] - size[0], frame.shape[1] - size[1]
    top = int(tall * place) if tall >= wide else tall // 2
    left = int(wide * place) if wide > tall else wide // 2
    return frame[top : top + size[0], left : left + size[1]]


def _normalise(frames: Frame, spec: InputSpec, plan: _Plan, preprocess: Preprocess) -> Array:
    """Turns frames into ``(T, H, W, C)`` of the input's type: (x / 255 - mean) / std.

    An input of whole numbers takes the frames on their own scale, 0..255.
    """
    dtype = dtype_of(spec)
    colours: Array = frames[..., ::-1] if preprocess.color == "BGR" and frames.shape[-1] == COLOURS else frames
    if (plan.channels, frames.shape[-1]) == (1, COLOURS):
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
    if channels != COLOURS and len(set(values)) > 1:
        taken = "one grey channel" if channels == 1 else f"{channels} channels"
        raise UsageError(f"{key} has {len(values)} values, input {spec.name!r} takes {taken}; give one")
    return np.array(values if channels == COLOURS else values[:1], dtype=np.float32)


def _in_layout(views: Array, layout: str, batch: int) -> Array:
    """Puts ``(S, T, H, W, C)`` into a layout; all items of a batch are the same."""
    order = "STHWC"
    if "F" in layout or "G" in layout:
        turned = views.transpose(0, 2, 3, 1, 4) if "F" in layout else views.transpose(0, 2, 3, 4, 1)
        views, order = turned.reshape(*turned.shape[:3], -1), f"SHW{'F' if 'F' in layout else 'G'}"
    for letter in [letter for letter in order if letter not in layout]:
        views, order = views.take(0, axis=order.index(letter)), order.replace(letter, "")
    array = views.transpose([order.index(letter) for letter in layout if letter != "N"])
    if "N" in layout:
        array = np.repeat(np.expand_dims(array, layout.index("N")), batch, axis=layout.index("N"))
    return np.ascontiguousarray(array)
