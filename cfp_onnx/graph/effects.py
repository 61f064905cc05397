"""What one operator call does to the channels of its inputs, as plain values.

A handler in `cfp_onnx.graph.flow` looks at a node and returns one of these; labels (topology) and fields (relevance)
both follow from it, so an operator is described once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph.layers import Geometry, Part
from cfp_onnx.values import Array

NONE = -1
"""Label of an element that comes from no kernel: padding or a constant."""

UNKNOWN = -2
"""Label of an element behind a barrier."""


@dataclass(frozen=True)
class Layer:
    """A weighted operation: reads the arriving labels and emits fresh ones."""

    part: Part


@dataclass(frozen=True)
class Identity:
    """The values pass as they are (Cast, Dropout, de-quantisation ...).

    Attributes:
        mixes: Whether channels influence each other, through a scale that is taken from all of them.
    """

    source: int = 0
    mixes: bool = False


@dataclass(frozen=True)
class Quantise:
    """The values pass where they are inside the range of the integer type; at its ends they are saturated."""

    source: int = 0


@dataclass(frozen=True)
class Activation:
    """y = f(x), element by element.

    Attributes:
        nonnegative: f >= 0 everywhere.
        zero: f(0).
        slope: f'(0).
        rectifier: y is x where x > 0 and 0 elsewhere, so that y alone tells where it fires.
        bias: Input that is added before f, for operators that fuse the two.
    """

    nonnegative: bool = False
    zero: float = 0.0
    slope: float = 1.0
    rectifier: bool = False
    source: int = 0
    bias: int | None = None


@dataclass(frozen=True)
class Affine:
    """y = x * scale + offset, both broadcasting against y; None stands for 1 and 0."""

    scale: Callable[[], Array] | None = None
    source: int = 0
    offset: Callable[[], Array] | None = None


@dataclass(frozen=True)
class Move:
    """Every output element is a copy of an input element or a constant.

    `apply(arrays, fill)` mirrors the operator on arrays that have length 1 on every axis where they do not vary.
    """

    sources: tuple[int, ...]
    apply: Callable[[Sequence[Array], int], list[Array]]


@dataclass(frozen=True)
class Sum:
    """Addends that meet; a constant addend is not listed, one without channels of its own (a mean over them) is.

    `scale` multiplies the sum (a mean of several tensors).
    """

    sources: tuple[int, ...]
    signs: tuple[int, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Select:
    """Each element is taken from one of several inputs, as the operator's output shows (Max, Min, Where)."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Gate:
    """value * gate (or value / gate); the gate is held.

    `own` says that both come from the same kernels (x * sigmoid(x)): an activation, not a gate.
    """

    value: int
    gate: int
    reciprocal: bool = False
    own: bool = False


@dataclass(frozen=True)
class Pool:
    """Window maximum or mean over the spatial axes."""

    kind: str
    geometry: Geometry
    count_include_pad: bool = True
    source: int = 0


@dataclass(frozen=True)
class Reduce:
    """Mean, sum or maximum over whole axes."""

    kind: str
    axes: tuple[int, ...]
    source: int = 0


@dataclass(frozen=True)
class Normalise:
    """Values centred and divided by a deviation over `axes` (each group of channels apart), then scaled.

    Attributes:
        axes: Axes of the statistics; None for a local response (neighbouring channels), which is not centred.
        groups: Groups of axis 1.
        scale: Multiplier after the division, broadcasting against y; None stands for 1.
        centred: Whether a mean is taken off.
        mixes: Whether channels influence each other through the statistics.
    """

    axes: tuple[int, ...] | None
    groups: int = 1
    scale: Callable[[], Array] | None = None
    centred: bool = True
    mixes: bool = True
    source: int = 0


@dataclass(frozen=True)
class Mix:
    """A product of two activations: the weights are held, the value path receives.

    Attributes:
        value: Input that carries the values (0 left, 1 right operand).
        transposed: Whether the other operand is read transposed.
    """

    value: int


@dataclass(frozen=True)
class Held:
    """The output steers others but carries no channel of its own; all inputs are side inputs."""


@dataclass(frozen=True)
class Barrier:
    """Nothing is known about the operator; whatever passes is marked as unknown."""


Effect = (
    Layer | Identity | Quantise | Activation | Affine | Move | Sum | Select | Gate | Pool | Reduce | Normalise | Mix
    | Held | Barrier
)  # fmt: skip


def varies(labels: Array, axis: int) -> bool:
    """Whether labels differ along an axis."""
    return bool(labels.shape[axis] > 1)


def align(labels: Array, rank: int) -> Array:
    """Labels with axes of length 1 in front, as broadcasting adds them."""
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def reshape_labels(labels: Array, old: tuple[int, ...], new: tuple[int, ...]) -> Array:
    """Labels of a reshaped tensor, expanded only where neighbouring axes that vary are merged or cut.

    Args:
        labels: Broadcasts against `old`.
        old: Shape before.
        new: Shape after; the same number of elements.
    """
    if np.prod(old, dtype=np.int64) == 0:
        return np.full((1,) * len(new), NONE, dtype=labels.dtype)
    shape_in: list[int] = []
    shape_full: list[int] = []
    shape_out: list[int] = []
    for i0, i1, o0, o1 in _groups(old, new):
        vary = any(labels.shape[a] > 1 for a in range(i0, i1))
        for a in range(i0, i1):
            shape_in.append(labels.shape[a])
            shape_full.append(old[a] if vary else 1)
        shape_out += [new[a] if vary else 1 for a in range(o0, o1)]
    return np.broadcast_to(labels.reshape(shape_in), shape_full).reshape(shape_out)


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Smallest runs of axes of both shapes that hold the same number of elements."""
    out, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        a = b = 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        while i < len(old) and old[i] == 1 and (j >= len(new) or new[j] != 1):
            i += 1
        while j < len(new) and new[j] == 1 and i >= len(old):
            j += 1
        out.append((i0, i, j0, j))
    return out
