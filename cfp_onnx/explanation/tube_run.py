"""What one forward pass returns for the tubes, and how layers share the passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.sessions import FieldProbe, Sessions, Wanted
from cfp_onnx.explanation.values import Request
from cfp_onnx.graph.features import Feature
from cfp_onnx.pyramid.tube_collector import TubeCollector, kernels_with_tubes
from cfp_onnx.relevance.values import Walked
from cfp_onnx.runtime.probe import TUBE_SEED
from cfp_onnx.values import Array

PASS_BUDGET = 2**30
"""Bytes of inputs, fields and maps fetched by one forward pass for links and tubes; more layers take a further pass."""


def passes(network: Network, expanded: Sequence[int], shown: Sequence[int], *, volumes: bool) -> list[Wanted]:
    """Layers whose inputs, fields and maps together stay within `PASS_BUDGET`, in the order of depth.

    Args:
        network: The network.
        expanded: Layers whose links are computed.
        shown: Layers whose maps are kept.
        volumes: Whether the relevance of each of their kernels is kept too.
    """
    chunks: list[tuple[list[int], list[int]]] = [([], [])]
    size = 0
    for i in dict.fromkeys([*expanded, *shown]):
        parts = network.topology.layers[i].parts
        tensors = [t for p in parts for t in (p.source, p.output)] if i in expanded else []
        tensors += [p.output for p in parts] * (1 + volumes) if i in shown else []
        need = sum(4 * int(np.prod(network.program.shapes[t])) for t in tensors)
        if any(chunks[-1]) and size + need > PASS_BUDGET:
            chunks.append(([], []))
            size = 0
        for group, members in zip(chunks[-1], (expanded, shown), strict=True):
            if i in members:
                group.append(i)
        size += need
    return [Wanted(tuple(linked), tuple(maps), volumes=volumes) for linked, maps in chunks]


def collect(
    collector: TubeCollector, network: Network, probe: FieldProbe, results: Mapping[str, Array], walked: Walked
) -> None:
    """Hand what one pass returned to the tubes.

    Args:
        collector: Gathers the tubes.
        network: The network.
        probe: What was asked for.
        results: What came back.
        walked: Relevance and chosen kernels.
    """
    layers = network.topology.layers
    if probe.placed:
        collector.add_evidence([(feature, results[name]) for feature, name in probe.seen.items()])
        for i in probe.features:
            if i not in probe.maps:
                collector.add_nowhere(layers[i], known=network.paths.get(i) != "none")
    for i, name in probe.maps.items():
        collector.add_relevance(layers[i], probe.features[i], results[name])
    for i, name in probe.activations.items():
        kernels, omitted = kernels_with_tubes(walked.relevance[i], walked.chosen[i])
        collector.omitted += omitted
        collector.add_activations(layers[i], probe.features[i], results[name], kernels)
        if i in probe.volumes:
            collector.add_relevances(layers[i], probe.features[i], results[probe.volumes[i]], kernels)


def pull(sessions: Sessions, request: Request, collector: TubeCollector) -> None:
    """Take what each layer holds of the class down to the clip, by a forward pass for each layer.

    Args:
        sessions: Sessions of the network.
        request: Clip, rule, class.
        collector: Gathers the tubes.
    """
    network, settings = sessions.network, request.settings
    deepest = settings.deepest(network.depths)
    layers = [i for i, d in sorted(network.depths.items(), key=lambda x: x[1]) if 0 < d <= deepest]
    seed = request.classes.seed(settings.index, "contrast", settings.rivals)
    for n, i in enumerate(layers):
        request.progress("pulling evidence to the clip", n, len(layers))
        probe = sessions.pulled(i, settings.depth)
        maps: list[tuple[Feature, Array]] = []
        if probe is not None:
            values = runtime.run(probe.session, list(probe.seen.values()), {**request.feeds, TUBE_SEED: seed})
            maps = list(zip(probe.seen, values, strict=True))
        collector.add_pulled(network.topology.layers[i], maps)
        del probe  # before the next session is made


__all__ = ["PASS_BUDGET", "collect", "passes", "pull"]
