"""Kernels to kernels: which kernel of a layer is which, given which channel is which."""

from __future__ import annotations

import numpy as np

from cfp_onnx.matching.assignment import assign, fill
from cfp_onnx.matching.units import NOWHERE, Unit
from cfp_onnx.values import Array

EXACT = 1e-4
"""Largest difference of weights at which kernels keep their order and no other order is tried."""


def directions(weights: Array) -> Array:
    """Rows scaled to length 1; a row of zeros becomes a row of equal numbers.

    Args:
        weights: (kernels, ...).
    """
    rows = weights.reshape(len(weights), -1).astype(np.float32)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = np.full(rows.shape[1], rows.shape[1] ** -0.5, np.float32)
    return np.where(size > 0, rows / np.where(size > 0, size, 1), flat).reshape(weights.shape)


def reordered(weights: Array, groups: int, channels: Array) -> tuple[Array, Array]:
    """Weights of the second file with channels in the order of the first's.

    Args:
        weights: (kernels, channels / groups, taps).
        groups: Groups.
        channels: (channels,) channel of the first file to that of the second.

    Returns:
        (groups, kernels / groups, channels / groups, taps) by the first file's groups, and the second's group of each;
        -1 where channels of one group come from several.
    """
    kernels, width, taps = weights.shape
    table = channels.reshape(groups, width)
    group = table[:, 0] // width
    whole = (table // width == group[:, None]).all(axis=1)
    first = np.zeros(groups, bool)
    first[np.unique(group, return_index=True)[1]] = True
    ok = whole & first
    pieces = weights.reshape(groups, kernels // groups, width, taps)
    if not np.array_equal(group, np.arange(groups)):
        pieces = pieces[group]
    if not np.array_equal(table, np.arange(channels.size).reshape(table.shape)):
        places = np.where(ok[:, None], table - group[:, None] * width, 0)
        pieces = np.take_along_axis(pieces, places[:, None, :, None], axis=2)
    return pieces, np.where(ok, group, NOWHERE)


def match_kernels(a: Unit, b: Unit, channels: Array, *, fixed: bool = False) -> tuple[Array, float]:
    """Which kernel is which, given which channel is which, and the mean cosine of their weights.

    Kernels with parallel weights are told apart by the size of the weights and by the bias, then by their place.

    Args:
        a: A layer of the first file.
        b: One of the second.
        channels: (channels,) channel of `a` to that of `b`.
        fixed: Whether every kernel keeps its place, as classes do.

    Returns:
        (kernels,) kernel of `a` to that of `b`, and the mean cosine.
    """
    wa, wb = a.effective(), b.effective()
    groups, per = a.groups, a.kernels // a.groups
    theirs, group = reordered(wb, groups, channels)
    theirs = theirs.reshape(groups, per, -1)
    ours = wa.reshape(theirs.shape)
    sizes_a, sizes_b = (np.sqrt(np.einsum("gmd,gmd->gm", w, w)) for w in (ours, theirs))
    both = sizes_a * sizes_b
    straight = np.einsum("gmd,gmd->gm", ours, theirs) / np.where(both > 0, both, 1)
    straight = np.where((sizes_a == 0) & (sizes_b == 0), 1.0, straight)
    bias_a = _by_group(a.bias, groups, per, np.arange(groups))
    bias_b = _by_group(b.bias, groups, per, group)
    same = np.array_equal(group, np.arange(groups))
    if same and (fixed or _near(straight, sizes_a, sizes_b, bias_a, bias_b)):
        return np.arange(a.kernels), float(straight.mean())
    if fixed:
        return np.arange(a.kernels), float(np.where(group == np.arange(groups), straight.mean(axis=1), 0).mean())
    u, v = (directions(w.reshape(a.kernels, -1)).reshape(groups, per, -1) for w in (ours, theirs))
    cosines = np.matmul(u, v.transpose(0, 2, 1))
    cosines[group < 0] = 0.0
    value = cosines - 1e-3 * _apart(sizes_a, sizes_b) - 1e-3 * _apart(bias_a, bias_b)
    value[:, np.arange(per), np.arange(per)] += 1e-6
    out = np.full((groups, per), NOWHERE)
    total = 0.0
    for g in range(groups):
        if group[g] < 0:
            continue
        chosen = assign(value[g])
        out[g] = group[g] * per + chosen
        total += float(cosines[g][np.arange(per), chosen].sum())
    return fill(out.reshape(-1)), total / a.kernels


def _by_group(bias: Array | None, groups: int, per: int, order: Array) -> Array:
    return np.zeros((groups, per)) if bias is None else np.asarray(bias).reshape(groups, per)[order]


def _near(cosines: Array, *pairs: Array) -> bool:
    sizes_a, sizes_b, bias_a, bias_b = pairs
    near = [np.abs(x - y).max(initial=0.0) <= EXACT * np.abs(x).max(initial=1e-30) for x, y in
            ((sizes_a, sizes_b), (bias_a, bias_b))]  # fmt: skip
    return bool(cosines.min(initial=1.0) >= 1 - EXACT and all(near))


def _apart(a: Array, b: Array) -> Array:
    """Difference of each pair over the larger of the two, 0..1: (groups, m, m)."""
    far = np.abs(a[:, :, None] - b[:, None, :])
    size = np.maximum(np.abs(a)[:, :, None], np.abs(b)[:, None, :])
    return np.asarray(np.minimum(1.0, far / np.maximum(size, 1e-12)))


__all__ = ["EXACT", "directions", "match_kernels", "reordered"]
