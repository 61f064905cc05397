"""Writes a network operator by operator; a style says which of ONNX's spellings each part takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Convolution = Callable[["Writer", str, "Weights"], str]
Part = Callable[..., str]

LAYOUTS = {"first": (1, (2, 3, 4)), "last": (4, (1, 2, 3)), "frames": (1, (0, 2, 3))}
"""Channel axis and places of a map: (1, C, T, H, W), (1, T, H, W, C), or frames as a batch, (T, C, H, W)."""


@dataclass(frozen=True)
class Weights:
    """Weights of one layer.

    Attributes:
        name: Name of its node.
        weight: (kernels, channels / groups, t, h, w) float64.
        bias: (kernels,) float64.
        groups: Groups.
        causal: Whether its window ends at the present frame instead of lying around it.
        rectified: Whether a rectifier follows.
    """

    name: str
    weight: Array
    bias: Array
    groups: int = 1
    causal: bool = False
    rectified: bool = True

    @property
    def pads(self) -> tuple[int, ...]:
        """Zeros in front of and behind t, h and w that keep the size."""
        taps = self.weight.shape[2:]
        begins = [n // 2 for n in taps]
        if self.causal:
            begins[0] = taps[0] - 1
        return (*begins, *(n - 1 - b for n, b in zip(taps, begins, strict=True)))


@dataclass(frozen=True)
class Style:
    """One way to write a network.

    Attributes:
        name: Its name.
        opset: Version of ONNX's own operator set.
        conv: How convolutions are written; it may write the rectifier too.
        relu: How rectifiers are written, unless `conv` does.
        head: How pooling and classifier are written.
        layout: One of `LAYOUTS`.
        add: How maps are added.
        dtype: Type of weights and maps.
        fused: Whether `conv` writes the rectifier.
        options: Spellings of parts that only some circuits have.
    """

    name: str
    opset: int
    conv: Convolution
    relu: Part
    head: Part
    add: Part
    layout: str = "first"
    dtype: type[np.generic] = np.float32
    fused: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Feature:
    """Where a layer's kernels can be removed.

    Attributes:
        tensor: The tensor behind affine map and activation.
        axis: Its kernel axis.
        rank: The tensor's rank.
        kernels: How many there are.
        layer: The layer, if it holds others too.
        before: Kernels of that layer before these.
        behind: Kernels of that layer behind these.
    """

    tensor: str
    axis: int
    rank: int
    kernels: int
    layer: str | None = None
    before: int = 0
    behind: int = 0


class Writer:
    """A graph being written.

    Args:
        style: The spelling.
        shape: Shape of the clip, (1, C, T, H, W).

        grain: Size of the random part of every weight, in units of its layer's largest, so that the other kernels count
            for something too.

    Attributes:
        features: Where the kernels of each layer can be removed, by the layer's name.
        channels: Channel axis of maps.
        places: Their other axes, without the batch's.
        size: Sizes of maps over time, height and width.
        logits: Tensor of the classes' scores.
    """

    def __init__(self, style: Style, shape: tuple[int, ...], grain: float) -> None:
        self.style = style
        self.shape = shape
        self.size = shape[2:]
        self.features: dict[str, Feature] = {}
        self.channels, self.places = LAYOUTS[style.layout]
        self.logits = ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._made = 0
        self._rank = 4 if style.layout == "frames" else 5
        self._grain = grain
        self._rng = np.random.default_rng(8)

    # Graph.

    def add(self, op: str, inputs: Sequence[str], *, name: str = "", domain: str = "", **attributes: Any) -> str:
        """Write one node; returns its first output."""
        return self.outputs(op, inputs, 1, name=name, domain=domain, **attributes)[0]

    def outputs(
        self, op: str, inputs: Sequence[str], count: int, *, name: str = "", domain: str = "", **attributes: Any
    ) -> list[str]:
        """Write one node; returns all its outputs."""
        self._made += 1
        made = [f"{name or op.lower()}_{self._made}{'abcdefgh'[i] if i else ''}" for i in range(count)]
        node = helper.make_node(op, list(inputs), made, name or f"node_{op}_{self._made}", domain=domain, **attributes)
        self._nodes.append(node)
        return made

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Write one constant, in the style's type by default."""
        self._made += 1
        name = f"constant_{self._made}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype or self.style.dtype), name))
        return name

    def integers(self, values: Sequence[int] | int) -> str:
        """Write a constant of int64."""
        return self.constant(values, np.int64)

    def with_axes(self, op: str, x: str, axes: Sequence[int], *, since: int, **attributes: Any) -> str:
        """A node whose axes are an attribute before an opset and an input from it on."""
        if self.style.opset >= since:
            return self.add(op, [x, self.integers(list(axes))], **attributes)
        return self.add(op, [x], axes=list(axes), **attributes)

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        """Part of a tensor along one axis."""
        if self.style.opset < 10:
            return self.add("Slice", [x], starts=[start], ends=[end], axes=[axis])
        return self.add("Slice", [x, self.integers([start]), self.integers([end]), self.integers([axis])])

    def pad(self, x: str, begins: Sequence[int], ends: Sequence[int]) -> str:
        """Zeros around a tensor."""
        if self.style.opset < 11:
            return self.add("Pad", [x], pads=[*begins, *ends])
        return self.add("Pad", [x, self.integers([*begins, *ends])])

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Another shape."""
        return self.add("Reshape", [x, self.integers(list(shape))])

    # Parts of a network.

    def clip(self) -> str:
        """The network's input, brought into the style's layout and type."""
        x = "clip"
        if self.style.dtype != np.float32:
            x = self.add("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(self.style.dtype)))
        if self.style.layout == "last":
            return self.add("Transpose", [x], perm=[0, 2, 3, 4, 1])
        if self.style.layout == "frames":
            _, c, t, h, w = self.shape
            return self.reshape(self.add("Transpose", [x], perm=[0, 2, 1, 3, 4]), [t, c, h, w])
        return x

    def over_channels(self, values: Array) -> str:
        """A constant of one value per channel that broadcasts against maps."""
        shape = [1] * self._rank
        shape[self.channels] = -1
        return self.constant(np.asarray(values).reshape(shape))

    def layer(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array | float = 0.0,
        *,
        groups: int = 1,
        causal: bool = False,
        rectified: bool = True,
    ) -> str:
        """A convolution with its rectifier; its kernels can be removed behind both.

        Args:
            name: The layer's name.
            x: Maps.
            weight: (kernels, channels / groups, t, h, w).
            bias: (kernels,), or one for all.
            groups: Groups.
            causal: Whether its window ends at the present frame.
            rectified: Whether a rectifier follows.
        """
        weight = self.grained(weight)
        biases = np.broadcast_to(np.asarray(bias, np.float64), (len(weight),))
        y = self.style.conv(self, x, Weights(name, weight, biases, groups, causal, rectified))
        if rectified and not self.style.fused:
            y = self.style.relu(self, y)
        self.features[name] = Feature(y, self.channels, self._rank, len(weight))
        return y

    def grained(self, weight: Array) -> Array:
        """Weights with their random part."""
        weight = np.asarray(weight, np.float64)
        return weight + self._grain * np.abs(weight).max() * self._rng.uniform(-1, 1, weight.shape)

    def dense(self, name: str, x: str, weight: Array, bias: Array | float = 0.0) -> str:
        """A dense layer on tokens, (1, tokens, C).

        Args:
            name: The layer's name.
            x: Tokens.
            weight: (kernels, channels).
            bias: (kernels,), or one for all.
        """
        weight = self.grained(weight)
        y = self.add("MatMul", [x, self.constant(weight.T)], name=name)
        y = self.add("Add", [y, self.constant(np.broadcast_to(np.asarray(bias, np.float64), (len(weight),)))])
        self.features[name] = Feature(y, 2, 3, len(weight))
        return y

    def rectify(self, x: str) -> str:
        """A rectifier of its own, as behind a sum."""
        return self.style.relu(self, x)

    def sum(self, one: str, other: str) -> str:
        """Two maps added."""
        return self.style.add(self, one, other)

    def concat(self, maps: Sequence[str]) -> str:
        """Channels of several maps side by side."""
        return self.add("Concat", maps, axis=self.channels)

    def channel_slice(self, x: str, start: int, end: int) -> str:
        """Some channels."""
        return self.slice(x, self.channels, start, end)

    def classify(self, x: str, weight: Array, bias: Array | float = 0.0) -> str:
        """Pool over all places and classify.

        Args:
            x: Maps.
            weight: (classes, features).
            bias: (classes,), or one for all.
        """
        weight = self.grained(weight)
        return self.style.head(self, x, weight, np.broadcast_to(np.asarray(bias, np.float64), (len(weight),)))

    def scores(self, logits: str) -> str:
        """Note where the classes' scores are, before what a head puts behind them."""
        self.logits = logits
        return logits

    def finish(self, output: str) -> onnx.ModelProto:
        """The model."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.style.dtype))
        if kind != TensorProto.FLOAT:
            output = self.add("Cast", [output], to=TensorProto.FLOAT)
        self.logits = self.logits or output
        ports = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("clip", self.shape), (output, None))
        ]
        graph = helper.make_graph(self._nodes, "planted", ports[:1], ports[1:], self._constants)
        opsets = [helper.make_opsetid("", self.style.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10 if self.style.opset > 20 else 8)
