"""From a walk to the values of a pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.graph.operators.registry import State
from cfp_onnx.graph.topology import Source, Topology
from cfp_onnx.pyramid.values import Edge, Kernel, LayerResult, Link, LinkSource
from cfp_onnx.relevance.walked import Walked
from cfp_onnx.values import Array


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


TOP = 5


def largest_difference(plain: Mapping[str, Array], probed: Mapping[str, Array]) -> float:
    """Largest absolute difference of the model's outputs with and without probes."""
    pairs = [(plain[k], v) for k, v in probed.items() if k in plain and np.issubdtype(np.asarray(v).dtype, np.number)]
    return max(
        (float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0)) for a, b in pairs), default=0.0
    )
