"""Which layer and kernel of a file is which of a baseline, which keeps sketches of the old file's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cfp_onnx.checking.fingerprint import Traits
from cfp_onnx.matching.agreement import apart
from cfp_onnx.matching.assignment import assign
from cfp_onnx.matching.similarity import alike_in_shape, words_in_common
from cfp_onnx.values import Array

SURE = 0.5
"""Least similarity at which one kind of evidence alone decides that two layers are the same."""

REORDERED = 0.2
"""Least difference of two layers' weights at which another order of all kernels is tried."""

SURER = 0.9
"""Least similarity at which activity tells layers with the same weights apart."""

TIED = 0.05
"""Largest difference at which weights and names count as equal evidence for two choices."""

CLEARER = 0.25
"""Largest part of the difference that another order of kernels may leave to be taken."""


ALONE = 0.1
"""Part of the most changed kernel's change that counts as its layer's, however many kernels the layer has. Rounding to
eight bits changes far less."""


@dataclass(frozen=True)
class Match:
    """A layer of the baseline and the same of the file.

    Attributes:
        old: Its index among the baseline's layers.
        new: Its index among the file's.
        evidence: ``weights``, ``names``, ``activity`` or ``order``: why they are taken as the same.
        kernels: (kernels,) kernel of the old layer to that of the new.
    """

    old: int
    new: int
    evidence: str
    kernels: Array

    @property
    def reordered(self) -> bool:
        """Whether the kernels are in another order."""
        return not np.array_equal(self.kernels, np.arange(len(self.kernels)))


def matched(
    old: Sequence[Traits],
    new: Sequence[Traits],
    seen: Sequence[Sequence[Array]],
    shown: Sequence[Sequence[Array]],
) -> list[Match]:
    """Pairs of layers, in the baseline's order.

    Args:
        old: Layers of the baseline.
        new: Layers of the file.
        seen: For each clip the activity of each layer of the baseline.
        shown: The same of the file.
    """
    activity = [np.array([clip[i] for clip in seen]) for i in range(len(old))]
    active = [np.array([clip[i] for clip in shown]) for i in range(len(new))]
    ranked, ordered = ([np.sort(rows, axis=1) for rows in side] for side in (activity, active))
    evidence = {
        (i, j): {
            "weights": _weights_alike(a, b),
            "names": words_in_common((a.weight, a.name), (b.weight, b.name)),
            "activity": max(0.0, 1 - 5 * apart(ranked[i], ordered[j])),
        }
        for i, a in enumerate(old)
        for j, b in enumerate(new)
        if alike_in_shape(a, b)
    }
    firm = {pair: 2 * kinds["weights"] + kinds["names"] for pair, kinds in evidence.items()}
    scored = []
    for (i, j), kinds in evidence.items():
        near = 1 - abs(i / len(old) - j / len(new))
        scored.append((firm[i, j] + kinds["activity"] / 2 + near / 2, -i, -j))
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(scored, reverse=True):
        if -i not in found and -j not in taken:
            found[-i] = -j
            taken.add(-j)
    _uncross(found, firm, {pair: kinds["activity"] for pair, kinds in evidence.items()})
    return [
        Match(i, j, next((k for k, v in evidence[i, j].items() if v >= SURE), "order"),
              kernel_order(old[i], new[j], activity[i], active[j]))
        for i, j in sorted(found.items())
    ]  # fmt: skip


def _uncross(
    found: dict[int, int], firm: Mapping[tuple[int, int], float], active: Mapping[tuple[int, int], float]
) -> None:
    """Keep layers that share their weights in order, unless their activity clearly says otherwise.

    Where one of them was changed in the file, the activity of the others changed too and no longer tells them apart.

    Args:
        found: Layer of the baseline to that of the file; pairs that cross for no reason are exchanged in it.
        firm: Evidence of weights and names for each possible pair.
        active: Evidence of activity for it.
    """
    crossed = True
    while crossed:
        crossed = False
        for i, k in combinations(sorted(found), 2):
            j, m = found[i], found[k]
            if j < m or (i, m) not in firm or (k, j) not in firm or min(active[i, j], active[k, m]) >= SURER:
                continue
            kept, turned = firm[i, j] + firm[k, m], firm[i, m] + firm[k, j]
            if turned >= kept - TIED and kept > 2 * SURE:
                found[i], found[k] = m, j
                crossed = True


def _columns(traits: Traits) -> Array:
    """Features of kernels that no order of channels changes, (kernels, n)."""
    return np.column_stack([traits.size, traits.sketch]).astype(np.float64)


def _weights_alike(a: Traits, b: Traits) -> float:
    """How alike two layers' weights are, 0..1: in the given order of kernels, or in any order."""
    one, two = _columns(a), _columns(b)
    in_place = 1 - apart(one, two)
    in_any = 1 - 20 * apart(np.sort(one, axis=0), np.sort(two, axis=0))
    return max(0.0, in_place, in_any)


def kernel_order(a: Traits, b: Traits, seen: Array, shown: Array) -> Array:
    """Kernel of the new layer for each of the old; classes keep their places.

    Args:
        a: The old layer.
        b: The new layer.
        seen: (clips, kernels) activity of the old.
        shown: The same of the new.
    """
    straight = np.arange(a.kernels)
    one, two = _columns(a), _columns(b)
    if a.head:
        return straight
    rows = straight
    if apart(one, two) <= REORDERED:  # at most a few changed places
        rows = np.flatnonzero(np.linalg.norm(one - two, axis=1) > REORDERED * np.sqrt((one**2).sum() / len(one)))
    if len(rows) < 2:
        return straight
    features = []
    for x, y in ((one, two), (seen.T, shown.T)):
        scale = np.sqrt((x**2).mean(axis=0)) + 1e-12
        features.append((x[rows] / scale, y[rows] / scale))
    left, right = (np.concatenate(side, axis=1) for side in zip(*features, strict=True))
    near = -((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2 * left @ right.T)
    order = straight.copy()
    order[rows] = rows[assign(near)]
    return order if apart(one[rows], two[order[rows]]) < CLEARER * apart(one[rows], two[rows]) else straight


def weight_change(a: Traits, b: Traits, order: Array) -> Array:
    """(kernels,) change of each kernel's weights and constant, over the layer's own: the largest of three.

    Size and sketches over their root mean squares, the sum of roots over its mean, the constant over the root mean
    square of the layer's constants.
    """
    one, two = _columns(a), _columns(b)
    scale = np.sqrt((one**2).mean(axis=0))
    parts = (one - two[order]) / np.where(scale > 0, scale, 1.0)
    out = np.sqrt((parts**2).mean(axis=1))
    if (mean := float(np.mean(a.root))) > 0:
        out = np.maximum(out, np.abs(a.root - b.root[order]) / mean)
    if a.bias is not None and b.bias is not None:
        size = max(float(np.sqrt((np.asarray(a.bias) ** 2).mean())), 0.1 * float(scale[0]))
        out = np.maximum(out, np.abs(a.bias - b.bias[order]) / size if size > 0 else 0.0)
    return np.asarray(out)


def of_layer(change: Array) -> float:
    """A layer's change of weights: root mean square of its kernels' changes, or a tenth of the largest if that is more.

    Args:
        change: (kernels,) what `weight_change` gives.
    """
    return max(float(np.sqrt((change**2).mean())), ALONE * float(change.max(initial=0.0)))


__all__ = ["Match", "kernel_order", "matched", "of_layer", "weight_change"]
