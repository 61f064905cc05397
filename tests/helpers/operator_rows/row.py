"""A row of test data: a tiny model in which an operator stands between two layers with random weights.

Text in ONNX's own syntax. Unless the row says otherwise, ``p`` and ``q`` (1, 4, 6, 6) are two first layers
that read the input ``x`` (1, 3, 6, 6) and the second layer, a 1x1 convolution, reads ``b``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Row:
    """A model around one operator.

    Attributes:
        op: The operator, with its domain as `cfp_onnx.graph.operators` writes it.
        body: ONNX text from ``p`` and ``q`` to ``b``.
        constants: Initializers; plain numbers become float32 and lists of integers int64.
        channels: Channels of ``b``.
        reads: How the second layer reads ``b``: ``conv`` (axis 1) or ``dense`` (the last axis).
        opset: Version of ONNX's own operator set.
        steers: Whether the operator carries no channel itself: what it reads are side inputs of the second layer.
        still: Whether nothing that it reads can move the second layer's input through it.
        reference: ``onnx``, or ``onnxruntime`` for what onnx.reference lacks.
        case: Which use of the operator this is, where it has several rows.
    """

    op: str
    body: str
    constants: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 4
    reads: str = "conv"
    opset: int = 21
    steers: bool = False
    still: bool = False
    reference: str = "onnx"
    case: str = ""

    @property
    def model(self) -> onnx.ModelProto:
        """The model; ``x`` goes in and ``y`` comes out."""
        last = "y = Conv (b, last)" if self.reads == "conv" else "y = MatMul (b, last)"
        model = onnx.parser.parse_model(
            f'<ir_version: 9, opset_import: ["" : {self.opset}, "com.microsoft" : 1]> '
            "row (float[1,3,6,6] x) => (float[N] y) {"
            f"p = Conv (x, wp, bp)\nq = Conv (x, wq, bq)\n{self.body}\n{last} }}"
        )
        rng = np.random.default_rng(zlib.crc32(self.op.encode()))
        shape = (5, self.channels, 1, 1) if self.reads == "conv" else (self.channels, 5)
        weights: dict[str, Any] = {
            "wp": rng.standard_normal((4, 3, 1, 1)),
            "wq": rng.standard_normal((4, 3, 1, 1)),
            "bp": rng.standard_normal(4),
            "bq": rng.standard_normal(4),
            "last": rng.standard_normal(shape),
            **self.constants,
        }
        used = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(_array(value), name) for name, value in weights.items() if name in used
        )
        return model


def _array(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def numbers(*shape: int) -> Array:
    """Seeded random numbers."""
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def octets(*shape: int) -> Array:
    """Seeded random integers of eight bits."""
    return np.random.default_rng(sum(shape)).integers(-100, 100, shape).astype(np.int8)


SCALE = {"s": 0.05, "z": np.uint8(128), "wide": 0.2}
"""Scale and zero point of the quantised rows."""

EIGHT = "i = QuantizeLinear (p, s, z)\nj = QuantizeLinear (q, s, z)\n"
"""``i`` and ``j``: both first layers in eight bits."""

BACK = "\nb = DequantizeLinear (k, s, z)"


def alone(*ops: str, **options: Any) -> list[Row]:
    """Operators that map ``p`` to ``b`` with no attribute."""
    return [Row(op, f"b = {op.replace('::', '.')} (p)", **options) for op in ops]


def compared(*ops: str) -> list[Row]:
    """Comparisons: their result chooses between a tensor and its negative."""
    text = "yes = {} (q, half)\nno = Neg (p)\nb = Where (yes, p, no)"
    return [Row(op, text.format(op), {"half": 0.5}, steers=True) for op in ops]


def steering(*ops: str, **options: Any) -> list[Row]:
    """Reductions that carry no channel: their result scales ``p``."""
    return [Row(op, f"r = {op} (q, axes)\nb = Mul (p, r)", {"axes": [1, 2, 3]}, steers=True, **options) for op in ops]
