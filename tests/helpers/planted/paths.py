"""Circuits of paths: a shortcut, one of two branches, one group, one channel among shuffled ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planted import styles
from planted.decoys import blinking, edge_kernels
from planted.values import Array, Circuit, Plant
from planted.writer import Style, Writer


def small(shape: tuple[int, ...], seed: int, size: float = 0.1) -> Array:
    """Weights that let every kernel count a little."""
    return np.random.default_rng(seed).uniform(0, size, (*shape, 1, 1, 1))


# Through a shortcut only.


def shortcut(w: Writer, x: str) -> str:
    """Kernel 3 is not read by the branch and gets nothing from it, but the class reads its channel."""
    stem = w.layer("stem", x, edge_kernels(6, 21))
    first = small((5, 6), 22, 0.6)
    first[:, 3] = 0
    second = small((6, 5), 23, 0.6)
    second[3] = 0
    branch = w.layer("second", w.layer("first", stem, first), second, rectified=False)
    joined = w.rectify(w.sum(branch, stem))
    weight = np.random.default_rng(24).uniform(0, 0.2, (3, 6))
    weight[0, 3] = 3
    return w.classify(joined, weight)


SHORTCUT = Circuit(
    "through a shortcut",
    shortcut,
    blinking,
    (styles.BATCH_NORM, styles.FACTORISED, styles.WRAPPED, styles.OPSET_9, styles.EIGHT_BITS),
    (Plant("stem", (3,)), Plant("second", silent=(3,))),
)


# One of two branches.


def branches(w: Writer, x: str) -> str:
    """Two branches side by side; the next layer reads kernel 2 of the second, and of the first nothing."""
    stem = w.layer("stem", x, edge_kernels(6, 25))
    narrow = w.layer("narrow", stem, small((4, 6), 26, 2))
    wide = w.layer("wide", stem, np.random.default_rng(27).uniform(-0.2, 0.3, (5, 6, 1, 3, 3)))
    after = np.concatenate([np.zeros((5, 4, 1, 1, 1)), small((5, 5), 28)], axis=1)
    after[0, 6] = 2
    weight = np.random.default_rng(29).uniform(0, 0.2, (3, 5))
    weight[0, 0] = 2
    return w.classify(w.layer("after", w.concat([narrow, wide]), after), weight)


BRANCHES = Circuit(
    "one of two branches",
    branches,
    blinking,
    (styles.CONVOLUTION, styles.UNFOLDED, styles.FRAMES, styles.FUSED, styles.HALF),
    (Plant("wide", (2,)), Plant("narrow", silent=(0, 1, 2, 3)), Plant("after", (0,))),
)


# One group.


def groups(w: Writer, x: str) -> str:
    """Four groups of two; the class reads the third, which has the same weights as the others."""
    stem = w.layer("stem", x, edge_kernels(8, 31) + 0.02)
    one = np.random.default_rng(32).uniform(-0.1, 0.2, (2, 2, 1, 3, 3))
    grouped = w.layer("grouped", stem, np.concatenate([one] * 4), groups=4)
    weight = np.random.default_rng(33).uniform(0, 0.1, (3, 8))
    weight[0, [4, 5]] = 2
    return w.classify(grouped, weight)


GROUPS = Circuit(
    "one group",
    groups,
    blinking,
    (styles.BATCH_NORM, styles.FIBERS, styles.UNGROUPED, styles.UNFOLDED, styles.FRAMES),
    (Plant("stem", (4, 5), spelling_decides=("published",)), Plant("grouped", (4, 5))),
)


# One channel among shuffled ones.

ORDER = (0, 3, 1, 4, 2, 5)
"""Six channels in two groups, shuffled."""


def by_reshape(w: Writer, x: str) -> str:
    """Two groups as an axis of their own, which is turned with the channels'."""
    lead, rest = ([w.shape[2]], w.shape[3:]) if w.style.layout == "frames" else ([1], w.shape[2:])
    x = w.reshape(x, [*lead, 2, 3, *rest])
    x = w.add("Transpose", [x], perm=[0, 2, 1, *range(3, 3 + len(rest))])
    return w.reshape(x, [*lead, 6, *rest])


def by_gather(w: Writer, x: str) -> str:
    """A list of channels."""
    return w.add("Gather", [x, w.integers(ORDER)], axis=w.channels)


def by_slices(w: Writer, x: str) -> str:
    """Single channels, put together again."""
    return w.concat([w.channel_slice(x, c, c + 1) for c in ORDER])


def by_product(w: Writer, x: str) -> str:
    """Split into single channels, put together again."""
    parts = w.outputs("Split", [x, w.integers([1] * 6)], 6, axis=w.channels)
    return w.concat([parts[c] for c in ORDER])


def shuffled_style(style: Style, write: Any) -> Style:
    """A style whose shuffle is written in some way."""
    return replace(style, name=f"{style.name}, {write.__name__.replace('_', ' ')}", options={"shuffle": write})


def shuffled(w: Writer, x: str) -> str:
    """Depth-wise, then shuffled, then pointwise in two groups: channel 3 comes to the first one."""
    stem = w.layer("stem", x, edge_kernels(6, 36) + 0.02)
    deep = w.layer("depthwise", stem, np.full((6, 1, 3, 3, 3), 0.05), groups=6)
    mixed = w.style.options["shuffle"](w, deep)
    point = small((6, 3), 37, 0.2)
    point[0, 1] = 2
    pointwise = w.layer("pointwise", mixed, point, groups=2)
    weight = np.random.default_rng(38).uniform(0, 0.2, (3, 6))
    weight[0, 0] = 2
    return w.classify(pointwise, weight)


SHUFFLED = Circuit(
    "one shuffled channel",
    shuffled,
    blinking,
    (
        shuffled_style(styles.CONVOLUTION, by_reshape),
        shuffled_style(styles.FRAMES, by_reshape),
        shuffled_style(styles.FIBERS, by_product),
        shuffled_style(styles.UNFOLDED, by_gather),
        shuffled_style(styles.OPSET_9, by_slices),
    ),
    (Plant("stem", (3,)), Plant("depthwise", (3,)), Plant("pointwise", (0,))),
)
