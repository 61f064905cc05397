"""How a field goes back through norms and Softmax: by their Jacobian, or with what they divide by held.

With n = (x - mean) / deviation over the axes of the statistics and h = g * weight / deviation, the field of the input
is h - mean(h) - n * mean(h * n); without the first mean where none is taken off, without the last term where the
deviation is held, and h alone where the mean is held too (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.model import Node
from cfp_onnx.runtime.probe import Probe, Values

TINY = 1e-12


@dataclass(frozen=True)
class Statistics:
    """A norm's recorded statistics, in the shape that they are taken in.

    Attributes:
        view: That shape: the tensor's own, or each group of channels as one row.
        axes: Axes of the statistics.
        normed: (x - mean) / deviation.
        deviation: What is divided by.
    """

    view: tuple[int, ...]
    axes: tuple[int, ...]
    normed: str
    deviation: str


@dataclass(frozen=True)
class Slope:
    """What the field of a norm's input is made of.

    Attributes:
        found: The norm's statistics.
        centred: Whether a mean is taken off.
        h: Field of the output times the weight, over the deviation, less its mean where one is taken off.
        along: Mean of `h` times the normed input.
    """

    found: Statistics
    centred: bool
    h: str
    along: str


def statistics(probe: Probe, node: Node, effect: fx.Normalise, x: str, shape: tuple[int, ...]) -> Statistics:
    """The statistics of a norm, recomputed from its input as nodes of a probe.

    Args:
        probe: Where the nodes go.
        node: The norm.
        effect: Its effect, of kind ``norm``.
        x: Its float32 input.
        shape: Shape of the input.
    """
    axes, view = effect.axes or (), shape
    if 1 <= effect.groups < shape[1] and node.op == "GroupNormalization":
        view = (shape[0], effect.groups, int(np.prod(shape[1:])) // effect.groups)
        x, axes = probe.reshape(x, view), (2,)
    if effect.centred:
        x = probe.add("Sub", [x, probe.reduce("ReduceMean", x, axes, keep=True)])
    variance = probe.reduce("ReduceMean", probe.add("Mul", [x, x]), axes, keep=True)
    deviation = probe.add("Sqrt", [probe.add("Add", [variance, probe.number(epsilon(node))])])
    return Statistics(view, axes, probe.add("Div", [x, deviation]), deviation)


def epsilon(node: Node) -> float:
    """What a norm adds to the variance."""
    least = 1e-18 if node.op == "MeanVarianceNormalization" else 1e-5  # the first is 1e-9 on the deviation
    return float(node.attributes.get("epsilon", least))


def slope(probe: Probe, found: Statistics, g: str, *, centred: bool) -> Slope:
    """What the field of a norm's input is made of.

    Args:
        probe: Where the nodes go.
        found: The norm's statistics.
        g: Field of its output times the weight, in their view.
        centred: Whether a mean is taken off.
    """
    h = probe.add("Div", [g, found.deviation])
    if centred:
        h = probe.add("Sub", [h, probe.reduce("ReduceMean", h, found.axes, keep=True)])
    along = probe.reduce("ReduceMean", probe.add("Mul", [h, found.normed]), found.axes, keep=True)
    return Slope(found, centred, h, along)


def live_field(probe: Probe, parts: Slope) -> str:
    """Field of the input of a norm of which nothing is held, in the view of its statistics."""
    return probe.add("Sub", [parts.h, probe.add("Mul", [parts.found.normed, parts.along])])


def held_field(probe: Probe, found: Statistics, g: str, *, centred: bool) -> str:
    """Field of the input of a norm whose deviation is held; `centred` says whether its mean is taken off and live."""
    h = probe.add("Div", [g, found.deviation])
    return probe.add("Sub", [h, probe.reduce("ReduceMean", h, found.axes, keep=True)]) if centred else h


def softmax_field(probe: Probe, effect: fx.Normalise, y: str, g: str) -> str:
    """Field of the input of a Softmax, y * (g - sum(g * y)); of a LogSoftmax g - exp(y) * sum(g)."""
    axes = effect.axes or ()
    if effect.kind == "logsoftmax":
        summed = probe.reduce("ReduceSum", g, axes, keep=True)
        return probe.add("Sub", [g, probe.add("Mul", [probe.add("Exp", [y]), summed])])
    along = probe.reduce("ReduceSum", probe.add("Mul", [g, y]), axes, keep=True)
    return probe.add("Mul", [y, probe.add("Sub", [g, along])])


def length_field(probe: Probe, effect: fx.Normalise, x: str, y: str, g: str) -> str:
    """Field of the input of y = x / |x|, of the length over the axes; 0 where the length is 0."""
    axes = effect.axes or ()
    along = probe.reduce("ReduceSum", probe.add("Mul", [g, y]), axes, keep=True)
    if effect.kind == "l1":
        length = probe.reduce("ReduceSum", probe.add("Abs", [x]), axes, keep=True)
        turned = probe.add("Mul", [probe.add("Sign", [x]), along])
    else:
        length = probe.add("Sqrt", [probe.reduce("ReduceSum", probe.add("Mul", [x, x]), axes, keep=True)])
        turned = probe.add("Mul", [y, along])
    alive = probe.add("Greater", [length, probe.number(TINY)])
    safe = probe.where(alive, length, probe.number(1.0))
    return probe.mask(alive, probe.add("Div", [probe.add("Sub", [g, turned]), safe]))


def local_field(probe: Probe, node: Node, x: str, y: str, g: str, shape: tuple[int, ...]) -> str:
    """Field of the input of a local response (ONNX LRN).

    With D = bias + alpha / size * (squares added over a window of channels) and y = x / D^beta it is
    g / D^beta - 2 alpha beta / size * x * (g y / D added over the windows that the channel is in).

    Args:
        probe: Where the nodes go.
        node: The LRN.
        x: Its float32 input.
        y: Its output.
        g: Field of its output.
        shape: Shape of all three, (N, C, ...).
    """
    size, channels = int(node.attributes["size"]), np.arange(shape[1])
    alpha, beta = (float(node.attributes.get(k, v)) for k, v in (("alpha", 1e-4), ("beta", 0.75)))
    steps = channels[None, :] - channels[:, None] + (size - 1) // 2
    window = ((steps >= 0) & (steps < size)).astype(np.float32)  # of each channel, the channels in it
    rows = (shape[0], shape[1], int(np.prod(shape[2:])))
    x, y, g = (probe.reshape(t, rows) for t in (x, y, g))
    squares = probe.add("MatMul", [probe.constant(window), probe.add("Mul", [x, x])])
    scaled = probe.add("Mul", [squares, probe.number(alpha / size)])
    base = probe.add("Add", [scaled, probe.number(float(node.attributes.get("bias", 1.0)))])
    own = probe.add("Div", [g, probe.add("Pow", [base, probe.number(beta)])])
    shares = probe.add("Div", [probe.add("Mul", [g, y]), base])
    added = probe.add("MatMul", [probe.constant(np.ascontiguousarray(window.T)), shares])
    theirs = probe.add("Mul", [probe.add("Mul", [x, added]), probe.number(2 * alpha * beta / size)])
    return probe.reshape(probe.add("Sub", [own, theirs]), shape)


def statistic_field(values: Values, node: Node, effect: fx.Reduce, g: str) -> str:
    """Field of the input of a norm or another statistic over whole axes, by its slope.

    Args:
        values: Tensors of the model as float32.
        node: The reduction.
        effect: Its effect, of a kind other than mean, sum and max.
        g: Field of its output.
    """
    probe, name = values.probe, node.inputs[effect.source]
    x, shape = values(name), values.shape(name)
    kept = [1 if a in effect.axes else n for a, n in enumerate(shape)]
    g, y = probe.reshape(g, kept), probe.reshape(values(node.outputs[0]), kept)
    match effect.kind:
        case "square":
            return probe.add("Mul", [probe.add("Mul", [g, probe.number(2.0)]), x])
        case "l1":
            return probe.add("Mul", [g, probe.add("Sign", [x])])
        case "l2":
            return probe.add("Mul", [quotient(probe, g, y), x])
        case "prod":
            return quotient(probe, probe.add("Mul", [g, y]), x)
        case "logsum":
            spread = probe.add("Expand", [probe.add("Exp", [y]), probe.constant(np.array(shape, np.int64))])
            return probe.add("Div", [g, spread])
        case "logsumexp":
            return probe.add("Mul", [g, probe.add("Exp", [probe.add("Sub", [x, y])])])
    raise ValueError(f"reduction of kind {effect.kind!r} has no slope here")


def quotient(probe: Probe, top: str, bottom: str) -> str:
    """Top / bottom, 0 where the bottom is next to 0."""
    far = probe.add("Greater", [probe.add("Abs", [bottom]), probe.number(TINY)])
    return probe.mask(far, probe.add("Div", [top, probe.where(far, bottom, probe.number(1.0))]))


__all__ = [
    "TINY", "Slope", "Statistics", "epsilon", "held_field", "length_field", "live_field", "local_field",
    "quotient", "slope", "softmax_field", "statistic_field", "statistics",
]  # fmt: skip
