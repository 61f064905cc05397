"""How far a layer's relevance and activity changed between two runs, and how far the machine alone changes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfp_onnx.checking.fingerprint import Sight
from cfp_onnx.files.strict_json import Reader
from cfp_onnx.matching.agreement import STRONGEST, apart, spearman
from cfp_onnx.values import Array

NEAR = 0.2
"""A kernel still counts as one of the strongest if it is at most 20 % weaker than the weakest of them."""


@dataclass(frozen=True)
class Change:
    """One layer on one clip, or the mean of several.

    Attributes:
        drift: Part of the relevance that lies on other kernels, 0..1; None where the layer has no relevance.
        overlap: Part of the strongest tenth of kernels that still is among the strongest, or nearly, 0..1; None
            where the layer has no relevance.
        rank: Rank correlation of the kernels' relevance, -1..1; None where the layer has no relevance.
        activity: Change of the kernels' mean activations over the larger of their norms.
    """

    drift: float | None
    overlap: float | None
    rank: float | None
    activity: float


def change(activity: tuple[Array, Array], relevance: tuple[Array | None, Array | None]) -> Change:
    """How far one layer moved on one clip.

    Args:
        activity: (kernels,) before and now, in the same order.
        relevance: (kernels,) before and now; None where it is not known.
    """
    old, new = relevance
    moved = apart(*activity)
    if old is None or new is None:
        return Change(None, None, None, moved)
    return Change(drift(old, new), kept(old, new),
                  _both(spearman(old, new), old != old[0], new != new[0]), moved)  # fmt: skip


def _both(value: float | None, old: Array, new: Array) -> float:
    """A rank correlation, or where one side does not vary: 1 if both or neither do, else 0."""
    return value if value is not None else float(old.any() == new.any())


def kept(old: Array, new: Array) -> float:
    """Part of the strongest tenth of kernels, at least one, that still is among the strongest.

    Kernels that nearly tie change places at any rounding, so one that is weaker by at most `NEAR` counts.

    Args:
        old: (kernels,) relevance before.
        new: (kernels,) relevance now.

    Returns:
        0..1; 1 where no kernel is relevant in either.
    """
    if not (old > 0).any() or not (new > 0).any():
        return float((old > 0).any() == (new > 0).any())
    count = max(1, round(STRONGEST * len(old)))
    best = np.argsort(-old, kind="stable")[:count]
    weakest = float(np.sort(new)[-count])
    return float((new[best] >= min(weakest, (1 - NEAR) * weakest)).mean())


def drift(old: Array, new: Array) -> float:
    """The part of the relevance that moved to other kernels, 0..1: half the sum of the changes of signed shares.

    Args:
        old: (kernels,) relevance before.
        new: (kernels,) relevance now.
    """
    sums = float(np.abs(old).sum()), float(np.abs(new).sum())
    if min(sums) == 0:
        return float(sums[0] != sums[1])
    return float(0.5 * np.abs(old / sums[0] - new / sums[1]).sum())


def mean(changes: Sequence[Change]) -> Change:
    """The mean of several clips."""

    def of(name: str) -> float | None:
        values = [v for c in changes if (v := getattr(c, name)) is not None]
        return float(np.mean(values)) if values else None

    return Change(of("drift"), of("overlap"), of("rank"), of("activity") or 0.0)


def worst(changes: Iterable[Change]) -> Change:
    """The largest of several changes, measure by measure."""
    listed = list(changes)

    def of(name: str, choose: Any) -> float | None:
        values = [v for c in listed if (v := getattr(c, name)) is not None]
        return float(choose(values)) if values else None

    return Change(of("drift", max), of("overlap", min), of("rank", min), of("activity", max) or 0.0)


@dataclass(frozen=True)
class Noise:
    """What the machine changes where the model stayed the same.

    The same job is run again, with another thread count, without the runtime's optimisations, and in a batch of two.

    Attributes:
        clips: Clips it was measured on.
        variants: Ways of working that were tried.
        outputs: Largest difference of the scores over their largest.
        layers: The worst change of each layer.
    """

    clips: int
    variants: tuple[str, ...]
    outputs: float
    layers: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON's values."""
        return {
            "clips": self.clips, "variants": list(self.variants), "outputs": self.outputs,
            "layers": [{**vars(c)} for c in self.layers],
        }  # fmt: skip

    @classmethod
    def read(cls, reader: Reader, layers: int) -> Noise:
        """The values of `to_json`, for a number of layers."""
        rows = [Reader(v, f"{reader.where}: layer {i}") for i, v in enumerate(reader.items("layers"))]
        if len(rows) != layers:
            raise reader.wrong("layers", len(rows), f"{layers} entries")
        noise = cls(
            reader.whole("clips"), reader.texts("variants"), reader.number("outputs", 0.0), tuple(map(_change, rows))
        )
        reader.done()
        return noise


def _change(reader: Reader) -> Change:
    drifted, kept, ranked = (reader.maybe(k, reader.number) for k in ("drift", "overlap", "rank"))
    value = Change(drifted, kept, ranked, reader.number("activity", 0.0))
    reader.done()
    return value


def changes_of(old: Sight, new: Sight) -> list[Change]:
    """The change of every layer, where layers and kernels are in the same order."""
    return [
        change(activity, relevance)
        for activity, relevance in zip(
            zip(old.activity, new.activity, strict=True), zip(old.relevance, new.relevance, strict=True), strict=True
        )
    ]


def outputs_over(old: Array, new: Array) -> float:
    """Largest difference of scores over the largest of either."""
    size = max(float(np.abs(old).max(initial=0.0)), float(np.abs(new).max(initial=0.0)))
    return float(np.abs(old - new).max(initial=0.0)) / size if size > 0 else 0.0


__all__ = ["Change", "Noise", "change", "changes_of", "drift", "kept", "mean", "outputs_over", "worst"]
