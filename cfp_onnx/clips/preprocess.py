"""Preprocessing: how frames become what a network takes, as a value and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cfp_onnx.clips.layout import frames_in_channels
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import UsageError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
"""How a frame may be resized."""

_JSON_KEYS = (
    "frames", "stride", "start", "end", "view_clips", "view_crops", "size", "short_side", "mean", "std", "color",
    "layout", "interpolation",
)  # fmt: skip
"""What is written as JSON: all but `yields`."""


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
class Preprocess:
    """How frames become what a network takes; the default values are the default preprocessing.

    Attributes:
        frames: Frames to sample; None takes the model's T.
        stride: Step between consecutive samples, in frames; None spreads them evenly over the clip.
        start: First frame that may be used.
        end: First frame behind those that may be used; None for all.
        view_clips: Clips of a network that takes several views at once; None takes what the model leaves.
        view_crops: Places that each clip is cut from, 1 or 3 along its longer side; None for 1.
        size: Height and width in pixels; None takes the model's.
        short_side: Length in pixels that the short side is resized to before the centre crop; None resizes
            until the frame just covers the crop.
        mean: Subtracted per fed channel, on the scale where 255 is 1; one value or one per channel.
        std: Divided by per fed channel, on the same scale.
        color: Order in which a 3-channel network takes the colours.
        layout: Letters over N, C, T, H, W in the order of the input's axes; None reads it off the model.
        interpolation: One of nearest, bilinear, bicubic, area.
        yields: Whether `frames`, `size` and `short_side` give way to what the model fixes, as in `PRESETS`;
            otherwise a contradiction is an error.
    """

    frames: int | None = None
    stride: int | None = None
    start: int = 0
    end: int | None = None
    view_clips: int | None = None
    view_crops: int | None = None
    size: tuple[int, int] | None = None
    short_side: int | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    color: str = "RGB"
    layout: str | None = None
    interpolation: str = "bilinear"
    yields: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for key in ("frames", "stride", "short_side", "view_clips"):
            _require(key, getattr(self, key), lambda v: v is None or _is_count(v), "a whole number of at least 1")
        _require("start", self.start, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")
        _require("view_crops", self.view_crops, lambda v: v in (None, 1, 3), "1 or 3")
        _require("end", self.end, lambda v: v is None or _is_count(v), "a whole number of at least 1")
        if self.end is not None and self.end <= self.start:
            raise UsageError(f"end {self.end} must lie behind start {self.start}")
        _require("size", self.size, _is_size, "height and width, two whole numbers of at least 1")
        _require("mean", self.mean, _is_numbers, "1 or 3 finite numbers on the 0..1 scale")
        _require("std", self.std, lambda v: _is_numbers(v) and min(v) > 0, "1 or 3 finite numbers above 0")
        _require("color", self.color, lambda v: v in ("RGB", "BGR"), "RGB or BGR")
        _require("layout", self.layout, lambda v: v is None or isinstance(v, str), "letters such as NCTHW")
        names = ", ".join(INTERPOLATIONS)
        _require("interpolation", self.interpolation, lambda v: v in INTERPOLATIONS, f"one of {names}")

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any] | None) -> Preprocess:
        """Returns the preprocessing that travels in a model's metadata, or the default one where there is none.

        Raises:
            UsageError: A key is unknown, or its value has the wrong type or range.
        """
        return cls() if metadata is None else cls.from_json(metadata)

    @classmethod
    def from_json(cls, data: object) -> Preprocess:
        """Reads what `to_json` or a person wrote; every key is optional.

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
        """Returns a copy with the frames, height and width that a model fixes; `short_side` changes in proportion.

        To override a part of a preset, fit it first:
        ``replace(PRESETS["i3d"].fitted(spec, layout), frames=64)``.
        """
        axes = dict(zip(layout, spec.shape, strict=True))
        folded = frames_in_channels(layout, spec.shape)
        frames = folded or ((axes["T"] or self.frames) if "T" in axes else None)
        size, short_side = self.size, self.short_side
        if size is not None:
            size = (axes.get("H") or size[0], axes.get("W") or size[1])
            if short_side is not None and self.size is not None:
                short_side = max(min(size), round(short_side * min(size) / min(self.size)))
        return replace(self, frames=frames, size=size, short_side=short_side, yields=False)
