"""Explaining by a field rule: relevance, links and tubes out of as few forward passes as memory allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation import tube_run
from cfp_onnx.explanation.sessions import FieldProbe, Sessions
from cfp_onnx.explanation.values import Found, Request
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import shared_states
from cfp_onnx.relevance import links, scores
from cfp_onnx.relevance.field_walk import Message
from cfp_onnx.relevance.values import Settings, Walked
from cfp_onnx.runtime.probe import SEED, TUBE_SEED
from cfp_onnx.values import Array

LINK_LIMIT = 2**17
"""Most links of one pyramid; where kernels tie by the thousand the strongest are kept and the rest is counted."""

KERNEL_BLOCK = 256
"""Kernels whose messages are computed at a time."""


def run(sessions: Sessions, request: Request) -> Found:
    """Walk by a field rule.

    Args:
        sessions: Sessions of the network.
        request: Clip, rule, class, and what else is wanted.
    """
    network, settings, collector = sessions.network, request.settings, request.collector
    depths, deepest = network.depths, settings.deepest(network.depths)
    layers = [i for i, d in sorted(depths.items(), key=lambda x: x[1]) if d <= deepest]
    expanded = [i for i in layers if depths[i] < deepest]
    shown = [i for i in layers if depths[i] > 0] if collector is not None else []
    walked, states, outputs = Walked(), network.topology.states, {}
    lost: frozenset[int] = frozenset()
    further = [(asked, Walked()) for asked in request.rather]
    same = settings.class_step == "contrast" and settings.against == "rivals"
    chunks = tube_run.passes(network, expanded, shown, volumes=request.volumes)
    for n, chunk in enumerate(chunks):
        request.progress("explaining", n, len(chunks))
        probe = sessions.field(
            request.rule,
            settings.depth,
            replace(chunk, maps=n == 0 and collector is not None, same=same),
            hold=settings.hold,
            order=settings.order,
        )
        first = [*probe.relevance.values(), *probe.statistics.addends.values()] if n == 0 else []
        own = [p.name for p in network.file.outputs] if n == 0 else []
        results = fetch(request, probe, [*own, *first], settings)
        if n == 0:
            outputs = {k: results[k] for k in own}
            lost = network.topology.by_value(network.target) & {i for i in layers if depths[i] > 0} - {*probe.relevance}
            states = _states(sessions, probe, results)
        _take(sessions, probe, results, walked, settings)
        if collector is not None:
            tube_run.collect(collector, network, probe, results, walked)
        del results  # before the next pass
        for asked, found in further:
            names = probe.relevance.values() if n == 0 else ()
            _take(sessions, probe, fetch(request, probe, names, asked, tubes=False), found, asked)
        del probe  # before the next session is made
    return Found(walked, states, outputs, tuple(found for _, found in further), lost)


def fetch(
    request: Request, probe: FieldProbe, names: Iterable[str], settings: Settings, *, tubes: bool = True
) -> dict[str, Array]:
    """One forward pass: the tensors named and everything the probe was made for.

    Args:
        request: Clip and place.
        probe: What to fetch.
        names: Further tensors.
        settings: The class, and what it is set against.
        tubes: Whether what the tubes are made of is fetched too.
    """
    classes, feeds = request.classes, request.feeds
    seeds = {SEED: classes.seed(settings.index, settings.class_step, settings.others)}
    if TUBE_SEED in probe.statistics.probe.seeds:
        seeds[TUBE_SEED] = classes.seed(settings.index, "contrast", settings.rivals)
    linked = [n for found in probe.links.values() for m in found for n in (m.x, m.g)]
    maps = [*probe.activations.values(), *probe.maps.values(), *probe.volumes.values(), *probe.seen.values()]
    wanted = [n for n in dict.fromkeys([*names, *linked, *(maps if tubes else ())]) if n not in feeds]
    results = dict(zip(wanted, runtime.run(probe.session, wanted, {**feeds, **seeds}), strict=True))
    return {**results, **{k: np.asarray(v, np.float32) for k, v in feeds.items()}}


def _states(sessions: Sessions, probe: FieldProbe, results: Mapping[str, Array]) -> Mapping[str, State]:
    """Labels with the shares of every addend, which are the same whatever the class."""
    network = sessions.network
    means = {t: results[o] for t, o in probe.statistics.addends.items()}
    return shared_states(network.topology, means.get) if means else network.topology.states


def _take(
    sessions: Sessions, probe: FieldProbe, results: Mapping[str, Array], walked: Walked, settings: Settings
) -> None:
    """What one pass returned: with the first pass relevance and chosen kernels of every layer, and the links."""
    if not walked.relevance:
        _take_relevance(sessions, probe, results, walked, settings)
    linker = _Linker(walked, sessions.network.depths, settings)
    for (layer, part), messages in probe.links.items():
        linker.link(sessions.network.topology.layers[layer], part, messages, results)


def _take_relevance(
    sessions: Sessions, probe: FieldProbe, results: Mapping[str, Array], walked: Walked, settings: Settings
) -> None:
    """Relevance and chosen kernels of every layer."""
    network = sessions.network
    for i, name in probe.relevance.items():
        walked.relevance[i] = results[name].astype(np.float64).reshape(-1)
        walked.chosen[i] = scores.choose(walked.relevance[i], theta=settings.theta, top_k=settings.top_k)
    deepest = settings.deepest(network.depths)
    for i, d in network.depths.items():
        kernels = network.topology.layers[i].kernels
        if i not in walked.relevance and d <= deepest:
            walked.relevance[i] = np.zeros(kernels)
            walked.chosen[i] = np.zeros(0, np.int64)
        if d == 0:
            head = settings.head(network.topology.layers[i])
            walked.chosen[i] = np.array([] if head is None else [head], np.int64)


class _Linker:
    """Links of the chosen kernels, part by part; of the classifier, those of the class."""

    def __init__(self, walked: Walked, depths: Mapping[int, int], settings: Settings) -> None:
        self._walked = walked
        self._depths = depths
        self._settings = settings

    def link(self, layer: KernelLayer, index: int, messages: Sequence[Message], results: Mapping[str, Array]) -> None:
        """Keep the links of one part.

        Args:
            layer: The layer.
            index: Number of the part.
            messages: What the messages of its channels are computed from.
            results: Recorded inputs and fields.
        """

        def signed(kernels: Array) -> Array:
            each = [links.messages(m.part, results[m.x], results[m.g], kernels) for m in messages]
            return np.asarray(np.sum(each, axis=0))

        part = layer.parts[index]
        if self._depths[layer.index] == 0:
            if not self._walked.chosen[layer.index].size:
                return
            z = signed(np.arange(part.kernels))
            total = np.zeros(part.channels)
            width, per = part.channels // part.groups, part.kernels // part.groups
            for group in range(part.groups):
                total[group * width : (group + 1) * width] = z[group * per : (group + 1) * per].sum(axis=0)
            kernel = int(self._walked.chosen[layer.index][0])
            self._walked.relevance[layer.index][kernel] = float(total.sum())
            self._keep(layer, kernel, total, 0, LINK_LIMIT)
            return
        first = sum(p.kernels for p in layer.parts[:index])
        kernels = np.sort(self._walked.chosen[layer.index])
        mine = kernels[(kernels >= first) & (kernels < first + part.kernels)] - first
        limit = max(4, LINK_LIMIT // max(1, len(self._depths)) // max(1, kernels.size))
        for start in range(0, mine.size, KERNEL_BLOCK):
            block = mine[start : start + KERNEL_BLOCK]
            for kernel, row in zip((block + first).tolist(), signed(block), strict=True):
                low, _ = links.group_slices(layer, kernel)
                self._keep(layer, kernel, row, low, limit)

    def _keep(self, layer: KernelLayer, kernel: int, row: Array, low: int, limit: int) -> None:
        found, omitted = links.link_messages(row, low, self._settings.theta, limit)
        self._walked.links[layer.index, kernel] = found
        self._walked.omitted += omitted


__all__ = ["KERNEL_BLOCK", "LINK_LIMIT", "fetch", "run"]
