"""Which axis of an input is which: N, C, T, H, W (L for one-dimensional data, S for several views of one clip).

Where frames lie in the axis of the channels it is one letter here: F, frame by frame with its colours, written
``(TC)``; or G, colour by colour with its frames, written ``(CT)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cfp_onnx.clips.spec import InputSpec, shape_text
from cfp_onnx.errors import UsageError

LAYOUTS = {
    2: {1: "NC"},
    3: {1: "NCL", 2: "NLC"},
    4: {1: "NCHW", 3: "NHWC"},
    5: {1: "NCTHW", 2: "NTCHW", 4: "NTHWC"},
    6: {2: "NSCTHW", 3: "NSTCHW", 5: "NSTHWC"},
}
"""By the number of axes and by the axis of the channels, the usual layout."""

UNBATCHED = {
    1: {0: "C"},
    2: {0: "CL", 1: "LC"},
    3: {0: "CHW", 2: "HWC"},
    4: {0: "CTHW", 1: "TCHW", 3: "THWC"},
    5: {1: "SCTHW", 2: "STCHW", 4: "STHWC"},
}

"""The same where the first axis is no batch."""


COLOURS = 3
"""Colours of a frame."""


def usual_layouts(spec: InputSpec) -> Mapping[int, str]:
    """The usual layouts of an input, by the axis of the channels."""
    return (LAYOUTS if spec.has_batch() else UNBATCHED).get(len(spec.shape), {})


def layout_of(spec: InputSpec, requested: str | None = None) -> str:
    """Names the axes of an input with the letters N, C, T, H, W (and L for one-dimensional data).

    The graph says which axis holds the channels; where it does not, it is the one of size 3, else the one of size 1.

    Raises:
        UsageError: The layout is ambiguous, or the requested one contradicts the model.
    """
    if requested is not None:
        return _checked_layout(spec, requested)
    known = usual_layouts(spec)
    axes: list[int | None] = [spec.channel_axis]
    if spec.channel_axis is None:
        axes = list(known) if len(known) == 1 else _axes_of_size(spec, 3) or _axes_of_size(spec, 1)
    found = axes[0] if len(axes) == 1 else None
    if found is not None and found in known and not _is_thin(spec, found):
        return known[found]
    example = "/".join(known.values()) or "NCTHW"
    raise UsageError(
        f"the layout of input {spec.name!r} {shape_text(spec.shape)} is ambiguous; say which axis is which with "
        f"--layout {example}"
    )


def _is_thin(spec: InputSpec, channels: int) -> bool:
    """Whether an input without a batch axis has a side of length 1: then its axes are steps or rows of something."""
    rest = [size for axis, size in enumerate(spec.shape) if axis != channels]
    return not spec.has_batch() and 1 in rest


def _axes_of_size(spec: InputSpec, size: int) -> list[int | None]:
    return [axis for axis in usual_layouts(spec) if spec.shape[axis] == size]


def letters_of(layout: str) -> str:
    """Returns a layout's letters, without separators and in capitals."""
    letters = re.sub(r"[\s,/]", "", layout).upper()
    return letters.replace("(TC)", "F").replace("(CT)", "G")


def layout_text(letters: str) -> str:
    """Returns a layout as people write it."""
    return letters.replace("F", "(TC)").replace("G", "(CT)")


def frames_in_channels(letters: str, shape: Sequence[int | None]) -> int | None:
    """Returns how many frames lie in the axis of the channels; None where none do or the axis is open."""
    size = next((n for letter, n in zip(letters, shape, strict=True) if letter in "FG"), None)
    return None if size is None else size // COLOURS


def layout_for(spec: InputSpec, inputs: Sequence[InputSpec], layout: str | None) -> str | None:
    """Returns the layout asked for, where it is meant for this input: of several, for those with as many axes."""
    if layout is None or len(inputs) == 1 or len(letters_of(layout)) == len(spec.shape):
        return layout
    return None


def _checked_layout(spec: InputSpec, requested: str) -> str:
    """Checks a layout that a person asked for against the axes and the channels of the model."""
    letters = letters_of(requested)
    where = f"input {spec.name!r} {shape_text(spec.shape)}"
    channels = set(letters) & set("CFG")
    twice = len(set(letters)) != len(letters) or (channels != {"C"} and "T" in letters)
    if twice or not set(letters) <= set("NSCTHWLFG") or len(channels) != 1:
        raise UsageError(
            f"layout {requested!r} must name each axis once with N, C, T, H, W, L or S (several views), C among them; "
            "(TC) or (CT) is an axis that holds frames and colours"
        )
    if len(letters) != len(spec.shape):
        raise UsageError(f"layout {requested!r} names {len(letters)} axes, {where} has {len(spec.shape)}")
    (kind,) = channels
    axis = letters.index(kind)
    if spec.channel_axis is not None and axis != spec.channel_axis:
        raise UsageError(
            f"layout {requested!r} puts the channels on axis {axis}, the graph reads them from axis "
            f"{spec.channel_axis} of {where}"
        )
    if kind == "C" and spec.shape[axis] not in (None, 1, 3) and _axes_of_size(spec, 3):
        raise UsageError(f"layout {requested!r} gives {where} {spec.shape[axis]} channels; name the axis of size 3 C")
    return letters
