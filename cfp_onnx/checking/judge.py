"""Whether a layer's change stays within the policy, whose limits start above the machine's own noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from cfp_onnx.checking.case import Case
from cfp_onnx.checking.change import Change, change, mean
from cfp_onnx.checking.fingerprint import Sight
from cfp_onnx.checking.first_change import acts_otherwise
from cfp_onnx.checking.layer_match import Match, of_layer, weight_change
from cfp_onnx.checking.policy import Limits
from cfp_onnx.checking.values import WINDOW, Breach, CheckedLayer
from cfp_onnx.matching.wording import explain_window
from cfp_onnx.values import Array

ABOVE_NOISE = 2.0
"""Least factor between what the machine itself changes and a limit."""


SILENT = 2e-3
"""Largest change of activity at which changed weights count as another spelling of the same layer."""


CONCERNED = 5
"""Most kernels that are named of a layer."""


def checked_layer(case: Case, match: Match) -> CheckedLayer:
    """A layer in the baseline and in the file, and the limits that it broke."""
    old, new = case.baseline.traits[match.old], case.traits[match.new]
    pairs = [before_and_now(clip.sight, sight, match) for clip, sight in case.seen]
    changes = [change(activity, relevance) for activity, relevance in pairs]
    total = mean(changes)
    per_kernel = weight_change(old, new, match.kernels)
    weights = of_layer(per_kernel)
    limits = above_noise(case.policy.of(old.name, old.weight), case.baseline.noise.layers[match.old])
    window = tuple(f.text for f in explain_window(old.geometry, new.geometry, ("then", "now")))
    breaches = [*breaches_of(total, weights, limits), *_breaches_by_class(case, changes, match)]
    if any(not w.startswith("padding") for w in window) and not total.activity <= SILENT:
        breaches.append(Breach(WINDOW, 1.0, 0.0))
    return CheckedLayer(
        name=old.name, other=new.name, weight=old.weight, evidence=match.evidence, depth=old.depth,
        reordered=match.reordered, change=total, weights=weights, window=window, limits=limits,
        breaches=tuple(breaches), kernels=kernels_concerned(pairs, per_kernel, total, limits),
    )  # fmt: skip


def _breaches_by_class(case: Case, changes: Sequence[Change], match: Match) -> list[Breach]:
    """Broken limits of single classes, judged on the clips of the class alone."""
    layer = case.baseline.traits[match.old]
    found = []
    for name, own in case.policy.classes.items():
        of_class = [c for c, (clip, _) in zip(changes, case.seen, strict=True) if name in {clip.label, str(clip.index)}]
        if of_class:
            limits = replace(case.policy.of(layer.name, layer.weight), **own)
            limits = above_noise(limits, case.baseline.noise.layers[match.old])
            found += [replace(b, label=name) for b in breaches_of(mean(of_class), None, limits)]
    return found


def before_and_now(
    old: Sight, new: Sight, match: Match
) -> tuple[tuple[Array, Array], tuple[Array | None, Array | None]]:
    """Activity and relevance of a layer before and now, in the baseline's order of kernels."""
    relevance = new.relevance[match.new]
    return (
        (old.activity[match.old], new.activity[match.new][match.kernels]),
        (old.relevance[match.old], None if relevance is None else relevance[match.kernels]),
    )


def above_noise(limits: Limits, noise: Change) -> Limits:
    """Limits that allow at least `ABOVE_NOISE` times what the machine itself changes."""
    drift = 0.0 if noise.drift is None else noise.drift
    lost = 0.0 if noise.overlap is None else 1 - noise.overlap
    out = 0.0 if noise.rank is None else 1 - noise.rank
    return replace(
        limits,
        max_drift=min(1.0, max(limits.max_drift, ABOVE_NOISE * drift)),
        min_overlap=max(0.0, min(limits.min_overlap, 1 - ABOVE_NOISE * lost)),
        min_rank=max(-1.0, min(limits.min_rank, 1 - ABOVE_NOISE * out)),
        max_activity=max(limits.max_activity, ABOVE_NOISE * noise.activity),
    )


def breaches_of(found: Change, weights: float | None, limits: Limits) -> list[Breach]:
    """Limits that are broken; NaN breaks a limit."""
    out = []
    if found.drift is not None and not found.drift <= limits.max_drift:
        out.append(Breach("drift", found.drift, limits.max_drift))
    if found.overlap is not None and not found.overlap >= limits.min_overlap:
        out.append(Breach("overlap", found.overlap, limits.min_overlap))
    if found.rank is not None and not found.rank >= limits.min_rank:
        out.append(Breach("rank", found.rank, limits.min_rank))
    if not found.activity <= limits.max_activity:
        out.append(Breach("activity", found.activity, limits.max_activity))
    if weights is not None and not weights <= limits.max_weights and not found.activity <= SILENT:
        out.append(Breach("weights", weights, limits.max_weights))
    return out


def kernels_concerned(
    pairs: Iterable[tuple[tuple[Array, Array], tuple[Array | None, Array | None]]],
    weights: Array,
    total: Change,
    limits: Limits,
) -> tuple[int, ...]:
    """Kernels that changed most: by their weights where these changed, else by activity, else by relevance."""
    if of_layer(weights) > limits.max_weights:
        return _largest(weights, limits.max_weights)
    moved, active = np.zeros(len(weights)), np.zeros(len(weights))
    for (before, after), (old, new) in pairs:
        active += np.abs(before - after)
        if old is not None and new is not None and np.abs(old).sum() > 0 and np.abs(new).sum() > 0:
            moved += np.abs(old / np.abs(old).sum() - new / np.abs(new).sum())
    by_relevance = moved.any() and not acts_otherwise(total, limits)
    return _largest(moved if by_relevance else active, 0.0)


def _largest(values: Array, floor: float) -> tuple[int, ...]:
    order = np.argsort(-values, kind="stable")[:CONCERNED]
    top = float(values.max(initial=0.0))
    return tuple(int(k) for k in order if values[k] > max(floor, 0.25 * top))


__all__ = [
    "ABOVE_NOISE", "SILENT", "above_noise", "before_and_now", "breaches_of", "checked_layer", "kernels_concerned",
]  # fmt: skip
