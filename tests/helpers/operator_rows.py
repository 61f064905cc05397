# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""One row of test data per operator: a tiny model in which it stands between two layers with random weights.

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


def _random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def _bytes(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-100, 100, shape).astype(np.int8)


SCALE = {"s": 0.05, "z": np.uint8(128), "wide": 0.2}
"""Scale and zero point of the quantised rows."""

EIGHT = "i = QuantizeLinear (p, s, z)\nj = QuantizeLinear (q, s, z)\n"
"""``i`` and ``j``: both first layers in eight bits."""

BACK = "\nb = DequantizeLinear (k, s, z)"


ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
kt = Transpose <perm=[0,2,1]> (k)
e = MatMul (u, kt)
s = Softmax <axis=-1> (e)
b = MatMul (s, v)"""

EINSUM_ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
e = Einsum <equation="b i d, b j d -> b i j"> (u, k)
s = Softmax <axis=-1> (e)
b = Einsum <equation="bij,bjd->bid"> (s, v)"""

FUSED_ATTENTION = """f = Reshape (p, flat)
t = Transpose <perm=[0,2,1]> (f)
k = MatMul (t, wk)
u = MatMul (t, wq2)
v = MatMul (t, wv)
e = com.microsoft.FusedMatMul <transB=1, alpha=0.5> (u, k)
s = Softmax <axis=-1> (e)
b = MatMul (s, v)"""


def _alone(*ops: str, **options: Any) -> list[Row]:
    """Operators that map ``p`` to ``b`` with no attribute."""
    return [Row(op, f"b = {op.replace('::', '.')} (p)", **options) for op in ops]


def _compared(*ops: str) -> list[Row]:
    """Comparisons: their result chooses between a tensor and its negative."""
    text = "yes = {} (q, half)\nno = Neg (p)\nb = Where (yes, p, no)"
    return [Row(op, text.format(op), {"half": 0.5}, steers=True) for op in ops]


def _steering(*ops: str, **options: Any) -> list[Row]:
    """Reductions that carry no channel: their result scales ``p``."""
    return [Row(op, f"r = {op} (q, axes)\nb = Mul (p, r)", {"axes": [1, 2, 3]}, steers=True, **options) for op in ops]


ROWS: tuple[Row, ...] = (
    # In place.
    *_alone("Identity", "Dropout"),
    Row("Cast", "d = Cast <to=11> (p)\nb = Cast <to=1> (d)"),
    Row("CastLike", "b = CastLike (p, one)", {"one": 1.0}),
    Row("QuantizeLinear", EIGHT + "k = Identity (i)" + BACK, SCALE),
    Row("DequantizeLinear", EIGHT + "b = DequantizeLinear (j, s, z)", SCALE),
    Row("DynamicQuantizeLinear", "k, u, v = DynamicQuantizeLinear (p)\nb = DequantizeLinear (k, u, v)"),
    Row(
        "com.microsoft::QuantizeLinear",
        "k = com.microsoft.QuantizeLinear (p, s, z)\nb = com.microsoft.DequantizeLinear (k, s, z)",
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::DequantizeLinear",
        "k = com.microsoft.QuantizeLinear (p, s, z)\nb = com.microsoft.DequantizeLinear (k, s, z)",
        SCALE,
        reference="onnxruntime",
    ),
    # Activations.
    *_alone(
        "Relu",
        "Sigmoid",
        "HardSigmoid",
        "Softplus",
        "Exp",
        "Abs",
        "ThresholdedRelu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Tanh",
        "Softsign",
        "Erf",
        "Sin",
        "Atan",
        "Reciprocal",
        "Shrink",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
    ),
    *_alone("Gelu", "HardSwish", "Mish", opset=22, reference="onnxruntime"),
    *_alone("com.microsoft::Gelu", "com.microsoft::FastGelu", "com.microsoft::QuickGelu", reference="onnxruntime"),
    Row("Swish", "b = Swish (p)", opset=24),
    Row("Sqrt", "a = Abs (p)\nb = Sqrt (a)"),
    Row("Log", "a = Exp (p)\nc = Add (a, a)\nb = Log (c)"),
    Row("PRelu", "b = PRelu (p, slope)", {"slope": _random(4, 1, 1)}),
    Row("Clip", "b = Clip (p, low, high)", {"low": -1.0, "high": 1.0}),
    Row("Pow", "b = Pow (p, two)", {"two": 2.0}),
    *_alone("Softmax", "LogSoftmax", "Hardmax"),
    Row(
        "com.microsoft::QLinearSigmoid",
        EIGHT + "k = com.microsoft.QLinearSigmoid (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearLeakyRelu",
        EIGHT + "k = com.microsoft.QLinearLeakyRelu (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearSoftmax",
        EIGHT
        + "k = com.microsoft.QLinearSoftmax <axis=1, opset=13> (i, s, z, fine, low)\nb = DequantizeLinear (k, fine, low)",
        {**SCALE, "fine": 1 / 256, "low": np.uint8(0)},
        reference="onnxruntime",
    ),
    Row("com.microsoft::BiasGelu", "b = com.microsoft.BiasGelu (p, w)", {"w": _random(6)}, reference="onnxruntime"),
    # Arithmetic.
    *(Row(op, f"b = {op} (p, q)") for op in ("Add", "Sub", "Sum", "Mul", "Max", "Min")),
    Row("Mean", "b = Mean (p)"),
    Row("Neg", "b = Neg (p)"),
    Row("Div", "a = Exp (q)\nb = Div (p, a)"),
    Row(
        "Where",
        "b = Where (mask, p, q)",
        {"mask": np.indices((6, 6)).sum(0) % 2 == 0},
    ),
    Row(
        "BatchNormalization",
        "b = BatchNormalization (p, g, o, m, v)",
        {"g": _random(4), "o": _random(4), "m": _random(4), "v": np.ones(4)},
    ),
    Row(
        "com.microsoft::QLinearAdd",
        EIGHT + "k = com.microsoft.QLinearAdd (i, s, z, j, s, z, wide, z)\nb = DequantizeLinear (k, wide, z)",
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearMul",
        EIGHT + "k = com.microsoft.QLinearMul (i, s, z, j, s, z, wide, z)\nb = DequantizeLinear (k, wide, z)",
        SCALE,
        reference="onnxruntime",
    ),
    # Normalisations.
    Row("LayerNormalization", "b = LayerNormalization <axis=1> (p, g)", {"g": _random(4, 6, 6)}),
    Row("RMSNormalization", "b = RMSNormalization <axis=1> (p, g)", {"g": _random(4, 6, 6)}, opset=23),
    Row(
        "SimplifiedLayerNormalization",
        "b = SimplifiedLayerNormalization <axis=-1> (p, g)",
        {"g": _random(6)},
        reference="onnxruntime",
    ),
    Row("InstanceNormalization", "b = InstanceNormalization (p, g, o)", {"g": _random(4), "o": _random(4)}),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=2> (p, g, o)",
        {"g": _random(4), "o": _random(4)},
        reference="onnxruntime",
    ),
    Row("LRN", "b = LRN <size=3, alpha=0.5> (p)"),
    Row("LpNormalization", "b = LpNormalization <axis=1> (p)"),
    Row("MeanVarianceNormalization", "b = MeanVarianceNormalization (p)", reference="onnxruntime"),
    # Pooling.
    Row("MaxPool", "b = MaxPool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,0]> (p)"),
    Row("AveragePool", "b = AveragePool <kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,0]> (p)"),
    *_alone("GlobalAveragePool", "GlobalMaxPool"),
    *(Row(op, f"b = {op} (p, axes)", {"axes": [2, 3]}) for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")),
    Row(
        "com.microsoft::QLinearAveragePool",
        EIGHT + "k = com.microsoft.QLinearAveragePool <kernel_shape=[2,2]> (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearGlobalAveragePool",
        EIGHT + "k = com.microsoft.QLinearGlobalAveragePool <channels_last=0> (i, s, z, s, z)" + BACK,
        SCALE,
        reference="onnxruntime",
    ),
    # Movement.
    Row("Transpose", "b = Transpose <perm=[0,2,3,1]> (p)", reads="dense"),
    Row(
        "Reshape",
        "a = Reshape (p, five)\nc = Transpose <perm=[0,2,1,3,4]> (a)\nb = Reshape (c, four)",
        {"five": [1, 2, 2, 6, 6], "four": [1, 4, 6, 6]},
    ),
    Row("Flatten", "b = Flatten (p)", channels=144, reads="dense"),
    Row("Squeeze", "a = GlobalAveragePool (p)\nb = Squeeze (a, axes)", {"axes": [2, 3]}, reads="dense"),
    Row(
        "Unsqueeze",
        "a = Unsqueeze (p, one)\nc = Unsqueeze (q, one)\nd = Concat <axis=1> (a, c)\nb = Reshape (d, eight)",
        {"one": [1], "eight": [1, 8, 6, 6]},
        channels=8,
    ),
    Row("Expand", "a = GlobalAveragePool (p)\nb = Expand (a, full)", {"full": [1, 4, 6, 6]}),
    Row("Tile", "b = Tile (p, repeats)", {"repeats": [1, 3, 1, 2]}, channels=12),
    Row("Concat", "b = Concat <axis=1> (p, q)", channels=8),
    Row("Split", "a, c = Split <axis=1> (p, sizes)\nb = Concat <axis=1> (c, a)", {"sizes": [1, 3]}),
    Row(
        "Slice",
        "b = Slice (p, starts, ends, axes, steps)",
        {"starts": [-1, 1], "ends": [-9, 6], "axes": [1, 3], "steps": [-2, 2]},
        channels=2,
    ),
    Row("Gather", "b = Gather <axis=1> (p, order)", {"order": [3, 0, -2, 3]}),
    Row(
        "GatherElements",
        "b = GatherElements <axis=1> (p, places)",
        {"places": np.random.default_rng(1).integers(-4, 4, (1, 5, 6, 6))},
        channels=5,
    ),
    Row(
        "ScatterND",
        "a = Slice (q, zero, two, one)\nc = Squeeze (a, zero)\nb = ScatterND (p, places, c)",
        {"places": [[0, 3], [0, 1]], "zero": [0], "one": [1], "two": [2]},
    ),
    Row(
        "ScatterElements",
        "a = Slice (q, zero, two, one)\nb = ScatterElements <axis=1> (p, places, a)",
        {"places": np.tile(np.array([3, 1]).reshape(1, 2, 1, 1), (1, 1, 6, 6)), "zero": [0], "one": [1], "two": [2]},
    ),
    Row(
        "GatherND",
        "a = GatherND (p, places)\nb = Unsqueeze (a, zero)",
        {"places": [[0, 3], [0, 0], [0, 3]], "zero": [0]},
        channels=3,
    ),
    Row("Pad", "b = Pad (p, pads)", {"pads": [0, 2, 1, 0, 0, 1, 0, -1]}, channels=7, reference="onnxruntime"),
    Row("DepthToSpace", 'b = DepthToSpace <blocksize=2, mode="CRD"> (p)', channels=1),
    Row("SpaceToDepth", "b = SpaceToDepth <blocksize=2> (p)", channels=16),
    Row(
        "Resize",
        'b = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (p, , scales)',
        {"scales": [1.0, 1.0, 2.0, 3.0]},
    ),
    Row(
        "Upsample",
        'b = Upsample <mode="nearest"> (p, scales)',
        {"scales": [1.0, 1.0, 2.0, 3.0]},
        opset=9,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QLinearConcat",
        EIGHT + "k = com.microsoft.QLinearConcat <axis=1> (s, z, i, s, z, j, s, z)" + BACK,
        SCALE,
        channels=8,
        reference="onnxruntime",
    ),
    # Layers: what they read and what reads them.
    Row("Conv", "b = Conv <group=2, pads=[1,1,1,1]> (p, w)", {"w": _random(6, 2, 3, 3)}, channels=6),
    Row(
        "ConvTranspose",
        "b = ConvTranspose <group=2, strides=[2,2]> (p, w)",
        {"w": _random(4, 3, 2, 2)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "Gemm",
        "a = Flatten (p)\nb = Gemm <transB=1> (a, w, c)",
        {"w": _random(6, 144), "c": _random(6)},
        6,
        "dense",
    ),
    Row("MatMul", "a = Transpose <perm=[0,2,3,1]> (p)\nb = MatMul (a, w)", {"w": _random(4, 6)}, 6, "dense"),
    Row(
        "Einsum",
        EINSUM_ATTENTION,
        {"wk": _random(4, 4), "wq2": _random(4, 4), "wv": _random(4, 4), "flat": [1, 4, 36]},
        reads="dense",
    ),
    Row(
        "ConvInteger",
        "i, s, z = DynamicQuantizeLinear (p)\na = ConvInteger (i, w, z)\nc = Cast <to=1> (a)\nd = Mul (s, ws)\n"
        "b = Mul (c, d)",
        {"w": _bytes(6, 4, 3, 3).view(np.uint8), "ws": 0.01},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "MatMulInteger",
        "t = Transpose <perm=[0,2,3,1]> (p)\ni, s, z = DynamicQuantizeLinear (t)\na = MatMulInteger (i, w, z)\n"
        "c = Cast <to=1> (a)\nd = Mul (s, ws)\nb = Mul (c, d)",
        {"w": _bytes(4, 6), "ws": 0.01},
        channels=6,
        reads="dense",
    ),
    Row(
        "QLinearConv",
        EIGHT + "k = QLinearConv (i, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": _bytes(6, 4, 3, 3), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
    ),
    Row(
        "com.microsoft::QLinearConv",
        EIGHT + "k = com.microsoft.QLinearConv <channels_last=0> (i, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": _bytes(6, 4, 3, 3), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "QLinearMatMul",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\nk = QLinearMatMul (t, s, z, w, ws, wz, s, z)" + BACK,
        {**SCALE, "w": _bytes(4, 6), "ws": 0.01, "wz": np.int8(0)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedConv",
        'b = com.microsoft.FusedConv <activation="Relu"> (p, w, c)',
        {"w": _random(6, 4, 3, 3), "c": _random(6)},
        channels=6,
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedGemm",
        'a = Flatten (p)\nb = com.microsoft.FusedGemm <activation="LeakyRelu", activation_alpha=0.1> (a, w, c)',
        {"w": _random(144, 6), "c": _random(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::FusedMatMul",
        "a = Transpose <perm=[0,2,3,1]> (p)\nb = com.microsoft.FusedMatMul <alpha=2.0> (a, w)",
        {"w": _random(4, 6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::QGemm",
        EIGHT + "a = Flatten (i)\nk = com.microsoft.QGemm <transB=1> (a, s, z, w, ws, wz, , s, z)" + BACK,
        {**SCALE, "w": _bytes(6, 144), "ws": 0.001, "wz": np.int8(0)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::MatMulIntegerToFloat",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\nb = com.microsoft.MatMulIntegerToFloat (t, w, s, ws, z, wz, c)",
        {**SCALE, "w": _bytes(4, 6), "ws": 0.01, "wz": np.int8(0), "c": _random(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    Row(
        "com.microsoft::DynamicQuantizeMatMul",
        "t = Transpose <perm=[0,2,3,1]> (p)\nb = com.microsoft.DynamicQuantizeMatMul (t, w, ws, wz, c)",
        {"w": _bytes(4, 6), "ws": 0.01, "wz": np.int8(0), "c": _random(6)},
        channels=6,
        reads="dense",
        reference="onnxruntime",
    ),
    # What only steers.
    *_steering("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
    Row("ReduceLogSum", "a = Exp (q)\nr = ReduceLogSum (a, axes)\nb = Mul (p, r)", {"axes": [1, 2, 3]}, steers=True),
    Row("TopK", "a, i = TopK <axis=1> (q, one)\nb = Mul (p, a)", {"one": [1]}, steers=True),
    *_compared("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"),
    Row(
        "Not",
        "a = Greater (q, half)\nc = Not (a)\nno = Neg (p)\nb = Where (c, p, no)",
        {"half": 0.5},
        steers=True,
    ),
    *(
        Row(
            op,
            f"a = Greater (q, half)\nc = Less (q, three)\nd = {op} (a, c)\nno = Neg (p)\nb = Where (d, p, no)",
            {"half": 0.5, "three": 3.0},
            steers=True,
        )
        for op in ("And", "Or")
    ),
    *(
        Row(op, f"a = {op} (q)\nno = Neg (p)\nb = Where (a, no, p)", steers=True, still=True)
        for op in ("IsNaN", "IsInf")
    ),
    *(
        Row(op, f"a = {op} <axis=1> (q)\nc = Cast <to=1> (a)\nb = Mul (p, c)", steers=True)
        for op in ("ArgMax", "ArgMin")
    ),
    Row(
        "NonZero",
        "a = Relu (q)\nc = NonZero (a)\nd = Cast <to=1> (c)\ne = ReduceMean (d)\nb = Mul (p, e)",
        steers=True,
    ),
    Row(
        "Shape",
        "a = Shape (q)\nc = Cast <to=1> (a)\nd = ReduceSum (c)\nb = Mul (p, d)",
        steers=True,
        still=True,
    ),
    Row("Size", "a = Size (q)\nc = Cast <to=1> (a)\nb = Mul (p, c)", steers=True, still=True),
    Row("ConstantOfShape", "a = Shape (q)\nc = ConstantOfShape (a)\nb = Add (p, c)", steers=True, still=True),
    Row(
        "EyeLike",
        "a = Reshape (q, grid)\nc = EyeLike (a)\nd = Reshape (c, full)\nb = Add (p, d)",
        {"grid": [24, 6], "full": [1, 4, 6, 6]},
        steers=True,
        still=True,
    ),
    Row(
        "Range",
        "a = Shape <start=3> (q)\nc = Squeeze (a)\nd = Range (zero, c, one)\ne = Cast <to=1> (d)\nb = Add (p, e)",
        {"zero": np.int64(0), "one": np.int64(1)},
        steers=True,
        still=True,
    ),
)
"""Every operator once."""

CASES: tuple[Row, ...] = (
    Row(
        "com.microsoft::FusedMatMul",
        FUSED_ATTENTION,
        {"wk": _random(4, 4), "wq2": _random(4, 4), "wv": _random(4, 4), "flat": [1, 4, 36]},
        reads="dense",
        reference="onnxruntime",
        case="attention",
    ),
    Row(
        "MatMul",
        ATTENTION,
        {"wk": _random(4, 4), "wq2": _random(4, 4), "wv": _random(4, 4), "flat": [1, 4, 36]},
        reads="dense",
        case="attention",
    ),
    Row("MatMul", "b = MatMul (w, p)", {"w": _random(6, 6)}, case="positions mixed by a constant on the left"),
    Row(
        "Mul",
        "g = GlobalAveragePool (p)\nh = Conv (g, w)\ns = Sigmoid (h)\nb = Mul (s, p)",
        {"w": _random(4, 4, 1, 1)},
        case="squeeze and excitation",
    ),
    Row("Mul", "s = Sigmoid (p)\nb = Mul (p, s)", case="an activation written out"),
    Row("Mul", "b = Mul (p, w)", {"w": _random(4, 1, 1)}, case="constant"),
    Row(
        "Div",
        "m = ReduceMean (p, axes)\nc = Sub (p, m)\nd = Mul (c, c)\nv = ReduceMean (d, axes)\ne = Add (v, one)\nf = Sqrt (e)\nb = Div (c, f)",
        {"axes": [1], "one": 1.0},
        case="a normalisation written out",
    ),
    Row("Add", "g = GlobalAveragePool (q)\nb = Add (g, p)", case="one addend broadcast"),
    Row("Add", "b = Add (p, w)", {"w": _random(6)}, case="constant"),
    Row(
        "Add",
        "a = Slice (p, from, to, ax)\nk = Pad (a, pads)\nc = Add (k, q)\nd = Relu (c)\nf = Add (d, p)\nb = Relu (f)",
        {"from": [1], "to": [3], "ax": [1], "pads": [0, 1, 0, 0, 0, 1, 0, 0]},
        case="padded shortcut",
    ),
    Row("Concat", "b = Concat <axis=3> (p, q)", case="over positions"),
    Row("Concat", "b = Concat <axis=1> (p, q, p)", channels=12, case="one input twice"),
    Row(
        "Slice",
        "b = Slice <axes=[1,2], starts=[1,0], ends=[9,-1]> (p)",
        channels=3,
        opset=9,
        case="attributes",
        reference="onnxruntime",
    ),
    Row(
        "Slice",
        "b = Slice (p, starts, ends, , steps)",
        {"starts": [0, 3, 0, 0], "ends": [9, -9223372036854775807, 9, 9], "steps": [1, -1, 1, 1]},
        case="reversed",
    ),
    Row(
        "Gather",
        "b = Gather <axis=3> (p, grid)\n",
        {"grid": [[0, 1], [2, 3]]},
        case="further positions",
        reads="dense",
        channels=2,
    ),
    Row(
        "Gather",
        "a = Gather <axis=1> (p, two)\nb = Unsqueeze (a, one)",
        {"two": np.int64(2), "one": [1]},
        channels=1,
        case="one channel",
    ),
    Row(
        "Reshape",
        "a = Reshape (p, rows)\nb = Transpose <perm=[0,2,1]> (a)",
        {"rows": [0, 8, -1]},
        reads="dense",
        channels=8,
        case="channels cut into rows",
    ),
    Row(
        "Reshape",
        "g = GlobalAveragePool (p)\nb = Reshape (g, flat)",
        {"flat": [1, -1]},
        reads="dense",
        case="pooled",
    ),
    Row("DepthToSpace", "b = DepthToSpace <blocksize=2> (p)", channels=1, case="DCR"),
    Row("Split", "a, c = Split <axis=1> (p)\nd = Relu (a)\nb = Concat <axis=1> (d, c)", opset=11, case="even"),
    Row(
        "Split",
        "a, c = Split <axis=1> (p)\nd = Conv (a, w)\ne = Conv (c, v)\nb = Concat <axis=1> (d, e)",
        {"w": _random(2, 2, 3, 3), "v": _random(2, 2, 3, 3)},
        opset=11,
        case="fibers",
    ),
    Row("Softmax", "b = Softmax <axis=1> (p)", case="over channels"),
    Row("Softmax", "b = Softmax <axis=2> (p)", opset=11, case="over all axes behind"),
    Row("Clip", "b = Clip <min=0.0, max=6.0> (p)", opset=9, case="attributes"),
    Row(
        "Pad",
        'b = Pad <mode="reflect"> (p, pads)',
        {"pads": [0, 2, 1, 0, 0, 1, 0, 0]},
        channels=7,
        case="reflected",
    ),
    Row("Pad", "b = Pad (p, pads, , axes)", {"pads": [1, 2], "axes": [-3]}, channels=7, case="axes"),
    Row(
        "Tile",
        "g = GlobalAveragePool (p)\nb = Tile (g, repeats)",
        {"repeats": [1, 1, 6, 6]},
        case="positions",
    ),
    Row(
        "Expand",
        "a = ReduceMean (p, axes)\nb = Expand (a, full)",
        {"axes": [1], "full": [1, 4, 6, 6]},
        case="channels",
        steers=True,
    ),
    Row("ReduceMax", "a = ReduceMax (p, axes)\nb = Mul (p, a)", {"axes": [1]}, case="channels", steers=True),
    Row(
        "ReduceMean",
        "a = ReduceMean <keepdims=0> (p, axes)\nb = Unsqueeze (a, axes)",
        {"axes": [2]},
        case="axis dropped",
    ),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=4> (p, g, o)",
        {"g": _random(4), "o": _random(4)},
        reference="onnxruntime",
        case="one channel a group",
    ),
    Row(
        "LayerNormalization",
        "t = Transpose <perm=[0,2,3,1]> (p)\nb = LayerNormalization (t, g)",
        {"g": _random(4)},
        reads="dense",
        case="channels last",
    ),
    Row(
        "InstanceNormalization",
        "a = Reshape (p, two)\nc = InstanceNormalization (a, g, o)\nb = Reshape (c, four)",
        {"two": [1, 2, -1], "four": [1, 4, 6, 6], "g": np.ones(2), "o": np.zeros(2)},
        case="group norm as PyTorch exports it",
    ),
    Row(
        "Where",
        "yes = Greater (q, half)\nb = Where (yes, p, half)",
        {"half": 0.5},
        case="condition from a layer",
    ),
    Row("Max", "b = Max (p, w)", {"w": _random(4, 1, 1)}, case="with a vector"),
    Row("Min", "b = Min (p, six)", {"six": 6.0}, case="with a number"),
    Row("Sum", "c = Abs (q)\nb = Sum (p, q, c)", case="three"),
    Row("Flatten", "g = GlobalMaxPool (p)\nb = Flatten (g)", reads="dense", case="pooled"),
    Row(
        "Transpose",
        "t = Transpose <perm=[0,2,3,1]> (p)\nu = Relu (t)\nb = Transpose <perm=[0,3,1,2]> (u)",
        case="there and back",
    ),
    Row("Mul", "b = Mul (p, p)", case="squared"),
    Row("Div", "a = Exp (p)\nb = Div (one, a)", {"one": 1.0}, case="reciprocal"),
    Row("Sub", "b = Sub (one, p)", {"one": 1.0}, case="from a constant"),
    Row("Mean", "b = Mean (p, q)", case="two"),
    Row(
        "com.microsoft::FastGelu",
        "b = com.microsoft.FastGelu (p, w)",
        {"w": _random(6)},
        reference="onnxruntime",
        case="with a bias",
    ),
    Row(
        "ScatterND",
        "a = Squeeze (q, zero)\nc = Slice (a, zero, two, zero)\nb = ScatterND (nothing, places, c)",
        {"places": [[0, 3], [0, 1]], "zero": [0], "two": [2], "nothing": np.zeros((1, 4, 6, 6))},
        case="into zeros",
    ),
    # Older and newer forms of the same operator: attributes that became inputs, defaults that changed.
    Row("HardSwish", "b = HardSwish (p)", opset=14, case="opset 14"),
    Row("Gelu", 'b = Gelu <approximate="tanh"> (p)', opset=20, reference="onnxruntime", case="by tanh"),
    Row("Elu", "b = Elu <alpha=0.5> (p)", opset=6, case="opset 6", reference="onnxruntime"),
    Row("PRelu", "b = PRelu (p, slope)", {"slope": _random(1)}, opset=9, case="one slope", reference="onnxruntime"),
    Row("HardSigmoid", "b = HardSigmoid <alpha=0.1, beta=0.4> (p)", case="slope and offset"),
    Row("ThresholdedRelu", "b = ThresholdedRelu <alpha=0.5> (p)", case="threshold"),
    Row("Shrink", "b = Shrink <lambd=0.3, bias=0.1> (p)", case="soft"),
    Row("Clip", "b = Clip (p, , high)", {"high": 0.5}, opset=13, case="from above"),
    Row("Clip", "b = Clip (p, low)", {"low": 0.0}, opset=11, case="from below"),
    Row("Dropout", "b = Dropout <ratio=0.5> (p)", opset=10, case="opset 10", reference="onnxruntime"),
    Row("Dropout", "b, m = Dropout (p, half)", {"half": 0.5}, opset=13, case="with its mask", reference="onnxruntime"),
    Row(
        "BatchNormalization",
        "b = BatchNormalization <epsilon=0.1> (p, g, o, m, v)",
        {"g": _random(4), "o": _random(4), "m": _random(4), "v": np.ones(4)},
        opset=9,
        reference="onnxruntime",
        case="opset 9",
    ),
    Row("Mean", "b = Mean (p, w)", {"w": _random(4, 1, 1)}, case="with a constant"),
    Row("Max", "b = Max (p, q, w)", {"w": _random(4, 1, 1)}, opset=8, case="three", reference="onnxruntime"),
    Row("Pow", "b = Pow (p, three)", {"three": 3.0}, opset=12, case="odd", reference="onnxruntime"),
    Row("LogSoftmax", "b = LogSoftmax (p)", opset=11, case="opset 11", reference="onnxruntime"),
    Row(
        "com.microsoft::QLinearSoftmax",
        EIGHT
        + "k = com.microsoft.QLinearSoftmax <axis=2, opset=11> (i, s, z, fine, low)\nb = DequantizeLinear (k, fine, low)",
        {**SCALE, "fine": 1 / 256, "low": np.uint8(0)},
        reference="onnxruntime",
        case="over all axes behind",
    ),
    Row(
        "GroupNormalization",
        "b = GroupNormalization <num_groups=2> (p, g, o)",
        {"g": _random(2), "o": _random(2)},
        opset=18,
        case="opset 18",
        reference="onnxruntime",
    ),
    Row("LpNormalization", "b = LpNormalization <p=1> (p)", case="absolute values, last axis"),
    Row(
        "MeanVarianceNormalization",
        "b = MeanVarianceNormalization <axes=[1]> (p)",
        case="over channels",
        reference="onnxruntime",
    ),
    Row(
        "AveragePool",
        "b = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1, count_include_pad=1> (p)",
        opset=19,
        case="ceil mode",
        reference="onnxruntime",
    ),
    Row(
        "AveragePool",
        'b = AveragePool <kernel_shape=[3,3], auto_pad="SAME_UPPER"> (p)',
        opset=7,
        case="opset 7",
        reference="onnxruntime",
    ),
    Row("MaxPool", "b, i = MaxPool <kernel_shape=[2,2], dilations=[2,2]> (p)", case="dilated, with places"),
    Row("ReduceMean", "b = ReduceMean <axes=[2,3]> (p)", opset=13, case="opset 13", reference="onnxruntime"),
    Row("ReduceSum", "b = ReduceSum <axes=[-1]> (p)", opset=11, case="opset 11", reference="onnxruntime"),
    Row("ReduceMax", "b = ReduceMax <axes=[2,3]> (p)", opset=12, case="opset 12", reference="onnxruntime"),
    Row("ReduceMin", "a = ReduceMin (q, axes)\nb = Mul (p, a)", {"axes": [1]}, case="channels", steers=True),
    Row("ReduceMean", "b = ReduceMean <noop_with_empty_axes=1> (p)", opset=18, case="of nothing"),
    Row(
        "ReduceL2",
        "a = ReduceL2 (p, places)\nm = ReduceMean (a, one)\nn = Add (m, w)\nd = Div (a, n)\nc = Mul (p, d)\nb = Add (c, p)",
        {"places": [2, 3], "one": [1], "w": 0.5},
        case="global response normalisation",
        steers=True,
    ),
    Row(
        "com.microsoft::QLinearGlobalAveragePool",
        EIGHT + "t = Transpose <perm=[0,2,3,1]> (i)\n"
        "k = com.microsoft.QLinearGlobalAveragePool <channels_last=1> (t, s, z, s, z)" + BACK,
        SCALE,
        reads="dense",
        reference="onnxruntime",
        case="channels last",
    ),
    Row(
        "Squeeze",
        "a = GlobalAveragePool (p)\nb = Squeeze <axes=[2,3]> (a)",
        opset=11,
        reads="dense",
        case="opset 11",
        reference="onnxruntime",
    ),
    Row(
        "Unsqueeze",
        "a = GlobalAveragePool (p)\nc = Squeeze <axes=[2,3]> (a)\nb = Unsqueeze <axes=[2,3]> (c)",
        opset=12,
        case="opset 12",
        reference="onnxruntime",
    ),
    Row("Pad", "b = Pad <pads=[0,1,0,0,0,0,1,0]> (p)", opset=9, channels=5, case="opset 9", reference="onnxruntime"),
    Row("Pad", 'b = Pad <mode="edge"> (p, pads)', {"pads": [0, 1, 2, 0, 0, 1, 0, 0]}, channels=6, case="edge"),
    Row(
        "Split",
        "a, c = Split <axis=1, num_outputs=2> (p)\nb = Concat <axis=1> (c, a)",
        opset=18,
        case="number of outputs",
    ),
    Row(
        "Split",
        "a, c = Split <axis=1, split=[3,1]> (p)\nb = Concat <axis=1> (c, a)",
        opset=7,
        case="opset 7",
        reference="onnxruntime",
    ),
    Row("Flatten", "b = Flatten <axis=3> (p)", channels=6, reads="dense", case="of positions"),
    Row("Upsample", "b = Upsample <scales=[1.0,1.0,2.0,2.0]> (p)", opset=7, case="opset 7", reference="onnxruntime"),
    Row(
        "Resize",
        "b = Resize (p, scales)",
        {"scales": [1.0, 1.0, 2.0, 2.0]},
        opset=10,
        case="opset 10",
        reference="onnxruntime",
    ),
    *(
        Row(
            "Resize",
            f'b = Resize <mode="nearest", coordinate_transformation_mode="{mode}", nearest_mode="{near}"> (p, , , sizes)',
            {"sizes": [1, 4, high, wide]},
            opset=13,
            case=f"{mode} {near} {high} {wide}",
            reference="onnxruntime",
        )
        for mode, near in (
            ("half_pixel", "round_prefer_floor"),
            ("asymmetric", "ceil"),
            ("align_corners", "round_prefer_ceil"),
            ("pytorch_half_pixel", "floor"),
        )
        for high, wide in ((18, 4), (9, 12))
    ),
    Row(
        "GatherElements",
        "b = GatherElements <axis=3> (p, places)",
        {"places": np.random.default_rng(1).integers(0, 6, (1, 4, 2, 3))},
        case="of positions",
        reference="onnxruntime",
    ),
    Row("Cast", "d = Cast <to=10> (p)\nb = Cast <to=1> (d)", opset=9, case="opset 9", reference="onnxruntime"),
    Row(
        "InstanceNormalization",
        "b = InstanceNormalization <epsilon=0.01> (p, g, o)",
        {"g": _random(4), "o": _random(4)},
        opset=6,
        case="opset 6",
        reference="onnxruntime",
    ),
)
"""Further uses of an operator."""
