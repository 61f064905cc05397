"""What the clips of a class have in common: means, intervals and how often a kernel is chosen.

All of it is computed layer by layer from the clips in the order of their keys, so that the order in which clips were
explained, and how they were parted, changes no digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.values import Array

WIDE = 1.959963984540054
"""Standard errors on either side of a mean that make an interval of 95 %."""

THETA = 0.6
"""A kernel is chosen in a clip where its share is at least this."""


@dataclass(frozen=True)
class KernelStatistics:
    """The kernels of one layer over some clips; every array is (kernels,) float64.

    A kernel's *share* is its relevance over the largest absolute one of its layer in the same clip: layers and clips of
    any scale count alike.

    Attributes:
        clips: How many clips.
        mean: Mean relevance.
        spread: Standard deviation of the relevance over clips.
        share: Mean share, -1 to 1.
        error: Standard error of the share, by leaving out one group (or clip) at a time.
        frequency: Share of the clips in which the kernel is chosen.
        agreement: Share of the clips in which its relevance has the sign of its mean share; 1 where it is 0.
        activation: Mean activation; None where it was not recorded.
    """

    clips: int
    mean: Array
    spread: Array
    share: Array
    error: Array
    frequency: Array
    agreement: Array
    activation: Array | None

    @property
    def low(self) -> Array:
        """Lower end of the share's interval of 95 %."""
        return np.asarray(self.share - WIDE * self.error)

    @property
    def high(self) -> Array:
        """Upper end of the share's interval of 95 %."""
        return np.asarray(self.share + WIDE * self.error)


def shares(relevance: Array) -> Array:
    """Relevance of clips as shares of each clip's largest, (clips, kernels) float64; 0 where all is 0."""
    value = np.asarray(relevance, np.float64)
    largest = np.abs(value).max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(np.divide(value, largest, out=np.zeros_like(value), where=largest > 0))


def statistics(
    relevance: Array, activation: Array | None, groups: Sequence[str | None], theta: float = THETA
) -> KernelStatistics:
    """Statistics of one layer.

    Args:
        relevance: (clips, kernels) in the order of the clips' keys.
        activation: The same of mean activations; None where there are none.
        groups: What each clip shares with others; None for a clip of its own.
        theta: Share from which a kernel is chosen.
    """
    value, share = np.asarray(relevance, np.float64), shares(relevance)
    positive = np.maximum(value, 0.0)
    top = positive.max(axis=1, keepdims=True, initial=0.0)
    chosen = (positive >= theta * top) & (positive > 0)
    mean = share.mean(axis=0)
    sign = np.sign(mean)
    same = (np.sign(value) == sign).mean(axis=0)
    return KernelStatistics(
        clips=len(value), mean=value.mean(axis=0), spread=value.std(axis=0), share=mean,
        error=standard_error(share, groups), frequency=chosen.mean(axis=0),
        agreement=np.where(sign == 0, 1.0, same),
        activation=None if activation is None else np.asarray(activation, np.float64).mean(axis=0),
    )  # fmt: skip


def standard_error(values: Array, groups: Sequence[str | None]) -> Array:
    """Standard error of a mean over clips, by the jackknife that leaves out a group at a time; NaN of one group.

    Args:
        values: (clips, kernels).
        groups: What each clip shares with others; None for a clip of its own.
    """
    names = [f"clip {n}" if g is None else f"group {g}" for n, g in enumerate(groups)]
    order, index = np.unique(names, return_inverse=True)
    count = len(order)
    if count < 2:
        return np.full(values.shape[1], np.nan)
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    sizes = np.bincount(index, minlength=count).astype(np.float64)
    left = (values.sum(axis=0) - sums) / (len(values) - sizes)[:, None]
    return np.asarray(np.sqrt((count - 1) / count * ((left - left.mean(axis=0)) ** 2).sum(axis=0)))


def ranks(values: Array) -> Array:
    """Ranks of each row's values, equal ones sharing theirs."""
    order = np.argsort(values, axis=1, kind="stable")
    found = np.empty_like(order, dtype=np.float64)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(values.shape[1], dtype=np.float64), values.shape), axis=1)
    for row, value in zip(found, values, strict=True):
        _, place, size = np.unique(value, return_inverse=True, return_counts=True)
        if (size > 1).any():
            row[:] = (np.bincount(place, row) / size)[place]
    return found


def correlations(values: Array) -> Array:
    """Spearman's rho of every row with every other, (rows, rows); 0 for a row that is the same everywhere."""
    found = ranks(values)
    centred = found - found.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1))
    unit = np.divide(centred, length[:, None], out=np.zeros_like(centred), where=length[:, None] > 0)
    return np.asarray(np.clip(unit @ unit.T, -1.0, 1.0))


def ordered(similarity: Array) -> Array:
    """An order of rows in which similar ones lie together: along the second eigenvector of the graph's Laplacian."""
    weights = np.maximum(similarity, 0.0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    vectors = np.linalg.eigh(laplacian)[1]
    along = vectors[:, min(1, len(weights) - 1)]
    return np.argsort(along * np.sign(along[np.argmax(np.abs(along))]), kind="stable")


def enough(share: Array, seed: int = 0) -> tuple[tuple[int, float], ...]:
    """How well fewer clips tell what all of them do: number of clips, and rho of their mean share with that of all.

    Args:
        share: (clips, kernels).
        seed: Order in which clips are taken.
    """
    order = np.random.default_rng(seed).permutation(len(share))
    whole = share.mean(axis=0)
    counts = [n for k in range(32) if (n := 2**k) < len(share)] + [len(share)]
    return tuple((n, float(correlations(np.stack([share[order[:n]].mean(axis=0), whole]))[0, 1])) for n in counts)


__all__ = [
    "THETA", "WIDE", "KernelStatistics", "correlations", "enough", "ordered", "ranks", "shares", "standard_error",
    "statistics",
]  # fmt: skip
