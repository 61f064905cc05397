"""Rows of movements."""

from __future__ import annotations

import numpy as np

from operator_rows.row import BACK, EIGHT, SCALE, Row, numbers

ROWS: tuple[Row, ...] = (
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
    Row("Trilu", "b = Trilu <upper=0> (p, one)", {"one": np.int64(1)}),
    Row("CenterCropPad", "b = CenterCropPad <axes=[1,2]> (p, sizes)", {"sizes": [7, 3]}, channels=7),
    Row("Pad", "b = Pad (p, pads)", {"pads": [0, 2, 1, 0, 0, 1, 0, -1]}, channels=7, reference="onnxruntime"),
    Row("DepthToSpace", 'b = DepthToSpace <blocksize=2, mode="CRD"> (p)', channels=1),
    Row("SpaceToDepth", "b = SpaceToDepth <blocksize=2> (p)", channels=16),
    Row(
        "com.microsoft::QLinearConcat",
        EIGHT + "k = com.microsoft.QLinearConcat <axis=1> (s, z, i, s, z, j, s, z)" + BACK,
        SCALE,
        channels=8,
        reference="onnxruntime",
    ),
)


CASES: tuple[Row, ...] = (
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
        {"w": numbers(2, 2, 3, 3), "v": numbers(2, 2, 3, 3)},
        opset=11,
        case="fibers",
    ),
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
    Row("Flatten", "g = GlobalMaxPool (p)\nb = Flatten (g)", reads="dense", case="pooled"),
    Row(
        "Transpose",
        "t = Transpose <perm=[0,2,3,1]> (p)\nu = Relu (t)\nb = Transpose <perm=[0,3,1,2]> (u)",
        case="there and back",
    ),
    Row(
        "ScatterND",
        "a = Squeeze (q, zero)\nc = Slice (a, zero, two, zero)\nb = ScatterND (nothing, places, c)",
        {"places": [[0, 3], [0, 1]], "zero": [0], "two": [2], "nothing": np.zeros((1, 4, 6, 6))},
        case="into zeros",
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
    Row(
        "GatherElements",
        "b = GatherElements <axis=3> (p, places)",
        {"places": np.random.default_rng(1).integers(0, 6, (1, 4, 2, 3))},
        case="of positions",
        reference="onnxruntime",
    ),
)
