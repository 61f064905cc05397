"""Tubes from what a run returned: where in the clip each element of a map lies, and which maps are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.positions import Grid, grid_of, positions, spatial_axes
from cfp_onnx.graph.topology import Topology
from cfp_onnx.pyramid.evidence import evidence, smoothed
from cfp_onnx.pyramid.resampling import Centres, Size, add_maps, density
from cfp_onnx.pyramid.tubes import FLAT, NO_TUBE, UNPLACED, Tube, Tubes, mark_constant, nowhere_note
from cfp_onnx.text import listed
from cfp_onnx.values import Array

AGAINST_IT = "over the clip as a whole more speaks against the class than for it: biases hold the margin"
"""What is said of such a tube: relevance leaves out what biases add."""

PER_LAYER = 32
"""Most chosen kernels of a layer whose own tubes are kept, the strongest."""

AGAINST = 3
"""Kernels of a layer whose tubes are kept too because they count most against the class."""

BYTES = 2**27
"""Most bytes of tubes of one pyramid."""

NAMED = 5
"""Most layers that a note names."""


def clip_size(shape: tuple[int, ...], channel_axis: int, *, frames_first: bool = False) -> Size | None:
    """Frames, height and width of an input; None where it has no spatial axes or more than three."""
    sizes = [shape[a] for a in spatial_axes(len(shape), channel_axis, frames_first=frames_first)]
    if not 1 <= len(sizes) <= 3:
        return None
    frames, height, width = (1,) * (3 - len(sizes)) + tuple(sizes)
    return frames, height, width


@dataclass
class TubeCollector:
    """Gathers the tubes of one pyramid, layer by layer, as its runs return.

    Attributes:
        topology: The network.
        depths: Layer index to its depth.
        size: Frames, height and width of the clip.
        coordinates: Clip coordinates of every tensor.
        omitted: Chosen kernels without a tube.
    """

    topology: Topology
    depths: Mapping[int, int]
    size: Size
    coordinates: Mapping[str, tuple[Array, ...]]
    _items: list[Tube] = field(default_factory=list)
    _levels: dict[int, list[tuple[Array, Centres]]] = field(default_factory=dict)
    _grids: dict[tuple[str, int], Grid] = field(default_factory=dict)
    _nowhere: dict[int, set[str]] = field(default_factory=dict)
    _no_evidence: str = ""
    _unplaced: list[str] = field(default_factory=list)
    _unkept: int = 0
    omitted: int = 0
    _bytes: int = 0

    @classmethod
    def of(
        cls,
        topology: Topology,
        depths: Mapping[int, int],
        source: str,
        channel_axis: int,
        *,
        frames_first: bool = False,
    ) -> TubeCollector | None:
        """A collector for the clip that is fed to one input; None where that input has no space or time."""
        size = clip_size(topology.program.shapes[source], channel_axis, frames_first=frames_first)
        if size is None:
            return None
        found = positions(topology, source, channel_axis, frames_first=frames_first)
        return cls(topology, depths, size, found)

    def _lost(self, feature: Feature) -> str:
        """Why it is not known where in the clip the elements of a tensor lie; nothing where it is."""
        found = self.coordinates.get(feature.tensor)
        if found is not None and any(np.isfinite(a).any() for a in found):
            return ""
        return f"places in the clip are not known{self._behind()}"

    def _behind(self) -> str:
        """What is not followed in this network."""
        return f" behind {listed(self.topology.untold, NAMED)}" if self.topology.untold else ""

    def _grid(self, feature: Feature) -> Grid:
        key = (feature.tensor, feature.axis)
        if key not in self._grids:
            shape = self.topology.program.shapes[feature.tensor]
            nowhere = np.full((1,) * len(shape), np.nan)
            found = self.coordinates.get(feature.tensor, (nowhere,) * 3)
            self._grids[key] = grid_of(found, shape, feature.axis)
        return self._grids[key]

    def _centres(self, grid: Grid) -> Centres:
        """Coordinates along three axes; the middle of the clip along an axis that the input or the layer lacks."""
        given = [c if np.isfinite(c).all() else np.zeros(1) for c in grid.centres]
        full = [np.zeros(1)] * (3 - len(given)) + given
        middle = [np.array([(n - 1) / 2]) if len(c) == 1 else c for c, n in zip(full, self.size, strict=True)]
        return middle[0], middle[1], middle[2]

    def add_activations(self, layer: KernelLayer, feature: Feature, value: Array, kernels: Array) -> None:
        """Keep the maps of some kernels of a layer.

        Args:
            layer: The layer.
            feature: Where its kernels are judged.
            value: That tensor, batch first; the first item counts, or all where frames lie along the batch.
            kernels: Kernels, strongest first.
        """
        self._add_kernels("activation", layer, feature, value, kernels)

    def add_relevances(self, layer: KernelLayer, feature: Feature, value: Array, kernels: Array) -> None:
        """Keep the relevance maps of some kernels of a layer, per clip pixel."""
        self._add_kernels("relevance", layer, feature, value, kernels)

    def _add_kernels(self, kind: str, layer: KernelLayer, feature: Feature, value: Array, kernels: Array) -> None:
        if not kernels.size:
            return
        grid = self._grid(feature)
        picked = np.moveaxis(np.take(np.asarray(value), kernels, axis=feature.axis), feature.axis, 0)
        picked = _items(picked, grid, 1, summed=kind == "relevance").astype(np.float32)
        maps = grid.mean(picked) if kind == "activation" else grid.total(picked)
        centres = self._centres(grid)
        shape = [len(c) for c in centres]
        for kernel, one in zip(kernels.tolist(), maps, strict=True):
            if self._bytes + one.nbytes > BYTES:
                self.omitted += 1
                continue
            values = one.reshape(shape)
            if kind == "relevance":
                values = density(values, centres, self.size)
            self._items.append(Tube(kind, self.depths[layer.index], layer.name, int(kernel), values, centres))
            self._bytes += values.nbytes

    def add_relevance(self, layer: KernelLayer, feature: Feature, total: Array) -> None:
        """Keep the relevance of a layer, summed over its kernels.

        Args:
            layer: The layer.
            feature: Where its kernels are judged.
            total: The feature's axes without the kernels', batch first; the first item counts, or all where frames lie
                along the batch.
        """
        summed, centres = self._summed(feature, total)
        depth = self.depths[layer.index]
        if lost := self._lost(feature):
            self._nowhere.setdefault(depth, set()).add(lost)
            return
        if not tells_places(summed.shape, self.size):
            self._nowhere.setdefault(depth, set()).add(f"maps of {_by(summed.shape)} places")
            return
        values = density(smoothed(summed), centres, self.size)
        self._items.append(Tube("relevance", depth, layer.name, None, values, centres))
        self._levels.setdefault(depth, []).append((values, centres))
        self._bytes += values.nbytes

    def add_nowhere(self, layer: KernelLayer, *, known: bool) -> None:
        """Note that the class's relevance has no map at a layer.

        Args:
            layer: The layer.
            known: Whether a path leads there: then it only steers what is held for the tubes.
        """
        if layer.tied:
            reason = "layers of a loop, with a map for each trip"
        else:
            reason = "layers that only steer" if known else f"relevance is unknown{self._behind()}"
        self._nowhere.setdefault(self.depths[layer.index], set()).add(reason)

    def add_evidence(self, maps: Sequence[tuple[Feature, Array]]) -> None:
        """Make the class's own tube of what a walk left at the clip and at the first layers, where that says where.

        Args:
            maps: Where the relevance lies, and its sum over the kernels there: the tensor's axes without the kernels',
                batch first.
        """
        found, reasons = [], dict[str, None]()
        for feature, total in maps:
            values, centres = self._summed(feature, total)
            reason = self._lost(feature) or why_nowhere(values, self.size)
            if reason:
                reasons[reason] = None
            else:
                found.append((values, centres))
        if reasons:
            self._no_evidence = "; ".join(reasons)
        if found:
            self._add_evidence(0, None, found)

    def add_pulled(self, layer: KernelLayer, maps: Sequence[tuple[Feature, Array]]) -> None:
        """Make the tube of a layer's own evidence, where that says where in the clip it lies.

        Args:
            layer: The layer.
            maps: As for `add_evidence`, of what came through the layer alone.
        """
        placed = [self._summed(feature, total) for feature, total in maps if not self._lost(feature)]
        found = [(values, centres) for values, centres in placed if not why_nowhere(values, self.size)]
        if found:
            self._add_evidence(self.depths[layer.index], layer.name, found)
        else:
            self._unplaced.append(layer.name)

    def _add_evidence(self, depth: int, layer: str | None, maps: Sequence[tuple[Array, Centres]]) -> None:
        values, centres = evidence(maps, self.size)
        if self._bytes + values.nbytes > BYTES:
            self._unkept += 1
            return
        self._items.append(Tube("evidence", depth, layer, None, values, centres))
        self._bytes += values.nbytes

    def _summed(self, feature: Feature, total: Array) -> tuple[Array, Centres]:
        """A sum over kernels as a map (t, h, w), and its coordinates."""
        grid = self._grid(feature)
        centres = self._centres(grid)
        items = _items(np.asarray(total, np.float32), grid, 0, summed=True)
        return grid.total(items).reshape([len(c) for c in centres]), centres

    def finish(self) -> Tubes:
        """All tubes, with those of whole depths."""
        levels = []
        for depth, maps in sorted(self._levels.items()):
            values, centres = add_maps(maps)
            levels.append(Tube("relevance", depth, None, None, values, centres))
        notes = self._silences()
        if self.omitted:
            notes.append(
                f"{self.omitted} chosen kernels have no tube of their own: at most {PER_LAYER} per layer, "
                "the strongest, are kept"
            )
        return mark_constant(self.size, [*levels, *self._items], notes)

    def _silences(self) -> list[str]:
        """Where no honest map can be made, and why."""
        own = [t for t in self._items if t.kind == "evidence" and t.layer is None]
        notes = []
        if not own:
            why = self._no_evidence or f"no relevance came down to the clip or to its first layers{self._behind()}"
            notes.append(f"{NO_TUBE}: {why}")
        elif own[0].values.sum() < 0:
            notes.append(AGAINST_IT)
        depths: dict[str, list[int]] = {}
        for depth, reasons in sorted(self._nowhere.items()):
            if depth not in self._levels:
                depths.setdefault(", ".join(sorted(reasons)), []).append(depth)
        if self._unplaced:
            notes.append(f"{UNPLACED} {listed(self._unplaced, NAMED)}")
        if self._unkept:
            notes.append(f"{self._unkept} maps of evidence have no room: tubes take at most {BYTES >> 20} MiB")
        return [*notes, *(nowhere_note(found, reason) for reason, found in depths.items())]


def why_nowhere(values: Array, size: Size) -> str:
    """Why a map of relevance does not say where in a clip; nothing where it does.

    Args:
        values: The map (t, h, w).
        size: Frames, height and width of the clip.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return "no relevance came down to the clip or to its first layers"
    if not tells_places(values.shape, size):
        return f"the maps of the first layers have {_by(values.shape)} places"
    if float(np.ptp(values)) <= FLAT * largest:
        return "relevance is the same everywhere"
    return ""


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


LEAST_GRID = 4
"""Fewest places along height and width of a map that says where; with fewer, things far apart share one."""


def tells_places(shape: tuple[int, ...], size: Size) -> bool:
    """Whether the class's map of a layer has enough places to say where.

    Args:
        shape: (t, h, w) of the map.
        size: Frames, height and width of the clip; axes of length 1 are not asked.
    """
    return all(n >= min(LEAST_GRID, most) for n, most in zip(shape[1:], size[1:], strict=True)) and max(shape) > 1


def _items(values: Array, grid: Grid, axis: int, *, summed: bool) -> Array:
    """One item of a batch, or all items where they are frames and the grid knows them as such.

    The items of a fixed batch are equal and share the relevance: it is summed, and of activations the first is taken.
    """
    if values.ndim - axis == grid.index.ndim:
        return values
    return np.asarray(values.sum(axis=axis)) if summed else np.take(values, 0, axis=axis)


def kernels_with_tubes(relevance: Array, chosen: Array) -> tuple[Array, int]:
    """Kernels of a layer that get a tube, chosen ones and those most against the class; and how many are left out."""
    against = np.argsort(relevance, kind="stable")[:AGAINST]
    against = against[relevance[against] < 0]
    kept = chosen[:PER_LAYER]
    return np.concatenate([kept, np.setdiff1d(against, kept)]).astype(np.int64), int(chosen.size - kept.size)


__all__ = [
    "AGAINST", "AGAINST_IT", "BYTES", "LEAST_GRID", "PER_LAYER", "TubeCollector", "clip_size", "kernels_with_tubes",
    "tells_places", "why_nowhere",
]  # fmt: skip
