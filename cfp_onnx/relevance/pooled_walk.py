"""From relevance to a pyramid: the memoised backward walk of the pooled rules, and the links of chosen kernels.

Children of a kernel do not depend on how it was reached, so whole layers are expanded once, in reverse topological
order, when the relevance from all parents is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Source, Topology
from cfp_onnx.pyramid.values import Edge, Kernel, LayerResult, Link, LinkSource
from cfp_onnx.relevance import scores as rules
from cfp_onnx.values import Array

PooledWeights = Callable[[Part], Array]


@dataclass
class Walked:
    """What a walk found.

    Attributes:
        relevance: Layer index to (kernels,) relevance.
        links: (layer index, kernel) to its chosen channels with their weights.
        chosen: Layer index to chosen kernels, strongest first.
        undefined: Kernels without children because their sum was zero or all values were equal.
        negative_sums: Kernels whose sum of products was negative, which reverses their order.
        omitted: Links left out because kernels tie by the thousand.
    """

    relevance: dict[int, Array] = field(default_factory=dict)
    links: dict[tuple[int, int], list[tuple[int, float]]] = field(default_factory=dict)
    chosen: dict[int, Array] = field(default_factory=dict)
    undefined: int = 0
    negative_sums: int = 0
    omitted: int = 0


@dataclass(frozen=True)
class Settings:
    """How far and how strictly to walk.

    Attributes:
        theta: Threshold on v.
        top_k: Most kernels per layer, None for no limit.
        depth: Deepest level, None for all.
        class_step: weights, contribution or contrast.
        index: The class.
        rivals: (classes,) how much each other class competes with it, for the class's tubes; None for all alike.
    """

    theta: float
    top_k: int | None
    depth: int | None
    class_step: str
    index: int
    rivals: Array | None = None

    def deepest(self, depths: Mapping[int, int]) -> int:
        """The deepest level walked in a network with these depths."""
        return deepest_level(depths, self.depth)


def deepest_level(depths: Mapping[int, int], depth: int | None) -> int:
    """The depth asked for; the deepest there is where all are wanted (None)."""
    return max(depths.values(), default=0) if depth is None else depth


def _blank(topology: Topology, depths: Mapping[int, int], deepest: int) -> Walked:
    """Zero relevance for every layer within the depth."""
    within = [i for i, depth in depths.items() if depth <= deepest]
    return Walked(relevance={i: np.zeros(topology.layers[i].kernels) for i in within})


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


# -------------------------------------------------------------------------------------------- published


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
    part = layer.parts[0]
    weights = part.weights().reshape(part.kernels, part.channels, -1).mean(axis=2)
    index = settings.index if settings.index < layer.kernels else 0
    scores = rules.published_class_step(weights, means, index, settings.class_step)
    out.relevance[layer.index][index] = 1.0
    out.chosen[layer.index] = np.array([index])
    if not np.isfinite(scores).all():
        out.undefined += 1
        scores = np.zeros_like(scores)
    scores = _over_positions(topology, layer, scores)
    picked = np.flatnonzero(scores >= settings.theta)
    out.links[layer.index, index] = [(int(c), float(scores[c])) for c in picked]
    _hand_over(topology, layer, np.arange(layer.channels), scores, out)


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


# ------------------------------------------------------------------------------------------------- mean


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
    part = layer.parts[0]
    z = rules.contributions(part.weights(), taps[0], part.groups)
    index = settings.index if settings.index < layer.kernels else 0
    scores = rules.class_weights(
        z, np.ones(z.shape[1]), index, settings.class_step if settings.class_step != "weights" else "contribution"
    )
    if settings.class_step == "weights":
        scores = part.weights()[index].reshape(part.channels, -1).mean(axis=1)
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


# ----------------------------------------------------------------------------------------------- results


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


def layer_results(topology: Topology, depths: Mapping[int, int], walked: Walked) -> tuple[LayerResult, ...]:
    """The layers that were walked, in execution order."""
    return tuple(
        LayerResult(
            name=layer.name, op=layer.op, weight=layer.weight, nodes=layer.nodes, kernels=layer.kernels,
            channels=layer.channels, groups=layer.groups, kernel_shape=layer.kernel_shape, family=layer.family,
            depth=depths[layer.index], relevance=tuple(float(r) for r in walked.relevance[layer.index]),
        )
        for layer in topology.layers
        if layer.index in walked.relevance
    )  # fmt: skip


def levels(topology: Topology, depths: Mapping[int, int], walked: Walked) -> dict[int, tuple[Kernel, ...]]:
    """Chosen kernels by depth (1 is what the class reads); within a depth by layer, strongest first."""
    out: dict[int, list[Kernel]] = {}
    for index in sorted(i for i in walked.chosen if depths[i] > 0):
        layer = topology.layers[index]
        rows = [Kernel(layer.name, int(k), float(walked.relevance[index][k])) for k in walked.chosen[index]]
        out.setdefault(depths[index], []).extend(rows)
    return {d: tuple(rows) for d, rows in sorted(out.items())}


def edges(topology: Topology, walked: Walked, states: Mapping[str, State]) -> tuple[Edge, ...]:
    """Every expanded kernel with its channels and what feeds them, from the class down."""
    wanted: dict[int, set[int]] = {}
    for (index, _), links in walked.links.items():
        wanted.setdefault(index, set()).update(c for c, _ in links)
    found: dict[tuple[int, int], tuple[LinkSource, ...]] = {}
    for index, channels in wanted.items():
        ordered = sorted(channels)
        for channel, sources in zip(ordered, topology.sources(topology.layers[index], ordered, states), strict=True):
            found[index, channel] = _named(topology, sources)
    out = []
    for (index, kernel), links in sorted(walked.links.items(), key=lambda item: (-item[0][0], item[0][1])):
        rows = tuple(Link(c, w, found[index, c]) for c, w in links)
        out.append(Edge(topology.layers[index].name, kernel, rows))
    return tuple(out)


def _named(topology: Topology, sources: Sequence[Source]) -> tuple[LinkSource, ...]:
    return tuple(
        LinkSource(None if s.layer is None else topology.layers[s.layer].name, s.kernel, s.share, s.via)
        for s in sources
    )
