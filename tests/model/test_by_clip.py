"""Networks whose branches, trips or lengths the clip's values choose are looked at again for every clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from loop_nets import NETS
from recurrent_nets import FORMS
from small_nets import Net, engine_of

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.checking.recorders import Recorders
from cfp_onnx.model import load

CHOSEN = {"Loop, as many trips as the input says", "RNN, lengths made of the clip"}
CAREFUL = {"Loop, ends when it says so", "Loop, sequences"}
"""Looked at again though only sizes choose: a body that makes its own condition, the length of a sequence."""


@pytest.mark.parametrize(
    "net", [n for n in (*NETS, *FORMS) if n in NETS or "plain" in n.name or n.name in CHOSEN], ids=lambda net: net.name
)
def test_values_that_choose_are_noticed(net: Net, tmp_path: Path) -> None:
    model = engine_of(net.model(), net.feeds(), tmp_path).model
    assert model.by_clip == (net.name in CHOSEN | CAREFUL)


def test_another_clip_gets_its_own_trips(tmp_path: Path) -> None:
    net = next(n for n in NETS if n.name == "Loop, as many trips as the input says")
    onnx.save(net.model(), tmp_path / "net.onnx")
    made = Recorders(load(tmp_path / "net.onnx"), runtime.Device("cpu"), "positional", None, None, False)
    clips = [{"x": np.full((1, 7, 5), v, np.float32)} for v in (-0.5, 0.5)]
    assert len({id(made.at(clip)) for clip in clips}) == 2
    assert made.at(clips[0]) is made.at({"x": clips[0]["x"].copy()})
    session = runtime.plain_session(load(tmp_path / "net.onnx"), runtime.Device("cpu"))
    for clip in clips:
        scores = made.at(clip).look(clip, 0).scores
        np.testing.assert_allclose(scores, runtime.run(session, ["y"], clip)[0].reshape(-1), rtol=1e-4, atol=1e-6)
    for name, clip in zip("ab", clips, strict=True):
        np.save(tmp_path / f"{name}.npy", clip["x"])
    both = [tmp_path / "a.npy", tmp_path / "b.npy"]
    assert cfp.compare(tmp_path / "net.onnx", tmp_path / "net.onnx", both).same
