"""What one operator call does to the channels of its inputs, as plain values.

A handler in `cfp_onnx.graph.operators` looks at a node and returns one of these. Labels (topology) and fields
(relevance) both follow from it, so an operator is described once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.values import Array


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
        arithmetic: A step of a formula (square, root, quotient, exponential) rather than an activation; where it only
            steers, its slope counts.
        bias: Input that is added before f, for operators that fuse the two.
    """

    nonnegative: bool = False
    zero: float = 0.0
    slope: float = 1.0
    rectifier: bool = False
    arithmetic: bool = False
    source: int = 0
    bias: int | None = None


@dataclass(frozen=True)
class BatchStatistics:
    """What the factors of a batch norm are made from: epsilon, and the variance, (channels,) float64."""

    epsilon: float
    variance: Array


@dataclass(frozen=True)
class Affine:
    """y = x * scale + offset, both float64 and broadcasting against y; None stands for 1 and 0.

    Attributes:
        scale: Resolves the factor.
        source: The input that is mapped.
        offset: Resolves the constant.
        statistics: Of a batch norm.
    """

    scale: Callable[[], Array] | None = None
    source: int = 0
    offset: Callable[[], Array] | None = None
    statistics: BatchStatistics | None = None


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
    """value * gate (or value / gate).

    `own` says that both are functions of the same elements (x * sigmoid(x)): an activation, not a gate. `role` is what
    the factor is where that is known beforehand.
    """

    value: int
    gate: int
    reciprocal: bool = False
    own: bool = False
    role: Literal["norms", "attention", "gates", "means"] | None = None


@dataclass(frozen=True)
class Pool:
    """Window maximum or mean over the spatial axes."""

    kind: str
    geometry: Geometry
    count_include_pad: bool = True
    source: int = 0


@dataclass(frozen=True)
class Blend:
    """Fixed weights along single axes, y = M x along each: interpolation, running sums.

    Attributes:
        axes: The axes.
        matrix: Resolves M of one of them, (outputs, inputs) float32.
    """

    axes: tuple[int, ...]
    matrix: Callable[[int], Array]
    source: int = 0


@dataclass(frozen=True)
class Reduce:
    """One number over whole axes.

    `kind` is mean, sum or max; of a tensor that only steers also l1, l2, square (the sum of squares), logsum,
    logsumexp or prod.
    """

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
        kind: norm | local (a local response) | softmax | logsoftmax | hardmax | l1 | l2 (divided by that norm).
        mixes: Whether channels influence each other through the statistics.
    """

    axes: tuple[int, ...] | None
    groups: int = 1
    scale: Callable[[], Array] | None = None
    centred: bool = True
    kind: str = "norm"
    mixes: bool = True
    source: int = 0


@dataclass(frozen=True)
class Mix:
    """A product of two activations whose channels come from one of them, as attention mixes its values.

    Attributes:
        value: Input that carries the values (0 left, 1 right operand).
    """

    value: int


@dataclass(frozen=True)
class Product:
    """A product of two activations whose channels merge, as queries meet keys: the output only steers.

    Attributes:
        turned: Whether each operand's last two axes are exchanged first.
        factor: What the product is multiplied by.
    """

    turned: tuple[bool, bool] = (False, False)
    factor: float = 1.0


@dataclass(frozen=True)
class Linear:
    """Inside of a recurrent layer: rows times constant weights (Gemm, weights turned), and what is added to them.

    Attributes:
        added: Whether what is added depends on the model's input.
    """

    added: bool


@dataclass(frozen=True)
class Held:
    """The output steers others but carries no channel of its own; all inputs are side inputs."""


@dataclass(frozen=True)
class Barrier:
    """Nothing is known about the operator; whatever passes is marked as unknown."""


Effect = (
    Layer | Identity | Quantise | Activation | Affine | Move | Sum | Select | Gate | Pool | Blend | Reduce | Normalise
    | Mix | Product | Linear | Held | Barrier
)  # fmt: skip
