"""Normalisations by values of the clip: their whole Jacobian, or with what they divide by held."""

from __future__ import annotations

import numpy as np

from .steps import Array, Fields, Step, adjoint, columns, forward

UNCENTRED = frozenset({"RMSNormalization", "SimplifiedLayerNormalization"})


def _norm_layout(step: Step) -> tuple[tuple[int, ...], tuple[int, ...], Array, Array]:
    """Shape to normalise in, its normalised axes, and scale and bias in the input's shape."""
    x, scale = step.x, step.need(1)
    bias = step.get(2) if step.get(2) is not None else np.zeros_like(scale)
    if step.op in {"LayerNormalization", *UNCENTRED}:
        axes = tuple(range(step.attributes.get("axis", -1) % x.ndim, x.ndim))
        return x.shape, axes, np.broadcast_to(scale, x.shape), np.broadcast_to(bias, x.shape)
    groups = step.attributes.get("num_groups", x.shape[1])
    repeat = x.shape[1] // scale.size
    wide = [np.broadcast_to(columns(np.repeat(v, repeat), x.ndim), x.shape) for v in (scale, bias)]
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return shape, tuple(range(2, len(shape))), wide[0], wide[1]


def _deviation(step: Step, t: Array, axes: tuple[int, ...]) -> Array:
    centred = t if step.op in UNCENTRED else t - t.mean(axis=axes, keepdims=True)
    power = np.mean(np.square(centred), axis=axes, keepdims=True)
    return np.sqrt(power + step.attributes.get("epsilon", 1e-5))


@forward("LayerNormalization", "InstanceNormalization", "GroupNormalization", *UNCENTRED)
def _norm(step: Step) -> Array:
    shape, axes, scale, bias = _norm_layout(step)
    t = step.x.reshape(shape)
    centred = t if step.op in UNCENTRED else t - t.mean(axis=axes, keepdims=True)
    return (centred / _deviation(step, t, axes)).reshape(step.x.shape) * scale + bias


@adjoint("LayerNormalization", "InstanceNormalization", "GroupNormalization", *UNCENTRED)
def _norm_back(step: Step, g: Array) -> Fields:
    shape, axes, scale, _ = _norm_layout(step)
    t = step.x.reshape(shape)
    centred = step.op not in UNCENTRED
    back = _normed_back(step, t, (g * scale).reshape(shape), _deviation(step, t, axes), axes, centred=centred)
    return [back.reshape(step.x.shape)]


def _normed_back(step: Step, x: Array, g: Array, deviation: Array, axes: tuple[int, ...], *, centred: bool) -> Array:
    """Field of x under (x - mean) / deviation; of a deviation with epsilon its slope is normed / size."""
    share = g / deviation
    centre = x - x.mean(axis=axes, keepdims=True) if centred else x
    loose = centred and "means" not in step.hold
    back = share - share.mean(axis=axes, keepdims=True) if loose else share
    if "norms" in step.hold:
        return back
    normed = centre / deviation
    return np.asarray(back - normed * (share * normed).mean(axis=axes, keepdims=True))


def _length_of(step: Step) -> tuple[Array, int, int]:
    axis, power = step.attributes.get("axis", -1), step.attributes.get("p", 2)
    return (np.abs(step.x) ** power).sum(axis=axis, keepdims=True) ** (1 / power), axis, power


@forward("LpNormalization")
def _length(step: Step) -> Array:
    return np.asarray(step.x / _length_of(step)[0])


@adjoint("LpNormalization")
def _length_back(step: Step, g: Array) -> Fields:
    length, axis, power = _length_of(step)
    if "norms" in step.hold:
        return [g / length]
    steepest = np.sign(step.x) if power == 1 else step.x / length
    return [g / length - steepest * (g * step.x).sum(axis=axis, keepdims=True) / length**2]


@forward("MeanVarianceNormalization")
def _mean_variance(step: Step) -> Array:
    axes = tuple(step.attributes.get("axes", (0, 2, 3)))
    return np.asarray((step.x - step.x.mean(axis=axes, keepdims=True)) / _spread(step, axes))


def _spread(step: Step, axes: tuple[int, ...]) -> Array:
    return np.asarray(step.x.std(axis=axes, keepdims=True) + 1e-9)


@adjoint("MeanVarianceNormalization")
def _mean_variance_back(step: Step, g: Array) -> Fields:
    axes = tuple(step.attributes.get("axes", (0, 2, 3)))
    return [_normed_back(step, step.x, g, _spread(step, axes), axes, centred=True)]


def _rows(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape in which the last axis is what a Softmax runs over, and how the axes get there."""
    axis, rank = step.attributes.get("axis", 1 if step.opset < 13 else -1) % step.x.ndim, step.x.ndim
    run = [axis] if step.opset >= 13 else list(range(axis, rank))
    order = [a for a in range(rank) if a not in run] + run
    return (*[step.x.shape[a] for a in order[: rank - len(run)]], -1), tuple(order)


@adjoint("Softmax", "LogSoftmax")
def _softmax_back(step: Step, g: Array) -> Fields:
    """The whole Jacobian; with attention held, exp(x) over a number where it steers and the share y / x elsewhere."""
    if "attention" in step.hold:
        return [g * (step.y if step.op == "Softmax" and not step.carries else step.y / step.x)]
    shape, order = _rows(step)
    g_, y = (t.transpose(order).reshape(shape) for t in (g, step.y))
    if step.op == "Softmax":
        back = y * (g_ - (g_ * y).sum(axis=-1, keepdims=True))
    else:
        back = g_ - np.exp(y) * g_.sum(axis=-1, keepdims=True)
    sizes = [step.x.shape[a] for a in order]
    return [back.reshape(sizes).transpose(np.argsort(order))]


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
    """Each divisor's slope goes to the neighbours that it was made of."""
    a, x, divisor = step.attributes, step.x, _lrn_divisor(step)
    back = g / divisor
    if "norms" in step.hold:
        return [back]
    before, size, beta = (a["size"] - 1) // 2, a["size"], a.get("beta", 0.75)
    slope = -g * step.y * beta * divisor ** (-1 / beta) * 2 * a.get("alpha", 1e-4) / size
    for c in range(x.shape[1]):
        reads = slice(max(0, c - before), c - before + size)
        back[:, reads] += slope[:, c : c + 1] * x[:, reads]
    return [back]
