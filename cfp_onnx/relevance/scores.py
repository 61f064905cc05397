"""How a kernel's input channels are scored: pure NumPy, one function per formula (docs/method.md)."""

from __future__ import annotations

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.values import Array


def class_weights(weights: Array, features: Array, index: int, step: str, others: Array | None = None) -> Array:
    """Score of every feature for a class, before any normalisation.

    Args:
        weights: (classes, features).
        features: (features,) mean feature values.
        index: The class.
        step: ``weights`` | ``contribution`` | ``contrast``.
        others: (classes,) how much each other class counts under ``contrast``; all alike by default.

    Returns:
        (features,): w, w * f, or (w - mean of the other classes' w, weighted by `others`) * f.
    """
    row = weights[index]
    if step == "weights":
        return np.asarray(row)
    if step == "contribution" or weights.shape[0] == 1:
        return np.asarray(row * features)
    mean = (weights.sum(axis=0) - row) / (weights.shape[0] - 1) if others is None else others @ weights
    return np.asarray((row - mean) * features)


def published_class_step(weights: Array, features: Array, index: int, step: str, others: Array | None = None) -> Array:
    """Normalised scores of the features for a class, minimum and maximum taken over the whole class matrix.

    Args:
        weights: (classes, features).
        features: (features,) mean feature values; read unless `step` is ``weights``.
        index: The class.
        step: ``weights`` (the published code), ``contribution`` (the published figure) or ``contrast``.
        others: (classes,) what every row is less under ``contrast``: a mean of the rows with these weights. By default
            each is less the mean of all others.

    Returns:
        (features,) in 0..1; NaN where all entries of the matrix are equal.
    """
    matrix = weights.astype(np.float64)
    if step == "contribution":
        matrix = matrix * features
    elif step == "contrast" and len(matrix) > 1:
        mean = (matrix.sum(axis=0) - matrix) / (len(matrix) - 1) if others is None else others @ matrix
        matrix = (matrix - mean) * features
    elif step not in {"weights", "contrast"}:
        raise UsageError(f"unknown class step {step!r}; choose weights, contribution or contrast")
    low, high = matrix.min(), matrix.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((matrix[index] - low) / (high - low))


def published_back_steps(mean_weights: Array, means: Array) -> tuple[Array, Array, Array]:
    """The published back-step for kernels that read the same channels (those of their group).

    Args:
        mean_weights: (kernels, channels) mean over taps of the kernels' weights.
        means: (channels,) pooled activation of these channels.

    Returns:
        v (kernels, channels) in 0..1; (kernels,) whether it is undefined (no children); (kernels,) whether the sum of
        products was negative, which reverses the order. A group of one channel chooses it.
    """
    if mean_weights.shape[1] == 1:
        nothing = np.zeros(len(mean_weights), dtype=bool)
        return np.ones(mean_weights.shape), nothing, nothing
    products = mean_weights * means.astype(mean_weights.dtype)
    total = products.sum(axis=1, dtype=np.float64)
    low, high = products.min(axis=1), products.max(axis=1)
    span = (high - low).astype(np.float64)
    undefined = ~((span > 0) & (total != 0) & np.isfinite(span) & np.isfinite(total))
    scale = np.divide(np.sign(total), span, out=np.zeros_like(span), where=~undefined)
    v = products
    v -= np.where(total < 0, high, low)[:, None]  # a negative sum turns the order round
    v *= scale.astype(v.dtype)[:, None]
    v[undefined] = 0.0
    return np.asarray(v), undefined, total < 0


def contributions(weights: Array, taps: Array, groups: int) -> Array:
    """Exact share of each input channel in the mean output of each kernel.

    Args:
        weights: (kernels, channels / groups, *taps).
        taps: (channels, taps) mean over output positions of what each tap reads.
        groups: Groups of the layer.

    Returns:
        z (kernels, channels / groups) float64; ``z.sum(1) + bias`` is the kernel's mean output.
    """
    kernels, width = weights.shape[:2]
    w = weights.reshape(groups, kernels // groups, width, -1).astype(np.float64)
    s = taps.reshape(groups, width, -1)
    return np.asarray(np.einsum("gock,gck->goc", w, s, optimize=True)).reshape(kernels, width)


def positive_shares(z: Array, relevance: Array) -> Array:
    """Relevance handed to channels by positive contributions: sum over o of R_o max(z, 0) / sum max(z, 0).

    Args:
        z: (kernels, channels) contributions of one group.
        relevance: (kernels,).

    Returns:
        (channels,).
    """
    positive = np.maximum(z, 0.0)
    total = positive.sum(axis=1)
    weight = np.divide(relevance, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(weight @ positive)


def relative(relevance: Array) -> Array:
    """V = max(R, 0) / max R; all zero where nothing is positive."""
    positive = np.maximum(np.nan_to_num(np.asarray(relevance, np.float64)), 0.0)
    top = positive.max(initial=0.0)
    return positive / top if top > 0 else positive


def choose(relevance: Array, *, theta: float, top_k: int | None) -> Array:
    """Indexes chosen among kernels: v >= theta, at most `top_k`, strongest first."""
    v = relative(relevance)
    order = np.argsort(-v, kind="stable")
    picked = order[(v[order] >= theta) & (v[order] > 0)]
    return picked if top_k is None else picked[:top_k]
