"""Channels to channels: in which order a layer reads them, by the wires or by the weights that read them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfp_onnx.matching.assignment import assign, fill, pair_up
from cfp_onnx.matching.kernels import directions, reordered
from cfp_onnx.matching.pairs import Pair
from cfp_onnx.matching.units import NOWHERE, Unit
from cfp_onnx.values import Array

FITS = 0.99
"""Least cosine of weights that are taken as the same."""


def channel_orders(a: Unit, b: Unit, owners: Mapping[int, int], maps: Mapping[int, Array]) -> list[Array]:
    """Possible orders of a layer's channels: by the wires, then as they are numbered.

    Args:
        a: A layer of the first file.
        b: One of the second.
        owners: Layers and inputs of the first file that are known, and theirs of the second.
        maps: Kernel of each of them to the second's.
    """
    ours, theirs = a.carried, b.carried
    known = [o for o in ours if o in owners and owners[o] in theirs]
    found = []
    for order in (sorted(known, reverse=True), sorted(known)):
        partial = np.full(a.channels, NOWHERE)
        taken = np.zeros(a.channels, bool)
        for owner in order:
            channels, kernels = ours[owner]
            other, at = theirs[owners[owner]]
            left, right = pair_up(maps[owner][kernels], at)
            left, right = channels[left], other[right]
            free = (partial[left] < 0) & ~taken[right]
            partial[left[free]] = right[free]
            taken[right[free]] = True
        found.append(fill(partial))
    found.append(np.arange(a.channels))
    return [m for i, m in enumerate(found) if not any(np.array_equal(m, o) for o in found[:i])]


def channels_by_weights(best: Pair) -> Array:
    """Channel of the first file to that of the second, by the weights that read them instead of by the wires.

    Only channels whose weights do not agree under the wires' order are matched anew.
    """
    a, b, channels = best.a, best.b, best.channels
    wa, wb = a.effective(), b.effective()
    if a.groups == a.channels == a.kernels:  # depthwise: a channel is recognised by its kernel's weights
        u, v = directions(wa).reshape(a.kernels, -1), directions(wb).reshape(a.kernels, -1)
        bad = np.flatnonzero(np.einsum("kn,kn->k", u, v[channels]) < FITS)
        out = channels.copy()
        out[bad] = channels[bad][assign(u[bad] @ v[channels[bad]].T)] if bad.size else channels[bad]
        return out
    per, width = a.kernels // a.groups, a.channels // a.groups
    theirs, group = reordered(wb, a.groups, channels)
    out = channels.copy()
    for g in np.flatnonzero(group >= 0):
        ours = wa[g * per : (g + 1) * per]
        rows = best.kernels[g * per : (g + 1) * per] - group[g] * per
        starts = [rows] if ((rows >= 0) & (rows < per)).all() else []
        order = max(
            (_match_columns(ours, theirs[g], r) for r in (*starts, _kernels_in_any_order(ours, theirs[g]))),
            key=lambda x: x[1],
        )
        out[g * width : (g + 1) * width] = channels[g * width : (g + 1) * width][order[0]]
    return out


def _match_columns(ours: Array, theirs: Array, rows: Array) -> tuple[Array, float]:
    """Channels matched given the kernels, kernels matched again given these channels, twice.

    Args:
        ours: (kernels, channels, taps) weights of a group.
        theirs: The same of the second file.
        rows: (kernels,) kernel of the first file to that of the second, to begin with.

    Returns:
        (channels,) channel of the first to that of the second, and the mean cosine of the kernels.
    """
    order, fit = np.arange(ours.shape[1]), 0.0
    for _ in range(2):
        u, v = (w.transpose(1, 0, 2).reshape(w.shape[1], -1) for w in (ours, theirs[rows]))
        order = assign(
            2 * u @ v.T - (v**2).sum(axis=1) - (u**2).sum(axis=1)[:, None]
        )  # with few kernels, size helps to tell channels apart
        u, v = (directions(w).reshape(len(w), -1) for w in (ours, theirs[:, order]))
        cosines = u @ v.T
        rows = assign(cosines)
        fit = float(cosines[np.arange(len(rows)), rows].mean())
    return order, fit


def _kernels_in_any_order(ours: Array, theirs: Array) -> Array:
    """Kernel of the first file to that of the second, (kernels,), by features that no order of channels changes."""
    u, v = (
        directions(
            np.concatenate([w.sum(axis=1), (w**2).sum(axis=1), np.sort(np.linalg.norm(w, axis=2), axis=1)], axis=1)
        )
        for w in (ours, theirs)
    )
    return assign(u @ v.T)


__all__ = ["FITS", "channel_orders", "channels_by_weights"]
