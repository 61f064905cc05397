"""Circuits with decoys: cut off, cancelled, for and against."""

from __future__ import annotations

import numpy as np

from planted import styles
from planted.values import Array, Circuit, Plant, noise
from planted.writer import Writer


def blinking(*, signed: bool = False) -> Array:
    """A square that grows over five frames; bright above and, where signed, dark below."""
    clip = noise((2, 5, 8, 8)) - (0.01 if signed else 0.0)
    for t in range(5):
        clip[0, 0, t, 1 : 2 + t, 1 : 2 + t] = 1
        clip[0, 1, t, 6, 2 : 3 + t] = 1
    if signed:
        clip[0, 0] -= clip[0, 0, :, ::-1, ::-1]
    return clip


def edge_kernels(count: int, seed: int) -> Array:
    """Differences in space and time, (count, 2, 3, 3, 3), each of sum 0."""
    out = np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], (count, 2, 3, 3, 3))
    return (out - out.mean(axis=(1, 2, 3, 4), keepdims=True)) / 5


# Decoys that are cut off.


def cut_decoys(w: Writer, x: str) -> str:
    """Kernels 0, 3, 4 and 7 fire strongly; what reads them is not read by any class, or does not read them."""
    kernels = edge_kernels(8, 1)
    loud, cut = [0, 3, 4, 7], [0, 3]
    kernels[loud] = 0.5
    found = w.layer("kernels", x, kernels)
    later = np.random.default_rng(2).uniform(0.1, 0.3, (6, 8, 1, 1, 1))
    later[0, [2, 5]] = 1
    later[:, cut] = 0
    later[:4, loud] = 0
    read = w.layer("later", found, later)
    weight = np.random.default_rng(3).uniform(0, 0.2, (3, 6))
    weight[0, 0] = 2
    weight[:, 4:] = 0
    return w.classify(read, weight)


CUT_DECOYS = Circuit(
    "decoys cut off",
    cut_decoys,
    blinking,
    (styles.CONVOLUTION, styles.BATCH_NORM, styles.FACTORISED, styles.OPSET_9, styles.HALF),
    (Plant("kernels", (2, 5), silent=(0, 3, 4, 7)), Plant("later", (0,), silent=(4, 5))),
)


# Decoys that fire and feed two later kernels that cancel.


def cancelled_decoys(w: Writer, x: str) -> str:
    """Kernels 1 and 6 fire strongly into 0 and 1 of the next layer, which the classes read with opposite signs."""
    kernels = edge_kernels(8, 4)
    kernels[[1, 6]] = 0.5
    found = w.layer("kernels", x, kernels)
    later = np.zeros((6, 8, 1, 1, 1))
    later[:2, [1, 6]] = 1
    later[2, [0, 4]] = 1
    later[3:, [2, 3, 5, 7]] = np.random.default_rng(6).uniform(0.1, 0.4, (3, 4, 1, 1, 1))
    read = w.layer("later", found, later)
    weight = np.random.default_rng(7).uniform(0, 0.2, (3, 6))
    weight[0, 2] = 2
    weight[:, 0] = [1.5, -1, 0.5]
    weight[:, 1] = -weight[:, 0]
    return w.classify(read, weight)


CANCELLED_DECOYS = Circuit(
    "decoys that cancel",
    cancelled_decoys,
    blinking,
    (styles.BATCH_NORM, styles.FRAMES, styles.WRAPPED, styles.FUSED, styles.UNGROUPED),
    (Plant("kernels", (0, 4), silent=(1, 6), blind=("zplus", "published")),),
)


# On and off: the two halves of one signal.


def on_and_off(w: Writer, x: str) -> str:
    """What gets brighter and what gets darker, alike in size; one kernel adds them, another takes the difference."""
    kernels = np.zeros((6, 2, 3, 3, 3))
    kernels[0, 0, 0], kernels[0, 0, 2] = -0.2, 0.2
    kernels[3] = -kernels[0]
    kernels[[1, 2, 4, 5]] = edge_kernels(4, 9) * 0.4
    found = w.layer("kernels", x, kernels)
    later = np.zeros((5, 6, 1, 1, 1))
    later[0, [0, 3]] = 1
    later[1, 0], later[1, 3] = 1, -1
    later[2:, [1, 2, 4, 5]] = np.random.default_rng(10).uniform(0.1, 0.3, (3, 4, 1, 1, 1))
    read = w.layer("later", found, later, rectified=False)
    weight = np.random.default_rng(11).uniform(0, 0.3, (3, 5))
    weight[:, 0] = [2, 0, 0]
    weight[:, 1] = 0
    return w.classify(read, weight)


ON_AND_OFF = Circuit(
    "on and off",
    on_and_off,
    lambda: blinking(signed=True),
    (styles.CONVOLUTION, styles.FACTORISED, styles.UNFOLDED, styles.FRAMES, styles.EIGHT_BITS),
    (Plant("kernels", (0, 3), equal=True), Plant("later", (0,), silent=(1,))),
)


# Push and pull: one speaks for the class what the other takes back.


def push_and_pull(w: Writer, x: str) -> str:
    """Kernels 2 and 4 are the same and fire most; one is read with a plus and one with a minus."""
    kernels = edge_kernels(7, 12)
    kernels[[2, 4]] = 0.1
    found = w.layer("kernels", x, kernels)
    later = np.random.default_rng(13).uniform(0.05, 0.2, (5, 7, 1, 1, 1))
    later[:, [2, 4]] = 0
    later[0, 2], later[0, 4] = 1, -1
    later[1, [0, 5]] = 0.5
    read = w.layer("later", found, later, rectified=False)
    weight = np.random.default_rng(14).uniform(0, 0.2, (3, 5))
    weight[0, :2] = [1.5, 1]
    return w.classify(read, weight)


PUSH_AND_PULL = Circuit(
    "push and pull",
    push_and_pull,
    blinking,
    (styles.CONVOLUTION, styles.BATCH_NORM, styles.FUSED, styles.HALF, styles.OPSET_9),
    (Plant("kernels", (2,), against=(4,), cancels=True, blind=("zplus", "mean", "published")),),
)


# Against the class.


def against(w: Writer, x: str) -> str:
    """Kernel 3 speaks against the class through one kernel, 6 through another, and the rest a little for it."""
    kernels = edge_kernels(8, 15)
    kernels[[1, 4]] = 0.02
    found = w.layer("kernels", x, kernels)
    later = np.random.default_rng(16).uniform(0.1, 0.3, (6, 8, 1, 1, 1))
    later[:, [3, 6]] = 0
    later[4, 3] = later[5, 6] = 1
    read = w.layer("later", found, later)
    weight = np.random.default_rng(17).uniform(0, 0.3, (3, 6))
    weight[0, :4] += 0.5
    weight[0, 4:] = -2
    return w.classify(read, weight, [1, 0, 0])


AGAINST = Circuit(
    "against the class",
    against,
    blinking,
    (styles.CONVOLUTION, styles.FACTORISED, styles.EIGHT_BITS, styles.OPSET_9, styles.WRAPPED),
    (
        Plant("kernels", against=(3, 6), blind=("zplus", "published")),
        Plant("later", against=(4, 5), blind=("zplus", "published")),
    ),
)
