"""What is said of the signs of tensors, judged by what the runtime computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from text_net import engine_of, network

from cfp_onnx.explanation.engine import Engine
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.signs import Signs
from cfp_onnx.relevance.zplus import ZPlus
from cfp_onnx.runtime.probe import Probe

BODY = """half = Mul (x, h)
centred = Sub (half, h)
turned = Transpose <perm=[0,1,3,2]> (x)
doubled = Add (x, x)
a = Conv (x, w)
r = Relu (a)
same = Identity (r)
sigmoid = Sigmoid (a)
tanh = Tanh (a)
fused = com.microsoft.FusedConv <activation="Relu"> (x, w, bias)
fused_tanh = com.microsoft.FusedConv <activation="Tanh"> (x, w, bias)
largest = MaxPool <kernel_shape=[2,2]> (r)
mean = AveragePool <kernel_shape=[2,2]> (a)
moved = Transpose <perm=[0,1,3,2]> (r)
zeros = Pad (r, around)
ones = Pad (r, around, minus)
sum = Add (r, sigmoid)
mixed = Add (r, a)
less = Sub (r, sigmoid)
negative = Neg (r)
joined = Concat <axis=1> (r, sigmoid)
partly = Concat <axis=1> (r, a)
g = GlobalAveragePool (r)
y = Flatten (g)"""
WEIGHTS = {"w": (4, 3, 1, 1), "bias": (4,), "h": 0.5, "minus": -1.0, "around": [0, 0, 1, 1, 0, 0, 1, 1]}
NAMES = [line.split(" = ")[0] for line in BODY.splitlines()][:-2]


def signs_of(engine: Engine) -> Signs:
    probe = Probe(engine.model.opset)
    return Signs(Walk(engine.topology, engine.target, depths=engine.depths, depth=None, rule=ZPlus, probe=probe))


def test_what_is_said_never_to_be_below_0_never_is_and_the_rest_is(tmp_path: Path) -> None:
    model = network(BODY, WEIGHTS)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in NAMES)
    feeds = {"x": np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    engine = engine_of(model, tmp_path, feeds=feeds)
    signs, values = signs_of(engine), engine.plain(feeds)
    assert {name: signs.nonnegative(name) for name in NAMES} == {name: bool(values[name].min() >= 0) for name in NAMES}
    inputs = {name for name in ["x", *NAMES] if signs.is_input(name)}
    assert inputs == {"x", "half", "centred", "turned"}


@pytest.mark.parametrize(("value", "expected"), [(-0.5, False), (0.5, True)])
def test_a_pad_of_an_old_opset_keeps_its_value_in_an_attribute(value: float, expected: bool, tmp_path: Path) -> None:
    body = f"a = Conv (x, w)\nr = Relu (a)\np = Pad <pads=[0,0,1,1,0,0,1,1], value={value}> (r)\nc = Conv (p, v)\n"
    model = network(
        body + "g = GlobalAveragePool (c)\ny = Flatten (g)", {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1)}, opset=9
    )
    engine = engine_of(model, tmp_path)
    assert signs_of(engine).nonnegative("p") is expected
