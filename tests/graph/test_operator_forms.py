"""Movements are the operators themselves, and a form that a handler does not know is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_rows import CASES, ROWS, Row
from text_net import engine_of, network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import UnsupportedOperatorError
from cfp_onnx.explanation.network import channel_axes
from cfp_onnx.graph.effects import Move
from cfp_onnx.graph.topology import build
from cfp_onnx.model import load
from cfp_onnx.runtime.probe import Probe

MOVEMENTS = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Concat", "Split", "Slice", "Gather",
     "GatherElements", "GatherND", "ScatterND", "ScatterElements", "Pad", "DepthToSpace", "SpaceToDepth", "Resize",
     "Upsample", "QLinearConcat", "Trilu", "CenterCropPad"}
)  # fmt: skip


BLENDS = frozenset({"linear", "cubic"})
MOVES = [
    row
    for row in ROWS + CASES
    if not row.still and row.case not in BLENDS and any(n.op_type in MOVEMENTS for n in row.model.graph.node)
]


CHANNELS_LAST = """i = QuantizeLinear (a, s, z)
t = Transpose <perm=[0,2,3,1]> (i)
q = com.microsoft.QLinearConv <channels_last=1> (t, s, z, n, s, z, s, z)
h = DequantizeLinear (q, s, z)
c = Transpose <perm=[0,3,1,2]> (h)"""


@pytest.mark.parametrize("row", MOVES, ids=lambda row: " ".join((row.op, row.case)).strip())
def test_a_movement_moves_every_element_as_the_runtime_does(row: Row, tmp_path: Path) -> None:
    """Labels and fields only follow a movement to the right places if it is the operator itself."""
    model = load(saved(row.model, tmp_path))
    feeds = runtime.random_feeds(model)
    program = runtime.observe(model, feeds)
    topology = build(program, channel_axes=channel_axes(program))
    moves = [(n, e) for n in program.nodes if isinstance(e := topology.effects.get(n.name), Move)]
    names = dict.fromkeys(n for node, e in moves for n in [*(node.inputs[i] for i in e.sources), *node.outputs])
    probe = Probe(model.opset)
    probe.outputs = [n for n in names if not program.is_constant(n)]
    session = runtime.Graph.of(program.model).with_probe(probe, keep_outputs=False).session(runtime.Device("cpu"))
    values = dict(zip(probe.outputs, runtime.run(session, probe.outputs, feeds), strict=True))
    assert moves
    for node, effect in moves:
        arrays = [values[n] if n in values else program.constant(n) for n in (node.inputs[i] for i in effect.sources)]
        for name, moved in zip(node.outputs, effect.apply(arrays, 0), strict=True):
            np.testing.assert_array_equal(np.broadcast_to(moved, values[name].shape), values[name], err_msg=node.name)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ('c = com.microsoft.FusedConv <activation="Relu"> (a, v, k, a)', "com.microsoft::FusedConv"),
        ("c = Pow (o6, a)", "Pow"),
        ("c = Conv (a, v, b)", "Conv"),
        (CHANNELS_LAST, "com.microsoft::QLinearConv"),
        ("c = Clip (a, b1)", "Clip"),
        ("c = LayerNormalization <axis=3> (a, b6)", "LayerNormalization"),
        ("r = ReduceL2 (a, last)\nc = Mul (r, o6)", "ReduceL2"),
        ("c, i = TopK <axis=3> (a, two)", "TopK"),
        ('c = Resize <mode="linear", antialias=1> (a, , scales)', "Resize"),
        ('c = Einsum <equation="nchw,dc,ed->nehw"> (a, m, m)', "Einsum"),
    ],
)
def test_a_use_that_a_handler_does_not_know_is_refused(body: str, operator: str, tmp_path: Path) -> None:
    """An addend, a factor or an order that the effect has no place for would otherwise be lost in silence."""
    weights: dict[str, Any] = {
        "w": (6, 3, 1, 1), "v": (6, 6, 1, 1), "k": (6,), "o": (6,), "o6": 2.0, "u": (5, 6, 1, 1), "m": (6, 6),
        "s": np.float32(0.05), "z": np.uint8(128), "n": np.full((6, 6, 1, 1), 130, np.uint8), "last": [2, 3],
        "one": [1], "two": [2], "scales": np.array([1, 1, 2, 2], np.float32), "flat": [-1], "all": [0, 1, 2, 3],
    }  # fmt: skip
    before = "a = Conv (x, w)"
    for name, made in {
        "b": "bp = GlobalAveragePool (a)\nb = Reshape (bp, flat)",
        "b1": "b1 = ReduceMean <keepdims=0> (a, all)",
        "b6": "b6 = ReduceMean <keepdims=0> (a, start)",
    }.items():
        if f" {name})" in body:
            before += "\n" + made
    weights["start"] = [0, 1, 2]
    text = f"{before}\n{body}\nd = Conv (c, u)\ng = GlobalAveragePool (d)\ny = Flatten (g)"
    used = {n: v for n, v in weights.items() if n in text.replace("(", " ").replace(")", " ").replace(",", " ").split()}
    with pytest.raises(UnsupportedOperatorError) as caught:
        engine_of(network(text, used), tmp_path)
    assert caught.value.operator == operator
