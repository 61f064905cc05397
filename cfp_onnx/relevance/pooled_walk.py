"""The pooled rules in NumPy: one memoised walk from the class down, on pooled statistics.

Children of a kernel do not depend on how it was reached, so whole layers are expanded once, in reverse topological
order, when the relevance from all parents is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.relevance import scores as rules
from cfp_onnx.relevance.links import group_slices
from cfp_onnx.relevance.values import Settings, Walked
from cfp_onnx.values import Array

PooledWeights = Callable[[Part], Array]


@dataclass(frozen=True)
class PooledRun:
    """What a pooled rule reads.

    Attributes:
        topology: The network.
        depths: Depth of each layer upstream of the target.
        settings: Threshold, depth, class.
        states: Labels with the shares of every addend on this clip.
        means: Mean input of a layer, (channels,) float64; for statistics `pooled`.
        taps: Per part of a layer what its taps read on average, (channels, taps) float64; for statistics `taps`.
        mean_weights: Mean over the taps of a part's weights, (kernels, channels / groups).
    """

    topology: Topology
    depths: Mapping[int, int]
    settings: Settings
    states: Mapping[str, State]
    means: Callable[[KernelLayer], Array]
    taps: Callable[[KernelLayer], Sequence[Array]]
    mean_weights: PooledWeights


def _blank(topology: Topology, depths: Mapping[int, int], deepest: int) -> Walked:
    """Zero relevance for every layer within the depth."""
    within = [i for i, depth in depths.items() if depth <= deepest]
    return Walked(relevance={i: np.zeros(topology.layers[i].kernels) for i in within})


def published(
    topology: Topology,
    depths: Mapping[int, int],
    means: Callable[[KernelLayer], Array],
    settings: Settings,
    pooled: PooledWeights | None = None,
) -> Walked:
    """The published rule on the layers' real inputs (docs/method.md).

    Args:
        topology: The network.
        depths: Depth of each layer upstream of the target.
        means: Pooled input of a layer, (channels,).
        settings: Threshold, depth, class.
        pooled: `mean_weights`, where they are kept from one walk to the next.
    """
    deepest = settings.deepest(depths)
    out = _blank(topology, depths, deepest)
    for index in sorted(depths, reverse=True):
        layer = topology.layers[index]
        if depths[index] == 0:
            _published_class(topology, layer, means(layer), settings, out)
            continue
        if depths[index] > deepest:
            continue
        out.chosen[index] = _chosen_v(out.relevance[index], settings)
        if depths[index] < deepest:
            _published_layer(topology, layer, means(layer), settings, pooled or mean_weights, out)
    return out


def _chosen_v(v: Array, settings: Settings) -> Array:
    order = np.argsort(-v, kind="stable")
    picked = order[(v[order] >= settings.theta) & (v[order] > 0)]
    return picked if settings.top_k is None else picked[: settings.top_k]


def _published_class(topology: Topology, layer: KernelLayer, means: Array, settings: Settings, out: Walked) -> None:
    part, index = layer.parts[0], settings.head(layer)
    if index is None:
        out.chosen[layer.index] = np.zeros(0, np.int64)
        return
    weights = _turned(settings, part.weights().reshape(part.kernels, part.channels, -1).mean(axis=2))
    scores = rules.published_class_step(weights, means, index, settings.class_step, _others(settings, layer))
    out.relevance[layer.index][index] = 1.0
    out.chosen[layer.index] = np.array([index])
    if not np.isfinite(scores).all():
        out.undefined += 1
        scores = np.zeros_like(scores)
    scores = _over_positions(topology, layer, scores)
    picked = np.flatnonzero(scores >= settings.theta)
    out.links[layer.index, index] = [(int(c), float(scores[c])) for c in picked]
    _hand_over(topology, layer, np.arange(layer.channels), scores, out)


def _turned(settings: Settings, weights: Array) -> Array:
    """A classifier's weights, with their sign turned where it is asked what speaks against the class."""
    return -weights if settings.turned else weights


def _others(settings: Settings, layer: KernelLayer) -> Array | None:
    """How much each other class counts, where the classifier has a kernel for each."""
    if settings.others is not None and len(settings.others) != layer.kernels:
        raise UsageError(
            f"layer {layer.name!r} has {layer.kernels} kernels for {len(settings.others)} classes, so this rule cannot "
            "set one against another; choose positional, or leave against out"
        )
    return settings.others


def _over_positions(topology: Topology, layer: KernelLayer, scores: Array) -> Array:
    """A feature that is one position of a flattened map takes the mean over that map's positions."""
    for via, labels, _ in topology.wires(layer):
        if via == "gate":
            continue
        first = labels[:, 0]
        unique, inverse = np.unique(first, return_inverse=True)
        if len(unique) == len(first) or first.min() < 0:
            return scores
        sums = np.bincount(inverse, weights=scores) / np.bincount(inverse)
        return np.asarray(sums[inverse])
    return scores


def _published_layer(
    topology: Topology, layer: KernelLayer, means: Array, settings: Settings, pooled: PooledWeights, out: Walked
) -> None:
    """Expand all chosen kernels of a layer, group by group; the strongest parent decides what a channel hands over."""
    offset = channel = 0
    kernels = np.sort(out.chosen[layer.index])
    top = np.full(layer.channels, -np.inf)
    for part in layer.parts:
        mine = kernels[(kernels >= offset) & (kernels < offset + part.kernels)] - offset
        width, per = part.channels // part.groups, part.kernels // part.groups
        weights = pooled(part)
        for group in np.unique(mine // per):
            rows = mine[mine // per == group]
            low = channel + int(group) * width
            v, undefined, negative = rules.published_back_steps(weights[rows], means[low : low + width])
            out.undefined += int(undefined.sum())
            out.negative_sums += int(negative.sum())
            links = _links_above(v, settings.theta, low)
            for kernel, found, bad in zip((rows + offset).tolist(), links, undefined.tolist(), strict=True):
                out.links[layer.index, kernel] = [] if bad else found
            if not undefined.all():
                best = (v[~undefined] if undefined.any() else v).max(axis=0)
                top[low : low + width] = np.maximum(top[low : low + width], best)
        offset += part.kernels
        channel += part.channels
    reached = np.flatnonzero(np.isfinite(top))
    if reached.size:
        _hand_over(topology, layer, reached, top[reached], out)


def _links_above(v: Array, theta: float, low: int) -> list[list[tuple[int, float]]]:
    """Per row of v its (channel, v) of at least theta; channels are counted from `low`."""
    rows, columns = np.nonzero(v >= theta)
    pairs = list(zip((columns + low).tolist(), v[rows, columns].tolist(), strict=True))
    ends = np.searchsorted(rows, np.arange(len(v) + 1)).tolist()
    return [pairs[a:b] for a, b in itertools.pairwise(ends)]


def mean_weights(part: Part) -> Array:
    """Mean over the taps of a part's weights, (kernels, channels / groups) float32."""
    weights = part.weights()
    return np.asarray(weights.reshape(*weights.shape[:2], -1).mean(axis=2))


def _hand_over(topology: Topology, layer: KernelLayer, channels: Array, v: Array, out: Walked) -> None:
    """Every kernel whose output arrives at a channel takes the channel's v where that is larger."""
    for via, labels, _ in topology.wires(layer):
        if via == "gate":
            continue
        arriving = labels[channels]
        for column in range(arriving.shape[1]):
            _maximum(topology, arriving[:, column], v, out)


def _maximum(topology: Topology, labels: Array, v: Array, out: Walked) -> None:
    known = labels >= 0
    labels, v = labels[known], v[known]
    if not labels.size:
        return
    owners = topology.owners(labels)
    for owner in np.unique(owners):
        origin = topology.origins[int(owner)]
        if origin.layer is None or origin.layer not in out.relevance:
            continue
        rows = owners == owner
        np.maximum.at(out.relevance[origin.layer], labels[rows] - origin.first, v[rows])


def mean_rule(
    topology: Topology,
    depths: Mapping[int, int],
    taps: Callable[[KernelLayer], Sequence[Array]],
    settings: Settings,
    states: Mapping[str, State],
) -> Walked:
    """Positive shares of the exact mean contributions (docs/method.md).

    Args:
        topology: The network.
        depths: Depth of each layer upstream of the target.
        taps: Per part of a layer what its taps read on average, (channels, taps).
        settings: Threshold, depth, class.
        states: Labels with the shares of every addend.
    """
    deepest = settings.deepest(depths)
    out = _blank(topology, depths, deepest)
    for index in sorted(depths, reverse=True):
        layer = topology.layers[index]
        if depths[index] > deepest:
            continue
        if depths[index] == 0:
            received = _mean_class(layer, taps(layer), settings, out)
        else:
            out.chosen[index] = rules.choose(out.relevance[index], theta=settings.theta, top_k=settings.top_k)
            if depths[index] >= deepest:
                continue
            received = _mean_layer(layer, taps(layer), settings, out)
        _share_out(topology, layer, received, states, out)
    return out


def _mean_class(layer: KernelLayer, taps: Sequence[Array], settings: Settings, out: Walked) -> Array:
    part, index = layer.parts[0], settings.head(layer)
    if index is None:
        out.chosen[layer.index] = np.zeros(0, np.int64)
        return np.zeros(layer.channels)
    z = _turned(settings, rules.contributions(part.weights(), taps[0], part.groups))
    scores = rules.class_weights(
        z, np.ones(z.shape[1]), index, settings.class_step if settings.class_step != "weights" else "contribution",
        _others(settings, layer),
    )  # fmt: skip
    if settings.class_step == "weights":
        scores = _turned(settings, part.weights()[index].reshape(part.channels, -1).mean(axis=1))
    out.relevance[layer.index][index] = float(scores.sum())
    out.chosen[layer.index] = np.array([index])
    v = rules.relative(scores)
    out.links[layer.index, index] = [
        (int(c), float(scores[c])) for c in np.flatnonzero((v >= settings.theta) & (v > 0))
    ]
    return scores


def _mean_layer(layer: KernelLayer, taps: Sequence[Array], settings: Settings, out: Walked) -> Array:
    received = np.zeros(layer.channels)
    offset = channel = 0
    chosen = set(out.chosen[layer.index].tolist())
    for part, s in zip(layer.parts, taps, strict=True):
        z = rules.contributions(part.weights(), s, part.groups)
        per, width = part.kernels // part.groups, part.channels // part.groups
        for g in range(part.groups):
            rows = slice(g * per, (g + 1) * per)
            relevance = out.relevance[layer.index][offset + g * per : offset + (g + 1) * per]
            received[channel + g * width : channel + (g + 1) * width] = rules.positive_shares(z[rows], relevance)
        for kernel in range(part.kernels):
            if offset + kernel in chosen:
                low, _ = group_slices(layer, offset + kernel)
                v = rules.relative(z[kernel])
                out.links[layer.index, offset + kernel] = [
                    (low + int(c), float(z[kernel, c])) for c in np.flatnonzero((v >= settings.theta) & (v > 0))
                ]
        offset += part.kernels
        channel += part.channels
    return received


def _share_out(
    topology: Topology, layer: KernelLayer, received: Array, states: Mapping[str, State], out: Walked
) -> None:
    for via, labels, shares in topology.wires(layer, states):
        if via == "gate":
            continue
        for column in range(labels.shape[1]):
            known = labels[:, column] >= 0
            values = (received * shares[:, column])[known]
            owners = topology.owners(labels[known, column])
            for owner in np.unique(owners):
                origin = topology.origins[int(owner)]
                if origin.layer is None or origin.layer not in out.relevance:
                    continue
                rows = owners == owner
                np.add.at(out.relevance[origin.layer], labels[known, column][rows] - origin.first, values[rows])
