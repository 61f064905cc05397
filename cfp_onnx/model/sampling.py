"""Sampling at places of a grid as a product with a matrix, which says how much of each pixel each sample takes.

The matrix is what the operator itself makes of an image for each pixel that is 1 there and 0 elsewhere. Where it takes
its samples is held: a grid moves them by jumps and along the edges of an image, of which a slope says little.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

LARGEST = 2**25
"""Most elements of such a matrix."""


def grid_sample(w: Writer) -> None:
    """ONNX `GridSample` (https://onnx.ai/onnx/operators/onnx__GridSample.html).

    Raises:
        NotExpandableError: If the matrix is too large, or its grid is constant and of a form that is not understood.
    """
    batch, channels, *sizes = w.shape(0)
    places = w.shape(1)[1:-1]
    pixels, samples = prod(sizes), prod(places)
    grid = w.value(1)
    _fits(batch if grid is None else 1, pixels, samples)
    flat = w.reshape(w.tensor(0), (batch, channels, pixels), "flat")
    if grid is None:
        given = {k: v for k, v in w.node.attributes.items() if v is not None}
        shares = w.add("GridSample", [_eye(w, batch, sizes), w.tensor(1)], "shares", **given)
        made = w.add("MatMul", [flat, w.reshape(shares, (batch, pixels, samples), "matrix")], "product")
    else:
        made = w.fixed(flat, _matrix(w, grid, sizes), "product")
    w.give(0, w.reshape(made, (batch, channels, *places), "sampled"))


def _fits(batch: int, pixels: int, samples: int) -> None:
    if batch * pixels * max(pixels, samples) > LARGEST:
        raise NotExpandableError(f"takes {samples} samples of {pixels} pixels, more than can be followed")


def _eye(w: Writer, batch: int, sizes: list[int]) -> ir.Value:
    """For each pixel an image that is 1 there and 0 elsewhere."""
    pixels = prod(sizes)
    eye = np.broadcast_to(np.eye(pixels, dtype=w.dtype), (batch, pixels, pixels)).reshape(batch, pixels, *sizes)
    return w.constant(np.ascontiguousarray(eye), "pixels")


def _matrix(w: Writer, grid: Array, sizes: list[int]) -> Array:
    """What a constant grid takes of each pixel, (pixels, samples)."""
    mode = w.text("mode", "linear")
    if mode not in {"linear", "bilinear", "nearest"}:
        raise NotExpandableError(f"has a grid that is constant, with mode {mode!r}")
    if (grid != grid[:1]).any():
        raise NotExpandableError("has a constant grid for each item of a batch")
    corners, border = bool(w.attribute("align_corners", 0)), w.text("padding_mode", "zeros")
    rows = grid[0].reshape(-1, len(sizes))[:, ::-1].astype(np.float64)
    lines = []
    for axis, size in enumerate(sizes):
        at = (rows[:, axis] + 1) / 2 * (size - 1) if corners else ((rows[:, axis] + 1) * size - 1) / 2
        lines.append(_line(at, size, nearest=mode == "nearest", corners=corners, border=border))
    return _together(lines)


def _together(lines: list[Array]) -> Array:
    """Shares of pixels from those along each axis, (pixels, samples)."""
    made = lines[0]
    for line in lines[1:]:
        made = (made[:, None] * line[None]).reshape(-1, line.shape[1])
    return made


def _line(at: Array, size: int, *, nearest: bool, corners: bool, border: str) -> Array:
    """Along one axis, what each sample takes of each pixel, (size, samples)."""
    low = np.rint(at) if nearest else np.floor(at)
    out = np.zeros((size + 1, len(at)))  # the last row is outside
    for step, share in ((0, 1 - (at - low)), (1, at - low)) if not nearest else ((0, np.ones_like(at)),):
        place = low.astype(np.int64) + step
        inside = (place >= 0) & (place < size)
        if border == "border":
            place = place.clip(0, size - 1)
        elif border == "reflection":
            place = _reflected(place, size, corners=corners)
        else:
            place = np.where(inside, place, size)
        np.add.at(out, (place, np.arange(len(at))), share)
    return out[:-1]


def _reflected(place: Array, size: int, *, corners: bool) -> Array:
    """Places beyond an end, turned back at the last pixel's middle (`corners`) or at its far edge."""
    if size == 1:
        return np.zeros_like(place)
    period = 2 * (size - 1) if corners else 2 * size
    turned = place % period
    return np.where(turned < size, turned, period - turned - (0 if corners else 1))


def deform_conv(w: Writer) -> None:
    """ONNX `DeformConv` (https://onnx.ai/onnx/operators/onnx__DeformConv.html).

    The places at which it looks are held; what it finds there is multiplied by its mask, as by a gate, and is read by a
    convolution of one tap that has all of its taps as channels.

    Raises:
        NotExpandableError: If its weights depend on the model's input, or it is too large.
    """
    if w.value(0) is not None or w.value(1) is None:
        raise NotExpandableError("has weights that depend on the model's input")
    batch, channels, *sizes = w.shape(0)
    if len(sizes) != 2:
        raise NotExpandableError(f"has {len(sizes)} axes")
    kernels, own, *taps = w.shape(1)
    parts, out = int(w.attribute("offset_group", 1)), w.out_shape(0)[2:]
    samples, pixels, sets = prod(taps) * prod(out), prod(sizes), batch * parts
    _fits(sets, pixels, samples)
    flat = w.reshape(w.tensor(0), (sets, channels // parts, pixels), "flat")
    start = _started(w, taps, out)
    offsets = w.value(2)
    if offsets is None:
        found = _samples(w, flat, start, (sets, sizes))
    else:
        found = _fixed_samples(w, flat, start + offsets.reshape(sets, prod(taps), 2, *out), sizes)
    if w.has(4):
        found = w.add("Mul", [found, w.reshape(w.tensor(4), (sets, 1, samples), "mask")], "masked")
    found = w.reshape(found, (batch, channels * prod(taps), *out), "taps")
    weights = w.reshape(w.tensor(1), (kernels, own * prod(taps), 1, 1), "weights")
    bias = [w.tensor(3)] if w.has(3) else []
    w.give(0, w.add_named("Conv", [found, weights, *bias], group=int(w.attribute("group", 1)), kernel_shape=[1, 1]))


def _started(w: Writer, taps: list[int], out: tuple[int, ...]) -> Array:
    """The places, in pixels, at which each tap of each window looks by itself, (1, taps, (y, x), *out)."""
    strides, dilations, pads = (
        [int(n) for n in w.numbers(name)] or default
        for name, default in (("strides", [1, 1]), ("dilations", [1, 1]), ("pads", [0] * 4))
    )
    lines = [
        np.arange(taps[a])[:, None] * dilations[a] + np.arange(out[a])[None] * strides[a] - pads[a] for a in (0, 1)
    ]
    shape = (*taps, *out)
    y = np.broadcast_to(lines[0][:, None, :, None], shape)
    x = np.broadcast_to(lines[1][None, :, None, :], shape)
    return np.stack([a.reshape(-1, *out) for a in (y, x)], 1)[None]


def _samples(w: Writer, flat: ir.Value, start: Array, sizes: tuple[int, list[int]]) -> ir.Value:
    """What is found at places that offsets from the clip move, (sets, channels, samples)."""
    sets, image = sizes
    count, out = start.shape[1], start.shape[3:]
    span = np.array(image[::-1], np.float64)
    first = np.moveaxis(start, 2, -1)[..., ::-1]
    offsets = w.reshape(w.tensor(2), (sets, count, 2, *out), "offsets")
    turned = w.add("Gather", [offsets, w.constant(np.array([1, 0]), "order")], "x_and_y", axis=2)
    turned = w.add("Transpose", [turned], "last", perm=[0, 1, 3, 4, 2])
    scaled = w.add("Mul", [turned, w.number(2 / span, "pixel")], "scaled")
    places = w.add("Add", [scaled, w.number((2 * first + 1) / span - 1, "start")], "places")
    grid = w.reshape(places, (sets, count * out[0], out[1], 2), "grid")
    mode = "linear" if w.program.model.opset >= 20 else "bilinear"
    shares = w.add("GridSample", [_eye(w, sets, image), grid], "shares", mode=mode)
    return w.add("MatMul", [flat, w.reshape(shares, (sets, prod(image), count * prod(out)), "matrix")], "samples")


def _fixed_samples(w: Writer, flat: ir.Value, places: Array, sizes: list[int]) -> ir.Value:
    """What is found at constant places, in pixels, (sets, channels, samples)."""
    found = []
    for k, (item, part) in enumerate(zip(places, w.split(flat, 0, [1] * len(places), "sets"), strict=True)):
        lines = [
            _line(item[:, a].reshape(-1), n, nearest=False, corners=True, border="zeros") for a, n in enumerate(sizes)
        ]
        found.append(w.fixed(part, _together(lines), f"samples/{k}"))
    return found[0] if len(found) == 1 else w.add("Concat", found, "samples", axis=0)


__all__ = ["deform_conv", "grid_sample"]
