"""The tube of a class, slowly: fields of the twin at clip and first layer, and the recipe element by element."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import twin

from cfp_onnx.pyramid.evidence import FAR, NEAR, NEAR_FRAMES

Array = npt.NDArray[Any]

HELD = ("norms", "attention", "gates", "means")

Places = Mapping[str, tuple[int, float, float]]
"""First maps: clip pixels from one element to the next, and where along height and width the first of them lies."""


def rivals(scores: Array, target: int) -> Array:
    """Softmax over the other classes, 0 at the class itself."""
    shares = np.exp(scores - scores.max()) * (np.arange(scores.size) != target)
    return np.asarray(shares / shares.sum())


def places(model: onnx.ModelProto, feeds: Mapping[str, Array], target: int) -> dict[str, Array]:
    """Field times value at every tensor of the walk, all held, of a class against its rivals; a walk for each class."""
    values = twin.evaluate(model, feeds)
    scores = np.asarray(values[model.graph.output[0].name], np.float64).reshape(-1)
    seed = (np.arange(scores.size) == target) - rivals(scores, target)
    found: dict[str, Array] = {}
    for index, factor in enumerate(seed):
        walked = twin.fields(model, feeds, target=index, class_step="contribution", hold=HELD)
        for name, g in walked.fields.items():
            found[name] = found.get(name, 0.0) + factor * g * walked.values[name]
    return found


def odd(width: float) -> int:
    """The odd number nearest to a width, of two the larger."""
    return min(range(1, 999, 2), key=lambda n: (abs(n - width), -n))


def box(values: Array, widths: Sequence[int]) -> Array:
    """At each element the sum of those at most half a width away."""
    out = np.zeros_like(values)
    for here in itertools.product(*map(range, values.shape)):
        near = [
            range(max(0, i - w // 2), min(n, i + w // 2 + 1))
            for i, w, n in zip(here, widths, values.shape, strict=True)
        ]
        out[here] = sum(values[there] for there in itertools.product(*near))
    return out


def laid(values: Array, centres: Sequence[Array], size: Sequence[int]) -> Array:
    """A coarse map at every pixel, by the nearest elements on both sides of it."""
    out = np.zeros(size)
    for pixel in itertools.product(*map(range, size)):
        for element in itertools.product(*map(range, values.shape)):
            weight = 1.0
            for at, i, known in zip(pixel, element, centres, strict=True):
                weight *= np.interp(at, known, np.arange(len(known)) == i)
            out[pixel] += weight * values[element]
    return out


def recipe(model: onnx.ModelProto, feeds: Mapping[str, Array], target: int, first: Places) -> Array:
    """The tube of a class for a network with one input ``x``, kernels on axis 1."""
    truth = places(model, feeds, target)
    size = summed(feeds["x"]).shape
    maps = [summed(truth["x"])]
    for tensor, (step, top, left) in first.items():
        own = summed(truth[tensor])
        t, h, w = own.shape
        centres = (np.arange(t), np.arange(h) * step + top, np.arange(w) * step + left)
        maps.append(laid(own, centres, size))
    return evidence(maps)


def summed(values: Array) -> Array:
    """A tensor's first item summed over its kernels, (t, h, w)."""
    total = values.sum(axis=1)[0]
    return np.asarray(total.reshape((1,) * (3 - total.ndim) + total.shape))


def evidence(maps: Sequence[Array], near: float = NEAR, frames: int = NEAR_FRAMES, far: float = FAR) -> Array:
    """The recipe for maps that have a value for every pixel of the clip.

    Args:
        maps: Relevance (T, H, W) at the clip and, laid over it, at the first layer.
        near: Width of the small box, a share of the smaller side.
        frames: Frames of the small box.
        far: Width of the large box, a share of the smaller side.
    """
    total = sum(m / np.abs(m).sum() for m in maps)
    long = [i for i in (1, 2) if total.shape[i] > 1]
    side = min(total.shape[i] for i in long)
    small = [frames if total.shape[0] > 1 else 1] + [odd(near * side) if i in long else 1 for i in (1, 2)]
    large = [2 * total.shape[0] + 1] + [odd(far * side) if i in long else 1 for i in (1, 2)]
    one, two = box(total, small), box(total, large)
    spoken = np.maximum(one, 0) * np.maximum(two, 0) - np.maximum(-one, 0) * np.maximum(-two, 0)
    return np.asarray(spoken / np.abs(spoken).max())
