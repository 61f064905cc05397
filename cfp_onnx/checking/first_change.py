"""Where a change begins: the layer, its kernels, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.checking.case import Case
from cfp_onnx.checking.change import Change
from cfp_onnx.checking.layer_match import Match, weight_change
from cfp_onnx.checking.policy import Limits
from cfp_onnx.checking.values import WINDOW, CheckedLayer, First
from cfp_onnx.matching.wording import few, some

BEGUN = 0.25
"""Part of the activity limit above which a layer counts as changed, once some limit is broken."""


def acts_otherwise(found: Change, limits: Limits) -> bool:
    """Whether a layer's activity changed so much that the change has reached it."""
    return found.activity > BEGUN * limits.max_activity


def first_change(case: Case, layers: Sequence[CheckedLayer], *, eight_bits: bool) -> First | None:
    """Where the change begins: missing layers, then changed weights, then the first layer that acts differently.

    Args:
        case: What was judged.
        layers: Its layers, one for each of its matches.
        eight_bits: Whether the file keeps integers, whose ranges may be the cause.

    Returns:
        None where every layer is there and within its limits.
    """
    if case.missing or case.added:
        return _other_layers(case)
    if not any(layer.breaches for layer in layers):
        return None
    for layer, match in zip(layers, case.matches, strict=True):
        if any(b.measure == WINDOW for b in layer.breaches):
            return First(layer.name, layer.weight, (), "; ".join(layer.window))
        if any(b.measure == "weights" for b in layer.breaches):
            return _other_weights(case, layer, match)
    return _acts_first(layers, eight_bits=eight_bits)


def _other_layers(case: Case) -> First:
    if not case.missing:
        return First(case.added[0], "", (), "this layer is new")
    gone = next(t for t in case.baseline.traits if t.name == case.missing[0])
    news = [f"{t.name} ({t.kernels} kernels)" for t in case.traits if t.name in case.added]
    more = f"; {news[0]} is new" if news else ""
    return First(gone.name, gone.weight, (), f"this layer ({gone.kernels} kernels) is not in the file{more}")


def _other_weights(case: Case, layer: CheckedLayer, match: Match) -> First:
    per_kernel = weight_change(case.baseline.traits[match.old], case.traits[match.new], match.kernels)
    which = np.flatnonzero(per_kernel > layer.limits.max_weights)
    words = some(which, len(per_kernel)) if which.size else "all kernels"
    text = f"weights changed in {words}, by {100 * layer.weights:.3g} % of the layer's"
    return First(layer.name, layer.weight, few(which), f"{text} (allowed {100 * layer.limits.max_weights:.3g} %)")


def _acts_first(layers: Sequence[CheckedLayer], *, eight_bits: bool) -> First:
    """Where a change begins that is not in the weights.

    Activity changes only behind the cause, relevance in front of it too: so the first layer whose activity changed is
    nearest to the cause. Where no activity changed, the cause follows the last layer.
    """
    for position, layer in enumerate(layers):
        broken = [b for b in layer.breaches if b.measure == "activity"]
        if broken or acts_otherwise(layer.change, layer.limits):
            of_class = next((f" on class {b.label!r}" for b in broken[:1] if b.label is not None), "")
            moved = broken[0].value if of_class else layer.change.activity
            allowed = "did not" if layer.weights <= Limits.max_weights else "did not by more than is allowed"
            most = f", most in {some(np.array(layer.kernels), 0)}," if layer.kernels else ""
            by = f"its kernels' activity changed by {100 * moved:.3g} %{of_class}{most} though its weights {allowed}"
            before = "what lies before it, or the order in which it takes channels,"
            where = before if position else "what reaches it (preprocessing, channels, frames)"
            cause = f"{by}: {where} differs{', or the ranges of its integers' * eight_bits}"
            cause = "; ".join((cause, *layer.window))
            return First(layer.name, layer.weight, layer.kernels, cause)
    last = min((x for x in layers if x.breaches), key=lambda x: len(layers) if x.depth is None else x.depth)
    cause = f"{last.breaches[0]}, though every layer acts as before: what follows the layers differs"
    return First(last.name, last.weight, last.kernels, cause)


__all__ = ["BEGUN", "acts_otherwise", "first_change"]
