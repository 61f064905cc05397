"""Links of chosen kernels: signed messages of single channels, from the recorded inputs and fields (docs/method.md)."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.relevance import scores as rules
from cfp_onnx.values import Array


def messages(part: Part, x: Array, g: Array, kernels: Array) -> Array:
    """z[o, c]: sum over taps of W[o, c, tau] * sum over positions of g[o, p] * x[c, p * stride + tau * dilation - pad].

    Args:
        part: The weighted operation.
        x: Its float32 input, batch first.
        g: The field at its output, batch first.
        kernels: Kernels asked for.

    Returns:
        (len(kernels), channels / groups): messages from the channels of each kernel's own group.
    """
    w = part.weights()[kernels]
    if part.kind == "dense":
        rows = np.moveaxis(x, part.in_axis, -1).reshape(-1, part.channels)
        fields = np.moveaxis(g, part.out_axis, -1).reshape(-1, part.kernels)[:, kernels]
        return np.asarray(w * (fields.T @ rows), dtype=np.float64)
    width = part.channels // part.groups
    per_group = part.kernels // part.groups
    out = np.zeros((len(kernels), width))
    for group in np.unique(kernels // per_group):
        picked = np.flatnonzero(kernels // per_group == group)
        block = x[:, group * width : (group + 1) * width]
        fields = g[:, kernels[picked]]
        sums = _correlate(block, fields, part.geometry, swap=part.kind == "deconv")
        out[picked] = np.einsum("oct,oct->oc", w[picked].reshape(len(picked), width, -1), sums)
    return out


def _correlate(x: Array, g: Array, geometry: Geometry, *, swap: bool) -> Array:
    """Sum over positions of g * x, tap by tap: (kernels, channels, taps) float64."""
    fixed, moving = (x, g) if swap else (g, x)
    sizes = fixed.shape[2:]
    reach = [
        (n - 1) * s + d * (k - 1) + 1
        for n, k, s, d in zip(sizes, geometry.kernel, geometry.strides, geometry.dilations, strict=True)
    ]
    widths = [(max(0, b), max(0, r - b - m)) for b, r, m in zip(geometry.begins, reach, moving.shape[2:], strict=True)]
    padded = np.pad(moving, [(0, 0), (0, 0), *widths])
    offset = [max(0, -b) for b in geometry.begins]
    flat_fixed = np.moveaxis(fixed, 1, 0).reshape(fixed.shape[1], -1)
    taps = []
    for tap in np.ndindex(*geometry.kernel):
        cut = [
            slice(o + t * d, o + t * d + (n - 1) * s + 1, s)
            for t, d, s, n, o in zip(tap, geometry.dilations, geometry.strides, sizes, offset, strict=True)
        ]
        piece = padded[(slice(None), slice(None), *cut)]
        flat = np.moveaxis(piece, 1, 0).reshape(moving.shape[1], -1)
        taps.append(flat @ flat_fixed.T if swap else flat_fixed @ flat.T)
    return np.stack(taps, axis=-1).astype(np.float64)


def group_slices(layer: KernelLayer, kernel: int) -> tuple[int, int]:
    """First and one-past-last channel that a kernel reads, over the whole layer's input."""
    channel = first = 0
    for part in layer.parts:
        if kernel < first + part.kernels:
            group = (kernel - first) // (part.kernels // part.groups)
            width = part.channels // part.groups
            return channel + group * width, channel + (group + 1) * width
        first += part.kernels
        channel += part.channels
    raise IndexError(kernel)


def link_messages(z: Array, low: int, theta: float, limit: int | None = None) -> tuple[list[tuple[int, float]], int]:
    """Channels kept for one kernel: v of its messages >= theta, at most `limit`, the strongest.

    Args:
        z: (channels,) signed messages from the kernel's group.
        low: First channel of the group.
        theta: Threshold on v.
        limit: Most links, None for all.

    Returns:
        (channel, message) in the order of channels, and how many were left out.
    """
    v = rules.relative(z)
    picked = np.flatnonzero((v >= theta) & (v > 0))
    omitted = 0 if limit is None else max(0, picked.size - limit)
    if omitted:
        picked = np.sort(picked[np.argsort(-v[picked], kind="stable")[:limit]])
    return [(low + int(c), float(z[c])) for c in picked], omitted
