"""How well one order of kernels agrees with another: ranks, the best of them, means and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TOP: Final = 0.1
"""Share of the kernels that are the true best."""
RECALLED: Final = 0.2
"""Share of the kernels among which they are looked for."""
SAMPLES: Final = 200
"""Times that clips and networks are drawn anew for an interval."""


def ranks(values: Array) -> NDArray[np.float64]:
    """Ranks from 0, ties take their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - counts + last - 1) / 2
    return mean[inverse.reshape(-1)]


def spearman(one: Array, other: Array) -> float:
    """Spearman's rank correlation; 0 where either says nothing because all its values are equal."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else 0.0


def best(values: Array, share: float) -> set[int]:
    """The largest values' indexes: the given share of them, at least one."""
    count = max(1, math.ceil(share * len(values) - 1e-9))
    return set(np.argsort(-np.asarray(values, np.float64), kind="stable")[:count].tolist())


@dataclass(frozen=True)
class Agreement:
    """How well one vector of relevance agrees with the truth.

    Attributes:
        rho: Spearman's rank correlation.
        overlap: Share of the true top 10 % that are in the rule's top 10 %.
        recall: Share of the true top 10 % that are in the rule's top 20 %.
    """

    rho: float
    overlap: float
    recall: float


def agreement(values: Array, truth: Array) -> Agreement:
    """Compare the relevance of a layer's kernels, (kernels,), with their ablation."""
    return Agreement(spearman(values, truth), found_of_best(values, truth, TOP), found_of_best(values, truth, RECALLED))


def found_of_best(values: Array, truth: Array, share: float) -> float:
    """Share of the true `TOP` that is in the given share of the kernels with the largest values."""
    top = best(truth, TOP)
    return len(top & best(values, share)) / len(top)


def spearman_rows(ones: Array, others: Array) -> NDArray[np.float64]:
    """Spearman's rank correlation of each row of two arrays, ``(rows, values)``; 0 where a row says nothing."""
    a, b = _centred_ranks(ones), _centred_ranks(others)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0)


def _centred_ranks(rows: Array) -> NDArray[np.float64]:
    """Ranks within each row, less their mean; ties take their mean rank."""
    count, length = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    begins = np.ones((count, length), bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = np.cumsum(begins.reshape(-1)) - 1  # runs of equal values, of all rows one after the other
    sizes = np.bincount(run)
    last = np.cumsum(sizes)
    mean = ((2 * last - sizes - 1) / 2)[run].reshape(count, length) - np.arange(count)[:, None] * length
    found = np.empty((count, length))
    np.put_along_axis(found, order, mean - (length - 1) / 2, axis=1)
    return found


# --------------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Sampled:
    """A figure of one network: from its clips, and from clips drawn anew, ``(samples,)``."""

    mean: float
    samples: Array


def short(value: float) -> str:
    """Two places, without a 0 in front of the point."""
    text = f"{value:.2f}"
    return "0" if text in {"0.00", "-0.00"} else text.replace("0.", ".", 1) if abs(value) < 1 else text


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; all three are NaN where there was nothing to take a mean of."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Two places, without the 0 in front of the point: ``.93 [.91, .95]``."""
        mean, low, high = (short(v) for v in (self.mean, self.low, self.high))
        return "" if math.isnan(self.mean) else f"{mean} [{low}, {high}]"


def of_clips(values: Array) -> Sampled | None:
    """A figure that is the mean of its clips' own, ``(clips,)``; None where there are none."""
    if not len(values):
        return None
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(len(values), size=(SAMPLES, len(values)))]
    return Sampled(float(values.mean()), drawn.mean(axis=1))


def draws(clips: int) -> NDArray[np.float64]:
    """Weights of the mean of clips, and of clips drawn anew, ``(1 + SAMPLES, clips)``; each row adds up to 1."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(clips, np.full(clips, 1 / clips), size=SAMPLES)
    return np.concatenate([np.ones((1, clips)), drawn]) / clips


def estimate(strata: Sequence[Sequence[Sampled]]) -> Estimate:
    """Mean over strata of the mean over their networks, with an interval over clips and networks.

    Networks are drawn anew within their stratum, each with clips drawn anew. A stratum is a kind of network and its
    networks are its training seeds; strata stay as they are, because no kind stands for another.
    """
    kinds = [list(kind) for kind in strata if kind]
    if not kinds:
        return Estimate(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(1)
    total = np.zeros(SAMPLES)
    for kind in kinds:
        samples = np.stack([one.samples for one in kind])
        shape = (SAMPLES, len(kind))
        total += samples[rng.integers(len(kind), size=shape), rng.integers(SAMPLES, size=shape)].mean(axis=1)
    low, high = np.percentile(total / len(kinds), [2.5, 97.5])
    return Estimate(float(np.mean([np.mean([one.mean for one in kind]) for kind in kinds])), float(low), float(high))
