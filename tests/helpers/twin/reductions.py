"""Means, sums and maxima over whole axes, and the larger or smaller of several inputs."""

from __future__ import annotations

import math

import numpy as np

from .steps import Array, Fields, Step, adjoint, forward


def _reduced(step: Step) -> tuple[int, ...]:
    if step.op.startswith("Global"):
        return tuple(range(2, step.x.ndim))
    given = step.get(1) if step.get(1) is not None else step.attributes.get("axes")
    axes = [] if given is None else [int(a) % step.x.ndim for a in np.asarray(given).reshape(-1)]
    if axes or step.attributes.get("noop_with_empty_axes", 0):
        return tuple(axes)
    return tuple(range(step.x.ndim))


def _kept(step: Step, g: Array) -> Array:
    axes = _reduced(step)
    return g.reshape([1 if i in axes else size for i, size in enumerate(step.x.shape)])


@forward("GlobalAveragePool")
def _global_average(step: Step) -> Array:
    return np.asarray(step.x.mean(axis=_reduced(step), keepdims=True))


@forward("GlobalMaxPool")
def _global_max(step: Step) -> Array:
    return np.asarray(step.x.max(axis=_reduced(step), keepdims=True))


@adjoint("ReduceSum", "ReduceMean", "GlobalAveragePool")
def _sum_back(step: Step, g: Array) -> Fields:
    count = 1 if step.op == "ReduceSum" else math.prod(step.x.shape[a] for a in _reduced(step))
    return [np.broadcast_to(_kept(step, g) / count, step.x.shape).copy()]


@adjoint("ReduceMax", "GlobalMaxPool")
def _max_back(step: Step, g: Array) -> Fields:
    axes = _reduced(step)
    order = [i for i in range(step.x.ndim) if i not in axes] + list(axes)
    moved = step.x.transpose(order)
    flat = moved.reshape(*moved.shape[: step.x.ndim - len(axes)], -1)
    first = np.arange(flat.shape[-1]) == flat.argmax(axis=-1)[..., None]
    mask = first.reshape(moved.shape).transpose(np.argsort(order))
    return [_kept(step, g) * mask]


@adjoint("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def _statistic_back(step: Step, g: Array) -> Fields:
    """Slopes of lengths and other statistics."""
    x, y = step.x, _kept(step, step.y)
    slopes = {
        "ReduceL1": lambda: np.sign(x),
        "ReduceL2": lambda: x / y,
        "ReduceSumSquare": lambda: 2 * x,
        "ReduceLogSum": lambda: np.exp(-y) * np.ones_like(x),
        "ReduceLogSumExp": lambda: np.exp(x - y),
        "ReduceProd": lambda: y / x,
    }
    return [_kept(step, g) * slopes[step.op]()]


@adjoint("Max", "Min")
def _extreme_back(step: Step, g: Array) -> Fields:
    """An element's field goes to the input it was taken from."""
    return [np.where(x == step.y, g, 0.0) if x is not None and x.shape == g.shape else None for x in step.inputs]
