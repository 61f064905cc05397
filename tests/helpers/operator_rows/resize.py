# ruff: noqa: E501  (a model in ONNX text reads better unbroken)
"""Rows of resizing."""

from __future__ import annotations

from operator_rows.row import Row

ROWS: tuple[Row, ...] = (
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
)


CASES: tuple[Row, ...] = (
    Row("Resize", 'b = Resize <mode="linear"> (p, , , sizes)', {"sizes": [1, 4, 9, 11]}, case="linear"),
    Row(
        "Resize",
        'b = Resize <mode="cubic", coordinate_transformation_mode="align_corners"> (p, , scales)',
        {"scales": [1.0, 1.0, 0.5, 2.0]},
        case="cubic",
    ),
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
)
