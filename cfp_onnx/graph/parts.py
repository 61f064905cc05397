"""One weighted operation as the file writes it, with the cast, scale and bias nodes that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cfp_onnx.errors import ModelError
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

CONVOLUTIONS = frozenset(
    {"Conv", "com.microsoft::FusedConv", "ConvInteger", "QLinearConv", "com.microsoft::QLinearConv"}
)


TRANSPOSED = frozenset({"ConvTranspose"})


GEMMS = frozenset({"Gemm", "com.microsoft::FusedGemm", "com.microsoft::QGemm"})


MATMULS = frozenset(
    {"MatMul", "MatMulInteger", "com.microsoft::FusedMatMul", "QLinearMatMul", "com.microsoft::MatMulIntegerToFloat",
     "com.microsoft::DynamicQuantizeMatMul"}
)  # fmt: skip


PACKED = frozenset({"com.microsoft::MatMulNBits"})
"""Products with weights of a few bits each."""


WEIGHTED = CONVOLUTIONS | TRANSPOSED | GEMMS | MATMULS | PACKED


@dataclass(frozen=True)
class Geometry:
    """Window of a convolution, one entry per spatial axis. A dense layer has none.

    Attributes:
        kernel: Taps per axis.
        strides: Steps between windows.
        dilations: Steps between taps.
        begins: Zeros in front of the input; negative sizes crop.
        ends: Zeros behind it.
    """

    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    @property
    def pointwise(self) -> bool:
        """One tap, no stride, no padding: each output position reads that input position alone."""
        ones = all(k == 1 for k in self.kernel) and all(s == 1 for s in self.strides)
        return ones and not any(self.begins) and not any(self.ends)


@dataclass(frozen=True)
class Part:
    """One weighted operation of the file.

    Attributes:
        node: The operation itself.
        nodes: Names of all nodes that make it up.
        kind: ``conv``, ``deconv`` or ``dense``.
        source: Tensor whose channels it reads.
        output: Tensor that holds its kernels.
        in_axis: Channel axis of `source`.
        out_axis: Channel axis of `output`.
        groups: Groups of the operation itself.
        kernels: Output channels.
        channels: Input channels.
        geometry: Its window.
        weight: Constant tensor the weights come from.
        weights: Resolves the weights, (kernels, channels / groups, *taps) float32.
        bias: Resolves the bias, (kernels,) float32.
        activation: Activation inside a fused operator, else None.
        plain_weight: Whether `weight` itself is float32 in the layout of `weights`.
    """

    node: Node
    nodes: tuple[str, ...]
    kind: str
    source: str
    output: str
    in_axis: int
    out_axis: int
    groups: int
    kernels: int
    channels: int
    geometry: Geometry
    weight: str
    weights: Callable[[], Array]
    bias: Callable[[], Array]
    activation: str | None = None
    plain_weight: bool = False


def depends_on_input(program: Program, name: str) -> bool:
    """Whether an optional input is given and depends on the model's input, as an addend in the place of a bias."""
    return bool(name) and not program.is_constant(name)


def part_output(node: Node, tail: tuple[Node, ...]) -> str:
    """The tensor that holds an operation's kernels: the output of the last node that belongs to it."""
    return (tail[-1] if tail else node).outputs[0]


def attribute_text(value: object) -> str | None:
    """A string attribute, which some writers leave as bytes."""
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


def axis_size(program: Program, tensor: str, axis: int) -> int:
    """Observed size of one axis of a tensor.

    Raises:
        ModelError: If its shape was not observed, or has no such axis.
    """
    shape = program.shapes.get(tensor)
    if shape is None or axis >= len(shape):
        raise ModelError(
            f"{program.model.path}: the shape of tensor {tensor!r} is unknown or too short; export the model anew"
        )
    return shape[axis]


def same_pads(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    lower: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros in front and behind for ``auto_pad = SAME_*`` (ONNX Conv: output = ceil(input / stride))."""
    begins, ends = [], []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        begins.append(total - total // 2 if lower else total // 2)
        ends.append(total - begins[-1])
    return tuple(begins), tuple(ends)
