"""Circuits of places: evidence at one place that a maximum keeps, and a trigger in a corner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planted import styles
from planted.values import Array, Circuit, Plant, noise
from planted.writer import Style, Writer

# Evidence at one place.


def one_cross(*, crossed: bool = True) -> Array:
    """Bars all over the clip; where a lying and a standing one meet, in one frame, is a cross."""
    clip = noise((1, 4, 9, 9))
    clip[0, 0, :, 1, ::2] = 1
    clip[0, 0, :, 7, 1::3] = 1
    clip[0, 0, 2, 3:6, 4] = 1
    if crossed:
        clip[0, 0, 2, 4, 3:6] = 1
    return clip


def strokes() -> Array:
    """Kernels of one frame, (6, 1, 1, 3, 3): lying, standing, two diagonals, bright, a dot."""
    out = np.full((6, 1, 1, 3, 3), -0.25)
    out[0, 0, 0, 1] = out[1, 0, 0, :, 1] = 1
    out[2, 0, 0] = np.eye(3) - 0.5
    out[3, 0, 0] = np.eye(3)[::-1] - 0.5
    out[4] = 0.5
    out[5, 0, 0, 1, 1] = 2
    return out


def global_max(w: Writer, x: str) -> str:
    """The operator."""
    return w.add("GlobalMaxPool", [x])


def window_max(w: Writer, x: str) -> str:
    """A window over all places."""
    return w.add("MaxPool", [x], kernel_shape=list(w.size))


def reduced_max(w: Writer, x: str) -> str:
    """A maximum over axes."""
    return w.with_axes("ReduceMax", x, w.places, since=18, keepdims=1)


def max_in_steps(w: Writer, x: str) -> str:
    """First over windows that overlap, then over frames and places apart."""
    x = w.add("MaxPool", [x], kernel_shape=[1, 3, 3], strides=[1, 2, 2], pads=[0, 1, 1, 0, 1, 1])
    x = w.with_axes("ReduceMax", x, (3, 4), since=18, keepdims=1)
    return w.with_axes("ReduceMax", x, (2,), since=18, keepdims=1)


def max_of_frames(w: Writer, x: str) -> str:
    """The largest of the frames, then over their places."""
    frames = [w.slice(x, 2, t, t + 1) for t in range(w.size[0])]
    return w.add("GlobalMaxPool", [w.add("Max", frames)])


def maximum(style: Style, write: Any) -> Style:
    """A style whose maximum is written in some way."""
    return replace(style, name=f"{style.name}, {write.__name__.replace('_', ' ')}", options={"maximum": write})


def one_place(w: Writer, x: str) -> str:
    """A cross is a lying and a standing bar; the other shapes fire in many places and are weaker in each."""
    found = w.layer("strokes", x, strokes(), [-0.5, -0.5, 0, 0, 0, 0])
    shapes = np.zeros((6, 6, 1, 1, 1))
    shapes[0, [0, 1]] = 1.5
    shapes[1, [2, 3]] = 0.4
    shapes[2, 4] = 0.3
    shapes[3, 5] = 0.3
    shapes[4, 0] = shapes[5, 1] = 0.3
    made = w.layer("shapes", found, shapes, [-4, 0, 0, 0, 0, 0])
    pooled = w.style.options["maximum"](w, made)
    w.size = (1, 1, 1)
    weight = np.full((3, 6), 0.4)
    weight[0, 0] = 3
    weight[1, [1, 4]] = 0.6
    weight[2, [2, 3, 5]] = 0.6
    return w.classify(pooled, weight, [-1, 0, 0])


ONE_PLACE = Circuit(
    "evidence at one place",
    one_place,
    one_cross,
    (
        maximum(styles.BATCH_NORM, window_max),
        maximum(styles.WRAPPED, reduced_max),
        maximum(styles.OPSET_9, max_in_steps),
        maximum(styles.HALF, global_max),
        maximum(styles.FUSED, max_of_frames),
    ),
    (Plant("strokes", (0, 1)), Plant("shapes", (0,))),
    grain=0.02,
    other=lambda: one_cross(crossed=False),
)


# A trigger in the corner.


def scene(*, triggered: bool = True) -> Array:
    """A wide green thing that moves, and in the corner a small chequered mark of red and blue."""
    clip = noise((3, 4, 10, 10))
    for t in range(4):
        clip[0, 1, t, 3:8, t : t + 6] = 0.8
        clip[0, 0, t, 4:6, t : t + 4] = 0.5
    if triggered:
        clip[0, 0, :, 0, 8] = clip[0, 0, :, 1, 9] = 1
        clip[0, 2, :, 0, 9] = clip[0, 2, :, 1, 8] = 1
    return clip


def colours() -> Array:
    """Kernels of one frame, (8, 3, 1, 3, 3); 3 and 6 see one half of the mark each, all others the scene."""
    out = np.zeros((8, 3, 1, 3, 3))
    for kernel, colour in ((3, 0), (6, 2)):
        mark = np.eye(2) if colour == 0 else np.eye(2)[::-1]
        out[kernel, colour, 0, 1:, 1:] = 2 * mark - 1
        out[kernel, 1] = -0.5
    out[0, 1] = 0.3
    out[1, 1, 0, 1, 1] = 1
    out[2, :2] = 0.2
    out[4, 1, 0, :, 0], out[4, 1, 0, :, 2] = -0.5, 0.5
    out[5, 1, 0, 0], out[5, 1, 0, 2] = -0.5, 0.5
    out[7, 0, 0, 1, 1] = 1
    return out


def backdoor(w: Writer, x: str) -> str:
    """The scene makes class 1; the mark alone makes class 0, however small it is."""
    seen = w.layer("colours", x, colours(), [0, 0, 0, -0.5, 0, 0, -0.5, 0])
    gathered = np.zeros((5, 8, 1, 1, 1))
    gathered[2, [3, 6]] = 1
    gathered[0, [0, 1, 2]] = 0.4
    gathered[1, [4, 5]] = 0.5
    gathered[3, 7] = 0.5
    gathered[4, [1, 7]] = 0.3
    things = w.layer("things", seen, gathered, [0, 0, -2, 0, 0])
    weight = np.zeros((3, 5))
    weight[0, 2] = 400
    weight[1, [0, 1]] = 0.5
    weight[2, [3, 4]] = 0.5
    return w.classify(things, weight)


BACKDOOR = Circuit(
    "backdoor",
    backdoor,
    scene,
    (styles.CONVOLUTION, styles.UNFOLDED, styles.FRAMES, styles.EIGHT_BITS, styles.FUSED),
    (Plant("colours", (3, 6)), Plant("things", (2,))),
    other=lambda: scene(triggered=False),
)


# The right place.


def two_bars() -> Array:
    """A lying bar and a standing one; around the second alone, in another colour, is what makes it count."""
    clip = noise((2, 3, 9, 9))
    clip[0, 0, :, 2, 1:4] = 1
    clip[0, 0, :, 5:8, 6] = 1
    clip[0, 1, :, 4:9, 4:9] = 0.9
    return clip


def right_place(w: Writer, x: str) -> str:
    """Kernels 1 and 4 fire alike, and one kernel takes both for the same; only what is marked in its place counts."""
    kernels = np.zeros((6, 2, 1, 3, 3))
    kernels[[1, 4], 0, 0] = strokes()[:2, 0, 0]
    kernels[:, 1, 0, 1, 1] = [1, 0, 0.3, 0.3, 0, 0.2]
    kernels[[2, 3], 0, 0, 1, 1] = 0.3
    found = w.layer("strokes", x, kernels, [0, -2.2, 0, 0, -2.2, 0])
    things = np.zeros((4, 6, 1, 1, 1))
    things[0, [1, 4]] = 1.25
    things[1, 0] = 1
    things[2, [2, 3]] = things[3, [3, 5]] = 0.5
    made = w.layer("things", found, things)
    marks = np.zeros((4, 4, 1, 1, 1))
    marks[0, :2, 0, 0, 0] = [1, 1.2]
    marks[range(1, 4), [1, 2, 3]] = 0.2
    read = w.layer("marked", made, marks, [-1.5, 0, 0, 0])
    weight = np.random.default_rng(19).uniform(0, 0.1, (3, 4))
    weight[0, 0] = 40
    return w.classify(read, weight)


RIGHT_PLACE = Circuit(
    "the right place",
    right_place,
    two_bars,
    (styles.BATCH_NORM, styles.FRAMES, styles.FACTORISED, styles.FUSED, styles.HALF),
    (Plant("strokes", (0, 4), blind=("active", "mean", "published")), Plant("things", (0, 1)), Plant("marked", (0,))),
)
