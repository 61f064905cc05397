"""Transposed layers and pools as ONNX operators: where a convolution, a dense layer or a mean pool hands a field down.

Geometries are fitted to the sizes that were observed, so padding, strides, dilations, ceil mode and crops come out
exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.runtime.probe import Probe
from cfp_onnx.values import Array


def transposed(
    probe: Probe, shapes: Mapping[str, tuple[int, ...]], part: Part, g: str, scale: Array | None = None
) -> str:
    """Field of a layer's input: the transposed operator with the layer's own weights, times `scale` per kernel."""
    if part.kind == "dense":
        return _dense_transposed(probe, shapes, part, g)
    sizes, out = shapes[part.source][2:], shapes[part.output][2:]
    if part.kind == "deconv":
        w = part.weight if part.plain_weight else probe.constant(_deconv_layout(part), "weight")
        begins, ends = part.geometry.begins, part.geometry.ends
        g = probe.pad(g, [0, 0, *(min(0, b) for b in begins)], [0, 0, *(min(0, e) for e in ends)])
        pads = [*(max(0, b) for b in begins), *(max(0, e) for e in ends)]
        return probe.add(
            "Conv",
            [g, w],
            strides=list(part.geometry.strides),
            dilations=list(part.geometry.dilations),
            pads=pads,
            group=part.groups,
        )
    geometry = fitted(part.geometry, sizes, out)
    if all(s == 1 for s in geometry.strides):
        return _flipped(probe, part, geometry, g, scale)
    plain = part.plain_weight and scale is None
    weight = part.weight if plain else probe.constant(_scaled_weights(part, scale), "weight")
    return conv_transpose(probe, g, weight, geometry, part.groups)


def _scaled_weights(part: Part, scale: Array | None) -> Array:
    w = part.weights()
    return w if scale is None else w * scale.astype(np.float32).reshape(-1, *(1,) * (w.ndim - 1))


def _flipped(probe: Probe, part: Part, geometry: Geometry, g: str, scale: Array | None) -> str:
    """Without stride the transposed convolution is a convolution with turned weights, which runtimes do faster."""
    w = _scaled_weights(part, scale)
    o, c = w.shape[:2]
    w = w.reshape(part.groups, o // part.groups, c, *w.shape[2:]).swapaxes(1, 2)
    w = w.reshape(part.groups * c, o // part.groups, *w.shape[3:])
    w = w[(slice(None), slice(None), *(slice(None, None, -1) for _ in geometry.kernel))]
    reach = [d * (k - 1) for d, k in zip(geometry.dilations, geometry.kernel, strict=True)]
    begins = [r - b for r, b in zip(reach, geometry.begins, strict=True)]
    ends = [r - e for r, e in zip(reach, geometry.ends, strict=True)]
    g = probe.pad(g, [0, 0, *(min(0, b) for b in begins)], [0, 0, *(min(0, e) for e in ends)])
    return probe.add(
        "Conv",
        [g, probe.constant(w, "weight")],
        pads=[*(max(0, b) for b in begins), *(max(0, e) for e in ends)],
        dilations=list(geometry.dilations),
        group=part.groups,
    )


def _deconv_layout(part: Part) -> Array:
    w = part.weights()
    g, o = part.groups, w.shape[0]
    w = w.reshape(g, o // g, *w.shape[1:]).swapaxes(1, 2)
    return w.reshape(w.shape[0] * w.shape[1], *w.shape[2:])


def _dense_transposed(probe: Probe, shapes: Mapping[str, tuple[int, ...]], part: Part, g: str) -> str:
    shape = shapes[part.source]
    if part.in_axis == len(shape) - 1:
        rows = g if len(shape) == 2 else probe.reshape(g, (-1, part.kernels))
        if part.plain_weight:
            down = probe.add("MatMul", [rows, part.weight])
        else:
            down = probe.add("MatMul", [rows, probe.constant(part.weights(), "weight")])
        return down if len(shape) == 2 else probe.reshape(down, shape)
    return probe.add("MatMul", [probe.constant(part.weights().T, "weight"), g])


def fitted(geometry: Geometry, sizes: tuple[int, ...], out: tuple[int, ...]) -> Geometry:
    """Padding behind as the output's size shows it (ceil_mode and crops included)."""
    ends = []
    for n, o, k, s, d, b in zip(
        sizes, out, geometry.kernel, geometry.strides, geometry.dilations, geometry.begins, strict=True
    ):
        ends.append((o - 1) * s + d * (k - 1) + 1 - n - b)
    return Geometry(geometry.kernel, geometry.strides, geometry.dilations, geometry.begins, tuple(ends))


def conv_transpose(probe: Probe, g: str, weight: str, geometry: Geometry, group: int) -> str:
    """ConvTranspose to exactly the sizes that `geometry` is fitted to; input that no window reads gets zero."""
    missing = [max(0, -e) for e in geometry.ends]
    short = [m if m < s else 0 for m, s in zip(missing, geometry.strides, strict=True)]
    begins = [max(0, b) for b in geometry.begins]
    down = probe.add(
        "ConvTranspose",
        [g, weight],
        strides=list(geometry.strides),
        dilations=list(geometry.dilations),
        pads=[*begins, *(max(0, e) for e in geometry.ends)],
        output_padding=short,
        group=group,
    )
    before = [max(0, -b) for b in geometry.begins]
    after = [m - p for m, p in zip(missing, short, strict=True)]
    return probe.pad(down, [0, 0, *before], [0, 0, *after])


def divisors(effect: fx.Pool, geometry: Geometry, sizes: tuple[int, ...], out: tuple[int, ...]) -> Array:
    """How many elements each window of an average pool divides by, (*out)."""
    total = np.ones(out, np.float64)
    declared = effect.geometry
    for axis, (n, o) in enumerate(zip(sizes, out, strict=True)):
        k, s, d, b = (x[axis] for x in (geometry.kernel, geometry.strides, geometry.dilations, geometry.begins))
        positions = np.arange(o)[:, None] * s - b + np.arange(k)[None] * d
        low, high = (-b, n + max(0, declared.ends[axis])) if effect.count_include_pad else (0, n)
        count = ((positions >= low) & (positions < high)).sum(axis=1)
        total *= np.maximum(count, 1).reshape([-1 if a == axis else 1 for a in range(len(out))])
    return total


def tap_positions(geometry: Geometry, sizes: tuple[int, ...], out: tuple[int, ...]) -> Array:
    """Flat input position that each tap of each window reads, (taps, *out); -1 outside."""
    grids = []
    for axis, n in enumerate(sizes):
        taps = np.arange(geometry.kernel[axis]) * geometry.dilations[axis] - geometry.begins[axis]
        at = np.arange(out[axis])[None] * geometry.strides[axis] + taps[:, None]
        grids.append(np.where((at >= 0) & (at < n), at, -1))
    rank = len(sizes)
    flat = np.zeros((1,) * (2 * rank), np.int64)
    bad = np.zeros((1,) * (2 * rank), bool)
    for axis, grid in enumerate(grids):
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = grid.shape
        flat = flat * sizes[axis] + grid.reshape(shape)
        bad = bad | (grid < 0).reshape(shape)
    flat = np.where(bad, -1, flat)
    return flat.reshape(-1, *out)


def forward(probe: Probe, shapes: Mapping[str, tuple[int, ...]], part: Part, x: str, *, biased: bool = True) -> str:
    """A layer's value before any activation, recomputed from its float32 input; without its bias where asked."""
    bias = [probe.constant(np.asarray(part.bias(), np.float32))] if biased else []
    if part.kind == "dense":
        value = _dense_forward(probe, shapes, part, x)
        return probe.add("Add", [value, *bias]) if bias else value
    g = part.geometry
    if part.kind == "deconv":
        weight = part.weight if part.plain_weight else probe.constant(_deconv_layout(part), "weight")
        inverse = fitted(g, shapes[part.output][2:], shapes[part.source][2:])
        value = conv_transpose(probe, x, weight, inverse, part.groups)
        if not bias:
            return value
        return probe.add("Add", [value, probe.reshape(bias[0], (-1, *(1,) * len(g.kernel)))])
    weight = part.weight if part.plain_weight else probe.constant(part.weights(), "weight")
    begins, ends = ([max(0, p) for p in side] for side in (g.begins, g.ends))
    x = probe.pad(x, [0, 0, *(min(0, p) for p in g.begins)], [0, 0, *(min(0, p) for p in g.ends)])
    return probe.add(
        "Conv",
        [x, weight, *bias],
        strides=list(g.strides),
        dilations=list(g.dilations),
        pads=[*begins, *ends],
        group=part.groups,
    )


def _dense_forward(probe: Probe, shapes: Mapping[str, tuple[int, ...]], part: Part, x: str) -> str:
    if part.in_axis == len(shapes[part.source]) - 1:
        return probe.add("MatMul", [x, probe.constant(np.ascontiguousarray(part.weights().T), "weight")])
    return probe.add("MatMul", [probe.constant(part.weights(), "weight"), x])
