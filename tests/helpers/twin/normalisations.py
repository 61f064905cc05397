"""Normalisations by values of the clip: the deviation is held, the centring transposed."""

from __future__ import annotations

import numpy as np

from .steps import Array, Fields, Step, adjoint, columns, forward


def _norm_layout(step: Step) -> tuple[tuple[int, ...], tuple[int, ...], Array, Array]:
    """Shape to normalise in, its normalised axes, and scale and bias in the input's shape."""
    x, scale = step.x, step.need(1)
    bias = step.get(2) if step.get(2) is not None else np.zeros_like(scale)
    if step.op in {"LayerNormalization", "RMSNormalization"}:
        axes = tuple(range(step.attributes.get("axis", -1) % x.ndim, x.ndim))
        return x.shape, axes, np.broadcast_to(scale, x.shape), np.broadcast_to(bias, x.shape)
    groups = step.attributes.get("num_groups", x.shape[1])
    repeat = x.shape[1] // scale.size
    wide = [np.broadcast_to(columns(np.repeat(v, repeat), x.ndim), x.shape) for v in (scale, bias)]
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return shape, tuple(range(2, len(shape))), wide[0], wide[1]


def _deviation(step: Step, t: Array, axes: tuple[int, ...]) -> Array:
    centred = t if step.op == "RMSNormalization" else t - t.mean(axis=axes, keepdims=True)
    power = np.mean(np.square(centred), axis=axes, keepdims=True)
    return np.sqrt(power + step.attributes.get("epsilon", 1e-5))


@forward("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
def _norm(step: Step) -> Array:
    shape, axes, scale, bias = _norm_layout(step)
    t = step.x.reshape(shape)
    centred = t if step.op == "RMSNormalization" else t - t.mean(axis=axes, keepdims=True)
    return (centred / _deviation(step, t, axes)).reshape(step.x.shape) * scale + bias


@adjoint("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
def _norm_back(step: Step, g: Array) -> Fields:
    shape, axes, scale, _ = _norm_layout(step)
    share = (g * scale).reshape(shape) / _deviation(step, step.x.reshape(shape), axes)
    if step.op != "RMSNormalization":
        share = share - share.mean(axis=axes, keepdims=True)
    return [share.reshape(step.x.shape)]


@forward("LpNormalization")
def _length(step: Step) -> Array:
    axis, power = step.attributes.get("axis", -1), step.attributes.get("p", 2)
    length = (np.abs(step.x) ** power).sum(axis=axis, keepdims=True) ** (1 / power)
    return np.asarray(step.x / length)


@forward("MeanVarianceNormalization")
def _mean_variance(step: Step) -> Array:
    axes = tuple(step.attributes.get("axes", (0, 2, 3)))
    centred = step.x - step.x.mean(axis=axes, keepdims=True)
    return np.asarray(centred / (np.sqrt(np.square(centred).mean(axis=axes, keepdims=True)) + 1e-9))


def _lrn_divisor(step: Step) -> Array:
    a, x = step.attributes, step.x
    before, size = (a["size"] - 1) // 2, a["size"]
    squares = np.zeros_like(x)
    for c in range(x.shape[1]):
        squares[:, c] = np.square(x[:, max(0, c - before) : c - before + size]).sum(axis=1)
    return np.asarray((a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * squares) ** a.get("beta", 0.75))


@forward("LRN")
def _lrn(step: Step) -> Array:
    return step.x / _lrn_divisor(step)


@adjoint("LRN")
def _lrn_back(step: Step, g: Array) -> Fields:
    return [g / _lrn_divisor(step)]
