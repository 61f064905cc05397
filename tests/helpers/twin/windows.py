"""Convolutions and pools as loops over taps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .steps import Array, Fields, Step, adjoint, forward


@dataclass(frozen=True)
class Axis:
    """One spatial axis: ``index[tap, out]`` is the position (``size``: none), ``counted``: within pads."""

    size: int
    index: Array
    counted: Array


def _axis(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], *, ceil: bool) -> Axis:
    span = size + sum(pads) - (kernel - 1) * dilation - 1
    out = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (out - 1) * stride >= size + pads[0]:
        out -= 1
    at = np.arange(out) * stride + np.arange(kernel)[:, None] * dilation - pads[0]
    return Axis(size, np.where((at >= 0) & (at < size), at, size), at < size + pads[1])


def _axes(step: Step, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    rank, a = len(sizes), step.attributes
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    pads = a.get("pads", [0] * 2 * rank)
    ceil = bool(a.get("ceil_mode", 0))
    auto = a.get("auto_pad", b"NOTSET")
    axes = []
    for i, size in enumerate(sizes):
        pair = (pads[i], pads[rank + i])
        if auto in {b"SAME_UPPER", b"SAME_LOWER"}:
            total = max((-(-size // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size, 0)
            pair = (total // 2, total - total // 2)[:: 1 if auto == b"SAME_UPPER" else -1]
        elif auto == b"VALID":
            pair = (0, 0)
        axes.append(_axis(size, kernel[i], strides[i], dilations[i], pair, ceil=ceil))
    return axes


def _extended(x: Array, fill: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0)] + [(0, 1)] * (x.ndim - 2), constant_values=fill)


def _at(axes: Sequence[Axis], tap: tuple[int, ...]) -> tuple[Any, ...]:
    return (slice(None), slice(None), *np.ix_(*(a.index[t] for a, t in zip(axes, tap, strict=True))))


def _cropped(extended: Array) -> Array:
    return extended[(slice(None), slice(None), *[slice(0, -1)] * (extended.ndim - 2))]


def correlate(x: Array, w: Array, axes: Sequence[Axis], groups: int) -> Array:
    """Convolution of x (N, C, ...) with w (O, C / groups, ...) as a loop over taps."""
    n, c, o = x.shape[0], x.shape[1], w.shape[0]
    outs = tuple(a.index.shape[1] for a in axes)
    y, wider = np.zeros((n, groups, o // groups, math.prod(outs))), _extended(x, 0.0)
    for tap in np.ndindex(*w.shape[2:]):
        matrix = w[(slice(None), slice(None), *tap)].reshape(groups, o // groups, c // groups)
        y += matrix @ wider[_at(axes, tap)].reshape(n, groups, c // groups, -1)
    return y.reshape(n, o, *outs)


def correlate_back(g: Array, w: Array, axes: Sequence[Axis], groups: int) -> Array:
    """The transpose of `correlate`: g (N, O, ...) to the input's shape (N, C, ...)."""
    n, o, inner = g.shape[0], w.shape[0], w.shape[1]
    outs = g.shape[2:]
    wider = np.zeros((n, inner * groups, *(a.size + 1 for a in axes)))
    for tap in np.ndindex(*w.shape[2:]):
        matrix = w[(slice(None), slice(None), *tap)].reshape(groups, o // groups, inner)
        back = np.swapaxes(matrix, 1, 2) @ g.reshape(n, groups, o // groups, -1)
        wider[_at(axes, tap)] += back.reshape(n, inner * groups, *outs)
    return _cropped(wider)


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape(1, -1, *[1] * (y.ndim - 2))


@forward("Conv")
def _conv(step: Step) -> Array:
    w = step.need(1)
    axes = _axes(step, step.x.shape[2:], w.shape[2:])
    return _with_bias(correlate(step.x, w, axes, step.attributes.get("group", 1)), step.get(2))


@adjoint("Conv")
def _conv_back(step: Step, g: Array) -> Fields:
    w = step.need(1)
    return [correlate_back(g, w, _axes(step, step.x.shape[2:], w.shape[2:]), step.attributes.get("group", 1))]


def _transposed_axes(step: Step) -> list[Axis]:
    """Axes of the convolution whose transpose this ConvTranspose is: its input is our output."""
    w, rank, a = step.need(1), step.x.ndim - 2, step.attributes
    if a.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in a:
        raise NotImplementedError("ConvTranspose with auto_pad or output_shape")
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    pads, extra = a.get("pads", [0] * 2 * rank), a.get("output_padding", [0] * rank)
    axes = []
    for i, taken in enumerate(step.x.shape[2:]):
        full = strides[i] * (taken - 1) + (w.shape[2 + i] - 1) * dilations[i] + 1 + extra[i]
        size = full - pads[i] - pads[rank + i]
        axis = _axis(size, w.shape[2 + i], strides[i], dilations[i], (pads[i], pads[rank + i]), ceil=False)
        axes.append(Axis(size, axis.index[:, :taken], axis.counted[:, :taken]))
    return axes


@forward("ConvTranspose")
def _conv_transpose(step: Step) -> Array:
    y = correlate_back(step.x, step.need(1), _transposed_axes(step), step.attributes.get("group", 1))
    return _with_bias(y, step.get(2))


@adjoint("ConvTranspose")
def _conv_transpose_back(step: Step, g: Array) -> Fields:
    return [correlate(g, step.need(1), _transposed_axes(step), step.attributes.get("group", 1))]


def _pool(step: Step) -> tuple[list[Axis], list[tuple[int, ...]]]:
    kernel = step.attributes["kernel_shape"]
    return _axes(step, step.x.shape[2:], kernel), list(np.ndindex(*kernel))


@forward("MaxPool")
def _max_pool(step: Step) -> Array:
    axes, taps = _pool(step)
    wider = _extended(step.x, -np.inf)
    return np.max([wider[_at(axes, tap)] for tap in taps], axis=0)


@adjoint("MaxPool")
def _max_pool_back(step: Step, g: Array) -> Fields:
    axes, taps = _pool(step)
    wider = _extended(step.x, -np.inf)
    first = np.argmax([wider[_at(axes, tap)] for tap in taps], axis=0)
    back = np.zeros_like(wider)
    for i, tap in enumerate(taps):
        back[_at(axes, tap)] += np.where(first == i, g, 0.0)
    return [_cropped(back)]


def _divisor(step: Step, axes: Sequence[Axis], taps: Iterable[tuple[int, ...]]) -> Array:
    padded = bool(step.attributes.get("count_include_pad", 0))
    count: Array = np.zeros([a.index.shape[1] for a in axes])
    for tap in taps:
        marks = [(a.counted if padded else a.index < a.size)[t] for a, t in zip(axes, tap, strict=True)]
        count = count + _outer(marks)
    return count


def _outer(marks: Sequence[Array]) -> Array:
    product = np.ones(())
    for mark in marks:
        product = np.multiply.outer(product, mark.astype(np.float64))
    return product


@forward("AveragePool")
def _average_pool(step: Step) -> Array:
    axes, taps = _pool(step)
    wider = _extended(step.x, 0.0)
    return np.sum([wider[_at(axes, tap)] for tap in taps], axis=0) / _divisor(step, axes, taps)


@adjoint("AveragePool")
def _average_pool_back(step: Step, g: Array) -> Fields:
    axes, taps = _pool(step)
    back = _extended(np.zeros_like(step.x), 0.0)
    share = g / _divisor(step, axes, taps)
    for tap in taps:
        back[_at(axes, tap)] += share
    return [_cropped(back)]
