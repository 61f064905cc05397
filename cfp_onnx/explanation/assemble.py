"""From a walk to the values of a pyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.clips.layout import layout_text
from cfp_onnx.errors import RunError
from cfp_onnx.explanation.classes import strongest
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.sessions import Sessions
from cfp_onnx.explanation.target_header import TOP, target_header
from cfp_onnx.explanation.values import Found, Request
from cfp_onnx.graph.positions import spatial_axes
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Source, Topology
from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TopClass
from cfp_onnx.pyramid.media import Media, stretched_frames
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.tube_collector import clip_size
from cfp_onnx.pyramid.values import Alternative, Edge, Kernel, LayerResult, Link, LinkSource
from cfp_onnx.relevance.values import Settings, Walked
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip


def layer_results(
    topology: Topology, depths: Mapping[int, int], walked: Walked, paths: Mapping[int, str] | None = None
) -> tuple[LayerResult, ...]:
    """The layers that were walked, in execution order; the relevance of one that no path reaches is not known."""
    found = {} if paths is None else paths
    unknown = math.nan
    return tuple(
        LayerResult(
            name=layer.name, op=layer.op, weight=layer.weight, nodes=layer.nodes, kernels=layer.kernels,
            channels=layer.channels, groups=layer.groups, kernel_shape=layer.kernel_shape, family=layer.family,
            depth=depths[layer.index], paths=found.get(layer.index, "all"),
            relevance=tuple(
                unknown if found.get(layer.index) == "none" else float(r) for r in walked.relevance[layer.index]
            ),
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


LEAST_RIVAL = 0.05
"""Least share of a rival that a pyramid names."""


def largest_difference(plain: Mapping[str, Array], probed: Mapping[str, Array]) -> float:
    """Largest absolute difference of the model's outputs with and without probes."""
    numbers = {k: v for k, v in probed.items() if isinstance(v, np.ndarray) and np.issubdtype(v.dtype, np.number)}
    pairs = [(plain[k], v) for k, v in numbers.items() if k in plain]
    return max(
        (float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0)) for a, b in pairs), default=0.0
    )


ROUNDING = 5e-6
"""Largest difference of two runs, as a share of the largest number of an output, that is rounding alone."""


def agree(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether two runs gave the same outputs but for rounding."""
    largest = {k: float(np.max(np.abs(v), initial=0.0)) for k, v in one.items()}
    return all(largest_difference({k: v}, other) <= ROUNDING * largest[k] for k, v in one.items())


def assemble(
    sessions: Sessions,
    clip: Clip,
    request: Request,
    found: Found,
    *,
    plain: Mapping[str, Array],
    labels: Sequence[str] | None,
    at: str | int | None = None,
) -> Pyramid:
    """The pyramid of one run.

    Args:
        sessions: Sessions of the network.
        clip: What was fed.
        request: What was asked for.
        found: What the run found.
        plain: Outputs of the file as it is.
        labels: Class names.
        at: The place, as it was asked for.

    Raises:
        RunError: If the relevance is not finite.
    """
    network, walked, settings = sessions.network, found.walked, request.settings
    file, topology = network.file, network.topology
    walks = [(settings, walked), *zip(request.rather, found.rather, strict=True)]
    if not all(np.isfinite(r).all() for _, one in walks for r in one.relevance.values()):
        raise RunError(
            f"the relevance of {file.path} is not finite on this clip; its activations overflow float32; "
            "check the preprocessing"
        )
    paths = {**network.paths, **dict.fromkeys(found.lost, "none")}
    coverage = network.topology.coverage(network.target, found.lost) if found.lost else network.coverage
    run, *further = (_run_header(sessions, request, *one, found, plain, labels) for one in walks)
    return Pyramid(
        model=ModelHeader.of(file),
        input=InputHeader(
            file=clip.file, sha256=clip.sha256, shape=tuple(clip.feeds[clip.main()].shape),
            layout=layout_text(clip.layout) if clip.layout else None,
            fed={name: fed.published() for name, fed in clip.fed.items()} or None,
        ),
        run=run,
        target=target_header(network, request, plain[network.scored], labels, at),
        coverage=CoverageHeader.of(coverage),
        layers=layer_results(topology, network.depths, walked, paths),
        levels=levels(topology, network.depths, walked),
        edges=edges(topology, walked, found.states),
        rather=tuple(
            Alternative(
                run=header,
                relevance={x.name: x.relevance for x in layer_results(topology, network.depths, one, paths)},
                levels=levels(topology, network.depths, one),
                edges=edges(topology, one, found.states),
            )
            for header, one in zip(further, found.rather, strict=True)
        ),
        tubes=None if request.collector is None else request.collector.finish(),
    )  # fmt: skip


def _run_header(
    sessions: Sessions,
    request: Request,
    settings: Settings,
    walked: Walked,
    found: Found,
    plain: Mapping[str, Array],
    labels: Sequence[str] | None,
) -> RunHeader:
    """How one walk was made, and what it reported."""
    return RunHeader(
        rule=request.rule.name, class_step=settings.class_step, theta=settings.theta, top_k=settings.top_k,
        depth=settings.depth if settings.depth is not None else "all",
        holds=(*settings.hold, *sessions.network.topology.always_held),
        order=settings.order if request.rule.orders == 2 else None,
        against=None if settings.against is None else str(settings.against), rivals=_rivals(settings, labels),
        provider=sessions.provider(), onnxruntime=runtime.import_onnxruntime().__version__,
        output_difference=largest_difference(plain, found.outputs), undefined=walked.undefined,
        negative_sums=walked.negative_sums, links_omitted=walked.omitted,
    )  # fmt: skip


def _rivals(settings: Settings, labels: Sequence[str] | None) -> tuple[TopClass, ...]:
    """The classes that count most among those that the class is set against; none where all count alike."""
    if settings.others is None:
        return ()
    return tuple(c for c in strongest(settings.others, labels, TOP) if c.score >= LEAST_RIVAL)


def media_of(network: Network, clip: Clip) -> Media:
    """What a person sees of the clip."""
    name = network.clip_input()
    array, axis = clip.feeds[name], network.axes[name]
    first = network.frames_first()
    size = None if axis is None else clip_size(array.shape, axis, frames_first=first)
    if size is None or axis is None:
        missing = "no axis of channels, so its places are not drawn" if axis is None else "no space or time to draw"
        return Media("none", (1, 1, 1), note=f"the model's input has {missing}")
    if axis == 0 or first:  # no batch
        array, axis = array[None], axis + 1
    axes = spatial_axes(array.ndim, axis)
    if len(axes) == 1:
        curve = np.moveaxis(np.asarray(array[0], np.float32), axis - 1, 0)
        return Media("curve", size, curve=curve, note="the signal as the network got it")
    kind = "video" if size[0] > 1 else "image"
    if clip.frames is not None and clip.frames.shape[:3] == size:
        return Media(kind, size, clip.frames, note="frames after resize and crop, as the network saw them")
    letters = dict(zip("THW"[3 - len(axes) :], axes, strict=True)) | {"C": axis}
    note = "the array as it was fed, its range stretched to black and white"
    return Media(kind, size, stretched_frames(array, letters), note=note)


__all__ = ["agree", "assemble", "media_of"]
