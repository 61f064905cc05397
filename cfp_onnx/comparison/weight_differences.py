"""What differs in the weights, the biases and the affine maps of two layers that are the same one; in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.matching.assignment import assign
from cfp_onnx.matching.kernels import directions, reordered
from cfp_onnx.matching.pairs import Pair
from cfp_onnx.matching.paths import FreeMap
from cfp_onnx.matching.units import Unit
from cfp_onnx.matching.wording import Finding, few, kernels_named, some
from cfp_onnx.values import Array

WEIGHTS = 3e-5
"""Largest difference of a kernel's weights, over its largest weight, that counts as none where both files keep float32;
rounded weights are judged by the outputs only."""


BIASES = 3e-4
"""The same for biases."""


@dataclass(frozen=True)
class WeightDifference:
    """How far the weights of a pair agree once affine maps are folded in, per kernel of the first.

    Attributes:
        weights: Largest difference over the kernel's largest weight.
        bias: Difference over the layer's largest bias.
        bad: Kernels whose weights differ by more than the limit.
        ours: (bad, n) their effective weights in the first file.
        theirs: Those in the second, channels in the order of the first.
    """

    weights: Array
    bias: Array
    bad: Array
    ours: Array
    theirs: Array


def weight_difference(pair: Pair, limit: float) -> WeightDifference:
    """Compare the effective weights and biases of a pair.

    Args:
        pair: A layer of both files.
        limit: Largest difference that counts as none.
    """
    a, b = pair.a, pair.b
    ours, raw = a.effective().reshape(a.kernels, -1), b.effective()
    table, group = reordered(raw, b.groups, pair.channels)
    theirs = table.reshape(a.kernels, -1)
    if not np.array_equal(pair.kernels, np.arange(a.kernels)) or (group != np.arange(a.groups)).any():
        per = a.kernels // a.groups
        mine = np.arange(a.kernels) // per
        fits = group[mine] == pair.kernels // per
        rows = theirs[mine * per + pair.kernels % per]
        theirs = np.where(fits[:, None], rows, raw.reshape(b.kernels, -1)[pair.kernels])
    top = np.abs(ours).max(axis=1, initial=0.0)
    floor = 1e-3 * float(top.max(initial=0.0)) + 1e-30
    far = np.abs(ours - theirs).max(axis=1, initial=0.0) / np.maximum(top, floor)
    bias = np.zeros(a.kernels)
    if a.bias is not None and b.bias is not None:
        largest = max(float(np.abs(a.bias).max(initial=0.0)), float(np.abs(b.bias).max(initial=0.0)))
        least = floor * ours.shape[1] ** 0.5  # the output of such weights for inputs of size 1
        bias = np.abs(a.bias - b.bias[pair.kernels]) / max(largest, least)
    bad = np.flatnonzero(far > limit)
    return WeightDifference(far, bias, bad, ours[bad], theirs[bad])


def explain_weights(
    pair: Pair, weighed: WeightDifference, *, limit_bias: float = BIASES, exact: bool = True
) -> list[Finding]:
    """What differs in the weights and biases of a pair.

    Args:
        pair: A layer of both files.
        weighed: How far they agree.
        limit_bias: Largest difference of biases that counts as none.
        exact: Whether another epsilon of the batch norm counts even where the variances are so large that it hardly
            changes the weights.
    """
    bad, biased = weighed.bad, np.flatnonzero(weighed.bias > limit_bias)
    if not bad.size and not biased.size:
        text = _epsilons(pair.a, pair.b) if exact and _same_variance(pair.a.variance, pair.b.variance) else None
        return [Finding(text)] if text else []
    if (order := _exchanged(weighed)) is not None:
        return [order]
    ratio, rest = _factors(weighed)
    scaled = bool((rest <= 1e-3 * np.maximum(np.abs(ratio), 1e-3)).all())
    if scaled and (epsilon := _epsilons(pair.a, pair.b)):
        return [Finding(epsilon)]
    if not bad.size:
        return [Finding(f"bias differs in {some(biased, pair.a.kernels)}", few(biased))]
    if scaled:
        return [_scaled(ratio, bad, pair.a.kernels)]
    most = 100 * float(weighed.weights[bad].max())
    return [Finding(f"weights differ in {some(bad, pair.a.kernels)}, by up to {most:.3g} %", few(bad))]


def _factors(weighed: WeightDifference) -> tuple[Array, Array]:
    """The factor between differing kernels that fits best, and the rest that it leaves, over the size of the first."""
    size = np.einsum("kn,kn->k", weighed.ours, weighed.ours, dtype=np.float64)
    ratio = np.einsum("kn,kn->k", weighed.ours, weighed.theirs, dtype=np.float64) / np.maximum(size, 1e-30)
    left = np.linalg.norm(weighed.theirs - ratio[:, None].astype(np.float32) * weighed.ours, axis=1)
    return ratio, left / np.sqrt(np.maximum(size, 1e-30))


def _epsilons(a: Unit | FreeMap, b: Unit | FreeMap) -> str | None:
    one, two = a.epsilon, b.epsilon
    if one is None or two is None or abs(one - two) <= 1e-6 * max(one, two):
        return None
    return f"the batch norm's epsilon is {one:.3g} in A and {two:.3g} in B"


def _same_variance(one: Array | None, two: Array | None) -> bool:
    """Whether two batch norms keep the same variances, in any order."""
    if one is None or two is None or one.size != two.size:
        return False
    return bool((np.abs(np.sort(one) - np.sort(two)) <= 1e-6 * np.sort(np.abs(one))).all())


def explain_maps(pair: Pair, limit: float, *, limit_bias: float = BIASES, exact: bool = True) -> list[Finding]:
    """What differs in affine maps that lie on the way to a layer and belong to no single layer.

    Factors and offsets are compared in order of size, because channels may be in another order.

    Args:
        pair: The layer that reads.
        limit: Largest difference of factors, over the largest, that counts as none.
        limit_bias: The same for offsets.
        exact: See `explain_weights`.
    """
    found: list[Finding] = []
    if pair.a.way.form != pair.b.way.form:
        return found
    for one, two in zip(pair.a.way.maps, pair.b.way.maps, strict=True):
        if one.scale.size != two.scale.size:
            return []
        top = float(np.abs(one.scale).max(initial=1e-30))
        scale = float(np.abs(np.sort(one.scale) - np.sort(two.scale)).max()) / top
        most = max(top, float(np.abs(one.bias).max(initial=0.0)))
        bias = float(np.abs(np.sort(one.bias) - np.sort(two.bias)).max()) / most
        far = scale > limit or bias > limit_bias
        if (far or (exact and _same_variance(one.variance, two.variance))) and (text := _epsilons(one, two)):
            found.append(Finding(text))
        elif far:
            what = f"factors differ by up to {100 * scale:.3g} %" if scale > limit else "offsets differ"
            found.append(Finding(f"{what} in what scales {one.scale.size} channels between the layers"))
    return found


def _exchanged(weighed: WeightDifference) -> Finding | None:
    """A finding where the differing kernels are the same ones in another order; None otherwise."""
    bad = weighed.bad
    if not 2 <= bad.size <= 1024:
        return None
    chosen = assign(directions(weighed.ours) @ directions(weighed.theirs).T)
    ours, theirs = weighed.ours, weighed.theirs[chosen]
    size = np.abs(ours).max(axis=1)
    if np.array_equal(chosen, np.arange(bad.size)):
        return None
    fits = np.abs(ours - theirs).max(axis=1) <= 1e-3 * np.maximum(size, 1e-30)
    if fits.all():
        return _exchange(bad)
    parallel = np.einsum("kn,kn->k", directions(ours), directions(theirs)) >= 1 - 1e-6
    if parallel.all() and ours.shape[1] > 1:
        return _exchange(bad, what="the weights of ", left="their scale")
    return None


def _exchange(which: Array, *, what: str = "", left: str = "what reads them") -> Finding:
    words = "are swapped" if which.size == 2 else "stand in another order"
    return Finding(f"{what}{kernels_named(which)} {words}, and {left} was not changed with them", few(which))


def explain_order(pair: Pair) -> Finding:
    """The kernels of a layer that have another number in the second file."""
    return _exchange(np.flatnonzero(pair.kernels != np.arange(pair.a.kernels)))


def _scaled(ratios: Array, bad: Array, kernels: int) -> Finding:
    low, high = float(ratios.min()), float(ratios.max())
    if bad.size == 1 or high - low <= 1e-4 * abs(high):
        return Finding(f"{some(bad, kernels)}: weights scaled by {high:.5g}", few(bad))
    most = float(np.median(ratios))  # the factor of a kernel without variance is near 0
    one_way = 0.5 < most < 2 and low > 0 and (high <= 1 or low >= 1)
    hint = ", as another epsilon of a batch norm does" if one_way else ""
    return Finding(f"scale differs in {some(bad, kernels)}, by factors {low:.5g} to {high:.5g}{hint}", few(bad))


__all__ = [
    "BIASES",
    "WEIGHTS",
    "WeightDifference",
    "explain_maps",
    "explain_order",
    "explain_weights",
    "weight_difference",
]
