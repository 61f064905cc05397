"""A convolution that a loop runs over the frames: explained as one layer, and what has no map says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from small_nets import Net

import cfp_onnx as cfp

BODY = (
    "body (int64 i, bool c, float[1,4,8,8] h) => (bool co, float[1,4,8,8] hn) { co = Identity (c)\n"
    "xi = Gather <axis=2> (x, i)\nxc = Conv <pads=[1,1,1,1]> (xi, wx, bx)\nhc = Conv <pads=[1,1,1,1]> (h, wh)\n"
    "s = Add (xc, hc)\nhn = Relu (s) }"
)
NET = Net(
    "frames in a loop", "x=1,3,6,8,8", f"f = Loop <body = {BODY}> (n, yes, h0)",
    {"n": np.array(6, np.int64), "yes": np.array(True), "h0": np.zeros((1, 4, 8, 8), np.float32),
     "wx": (4, 3, 3, 3), "bx": (4,), "wh": (4, 4, 3, 3)}, 17, head=4,
)  # fmt: skip


def test_frames_in_a_loop(tmp_path: Path) -> None:
    onnx.save(NET.model(), tmp_path / "net.onnx")
    np.savez(tmp_path / "clip.npz", **NET.feeds())
    pyramid = cfp.explain(tmp_path / "net.onnx", tmp_path / "clip.npz", depth="all", layout="NCTHW")
    assert [(x.name, x.kernels, x.depth) for x in pyramid.layers] == [("f/xc", 4, 2), ("f/hc", 4, 1), ("y", 5, 0)]
    assert pyramid.coverage.complete
    assert "do not say where: layers of a loop, with a map for each trip" in str(pyramid)
    pyramid.save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
