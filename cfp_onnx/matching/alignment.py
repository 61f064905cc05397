"""Layers to layers: which layer and kernel of one file is which of another, whatever tools wrote them.

The layers of the first file are walked from the input down the wires. The order of a layer's input channels is known
from the layers above, so its kernels are matched by their weights alone, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cfp_onnx.matching.assignment import fill
from cfp_onnx.matching.channels import FITS, channel_orders, channels_by_weights
from cfp_onnx.matching.kernels import EXACT, match_kernels
from cfp_onnx.matching.pairs import Alignment, Pair, at_common_stage
from cfp_onnx.matching.similarity import activity_similarity, alike_in_shape, same_weights_in_any_order, shared_words
from cfp_onnx.matching.units import NOWHERE, NetworkUnits, Unit
from cfp_onnx.values import Array

Means = tuple[Mapping[int, Array], Mapping[int, Array]]
"""Mean outputs of the kernels of both files, by layer index."""

ALIKE = 0.8
"""Least mean cosine of the kernels' weights at which weights alone decide that two layers are the same."""


NAMED = 0.5
"""Least part of their words that two names share at which names decide it."""


SEVERAL = 8
"""Least weights of a channel at which an order with a near fit is hardly an accident."""


class _Aligner:
    """One walk over the layers of the first file.

    Attributes:
        owners: Layers and inputs of the first file that are matched, and their partners.
        maps: (kernels,) kernel of each of these to the partner's.
        pairs: Pairs by index of the first file's layer.
        free: Layers of the second file that have no partner yet.
        corrected: For a layer, pairs above it as they were before its weights changed their order.
    """

    def __init__(self, a: NetworkUnits, b: NetworkUnits, means: Means | None) -> None:
        self.a, self.b, self.means = a, b, means
        self.owners: dict[int, int] = {}
        self.maps: dict[int, Array] = {}
        self.pairs: dict[int, Pair] = {}
        self.free = {u.index: u for u in b.units}
        self.corrected: dict[int, dict[int, Pair]] = {}
        names = [name for name, _ in b.inputs]
        for i, (name, count) in enumerate(a.inputs):
            other = names.index(name) if name in names else i
            if other < len(names):
                self.owners[a.count + i] = b.count + other
                self.maps[a.count + i] = np.arange(count)

    def run(self) -> Alignment:
        for unit in self.a.units:
            found = self._partner(unit)
            if found is not None:
                self._take(found)
        only_a = tuple(u for u in self.a.units if u.index not in self.pairs)
        ordered = tuple(self.pairs[u.index] for u in self.a.units if u.index in self.pairs)
        return Alignment(ordered, only_a, tuple(self.free.values()), dict(self.owners))

    def _partner(self, a: Unit) -> Pair | None:
        """The most likely partner among the layers that have none."""
        candidates = sorted(
            (b for b in self.free.values() if alike_in_shape(a, b)),
            key=lambda b: (-self._wired(a, b), -shared_words(a, b), b.index),
        )
        tried = []
        for b in candidates:
            pair = self._fit(a, b)
            tried.append(pair)
            if pair.alike >= FITS and self._wired(a, b) == 1.0:
                return pair
        if not tried:
            return None
        best = max(tried, key=lambda p: p.alike + 0.1 * self._wired(a, p.b) + 0.01 * shared_words(a, p.b))
        if best.alike >= ALIKE:
            return best
        tried = [p for p in tried if not self._another(a, p.b)]
        if not tried:
            return None
        by_name = max(tried, key=lambda p: (shared_words(a, p.b), self._wired(a, p.b)))
        if shared_words(a, by_name.b) >= NAMED:
            return replace(by_name, evidence="names")
        if self.means is not None:
            ours, theirs = self.means
            scored = [(activity_similarity(ours[a.index], theirs[p.b.index]), p) for p in tried
                      if a.index in ours and p.b.index in theirs]  # fmt: skip
            score, by_mean = max(scored, key=lambda x: x[0], default=(0.0, tried[0]))
            if score >= FITS:
                return replace(by_mean, evidence="activations")
        first = tried[0]
        return replace(first, evidence="position") if self._wired(a, first.b) > 0 else None

    def _another(self, a: Unit, b: Unit) -> bool:
        """Whether a layer of the second file has the weights of a later layer of the first, in any order."""
        later = (u for u in self.a.units if u.index not in self.pairs and u is not a)
        return any(alike_in_shape(u, b) and same_weights_in_any_order(u, b) for u in later)

    def _wired(self, a: Unit, b: Unit) -> float:
        """Part of the layers above that the two have in common."""
        ours = {self.owners.get(o, NOWHERE) for o in a.carried}
        theirs = set(b.carried)
        return len(ours & theirs) / max(1, len(ours | theirs))

    def _fit(self, a: Unit, b: Unit) -> Pair:
        """The two as a pair, in the order of channels under which their weights agree best."""
        fixed = a.index in self.a.heads
        wired, *others = channel_orders(a, b, self.owners, self.maps)
        kernels, alike = match_kernels(a, b, wired, fixed=fixed)
        best = Pair(a, b, "weights", kernels, wired, wired, alike)
        if alike >= 1 - 1e-6:
            return best
        for channels in others:
            best = self._better(best, channels, fixed=fixed)
        if best.alike < 1 - EXACT:
            told = self._better(best, channels_by_weights(best), fixed=fixed)
            few = a.kernels // a.groups * np.prod(a.taps, dtype=int) < SEVERAL  # some order nearly fits by accident
            best = told if told.alike >= 1 - EXACT or not few else best
        if best.alike < ALIKE:  # weights do not decide: kernels keep their numbers, channels follow the wires
            return replace(best, kernels=np.arange(a.kernels), channels=wired)
        return best

    @staticmethod
    def _better(best: Pair, channels: Array, *, fixed: bool) -> Pair:
        """The pair under another order of channels where that halves what is missing from a cosine of 1."""
        kernels, alike = match_kernels(best.a, best.b, channels, fixed=fixed)
        return replace(best, kernels=kernels, channels=channels, alike=alike) if (
            1 - alike < 0.5 * (1 - best.alike)) else best  # fmt: skip

    def _take(self, pair: Pair) -> None:
        pair = at_common_stage(pair)
        index = pair.a.index
        self.pairs[index] = pair
        self.owners[index] = pair.b.index
        self.maps[index] = pair.kernels
        del self.free[pair.b.index]
        self._correct(pair)

    def _correct(self, pair: Pair) -> None:
        """Give kernels above another order where this layer's weights contradict theirs.

        Where both files wire the two layers alike, the difference lies in the kernels and not in the wires.
        """
        for owner, (channels, kernels) in pair.a.incoming.items():
            above = self.pairs.get(owner)
            other = pair.b.incoming.get(self.owners.get(owner, NOWHERE))
            if above is None or other is None or above.a.index in self.a.heads:
                continue
            arrives = np.full(pair.b.channels, NOWHERE)
            arrives[other[0]] = other[1]
            told = arrives[pair.channels[channels]]
            if (arrives[channels] != kernels).any() and not _by_whole_kernels(kernels, told):
                continue
            implied = np.full(above.a.kernels, NOWHERE)
            implied[kernels] = told
            if (implied >= 0).any() and len(np.unique(implied[implied >= 0])) == (implied >= 0).sum():
                kept = (implied < 0) & ~np.isin(above.kernels, implied)  # the others are not read here, or exchanged
                implied = fill(np.where(kept, above.kernels, implied))
                if not np.array_equal(implied, above.kernels):
                    self._set(replace(above, kernels=implied))
                    self.corrected.setdefault(pair.a.index, {})[owner] = above
                    self._restore(owner)
                    self._rewire(pair)

    def _set(self, pair: Pair) -> None:
        self.maps[pair.a.index] = pair.kernels
        self.pairs[pair.a.index] = pair

    def _restore(self, index: int) -> None:
        """Undo what a depthwise layer changed in the pairs above it, once its own kernels turn out to be exchanged.

        In a depthwise layer, exchanged kernels look like exchanged channels; the layer below shows which it is.
        """
        pair = self.pairs[index]
        if pair.a.groups != pair.a.channels or index not in self.corrected:
            return
        for old in self.corrected.pop(index).values():
            self._set(old)
        wired = channel_orders(pair.a, pair.b, self.owners, self.maps)[0]
        self.pairs[index] = replace(pair, channels=wired, wired=wired)

    def _rewire(self, pair: Pair) -> None:
        wired = channel_orders(pair.a, pair.b, self.owners, self.maps)
        kept = next((w for w in wired if np.array_equal(w, pair.channels)), wired[0])
        self.pairs[pair.a.index] = replace(pair, wired=kept)


def _by_whole_kernels(ours: Array, theirs: Array) -> bool:
    """Whether each kernel arrives several times, as a flattened map's does, and each time fits the same other kernel.

    Args:
        ours: Kernel at each channel.
        theirs: The other file's kernel at the channel that fits.
    """
    count = np.bincount(ours)
    first = np.full(count.size, NOWHERE)
    first[ours] = theirs
    return bool((count[count > 0] > 1).all() and (first[ours] == theirs).all())


def align(a: NetworkUnits, b: NetworkUnits, *, means: Means | None = None) -> Alignment:
    """Which layer and kernel is which: by weights, then names, then activations, then place.

    Args:
        a: The first file's layers.
        b: The second file's.
        means: Mean activation of every kernel, by layer index, of both on one clip.
    """
    return _Aligner(a, b, means).run()


__all__ = ["ALIKE", "NAMED", "SEVERAL", "align"]
