"""Tokens that several layers made, mixed or averaged: what each kernel is worth, and who feeds each channel.

All is linear in the kernels here, so that a kernel's relevance is what the score loses when its weights are 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from text_net import network, saved

from cfp_onnx import explain
from cfp_onnx.pyramid.result import Pyramid

Array = npt.NDArray[Any]

CLIP = np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)

TOKENS = """c = Conv <strides=[2,2]> (x, patch)
r = Reshape (c, flat)
t = Transpose <perm=[0,2,1]> (r)
v = MatMul (t, vw)"""

MIXED = """steer = ReduceMean <keepdims=0> (x, places)
still = Mul (steer, zero)
scores = Add (start, still)
attention = Softmax <axis=-1> (scores)
m = MatMul (attention, values)
o = MatMul (m, ow)
first = Gather <axis=1> (o, nought)
y = MatMul (first, fw)"""

POOLED = """cls = Slice (v, a0, a1, a1)
rest = Slice (v, a1, end, a1)
turned = Transpose <perm=[0,2,1]> (rest)
grid = Reshape (turned, square)
p = Conv <group=6, pads=[1,1,1,1]> (grid, pool)
flatter = Reshape (p, lines)
back = Transpose <perm=[0,2,1]> (flatter)
values = Concat <axis=1> (cls, back)"""

MEMORY = "values = Concat <axis=1> (v, memory)"

MEAN = """h = MatMul (values, up)
s = Add (values, h)
g = ReduceMean <keepdims=0> (s, a1)
y = MatMul (g, fw)"""

CONSTANTS: dict[str, Any] = {
    "patch": (6, 3, 2, 2), "vw": (6, 6), "ow": (6, 6), "fw": (6, 3), "pool": (6, 1, 3, 3), "up": (6, 6),
    "flat": np.array([1, 6, 16]), "a0": np.array([0]), "a1": np.array([1]), "end": np.array([99]),
    "square": np.array([1, 6, 3, 5]), "lines": np.array([1, 6, 15]), "places": np.array([1, 2, 3]),
    "zero": np.float64(0), "nought": np.int64(0), "memory": (1, 4, 6),
}  # fmt: skip

NETS = {
    "pooled values beside a class token": (f"{TOKENS}\n{POOLED}\n{MIXED}", {"start": (1, 16, 16)}),
    "memory tokens": (f"{TOKENS}\n{MEMORY}\n{MIXED}", {"start": (1, 16, 20)}),
    "a mean over tokens of several sources, with a shortcut": (f"{TOKENS}\n{POOLED}\n{MEAN}", {}),
    "a mean over tokens beside constants, with a shortcut": (f"{TOKENS}\n{MEMORY}\n{MEAN}", {}),
}


def model(name: str) -> onnx.ModelProto:
    body, more = NETS[name]
    return network(body, {**CONSTANTS, **more}, "float[1,3,8,8] x")


def score(net: onnx.ModelProto, index: int) -> float:
    [y] = onnxruntime.InferenceSession(net.SerializeToString()).run(["y"], {"x": CLIP})
    return float(np.asarray(y).reshape(-1)[index])


def without(net: onnx.ModelProto, weight: str, kernel: int) -> onnx.ModelProto:
    """The model with the weights of one kernel set to 0."""
    copy = onnx.ModelProto()
    copy.CopyFrom(net)
    held = next(i for i in copy.graph.initializer if i.name == weight)
    values = numpy_helper.to_array(held).copy()
    if values.ndim == 2:
        values[:, kernel] = 0
    else:
        values[kernel] = 0
    held.CopyFrom(numpy_helper.from_array(values, weight))
    return copy


def explained(name: str, folder: Path, **options: Any) -> Pyramid:
    path = saved(model(name), folder)
    return explain(path, CLIP, target=1, depth="all", tubes=False, class_step="contribution", **options)


@pytest.mark.parametrize("hold", [(), ("attention",)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_relevance_is_what_the_score_loses(name: str, hold: tuple[str, ...], tmp_path: Path) -> None:
    net, pyramid = model(name), explained(name, tmp_path, hold=hold)
    assert pyramid.coverage.complete
    whole = score(net, 1)
    for layer in pyramid.layers:
        if layer.depth:
            lost = [whole - score(without(net, layer.weight, k), 1) for k in range(layer.kernels)]
            np.testing.assert_allclose(layer.relevance, lost, atol=1e-4 * max(map(abs, lost)))


@pytest.mark.parametrize("name", NETS)
def test_every_channel_has_its_sources(name: str, tmp_path: Path) -> None:
    pyramid = explained(name, tmp_path, theta=0.0)
    feeds = {"v"} if "memory" in name or "constants" in name else {"v", "p"}
    mean = "mean" in name
    reader = pyramid.edges[0] if mean else next(e for e in pyramid.edges if e.layer == "o")
    for link in reader.channels:
        assert {s.layer for s in link.sources} == (feeds | {"h"} if mean else feeds)
        assert all(s.kernel == link.channel for s in link.sources)
        assert sum(s.share for s in link.sources) == pytest.approx(1)
        assert {s.via for s in link.sources if s.layer != "h"} <= {"shortcut" if mean else "branch", "chain"}


ACROSS = f"{TOKENS}\nturned = Transpose <perm=[0,2,1]> (v)\n" + MIXED.replace("values)", "turned)").replace(
    "m, ow", "back, ow"
).replace("o = ", "back = Transpose <perm=[0,2,1]> (m)\no = ")


def test_an_attention_over_channels_hands_on_every_kernel(tmp_path: Path) -> None:
    net = network(ACROSS, {**CONSTANTS, "start": (1, 6, 6)}, "float[1,3,8,8] x")
    pyramid = explain(
        saved(net, tmp_path), CLIP, target=1, depth="all", tubes=False, class_step="contribution", theta=0
    )
    assert pyramid.coverage.complete
    [mixes] = [e for e in pyramid.edges if e.layer == "o"][:1]
    assert all({(s.layer, s.kernel) for s in c.sources} == {("v", k) for k in range(6)} for c in mixes.channels)
    lost = [score(net, 1) - score(without(net, "vw", k), 1) for k in range(6)]
    np.testing.assert_allclose(pyramid.layer("v").relevance, lost, atol=1e-4 * max(map(abs, lost)))


@pytest.mark.parametrize("name", NETS)
def test_zplus_reaches_every_layer(name: str, tmp_path: Path) -> None:
    assert all(any(x.relevance) for x in explained(name, tmp_path, rule="zplus").layers)
