"""Circuits of gates: kernels that only open or close the path of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planted import styles
from planted.values import Array, Circuit, Plant, noise
from planted.writer import Style, Writer


def marked() -> Array:
    """Four colours: evidence as a small square, what opens gates in all places, and two others."""
    clip = noise((4, 4, 6, 6))
    clip[0, 0, :, 2:4, 2:4] = 1
    clip[0, 1] += 0.9
    clip[0, 2, ::2] = 0.8
    clip[0, 3, :, ::2] = 0.7
    return clip


def readers() -> Array:
    """Eight kernels, (8, 4, 1, 1, 1): 2 sees the evidence, 5 what opens gates, the others the rest."""
    out = np.zeros((8, 4, 1, 1, 1))
    out[2, 0] = out[5, 1] = 1
    out[[0, 3, 6], 2, 0, 0, 0] = [1, 0.7, 0.5]
    out[[1, 4, 7], 3, 0, 0, 0] = [1, 0.8, 0.6]
    return out


# How a gate is written.


def sigmoid(w: Writer, x: str) -> str:
    """The operator."""
    return w.add("Sigmoid", [x])


def hard_sigmoid(w: Writer, x: str) -> str:
    """The operator, with the slope of networks for small devices."""
    return w.add("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


def written_out(w: Writer, x: str) -> str:
    """One over one plus an exponential."""
    low = w.add("Add", [w.add("Exp", [w.add("Neg", [x])]), w.constant(1.0)])
    return w.add("Div", [w.constant(1.0), low])


def clipped_line(w: Writer, x: str) -> str:
    """A line, cut off below 0 and above 1."""
    line = w.add("Add", [x, w.constant(3.0)])
    cut = w.add("Clip", [line, w.constant(0.0), w.constant(6.0)])
    return w.add("Div", [cut, w.constant(6.0)])


def half_tangent(w: Writer, x: str) -> str:
    """The sigmoid as a hyperbolic tangent."""
    y = w.add("Tanh", [w.add("Mul", [x, w.constant(0.5)])])
    return w.add("Mul", [w.add("Add", [y, w.constant(1.0)]), w.constant(0.5)])


def gated(style: Style, write: Any) -> Style:
    """A style whose gates are written in some way."""
    return replace(style, name=f"{style.name}, {write.__name__.replace('_', ' ')}", options={"gate": write})


STYLES = (
    gated(styles.BATCH_NORM, hard_sigmoid),
    gated(styles.UNFOLDED, written_out),
    gated(styles.FRAMES, clipped_line),
    gated(styles.HALF, half_tangent),
    gated(styles.EIGHT_BITS, sigmoid),
)

# Squeeze and excitation.


def pooled(w: Writer, x: str) -> str:
    """Mean over all places, which keeps the axes."""
    return w.with_axes("ReduceMean", x, w.places, since=18, keepdims=1)


def excitation(w: Writer, x: str) -> str:
    """Kernel 5 is read by no class: it opens the gate of kernel 2."""
    maps = w.layer("kernels", x, readers())
    squeeze = np.zeros((3, 8, 1, 1, 1))
    squeeze[0, 5] = 2
    squeeze[1:, [0, 1, 3]] = 0.5
    excite = np.zeros((8, 3, 1, 1, 1))
    excite[2, 0] = 2.5
    excite[[0, 6], 1] = excite[4, 2] = 0.3
    small = w.layer("squeeze", pooled(w, maps), squeeze)
    logits = w.layer("excite", small, excite, [1, 1, -3, 1, 1, 1, 1, 1], rectified=False)
    after = w.add("Mul", [maps, w.style.options["gate"](w, logits)])
    weight = np.full((3, 8), 0.1)
    weight[0, 2] = 5
    weight[:, 5] = 0
    weight[1, [0, 3]] = 0.3
    return w.classify(after, weight)


EXCITATION = Circuit(
    "a gate of channels",
    excitation,
    marked,
    STYLES,
    (
        Plant("kernels", (2, 5), needs="gates"),
        Plant("squeeze", (0,), needs="gates"),
        Plant("excite", (2,), needs="gates"),
    ),
)


# Gated linear units.


def linear_unit(w: Writer, x: str) -> str:
    """Kernels 0 to 3 are values, 4 to 7 open them: 1 carries the class where 5 lets it."""
    both = np.zeros((8, 4, 1, 1, 1))
    both[1, 0] = both[0, 2] = both[2, 3] = 1
    both[3, 2:] = 0.5
    both[5, 1] = 2  # open, and not so far that a hard gate saturates, where a slope is 0
    both[[4, 6, 7], 2] = 0.5
    maps = w.layer("both", x, both, [0, 0, 0, 0, 0.5, 0, 0.5, 0.5], rectified=False)
    value, gate = w.channel_slice(maps, 0, 4), w.channel_slice(maps, 4, 8)
    unit = w.add("Mul", [value, w.style.options["gate"](w, gate)])
    weight = np.full((3, 4), 0.05)
    weight[0, 1] = 5
    weight[1, [0, 2]] = 0.1
    return w.classify(unit, weight)


LINEAR_UNIT = Circuit(
    "a gated linear unit",
    linear_unit,
    marked,
    STYLES,
    (Plant("both", (1, 5), needs="gates"),),
)


# A gate of places.


def place_gate(w: Writer, x: str) -> str:
    """Kernel 5 says in which places all maps may pass; the class reads kernel 2 behind the gate."""
    maps = w.layer("kernels", x, readers())
    where = np.zeros((1, 8, 1, 3, 3))
    where[0, 5] = 0.4
    where[0, [0, 1]] = 0.005
    logits = w.layer("where", maps, where, -1, rectified=False)
    after = w.add("Mul", [w.style.options["gate"](w, logits), maps])
    weight = np.full((3, 8), 0.02)
    weight[0, 2] = 5
    weight[:, 5] = 0
    return w.classify(after, weight)


PLACE_GATE = Circuit(
    "a gate of places",
    place_gate,
    marked,
    STYLES,
    (Plant("kernels", (2, 5), needs="gates"), Plant("where", (0,), needs="gates")),
)


# A mixture of two experts.


def experts(w: Writer, x: str) -> str:
    """Kernel 5 chooses the expert that reads kernel 2; no expert reads kernel 5 itself."""
    maps = w.layer("kernels", x, readers())
    route = np.zeros((2, 8, 1, 1, 1))
    route[0, 5], route[1, [0, 1]] = 4, 0.2
    logits = w.layer("route", pooled(w, maps), route, [-1, 1], rectified=False)
    shares = w.add("Softmax", [logits], axis=w.channels)
    one, other = np.full((4, 8, 1, 1, 1), 0.02), np.full((4, 8, 1, 1, 1), 0.02)
    one[0, 2], other[1, [3, 4]] = 2, 0.5
    one[:, 5] = other[:, 5] = 0
    chosen = [
        w.add("Mul", [w.layer(name, maps, weight), w.channel_slice(shares, k, k + 1)])
        for k, (name, weight) in enumerate((("one", one), ("other", other)))
    ]
    weight = np.full((3, 4), 0.1)
    weight[0, 0], weight[1, 1] = 5, 0.5
    return w.classify(w.sum(*chosen), weight)


EXPERTS = Circuit(
    "a mixture of experts",
    experts,
    marked,
    (styles.CONVOLUTION, styles.FACTORISED, styles.UNFOLDED, styles.HALF, styles.UNGROUPED),
    (Plant("kernels", (2, 5), needs="gates"), Plant("route", (0,), needs="gates"), Plant("one", (0,))),
)
