"""The spellings: how a convolution, a rectifier, a sum and a classifier can be written in ONNX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from planted.writer import Style, Weights, Writer

Array = npt.NDArray[Any]

MICROSOFT = "com.microsoft"
STEP = 1 / 16
"""Step of eight-bit maps: values up to 15.9."""


# Convolutions.


def plain(writer: Writer, x: str, w: Weights) -> str:
    """One operator, with its bias."""
    return writer.add("Conv", [x, writer.constant(w.weight), writer.constant(w.bias)], **_attributes(w))


def _attributes(w: Weights) -> dict[str, Any]:
    return {"name": w.name, "pads": list(w.pads), "group": w.groups}


def batch_normed(writer: Writer, x: str, w: Weights) -> str:
    """Without a bias, in front of a batch norm that makes up for the weights' other scale."""
    rng = np.random.default_rng(len(w.bias))
    gamma, variance = rng.uniform(0.5, 2, len(w.bias)), rng.uniform(0.5, 2, len(w.bias))
    mean, epsilon = rng.uniform(-1, 1, len(w.bias)), 1e-5
    scale = gamma / np.sqrt(variance + epsilon)
    kernel = writer.constant(w.weight / scale.reshape(-1, 1, 1, 1, 1))
    y = writer.add("Conv", [x, kernel], **_attributes(w))
    values = (gamma, w.bias + mean * scale, mean, variance)
    return writer.add("BatchNormalization", [y, *map(writer.constant, values)], epsilon=epsilon)


def factorised(writer: Writer, x: str, w: Weights) -> str:
    """First in space, then in time, as (2+1)D: one kernel of the first for each frame of the window."""
    kernels, channels, taps, *window = w.weight.shape
    space = np.moveaxis(w.weight, 2, 1).reshape(kernels * taps, channels, 1, *window)
    time = np.zeros((kernels, taps, taps, 1, 1))
    time[:, range(taps), range(taps)] = 1
    first, second = (Weights(n, v, b, g, w.causal) for n, v, b, g in (
        (f"{w.name}.space", space, np.zeros(kernels * taps), w.groups), (w.name, time, w.bias, kernels),
    ))  # fmt: skip
    y = writer.add("Conv", [x, writer.constant(space)], **_attributes(first))
    return writer.add("Conv", [y, writer.constant(time), writer.constant(w.bias)], **_attributes(second))


def dense_with_zeros(weight: Array, groups: int) -> Array:
    """Weights of a grouped convolution over all channels: zeros where a kernel's group does not reach."""
    kernels, width = weight.shape[:2]
    full = np.zeros((kernels, width * groups, *weight.shape[2:]))
    for kernel in range(kernels):
        low = kernel * groups // kernels * width
        full[kernel, low : low + width] = weight[kernel]
    return full


def unfolded(writer: Writer, x: str, w: Weights) -> str:
    """A product with what every tap reads, side by side; maps have their channels last."""
    weight = dense_with_zeros(w.weight, w.groups)
    taps, sizes = weight.shape[2:], writer.shape[2:]
    if any(n > 1 for n in taps):
        padded = writer.pad(x, [0, *w.pads[:3], 0], [0, *w.pads[3:], 0])
        shifted = []
        for tap in np.ndindex(*taps):
            part = padded
            for axis, (start, size) in enumerate(zip(tap, sizes, strict=True), 1):
                if taps[axis - 1] > 1:
                    part = writer.slice(part, axis, start, start + size)
            shifted.append(part)
        x = writer.add("Concat", shifted, axis=4)
    matrix = np.moveaxis(weight, 1, 4).reshape(len(weight), -1).T
    y = writer.add("MatMul", [x, writer.constant(matrix)], name=w.name)
    return writer.add("Add", [y, writer.constant(w.bias)])


def wrapped(writer: Writer, x: str, w: Weights) -> str:
    """Between two transpositions: maps have their channels last."""
    x = writer.add("Transpose", [x], perm=[0, 4, 1, 2, 3])
    return writer.add("Transpose", [plain(writer, x, w)], perm=[0, 2, 3, 4, 1])


def over_frames(writer: Writer, x: str, w: Weights) -> str:
    """In two dimensions on frames as a batch; frames of the window are shifted and stacked as channels."""
    kernels, _, taps, height, breadth = w.weight.shape
    begin, *pads = w.pads
    frames = writer.shape[2]
    weight, groups = w.weight, w.groups
    if taps > 1:
        weight, groups = dense_with_zeros(weight, groups), 1
        padded = writer.pad(x, [begin, 0, 0, 0], [w.pads[3], 0, 0, 0])
        x = writer.add("Concat", [writer.slice(padded, 0, t, t + frames) for t in range(taps)], axis=1)
    weight = np.moveaxis(weight, 2, 1).reshape(kernels, -1, height, breadth)
    values = [writer.constant(weight), writer.constant(w.bias)]
    return writer.add("Conv", [x, *values], name=w.name, pads=[*pads[:2], *pads[3:]], group=groups)


def fused(writer: Writer, x: str, w: Weights) -> str:
    """With the rectifier inside, as the runtime's own optimiser leaves it."""
    inside = {"activation": "Relu"} if w.rectified else {}
    values = [writer.constant(w.weight), writer.constant(w.bias)]
    return writer.add("FusedConv", [x, *values], domain=MICROSOFT, **inside, **_attributes(w))


def bias_apart(writer: Writer, x: str, w: Weights) -> str:
    """The bias as an addition behind, in front of the convolution's own output."""
    y = writer.add("Conv", [x, writer.constant(w.weight)], **_attributes(w))
    return writer.add("Add", [writer.over_channels(w.bias), y])


def fibers(writer: Writer, x: str, w: Weights) -> str:
    """A grouped convolution as Split, one convolution for each group, and Concat."""
    if w.groups == 1:
        return plain(writer, x, w)
    width, per = w.weight.shape[1], len(w.weight) // w.groups
    if writer.style.opset < 13:
        parts = writer.outputs("Split", [x], w.groups, axis=1, split=[width] * w.groups)
    else:
        parts = writer.outputs("Split", [x, writer.integers([width] * w.groups)], w.groups, axis=1)
    out = []
    for group, part in enumerate(parts):
        rows = slice(group * per, (group + 1) * per)
        one = Weights(w.name if group == 0 else f"{w.name}.{group}", w.weight[rows], w.bias[rows], 1, w.causal)
        out.append(plain(writer, part, one))
    return writer.add("Concat", out, axis=1)


def ungrouped(writer: Writer, x: str, w: Weights) -> str:
    """A grouped convolution over all channels, with zeros."""
    return plain(writer, x, replace(w, weight=dense_with_zeros(w.weight, w.groups), groups=1))


def quantised(writer: Writer, x: str, w: Weights) -> str:
    """Eight-bit weights and maps, as static quantisation writes them in front of float operators."""
    step = np.abs(w.weight).max(axis=(1, 2, 3, 4)) / 127
    step = np.where(step > 0, step, 1.0).astype(np.float32)
    rounded = np.round(w.weight / step.reshape(-1, 1, 1, 1, 1))
    zeros = writer.constant(np.zeros(len(step)), np.int8)
    kernel = writer.add(
        "DequantizeLinear", [writer.constant(rounded, np.int8), writer.constant(step), zeros], axis=0
    )  # fmt: skip
    x = round_maps(writer, x)
    return writer.add("Conv", [x, kernel, writer.constant(w.bias)], **_attributes(w))


def round_maps(writer: Writer, x: str) -> str:
    """Maps that were rounded to steps of eight bits; the clip keeps its sign."""
    kind = np.int8 if x == "clip" else np.uint8
    step = STEP / 4 if x == "clip" else STEP
    values = [writer.constant(step), writer.constant(0, kind)]
    return writer.add("DequantizeLinear", [writer.add("QuantizeLinear", [x, *values]), *values])


def computed_weights(writer: Writer, x: str, w: Weights) -> str:
    """Weights that constants are turned and scaled into, and the bias as an input of the operator."""
    turned = writer.add("Transpose", [writer.constant(2 * np.moveaxis(w.weight, 0, 4))], perm=[4, 0, 1, 2, 3])
    weight = writer.add("Mul", [turned, writer.constant(0.5)])
    return writer.add("Conv", [x, weight, writer.constant(w.bias)], **_attributes(w))


# Rectifiers.


def relu(writer: Writer, x: str) -> str:
    """The operator."""
    return writer.add("Relu", [x])


def clipped(writer: Writer, x: str) -> str:
    """Clip from 0 to a large value."""
    if writer.style.opset < 11:
        return writer.add("Clip", [x], min=0.0, max=100.0)
    return writer.add("Clip", [x, writer.constant(0.0), writer.constant(100.0)])


def at_least_zero(writer: Writer, x: str) -> str:
    """The larger of the value and 0."""
    return writer.add("Max", [x, writer.constant(0.0)])


def no_slope(writer: Writer, x: str) -> str:
    """A leaky rectifier whose slope is 0."""
    return writer.add("LeakyRelu", [x], alpha=0.0)


# Sums.


def added(writer: Writer, one: str, other: str) -> str:
    """The operator."""
    return writer.add("Add", [one, other])


def added_turned(writer: Writer, one: str, other: str) -> str:
    """The operator, the other way round."""
    return writer.add("Add", [other, one])


def summed(writer: Writer, one: str, other: str) -> str:
    """The operator for any number of addends."""
    return writer.add("Sum", [one, other])


def subtracted(writer: Writer, one: str, other: str) -> str:
    """The negative of one taken off."""
    return writer.add("Sub", [other, writer.add("Neg", [one])])


# Heads.


def pooled_gemm(writer: Writer, x: str, weight: Array, bias: Array) -> str:
    """Global mean, flattened, and a dense operator with its weights as PyTorch keeps them."""
    flat = writer.add("Flatten", [writer.add("GlobalAveragePool", [x])])
    return writer.add("Gemm", [flat, writer.constant(weight), writer.constant(bias)], name="head", transB=1)


def mean_matmul(writer: Writer, x: str, weight: Array, bias: Array) -> str:
    """Mean over axes, a product and an addition, and a softmax behind."""
    flat = writer.with_axes("ReduceMean", x, writer.places, since=18, keepdims=0)
    if writer.style.layout == "frames":
        flat = writer.reshape(flat, [1, -1])
    y = writer.add("MatMul", [flat, writer.constant(weight.T)], name="head")
    return writer.add("Softmax", [writer.scores(writer.add("Add", [y, writer.constant(bias)]))], axis=-1)


def convolved_mean(writer: Writer, x: str, weight: Array, bias: Array) -> str:
    """A pointwise convolution, and the mean of its scores."""
    values = [writer.constant(weight.reshape(*weight.shape, 1, 1, 1)), writer.constant(bias)]
    y = writer.add("GlobalAveragePool", [writer.add("Conv", [x, *values], name="head")])
    return writer.scores(writer.with_axes("Squeeze", y, (2, 3, 4), since=13))


def window_gemm(writer: Writer, x: str, weight: Array, bias: Array) -> str:
    """A window over all places, reshaped, and a dense operator with its weights as they are multiplied."""
    pooled = writer.add("AveragePool", [x], kernel_shape=list(writer.size))
    flat = writer.reshape(pooled, [1, -1])
    values = [writer.constant(2 * weight.T), writer.constant(bias)]
    return writer.scores(writer.add("Gemm", [flat, *values], name="head", alpha=0.5))


CONVOLUTION = Style("convolution", 17, plain, relu, pooled_gemm, added)
BATCH_NORM = Style("batch norm, opset 11", 11, batch_normed, clipped, window_gemm, added_turned)
FACTORISED = Style("(2+1)D, opset 18", 18, factorised, at_least_zero, mean_matmul, summed)
UNFOLDED = Style("unfolded products", 13, unfolded, relu, mean_matmul, added, layout="last")
WRAPPED = Style("channels last", 15, wrapped, relu, mean_matmul, subtracted, layout="last")
FRAMES = Style("frames as a batch", 12, over_frames, no_slope, mean_matmul, added_turned, layout="frames")
FUSED = Style("fused", 16, fused, relu, convolved_mean, added, fused=True)
OPSET_9 = Style("opset 9", 9, bias_apart, clipped, window_gemm, summed)
FIBERS = Style("fibers", 14, fibers, at_least_zero, pooled_gemm, added)
UNGROUPED = Style("zeros for groups", 20, ungrouped, relu, convolved_mean, subtracted)
EIGHT_BITS = Style("eight bits", 21, quantised, relu, pooled_gemm, added)
HALF = Style("float16", 19, computed_weights, relu, convolved_mean, added, dtype=np.float16)
