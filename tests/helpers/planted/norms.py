"""Circuits of norms: a kernel that no class reads, and that counts because it makes all others small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planted import styles
from planted.gates import marked, readers
from planted.values import Array, Circuit, Plant
from planted.writer import Style, Writer

EPSILON = 1e-3
CHANNELS = 8
GROUPS = 2


def normed(style: Style, write: Any, *, opset: int | None = None) -> Style:
    """A style whose norms are written in some way."""
    name = f"{style.name}, {write.__name__.replace('_', ' ')}"
    return replace(style, name=name, opset=opset or style.opset, options={"norm": write})


def kernels() -> Array:
    """Eight kernels: 5 is loud in every place, 2 is the evidence, 7 never fires, the others read what there is."""
    out = readers()
    out[5] *= 6
    out[7] = -1
    return out


BIAS = [0.2] * 7 + [0.0]


def network(w: Writer, x: str) -> str:
    """Class 0 is held down by kernels 2 and 6, less where the loud kernel makes all of them small."""
    maps = w.layer("kernels", x, kernels(), BIAS)
    after = w.style.options["norm"](w, maps)
    weight = np.zeros((3, CHANNELS))
    weight[0] = [0.1, -0.1, -2, 0.1, -0.1, 0, -1, 3]
    return w.classify(after, weight, [4, 0, 0])


PLANTS = (Plant("kernels", (5,), needs="norms"), Plant("kernels", against=(2, 6), blind=("zplus", "mean", "published")))
"""The loud kernel, and those that it makes small."""


# Over the channels of one place.


def mean_of(w: Writer, x: str, axes: tuple[int, ...]) -> str:
    """Mean over axes, which keeps them."""
    return w.with_axes("ReduceMean", x, axes, since=18, keepdims=1)


def layer_norm(w: Writer, x: str) -> str:
    """The operator; maps have their channels last."""
    values = [w.constant(np.ones(CHANNELS)), w.constant(np.zeros(CHANNELS))]
    return w.add("LayerNormalization", [x, *values], axis=-1, epsilon=EPSILON)


def turned_layer_norm(w: Writer, x: str) -> str:
    """The operator between two transpositions."""
    x = w.add("Transpose", [x], perm=[0, 2, 3, 4, 1])
    return w.add("Transpose", [layer_norm(w, x)], perm=[0, 4, 1, 2, 3])


def powers(w: Writer, x: str) -> str:
    """A power, a mean, a root, a division."""
    axes = (w.channels,)
    off = w.add("Sub", [x, mean_of(w, x, axes)])
    variance = mean_of(w, w.add("Pow", [off, w.constant(2.0)]), axes)
    y = w.add("Div", [off, w.add("Sqrt", [w.add("Add", [variance, w.constant(EPSILON)])])])
    return w.add("Add", [w.add("Mul", [y, w.over_channels(np.ones(CHANNELS))]), w.over_channels(np.zeros(CHANNELS))])


def products(w: Writer, x: str) -> str:
    """A square as a product, and the deviation's reciprocal as a factor."""
    axes = (w.channels,)
    off = w.add("Sub", [x, mean_of(w, x, axes)])
    variance = mean_of(w, w.add("Mul", [off, off]), axes)
    root = w.add("Sqrt", [w.add("Add", [w.constant(EPSILON), variance])])
    return w.add("Mul", [w.add("Reciprocal", [root]), off])


def mean_variance(w: Writer, x: str) -> str:
    """The operator that has no weights."""
    return w.add("MeanVarianceNormalization", [x], axes=[w.channels])


def root_mean_square(w: Writer, x: str) -> str:
    """Without a mean taken off, the operator."""
    x = w.add("Transpose", [x], perm=[0, 2, 3, 4, 1])
    y = w.add("RMSNormalization", [x, w.constant(np.ones(CHANNELS))], axis=-1, epsilon=EPSILON)
    return w.add("Transpose", [y], perm=[0, 4, 1, 2, 3])


def squares(w: Writer, x: str) -> str:
    """Without a mean taken off, written out."""
    mean = mean_of(w, w.add("Mul", [x, x]), (w.channels,))
    root = w.add("Sqrt", [w.add("Add", [mean, w.constant(EPSILON)])])
    return w.add("Mul", [w.over_channels(np.ones(CHANNELS)), w.add("Div", [x, root])])


def length(w: Writer, x: str) -> str:
    """To a length of 1."""
    return w.add("LpNormalization", [x], axis=w.channels, p=2)


def divided_by_length(w: Writer, x: str) -> str:
    """Divided by the root of the sum of squares, one operator."""
    return w.add("Div", [x, w.with_axes("ReduceL2", x, (w.channels,), since=18, keepdims=1)])


NORM = Circuit(
    "a norm over channels",
    network,
    marked,
    (
        normed(styles.WRAPPED, layer_norm, opset=17),
        normed(styles.CONVOLUTION, turned_layer_norm),
        normed(styles.UNFOLDED, powers),
        normed(styles.BATCH_NORM, products),
        normed(styles.FIBERS, mean_variance),
    ),
    PLANTS,
)

NO_MEAN = Circuit(
    "a norm without a mean",
    network,
    marked,
    (
        normed(styles.FUSED, squares),
        normed(styles.FACTORISED, root_mean_square, opset=23),
        normed(styles.CONVOLUTION, length),
        normed(styles.UNFOLDED, squares),
        normed(styles.FRAMES, divided_by_length),
    ),
    (Plant("kernels", (5,), needs="norms"), Plant("kernels", against=(2, 6), blind=("zplus", "published"))),
)


# Over groups of channels and all places.


def group_norm(w: Writer, x: str) -> str:
    """The operator."""
    values = np.ones(CHANNELS if w.style.opset >= 21 else GROUPS)
    return w.add(
        "GroupNormalization", [x, w.constant(values), w.constant(0 * values)], num_groups=GROUPS, epsilon=EPSILON
    )  # fmt: skip


def reshaped_instance_norm(w: Writer, x: str) -> str:
    """Groups as channels of an instance norm, as PyTorch exports it."""
    flat = w.reshape(x, [0, GROUPS, -1])
    y = w.add(
        "InstanceNormalization", [flat, w.constant(np.ones(GROUPS)), w.constant(np.zeros(GROUPS))], epsilon=EPSILON
    )
    y = w.reshape(y, [1, CHANNELS, *w.size])
    return w.add("Add", [w.add("Mul", [y, w.over_channels(np.ones(CHANNELS))]), w.over_channels(np.zeros(CHANNELS))])


def reshaped_powers(w: Writer, x: str) -> str:
    """Groups as an axis of their own, and a norm written out."""
    flat = w.reshape(x, [1, GROUPS, -1])
    off = w.add("Sub", [flat, mean_of(w, flat, (2,))])
    variance = mean_of(w, w.add("Pow", [off, w.constant(2.0)]), (2,))
    y = w.add("Div", [off, w.add("Sqrt", [w.add("Add", [variance, w.constant(EPSILON)])])])
    return w.reshape(y, [1, CHANNELS, *w.size])


def reshaped_layer_norm(w: Writer, x: str) -> str:
    """Groups as rows of a layer norm."""
    flat = w.reshape(x, [1, GROUPS, -1])
    count = CHANNELS // GROUPS * int(np.prod(w.size))
    y = w.add("LayerNormalization", [flat, w.constant(np.ones(count))], axis=-1, epsilon=EPSILON)
    return w.reshape(y, [1, CHANNELS, *w.size])


def two_groups(w: Writer, x: str) -> str:
    """Groups of four: kernels 2 and 5 are in one, and in the other is one that is as loud and changes nothing."""
    weight = kernels()[[0, 5, 6, 1, 2, 5, 6, 7]]
    maps = w.layer("kernels", x, weight, BIAS)
    after = w.style.options["norm"](w, maps)
    head = np.zeros((3, CHANNELS))
    head[0] = [0.1, 0, -0.1, 0, -2, 0, -1, 3]
    return w.classify(after, head, [4, 0, 0])


GROUP_NORM = Circuit(
    "a norm over groups",
    two_groups,
    marked,
    (
        normed(styles.CONVOLUTION, group_norm, opset=21),
        normed(styles.FACTORISED, group_norm),
        normed(styles.BATCH_NORM, reshaped_instance_norm),
        normed(styles.FIBERS, reshaped_powers),
        normed(styles.UNGROUPED, reshaped_layer_norm),
    ),
    (Plant("kernels", (5,), needs="norms"), Plant("kernels", against=(4, 6), blind=("zplus", "mean", "published"))),
)
