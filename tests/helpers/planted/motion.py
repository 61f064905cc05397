"""Circuits of movement: a moving edge, and an order of two events."""

from __future__ import annotations

import numpy as np

from planted import styles
from planted.values import Array, Circuit, Plant, noise
from planted.writer import Writer

# A moving edge: a line that moves one column to the right with every frame.


def moving_line(*, backwards: bool = False) -> Array:
    """A vertical line that moves over six frames, and a still dot."""
    clip = noise((1, 6, 8, 8))
    for t in range(6):
        clip[0, 0, t, :, 6 - t if backwards else 1 + t] = 1
    clip[0, 0, :, 6, 0] = 1
    return clip


def matched(*columns: int) -> Array:
    """A template, (t, h, w): a line at one column in each frame, and less than nothing beside it."""
    kernel = np.full((3, 3, 3), -0.5)
    for t, column in enumerate(columns):
        kernel[t, :, column] = 1
    return kernel / 3


def line_kernels() -> Array:
    """Eight kernels; 2 and 5 follow a line to the right."""
    right, left, still = matched(0, 1, 2), matched(2, 1, 0), matched(1, 1, 1)
    flicker, box = np.zeros((3, 3, 3)), np.full((3, 3, 3), 1 / 3)
    flicker[1, 1, 1], flicker[0, 1, 1] = 2, -2
    late = right.copy()
    late[0] = 0
    up = matched(0, 1, 2).transpose(0, 2, 1)
    return np.stack([box, still, right, left, flicker, late, up, up[::-1]])[:, None]


def moving_edge(w: Writer, x: str) -> str:
    """Edges in every direction, gathered into directions; brightness and flicker are read by every class alike."""
    edges = w.layer("edges", x, line_kernels(), [-1, -1.2, -1.2, -1.2, 0, -0.7, -1.2, -1.2])
    gather = np.zeros((5, 8, 1, 1, 1))
    gather[0, [2, 5]] = 1
    gather[1, 3] = 1
    gather[2, [6, 7]] = 0.5
    gather[3, [0, 1]] = 1
    gather[4, 4] = 1
    directions = w.layer("directions", edges, gather)
    weight = 4 * np.eye(4, 5)
    weight[:, 3:] = 0.5
    return w.classify(directions, weight)


MOVING_EDGE = Circuit(
    "moving edge",
    moving_edge,
    moving_line,
    (styles.CONVOLUTION, styles.BATCH_NORM, styles.FACTORISED, styles.FRAMES, styles.EIGHT_BITS),
    (Plant("edges", (2, 5)), Plant("directions", (0,))),
    grain=0.03,
    other=lambda: moving_line(backwards=True),
)


# An order of events: a lying bar, and three frames later a standing one.


def two_events(*, swapped: bool = False) -> Array:
    """A lying bar in frame 1 and a standing one in frame 4, at the same place."""
    clip = noise((1, 6, 7, 7))
    lying, standing = (4, 1) if swapped else (1, 4)
    clip[0, 0, lying, 3, 1:6] = 1
    clip[0, 0, standing, 1:6, 3] = 1
    return clip


def bars() -> Array:
    """Kernels of one frame, (5, 1, 1, 3, 3): lying, standing, bright, a dot, a diagonal."""
    out = np.zeros((5, 1, 1, 3, 3))
    out[0, 0, 0] = [[-1] * 3, [1] * 3, [-1] * 3]
    out[1, 0, 0] = out[0, 0, 0].T
    out[2] = 1 / 3
    out[3] = -0.5
    out[3, 0, 0, 1, 1] = 2
    out[4, 0, 0] = 2 * np.eye(3) - 1
    return out


def event_order(w: Writer, x: str) -> str:
    """What was there three frames ago and what is there now, by a causal convolution."""
    events = w.layer("events", x, bars(), [-1, -1, 0, -0.5, -0.5])
    order = np.zeros((6, 5, 4, 1, 1))
    for kernel, (before, now) in enumerate(((1, 0), (0, 1), (0, 0), (1, 1))):
        order[kernel, before, 0] += 1
        order[kernel, now, 3] += 1
    order[4, :, 3] = 0.2
    order[5, 2, 0] = 0.5
    orders = w.layer("order", events, order, [-2.5, -2.5, -2.5, -2.5, 0, 0], causal=True)
    weight = np.zeros((3, 6))
    weight[range(3), [1, 0, 2]] = 8
    weight[:, 4:] = 0.5
    return w.classify(orders, weight)


EVENT_ORDER = Circuit(
    "order of events",
    event_order,
    two_events,
    (styles.OPSET_9, styles.FRAMES, styles.WRAPPED, styles.UNFOLDED, styles.HALF),
    (Plant("events", (0, 1)), Plant("order", (1,))),
    grain=0.03,
    other=lambda: two_events(swapped=True),
)
