"""From a clip as people keep it to the arrays a network takes; OpenCV reads it.

Every source becomes either *footage* (RGB frames that are sampled, resized, cropped and normalised, one frame
in memory at a time) or *arrays* (fed as they are once they fit). Which of the two is decided by a file's
first bytes, never by its name: FFmpeg would follow a playlist that calls itself a video to any other file.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import itertools
import math
import os
import re
import sqlite3
import stat
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from cfp_onnx.errors import ClipError, LimitError, UsageError
from cfp_onnx.opencv import PIXEL_LIMIT, cv2, quiet
from cfp_onnx.values import Array

BYTE_LIMIT = 2**31
"""Most bytes one picture file, one archive or one array made for a network may have."""

BLOB_LIMIT = 2**26
"""Most bytes one value of a frame database may have; a generated column could make any number of them."""

Frame = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | Array | Mapping[str, Array]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_CHANNEL_LAYOUTS = {
    2: {1: "NC"},
    3: {1: "NCL", 2: "NLC"},
    4: {1: "NCHW", 3: "NHWC"},
    5: {1: "NCTHW", 2: "NTCHW", 4: "NTHWC"},
}
"""Per rank of the input, the layout that each place of the channels implies."""

_CONTAINERS = (
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (8, b"AVI ", "avi"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
    (188, b"G", "mpegts"),
    (0, b"FLV\x01", "flv"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (0, b"OggS", "ogg"),
    (0, b"GIF8", "gif"),
)
"""Offset and bytes that mark a video container, with the one FFmpeg demuxer that may then read it."""

_PICTURES = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG"), (0, b"BM"), (8, b"WEBP"), (0, b"II*\0"), (0, b"MM\0*"),
             (0, b"P5"), (0, b"P6"))  # fmt: skip
_EXACT_HEADERS = frozenset({"avi", "mov"})
_UNREADABLE = (ValueError, OSError, EOFError, KeyError, OverflowError, MemoryError, NotImplementedError,
               RuntimeError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What NumPy and zipfile raise for a damaged, encrypted or lying archive."""


def _require(key: str, value: object, accept: Callable[[Any], bool], wanted: str) -> None:
    if isinstance(value, bool) or not accept(value):
        raise UsageError(f"preprocess key {key!r} is {value!r}; it must be {wanted}")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_size(value: object) -> bool:
    return value is None or (isinstance(value, tuple) and len(value) == 2 and all(map(_is_count, value)))


def _is_numbers(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) in (1, 3)
        and all(type(v) in (int, float) and -1e9 < v < 1e9 for v in value)
    )


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Attributes:
        name: The graph input's name.
        shape: Sizes of its axes; None where the model leaves one open.
        dtype: NumPy's name of its element type, e.g. ``"float32"``.
        channel_axis: The axis that the graph treats as channels; None where the graph does not tell.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        if any(size is not None and size < 1 for size in self.shape):
            raise ClipError(f"input {self.name!r} has an empty axis in {_shape(self.shape)}; export the model anew")


@dataclass(frozen=True)
class Preprocess:
    """How footage becomes what a network takes.

    Attributes:
        frames: Frames to sample; None takes the model's T.
        stride: Step between consecutive samples, in frames; None spreads them evenly over the footage.
        start: First frame that may be used.
        size: Height and width in pixels; None takes the model's.
        short_side: Length in pixels that the short side is resized to before the centre crop; None resizes
            until the crop is just covered.
        mean: Subtracted per fed channel, on the scale where 255 is 1; one value or one per channel.
        std: Divided by per fed channel, on the same scale.
        color: Order in which a 3-channel network takes the colours.
        layout: Letters over N, C, T, H, W in the order of the input's axes; None reads it off the model.
        interpolation: One of nearest, bilinear, bicubic, area.
        yields: Whether `frames`, `size` and `short_side` give way to what the model fixes (so in `PRESETS`);
            otherwise a contradiction is an error.
    """

    frames: int | None = None
    stride: int | None = None
    start: int = 0
    size: tuple[int, int] | None = None
    short_side: int | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    color: str = "RGB"
    layout: str | None = None
    interpolation: str = "bilinear"
    yields: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for key in ("frames", "stride", "short_side"):
            _require(key, getattr(self, key), lambda v: v is None or _is_count(v), "a whole number of at least 1")
        _require("start", self.start, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")
        _require("size", self.size, _is_size, "height and width, two whole numbers of at least 1")
        _require("mean", self.mean, _is_numbers, "1 or 3 finite numbers on the 0..1 scale")
        _require("std", self.std, lambda v: _is_numbers(v) and min(v) > 0, "1 or 3 finite numbers above 0")
        _require("color", self.color, lambda v: v in ("RGB", "BGR"), "RGB or BGR")
        _require("layout", self.layout, lambda v: v is None or isinstance(v, str), "letters such as NCTHW")
        names = ", ".join(_INTERPOLATIONS)
        _require("interpolation", self.interpolation, lambda v: v in tuple(_INTERPOLATIONS), f"one of {names}")

    @classmethod
    def from_json(cls, data: object) -> Preprocess:
        """Reads what `to_json` or a hand wrote; every key is optional.

        Raises:
            UsageError: A key is unknown, or its value has the wrong type or range.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"preprocessing must be a JSON object, not {type(data).__name__}")
        for key in data:
            if key not in _JSON_KEYS:
                raise UsageError(f"preprocess key {key!r} is unknown; use {', '.join(_JSON_KEYS)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Returns the values as JSON's types, without those left to the model."""
        values = {key: getattr(self, key) for key in _JSON_KEYS}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v is not None}

    def fitted(self, spec: InputSpec, layout: str) -> Preprocess:
        """Gives way to the frames, height and width that a model fixes; `short_side` follows in proportion.

        To override a part of a preset, fit it first:
        ``replace(PRESETS["i3d"].fitted(spec, layout), frames=64)``.
        """
        axes = dict(zip(layout, spec.shape, strict=True))
        frames = (axes["T"] or self.frames) if "T" in axes else None
        size, short_side = self.size, self.short_side
        if size is not None:
            size = (axes.get("H") or size[0], axes.get("W") or size[1])
            if short_side is not None and self.size is not None:
                short_side = max(min(size), round(short_side * min(size) / min(self.size)))
        return replace(self, frames=frames, size=size, short_side=short_side, yields=False)


_JSON_KEYS = (
    "frames",
    "stride",
    "start",
    "size",
    "short_side",
    "mean",
    "std",
    "color",
    "layout",
    "interpolation",
)
_DEFAULT = Preprocess()

_KINETICS_MEAN = (124 / 255, 117 / 255, 104 / 255)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET_3D = Preprocess(frames=16, size=(112, 112), short_side=128, mean=_KINETICS_MEAN, std=_IMAGENET_STD, yields=True)

PRESETS: dict[str, Preprocess] = {
    "resnet3d": _RESNET_3D,
    "resnet50-3d": _RESNET_3D,
    "resnet101-3d": _RESNET_3D,
    "resnet152-3d": _RESNET_3D,
    "resnext101-3d": _RESNET_3D,
    # MF-Net's own code computes (x - mean) * 0.0167 on the 0..255 scale.
    "mfnet": Preprocess(
        frames=16,
        size=(224, 224),
        short_side=256,
        mean=_KINETICS_MEAN,
        std=(1 / (0.0167 * 255),) * 3,
        yields=True,
    ),
    "i3d": Preprocess(size=(224, 224), short_side=256, mean=(0.5,) * 3, std=(0.5,) * 3, yields=True),
    "imagenet": Preprocess(size=(224, 224), short_side=256, mean=(0.485, 0.456, 0.406), std=_IMAGENET_STD, yields=True),
}
"""Preprocessing that the published weights of a family were trained with."""


@dataclass(frozen=True)
class Clip:
    """What is fed to a network, and what a person sees of it.

    Attributes:
        feeds: Array per input, exactly as the runtime gets it.
        frames: ``(T, H, W, 3)`` uint8 RGB after resize and crop; None for arrays that were fed as they are.
        file: The source as it was named; ``"array"`` for one from memory.
        sha256: Of the file's bytes; of a folder's frame names and bytes; of an array's type, shape and bytes.
        layout: Letters of the first input's axes; None where they are unknown.
    """

    feeds: dict[str, Array]
    frames: Frame | None
    file: str
    sha256: str
    layout: str | None


def layout_of(spec: InputSpec, requested: str | None = None) -> str:
    """Names the axes of an input with the letters N, C, T, H, W (and L for one-dimensional data).

    The channels are where the graph says; where it does not, they are the one axis of size 3, else of size 1.

    Raises:
        UsageError: The layout is ambiguous, or the requested one contradicts the model.
    """
    if requested is not None:
        return _checked_layout(spec, requested)
    known = _CHANNEL_LAYOUTS.get(len(spec.shape), {})
    axes = [spec.channel_axis]
    if spec.channel_axis is None:
        axes = list(known) if len(known) == 1 else _axes_of_size(spec, 3) or _axes_of_size(spec, 1)
    if len(axes) == 1 and axes[0] in known:
        return known[axes[0]]
    example = "/".join(known.values()) or "NCTHW"
    raise UsageError(
        f"the layout of input {spec.name!r} {_shape(spec.shape)} is ambiguous; say which axis is which with "
        f"--layout {example}"
    )


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
    opened = _open(source)
    layout = layout if layout is not None else preprocess.layout
    if isinstance(opened, _Footage):
        if len(inputs) > 1:
            raise ClipError(_several(opened.file, inputs))
        parts = {inputs[0].name: _from_footage(opened, inputs[0], preprocess, layout)}
    else:
        arrays = _by_input(opened, inputs)
        parts = {
            s.name: _from_array(arrays[s.name], opened.file, s, preprocess, _layout_for(s, inputs, layout))
            for s in inputs
        }
    shown = next((part.frames for part in parts.values() if part.frames is not None), None)
    feeds = {name: part.array for name, part in parts.items()}
    return Clip(feeds, shown, opened.file, opened.sha256, parts[inputs[0].name].layout)


# --- layouts and shapes --------------------------------------------------------------------------------


def _shape(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def _axes_of_size(spec: InputSpec, size: int) -> list[int | None]:
    return [axis for axis in _CHANNEL_LAYOUTS.get(len(spec.shape), {}) if spec.shape[axis] == size]


def _letters(layout: str) -> str:
    return re.sub(r"[\s,/]", "", layout).upper()


def _layout_for(spec: InputSpec, inputs: Sequence[InputSpec], layout: str | None) -> str | None:
    """Of several inputs, a requested layout means those of its rank."""
    if layout is None or len(inputs) == 1 or len(_letters(layout)) == len(spec.shape):
        return layout
    return None


def _checked_layout(spec: InputSpec, requested: str) -> str:
    """Validates a layout that a person asked for against the rank and the channels of the model."""
    letters = _letters(requested)
    where = f"input {spec.name!r} {_shape(spec.shape)}"
    if len(set(letters)) != len(letters) or not set(letters) <= set("NCTHWL") or "C" not in letters:
        raise UsageError(f"layout {requested!r} must name each axis once with N, C, T, H, W or L, C among them")
    if len(letters) != len(spec.shape):
        raise UsageError(f"layout {requested!r} names {len(letters)} axes, {where} has {len(spec.shape)}")
    axis = letters.index("C")
    if spec.channel_axis is not None and axis != spec.channel_axis:
        raise UsageError(
            f"layout {requested!r} puts the channels on axis {axis}, the graph reads them from axis "
            f"{spec.channel_axis} of {where}"
        )
    if spec.shape[axis] not in (None, 1, 3) and _axes_of_size(spec, 3):
        raise UsageError(f"layout {requested!r} gives {where} {spec.shape[axis]} channels; name the axis of size 3 C")
    return letters


def _fits(shape: Sequence[int], spec: InputSpec, batch_axis: int | None) -> bool:
    """Whether an array of this shape may be fed, its batch axis being cut or repeated."""

    def fits(axis: int, size: int, fixed: int | None) -> bool:
        free = fixed is None or (axis == batch_axis and fixed > 1)
        return size == fixed or (free and size > 0)

    pairs = enumerate(zip(shape, spec.shape, strict=True))
    return all(fits(axis, size, fixed) for axis, (size, fixed) in pairs)


def _transposition_hint(shape: tuple[int, ...], spec: InputSpec, layout: str | None) -> str:
    """Says which transposition would make an array fit; empty where none of the usual ones does."""
    for other in _CHANNEL_LAYOUTS.get(len(shape), {}).values():
        if layout is None or other == layout or set(other) != set(layout):
            continue
        order = tuple(other.index(letter) for letter in layout)
        if _fits([shape[axis] for axis in order], spec, layout.find("N")):
            return f"; if it is {other}, pass array.transpose{order} to make it {layout}"
    return ""


# --- from footage to an input --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One input's array, with the frames it shows and the names of its axes."""

    array: Array
    frames: Frame | None
    layout: str | None


@dataclass(frozen=True)
class _Footage:
    """Frames that can be read by their index.

    `read` takes rising indices and gives RGB frames; `promised` is the header's count where it is exact; a
    `still` picture stands for as many frames as are needed.
    """

    file: str
    sha256: str
    count: int
    read: Callable[[Sequence[int]], Iterator[Frame]]
    promised: int = 0
    still: bool = False


@dataclass(frozen=True)
class _Plan:
    """The sizes of an input, all settled."""

    frames: int
    size: tuple[int, int]
    channels: int
    batch: int


def _from_footage(footage: _Footage, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> _Part:
    letters = layout_of(spec, layout)
    if preprocess.yields:
        preprocess = preprocess.fitted(spec, letters)
    plan = _plan(spec, letters, preprocess)
    indices = _sample(footage, plan.frames, preprocess)
    shown = np.stack([_resize_and_crop(frame, plan.size, preprocess) for frame in footage.read(indices)])
    array = _arrange(_normalise(shown, spec, plan, preprocess), letters, plan.batch)
    return _Part(array, shown, letters)


def _plan(spec: InputSpec, layout: str, preprocess: Preprocess) -> _Plan:
    axes = dict(zip(layout, spec.shape, strict=True))
    if not {"H", "W"} <= set(axes):
        raise ClipError(f"input {spec.name!r} ({layout}) has no height and width for frames; pass an .npy array")
    channels = axes["C"] or 3
    if channels not in (1, 3):
        raise ClipError(
            f"input {spec.name!r} takes {channels} channels, frames have 3 (or 1 as grey); pass a float .npy "
            f"array of shape {_shape(spec.shape)}"
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
    if fixed is not None and asked not in (None, fixed):
        raise UsageError(f"{key} {asked} was asked for, but input {spec.name!r} takes {fixed}; leave it out")
    return fixed or asked or default


def _sample(footage: _Footage, frames: int, preprocess: Preprocess) -> list[int]:
    """Chooses frame indices: every `stride`-th from `start`, or evenly spaced up to the last frame.

    A single frame without a stride is the middle one.
    """
    if footage.still:
        return [0] * frames
    rest = footage.count - preprocess.start
    needed = (frames - 1) * (preprocess.stride or 1) + 1
    if rest < needed:
        raise ClipError(_too_short(footage, frames, preprocess))
    if preprocess.stride is not None:
        return list(range(preprocess.start, preprocess.start + needed, preprocess.stride))
    if 2 * footage.count < footage.promised:
        raise ClipError(
            f"{footage.file} is cut off: {footage.count} of {footage.promised} frames can be decoded; mend "
            "the file, or give a stride to use only its beginning"
        )
    if frames == 1:
        return [preprocess.start + rest // 2]
    return [preprocess.start + round(i * (rest - 1) / (frames - 1)) for i in range(frames)]


def _too_short(footage: _Footage, frames: int, preprocess: Preprocess) -> str:
    plural = "" if footage.count == 1 else "s"
    extra = f" at stride {preprocess.stride}" if preprocess.stride not in (None, 1) else ""
    extra += f" from frame {preprocess.start}" if preprocess.start else ""
    return (
        f"clip too short: {footage.count} frame{plural}, the model takes {frames}{extra}; use a longer clip "
        f"({footage.file})"
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
        frame = cast("Frame", cv2.resize(frame, (wide, tall), interpolation=_INTERPOLATIONS[preprocess.interpolation]))
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return frame[top : top + size[0], left : left + size[1]]


def _normalise(frames: Frame, spec: InputSpec, plan: _Plan, preprocess: Preprocess) -> Array:
    """Turns ``(T, H, W, 3)`` RGB into ``(T, H, W, C)`` of the input's type: (x / 255 - mean) / std.

    An input of whole numbers takes the frames on their own scale, 0..255.
    """
    dtype = _dtype(spec)
    colours: Array = frames[..., ::-1] if preprocess.color == "BGR" else frames
    if plan.channels == 1:
        colours = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])[..., None]
    mean = _per_channel("mean", preprocess.mean, plan.channels, spec)
    std = _per_channel("std", preprocess.std, plan.channels, spec)
    if dtype.kind != "f":
        if np.any(mean) or np.any(std != 1):
            raise UsageError(f"input {spec.name!r} takes {spec.dtype} frames, 0..255; leave mean and std out")
        return _cast(colours, spec, "the clip")
    with np.errstate(all="ignore"):  # what a tiny std makes of it is refused as not finite
        scaled = (colours.astype(np.float32) / np.float32(255) - mean) / std
    return _cast(scaled, spec, "the preprocessed clip")


def _per_channel(key: str, values: tuple[float, ...], channels: int, spec: InputSpec) -> npt.NDArray[np.float32]:
    if channels == 1 and len(set(values)) > 1:
        raise UsageError(f"{key} has {len(values)} values, input {spec.name!r} takes one grey channel; give one")
    return np.array(values[:1] if channels == 1 else values, dtype=np.float32)


def _arrange(frames: Array, layout: str, batch: int) -> Array:
    """Puts ``(T, H, W, C)`` into a layout; items of a batch are equal."""
    present = [letter for letter in "THWC" if letter in layout]
    if "T" not in layout:
        frames = frames[0]
    array = frames.transpose([present.index(letter) for letter in layout if letter != "N"])
    if "N" in layout:
        array = np.repeat(np.expand_dims(array, layout.index("N")), batch, axis=layout.index("N"))
    return np.ascontiguousarray(array)


# --- from arrays to an input ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arrays:
    """Arrays as they were stored; the key of one that came alone is empty."""

    file: str
    sha256: str
    arrays: Mapping[str, Array]


def _several(file: str, inputs: Sequence[InputSpec]) -> str:
    names = ", ".join(repr(spec.name) for spec in inputs)
    return f"the model takes {len(inputs)} inputs, {file} is one clip; pass an .npz with the keys {names}"


def _by_input(opened: _Arrays, inputs: Sequence[InputSpec]) -> dict[str, Array]:
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


def _from_array(array: Array, file: str, spec: InputSpec, preprocess: Preprocess, layout: str | None) -> _Part:
    """Preprocesses uint8 frames; feeds anything else as it is."""
    if array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3 and array.size:
        return _from_footage(_array_footage(array, file), spec, preprocess, layout)
    return _as_is(array, file, spec, layout)


def _array_footage(array: Array, file: str) -> _Footage:
    frames = array if array.ndim > 3 else array[None]
    return _Footage(file, "", len(frames), lambda wanted: (frames[i] for i in wanted), still=array.ndim == 3)


def _as_is(array: Array, file: str, spec: InputSpec, layout: str | None) -> _Part:
    """Checks an array of an input's shape; of its batch the first item counts."""
    if array.dtype.kind not in "fiub" or (array.dtype == np.uint8 and _dtype(spec).kind == "f"):
        raise ClipError(
            f"{file} holds a {array.dtype} array {_shape(array.shape)}; pass uint8 frames (T, H, W, 3) or a "
            f"{spec.dtype} array {_shape(spec.shape)}"
        )
    letters = _layout_if_known(spec, layout)
    batch_axis = letters.find("N") if letters else 0
    if array.ndim == len(spec.shape) - 1 and batch_axis >= 0:
        array = np.expand_dims(array, batch_axis)
    if array.ndim != len(spec.shape) or not _fits(array.shape, spec, batch_axis):
        raise ClipError(
            f"{file} has shape {_shape(array.shape)}, input {spec.name!r} takes {_shape(spec.shape)}"
            f"{_transposition_hint(array.shape, spec, letters)}"
        )
    if batch_axis >= 0:
        array = np.repeat(array.take([0], axis=batch_axis), spec.shape[batch_axis] or 1, axis=batch_axis)
    return _Part(np.ascontiguousarray(_cast(array, spec, file)), None, letters)


def _layout_if_known(spec: InputSpec, layout: str | None) -> str | None:
    """An array is fed as it is, so that only a layout someone asked for can be wrong."""
    if layout is not None:
        return layout_of(spec, layout)
    try:
        return layout_of(spec)
    except UsageError:
        return None


def _dtype(spec: InputSpec) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise ClipError(
            f"input {spec.name!r} takes {spec.dtype}, which NumPy lacks; export the model in float32"
        ) from error


def _cast(array: Array, spec: InputSpec, file: str) -> Array:
    dtype = _dtype(spec)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ClipError(f"{file} holds NaN or infinity; mend the array for input {spec.name!r}")
    with np.errstate(all="ignore"):
        result = array.astype(dtype)
    exact = dtype.kind == "f" or np.array_equal(result, array)
    if not exact or (dtype.kind == "f" and not np.isfinite(result).all()):
        raise ClipError(f"{file} has values that input {spec.name!r} cannot hold as {spec.dtype}; rescale them")
    return result


# --- opening a source ----------------------------------------------------------------------------------


def _open(source: Source) -> _Footage | _Arrays:
    if isinstance(source, np.ndarray):
        return _Arrays("array", _array_digest({"": source}), {"": source})
    if isinstance(source, Mapping):
        arrays = {str(name): np.asarray(array) for name, array in source.items()}
        return _Arrays("array", _array_digest(arrays), arrays)
    file = os.fspath(source)
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116  (Path() would drop what an odd name holds)
    except (OSError, ValueError) as error:
        return _open_pattern(file, error)
    if stat.S_ISDIR(mode):
        return _open_folder(file, sorted(Path(file).iterdir(), key=_natural_path))
    return _open_file(file)


def _array_digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _open_file(file: str) -> _Footage | _Arrays:
    """Chooses a reader by a file's first bytes."""
    with _regular(file) as stream:
        head = stream.read(512)
        digest = hashlib.sha256(head)
        for block in iter(lambda: stream.read(2**20), b""):
            digest.update(block)
    sha256 = digest.hexdigest()
    if head.startswith(b"\x93NUMPY"):
        return _Arrays(file, sha256, {"": _load_npy(file)})
    if head.startswith(b"PK\x03\x04"):
        return _Arrays(file, sha256, _load_npz(file))
    if head.startswith(b"SQLite format 3\0"):
        return _open_database(file, sha256)
    if any(head.startswith(magic, offset) for offset, magic in _PICTURES):
        picture = _decode(_read(file), file)
        return _Footage(file, sha256, 1, lambda wanted: itertools.repeat(picture, len(wanted)), still=True)
    for offset, magic, demuxer in _CONTAINERS:
        if head.startswith(magic, offset):
            return _open_video(file, sha256, demuxer)
    raise ClipError(f"{file} is no video, picture, NumPy array or frame database that can be read; convert it to .mp4")


@contextlib.contextmanager
def _regular(file: str) -> Iterator[BinaryIO]:
    """Opens a regular file; a pipe or device would block or never end."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ClipError(_unreadable(file, error)) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ClipError(f"{file} is not a regular file; pass a file, a folder of frames or an array")
        if not status.st_size:
            raise ClipError(f"{file} is empty; pass another file")
        yield stream


def _unreadable(file: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"{file} cannot be read: {reason}; check the path"


def _read(file: str) -> bytes:
    with _regular(file) as stream:
        data = stream.read(BYTE_LIMIT + 1)
    if len(data) > BYTE_LIMIT:
        raise LimitError(f"{file} is larger than {BYTE_LIMIT} bytes; pass a smaller file")
    return data


def _load_npy(file: str) -> Array:
    try:  # Mapping fails, before anything is allocated, where the file is shorter than its header says.
        return np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    except _UNREADABLE as error:
        raise ClipError(f"{file} is no NumPy array that can be read ({error}); save it anew") from error


def _load_npz(file: str) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > BYTE_LIMIT:
            raise LimitError(f"{file} unpacks to {size} bytes, the limit is {BYTE_LIMIT}; pass a smaller clip")
        with np.load(file, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        raise ClipError(f"{file} is no NumPy archive that can be read ({error}); save it anew") from error
    if any(not isinstance(array, np.ndarray) for array in loaded.values()):
        raise ClipError(f"{file} holds entries that are no NumPy arrays; write it with numpy.savez")
    return loaded


# --- pictures and folders ------------------------------------------------------------------------------


def _decode(data: bytes, file: str) -> Frame:
    """Decodes a picture to ``(H, W, 3)`` RGB, turned upright where it says so.

    OpenCV fills what a cut-off JPEG or PNG lacks with grey, so their end marks are looked for first.
    """
    cut_jpeg = data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    cut_png = data.startswith(b"\x89PNG") and b"IEND" not in data
    if cut_jpeg or cut_png or not data:
        raise ClipError(f"{file} is cut off; copy or extract the picture again")
    try:
        with quiet():
            picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ClipError(f"{file} cannot be decoded, or has more than {PIXEL_LIMIT} pixels") from error
    if picture is None:
        raise ClipError(f"{file} cannot be decoded as a picture; convert it to PNG or JPEG")
    return cast("Frame", cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _natural(text: str) -> list[Any]:
    """Sorts frame_8 before frame_10, whatever the padding; digits compare by length, then by text."""
    parts = re.split(r"([0-9]+)", text)
    values = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p for i, p in enumerate(parts)]
    return [values, text]


def _natural_path(path: Path) -> list[Any]:
    return _natural(path.name)


def _open_folder(file: str, paths: Sequence[Path]) -> _Footage:
    """Reads a folder's pictures, in the order given."""
    frames = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not frames:
        raise ClipError(f"{file} holds no frames; put pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) there")
    digest = hashlib.sha256()
    for path in frames:
        data = _read(str(path))
        digest.update(f"{path.name}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)

    def read(wanted: Sequence[int]) -> Iterator[Frame]:
        named = ((str(frames[i]), _read(str(frames[i]))) for i in wanted)
        return _same_size(named)

    return _Footage(file, digest.hexdigest(), len(frames), read)


def _same_size(named: Iterator[tuple[str, bytes]]) -> Iterator[Frame]:
    """Decodes pictures that must be frames of one clip."""
    first: tuple[int, ...] | None = None
    for name, data in named:
        frame = _decode(data, name)
        first = first or frame.shape
        if frame.shape != first:
            raise ClipError(
                f"{name} is {frame.shape[0]}x{frame.shape[1]}, the first frame {first[0]}x{first[1]}; "
                "frames of one clip must have one size"
            )
        yield frame


def _open_pattern(file: str, error: Exception) -> _Footage:
    """Opens frames named by a printf pattern or a glob, in the last part of a path that does not exist."""
    folder, name = os.path.split(file)
    number = re.search(r"%0?[0-9]*d", name)
    if number is not None:
        before, after = re.escape(name[: number.start()]), re.escape(name[number.end() :])
        accepted = re.compile(f"{before}[0-9]+{after}")
    elif set("*?[") & set(name):
        accepted = re.compile(fnmatch.translate(name))
    else:
        raise ClipError(_unreadable(file, error)) from error
    try:
        paths = sorted(Path(folder or ".").iterdir(), key=_natural_path)
    except (OSError, ValueError) as missing:
        raise ClipError(_unreadable(folder, missing)) from missing
    return _open_folder(file, [path for path in paths if accepted.fullmatch(path.name)])


# --- frame databases -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _database(file: str) -> Iterator[sqlite3.Connection]:
    """Opens a database that is read and nothing else: no writing, attaching or recursion, no huge values."""
    uri = f"file:{urllib.parse.quote(str(Path(file).resolve()))}?mode=ro&immutable=1"
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BLOB_LIMIT)
            connection.set_authorizer(
                lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
            )
            yield connection
    except sqlite3.Error as error:
        raise ClipError(
            f"{file} is no frame database that can be read ({error}); it needs a table Images(ObjId, frames)"
        ) from error


def _open_database(file: str, sha256: str) -> _Footage:
    """Reads the JPEG blobs of ``Images(ObjId, frames)`` in the order of ObjId."""
    with _database(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "images" not in [str(name).lower() for name in tables]:
            raise ClipError(f"{file} has no table Images(ObjId, frames); write the frames there as JPEG")
        ids = [row[0] for row in connection.execute("SELECT ObjId FROM Images")]
    if not ids:
        raise ClipError(f"{file} holds no frames; fill its table Images(ObjId, frames)")
    if len(set(ids)) != len(ids) or not all(isinstance(i, (int, str)) for i in ids):
        raise ClipError(f"{file} must have one whole number or text per frame as ObjId, each once")
    ids.sort(key=lambda i: (False, i) if isinstance(i, int) else (True, _natural(i)))

    def named(wanted: Sequence[int]) -> Iterator[tuple[str, bytes]]:
        with _database(file) as connection:
            for i in wanted:
                row = connection.execute("SELECT frames FROM Images WHERE ObjId = ?", (ids[i],)).fetchone()
                if row is None or not isinstance(row[0], bytes):
                    raise ClipError(f"frame {ids[i]!r} of {file} is no JPEG blob; write the encoded bytes")
                yield f"frame {ids[i]!r} of {file}", row[0]

    return _Footage(file, sha256, len(ids), lambda wanted: _same_size(named(wanted)))


# --- videos --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _capture(file: str, demuxer: str) -> Iterator[cv2.VideoCapture]:
    """Opens a video with one demuxer and no other.

    The absolute path keeps FFmpeg from taking a name such as ``concat:a|b`` for a protocol.
    """
    path, key = str(Path(file).resolve()), "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    before = os.environ.get(key)
    os.environ[key] = f"format_whitelist;{demuxer}"
    try:
        with quiet():
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
    try:
        if not capture.isOpened():
            raise ClipError(f"{file} cannot be opened as a video; convert it to .mp4")
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not width * height <= PIXEL_LIMIT:
            raise LimitError(f"{file} has frames of {height:.0f}x{width:.0f} pixels; scale it down first")
        yield capture
    finally:
        capture.release()


def _open_video(file: str, sha256: str, demuxer: str) -> _Footage:
    """Counts the frames by decoding them: a header's count may be an estimate, negative or four billion."""
    with _capture(file, demuxer) as capture:
        header = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        count = sum(1 for _ in iter(capture.grab, False))  # noqa: FBT003  (grab's own answer at the end)
    if not count:
        raise ClipError(f"{file} holds no frame that can be decoded; convert it to .mp4")
    plausible = demuxer in _EXACT_HEADERS and 0 < header < 1e8
    promised = int(header) if plausible else 0
    return _Footage(file, sha256, count, lambda wanted: _video_frames(file, demuxer, wanted), promised)


def _video_frames(file: str, demuxer: str, wanted: Sequence[int]) -> Iterator[Frame]:
    with _capture(file, demuxer) as capture:
        position = -1
        for index in wanted:
            while position < index and capture.grab():
                position += 1
            ok, frame = capture.retrieve() if position == index else (False, None)
            if not ok or frame is None or frame.ndim != 3 or frame.dtype != np.uint8:
                raise ClipError(f"frame {index} of {file} cannot be decoded; convert it to .mp4")
            yield cast("Frame", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
