"""Rows of operators that work element by element."""

from __future__ import annotations

from operator_rows.row import BACK, EIGHT, SCALE, Row, alone, numbers

ROWS: tuple[Row, ...] = (
    *alone("Identity", "Dropout"),
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
    *alone(
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
    *alone("Gelu", "HardSwish", "Mish", opset=22, reference="onnxruntime"),
    *alone("com.microsoft::Gelu", "com.microsoft::FastGelu", "com.microsoft::QuickGelu", reference="onnxruntime"),
    Row("Swish", "b = Swish (p)", opset=24),
    Row("Sqrt", "a = Abs (p)\nb = Sqrt (a)"),
    Row("Log", "a = Exp (p)\nc = Add (a, a)\nb = Log (c)"),
    Row("PRelu", "b = PRelu (p, slope)", {"slope": numbers(4, 1, 1)}),
    Row("Clip", "b = Clip (p, low, high)", {"low": -1.0, "high": 1.0}),
    Row("Pow", "b = Pow (p, two)", {"two": 2.0}),
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
    Row("com.microsoft::BiasGelu", "b = com.microsoft.BiasGelu (p, w)", {"w": numbers(6)}, reference="onnxruntime"),
)


CASES: tuple[Row, ...] = (
    Row("Clip", "b = Clip <min=0.0, max=6.0> (p)", opset=9, case="attributes"),
    Row(
        "com.microsoft::FastGelu",
        "b = com.microsoft.FastGelu (p, w)",
        {"w": numbers(6)},
        reference="onnxruntime",
        case="with a bias",
    ),
    # Older and newer forms of the same operator: attributes that became inputs, defaults that changed.
    Row("HardSwish", "b = HardSwish (p)", opset=14, case="opset 14"),
    Row("Gelu", 'b = Gelu <approximate="tanh"> (p)', opset=20, reference="onnxruntime", case="by tanh"),
    Row("Elu", "b = Elu <alpha=0.5> (p)", opset=6, case="opset 6", reference="onnxruntime"),
    Row("PRelu", "b = PRelu (p, slope)", {"slope": numbers(1)}, opset=9, case="one slope", reference="onnxruntime"),
    Row("HardSigmoid", "b = HardSigmoid <alpha=0.1, beta=0.4> (p)", case="slope and offset"),
    Row("ThresholdedRelu", "b = ThresholdedRelu <alpha=0.5> (p)", case="threshold"),
    Row("Shrink", "b = Shrink <lambd=0.3, bias=0.1> (p)", case="soft"),
    Row("Clip", "b = Clip (p, , high)", {"high": 0.5}, opset=13, case="from above"),
    Row("Clip", "b = Clip (p, low)", {"low": 0.0}, opset=11, case="from below"),
    Row("Dropout", "b = Dropout <ratio=0.5> (p)", opset=10, case="opset 10", reference="onnxruntime"),
    Row("Dropout", "b, m = Dropout (p, half)", {"half": 0.5}, opset=13, case="with its mask", reference="onnxruntime"),
    Row("Pow", "b = Pow (p, three)", {"three": 3.0}, opset=12, case="odd", reference="onnxruntime"),
    Row("Cast", "d = Cast <to=10> (p)\nb = Cast <to=1> (d)", opset=9, case="opset 9", reference="onnxruntime"),
)
