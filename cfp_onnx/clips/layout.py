"""Which axis of an input is which: N, C, T, H, W (L for one-dimensional data)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cfp_onnx.clips.spec import InputSpec, shape_text
from cfp_onnx.errors import UsageError

_CHANNEL_LAYOUTS = {
    2: {1: "NC"},
    3: {1: "NCL", 2: "NLC"},
    4: {1: "NCHW", 3: "NHWC"},
    5: {1: "NCTHW", 2: "NTCHW", 4: "NTHWC"},
}
"""Per rank of the input, the layout that each place of the channels implies."""


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
        f"the layout of input {spec.name!r} {shape_text(spec.shape)} is ambiguous; say which axis is which with "
        f"--layout {example}"
    )


def _axes_of_size(spec: InputSpec, size: int) -> list[int | None]:
    return [axis for axis in _CHANNEL_LAYOUTS.get(len(spec.shape), {}) if spec.shape[axis] == size]


def letters_of(layout: str) -> str:
    """Returns a layout's letters, without separators and in capitals."""
    return re.sub(r"[\s,/]", "", layout).upper()


def layout_for(spec: InputSpec, inputs: Sequence[InputSpec], layout: str | None) -> str | None:
    """Of several inputs, a requested layout means those of its rank."""
    if layout is None or len(inputs) == 1 or len(letters_of(layout)) == len(spec.shape):
        return layout
    return None


def _checked_layout(spec: InputSpec, requested: str) -> str:
    """Validates a layout that a person asked for against the rank and the channels of the model."""
    letters = letters_of(requested)
    where = f"input {spec.name!r} {shape_text(spec.shape)}"
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


def array_fits(shape: Sequence[int], spec: InputSpec, batch_axis: int | None) -> bool:
    """Whether an array of this shape may be fed, its batch axis being cut or repeated."""

    def fits(axis: int, size: int, fixed: int | None) -> bool:
        free = fixed is None or (axis == batch_axis and fixed > 1)
        return size == fixed or (free and size > 0)

    pairs = enumerate(zip(shape, spec.shape, strict=True))
    return all(fits(axis, size, fixed) for axis, (size, fixed) in pairs)


def transposition_hint(shape: tuple[int, ...], spec: InputSpec, layout: str | None) -> str:
    """Says which transposition would make an array fit; empty where none of the usual ones does."""
    for other in _CHANNEL_LAYOUTS.get(len(shape), {}).values():
        if layout is None or other == layout or set(other) != set(layout):
            continue
        order = tuple(other.index(letter) for letter in layout)
        if array_fits([shape[axis] for axis in order], spec, layout.find("N")):
            return f"; if it is {other}, pass array.transpose{order} to make it {layout}"
    return ""


def layout_if_known(spec: InputSpec, layout: str | None) -> str | None:
    """An array is fed as it is, so that only a layout someone asked for can be wrong."""
    if layout is not None:
        return layout_of(spec, layout)
    try:
        return layout_of(spec)
    except UsageError:
        return None
