"""Explaining by a pooled rule: statistics of one forward pass, a walk in NumPy, and further passes for the tubes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation import field_run, tube_run
from cfp_onnx.explanation.sessions import TUBE_RULE, Sessions
from cfp_onnx.explanation.values import Found, Request
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import shared_states
from cfp_onnx.pyramid.tube_collector import TubeCollector
from cfp_onnx.relevance.pooled_walk import PooledRun
from cfp_onnx.relevance.rules import Rule, rule_named
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.relevance.values import Walked
from cfp_onnx.values import Array


def run(sessions: Sessions, request: Request) -> Found:
    """Walk by a pooled rule.

    Args:
        sessions: Sessions of the network.
        request: Clip, rule, class, and what else is wanted.
    """
    network, settings = sessions.network, request.settings
    statistics, results = read_statistics(sessions, request.feeds, request.rule, settings.depth)
    addends = {t: results[o] for t, o in statistics.addends.items()}
    states = shared_states(network.topology, addends.get) if addends else network.topology.states

    def means(layer: KernelLayer) -> Array:
        return np.concatenate([statistics.channel_means(p, results) for p in layer.parts])

    def taps(layer: KernelLayer) -> list[Array]:
        return [statistics.tap_means(p, results) for p in layer.parts]

    walked, *rather = (
        request.rule.pooled().run(
            PooledRun(network.topology, network.depths, asked, states, means, taps, sessions.mean_weights)
        )
        for asked in (settings, *request.rather)
    )
    if request.collector is not None:
        _record_tubes(sessions, request, request.collector, walked)
    topology, target = network.topology, network.target
    lost = topology.by_value(target) - topology.by_label(target)
    return Found(walked, states, {p.name: results[p.name] for p in network.file.outputs}, tuple(rather), lost)


def read_statistics(
    sessions: Sessions, feeds: Mapping[str, Array], rule: Rule, depth: int | None
) -> tuple[Statistics, dict[str, Array]]:
    """Pooled statistics of one clip, and the model's own outputs of the same pass.

    Args:
        sessions: Sessions of the network.
        feeds: Arrays for all inputs.
        rule: A pooled rule.
        depth: Deepest level; None for all.
    """
    session, statistics = sessions.statistics(rule, depth)
    wanted = [*statistics.pooled.values(), *statistics.taps.values(), *statistics.addends.values()]
    outputs = [p.name for p in sessions.network.file.outputs]
    names = [n for n in dict.fromkeys([*outputs, *wanted]) if n not in feeds]
    results = dict(zip(names, runtime.run(session, names, feeds), strict=True))
    return statistics, {**results, **feeds}


def _record_tubes(sessions: Sessions, request: Request, collector: TubeCollector, walked: Walked) -> None:
    """Tubes of what a pooled rule chose, from further passes."""
    network = sessions.network
    rivals = request.settings.rivals
    settings = replace(request.settings, class_step="contrast", against="rivals", others=rivals)
    shown = [i for i in walked.relevance if network.depths[i] > 0]
    chunks = tube_run.passes(network, [], shown, volumes=request.volumes)
    for n, chunk in enumerate(chunks):
        request.progress("recording tubes", n, len(chunks))
        probe = sessions.field(rule_named(TUBE_RULE), settings.depth, replace(chunk, maps=n == 0, same=True), hold=())
        results = field_run.fetch(request, probe, [], settings)
        tube_run.collect(collector, network, probe, results, walked)
        del probe, results  # before the next session is made


__all__ = ["read_statistics", "run"]
