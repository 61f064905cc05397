"""What lies between the logits and the output, judged by undoing what the runtime did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from text_net import engine_of, network, saved

from cfp_onnx import runtime
from cfp_onnx.graph.target import behind_target, class_axis, logits_of, probabilities
from cfp_onnx.model import load

BODY = """a = Conv (x, w)
r = Relu (a)
g = GlobalAveragePool (r)
f = Flatten (g)
z = Gemm (f, v)
"""
WEIGHTS = {"w": (4, 3, 1, 1), "v": (4, 5)}
TAILS = {
    "nothing": ("y = Identity (z)", "y", ()),
    "Softmax": ("y = Softmax (z)", "z", ("Softmax",)),
    "LogSoftmax": ("y = LogSoftmax (z)", "z", ("LogSoftmax",)),
    "Sigmoid, moves around it": ("i = Identity (z)\ns = Sigmoid (i)\ny = Identity (s)", "i", ("Sigmoid",)),
}


@pytest.mark.parametrize("name", TAILS)
def test_the_final_functions_are_found_and_undone(name: str, tmp_path: Path) -> None:
    tail, target, functions = TAILS[name]
    engine = engine_of(network(BODY + tail, WEIGHTS), tmp_path)
    assert engine.target == target
    behind = behind_target(engine.program, "y", target)
    assert tuple(n.op for n in behind) == functions
    assert class_axis(engine.topology, target) == (5, 1)
    proto = network(BODY + tail, WEIGHTS)
    if target != "y":
        proto.graph.output.append(helper.make_empty_tensor_value_info(target))
    file = load(saved(proto, tmp_path))
    names = [p.name for p in file.outputs]
    values = runtime.run(runtime.plain_session(file, runtime.Device("cpu")), names, runtime.random_feeds(file))
    difference = logits_of(values[0][0].astype(np.float64), behind) - values[-1][0]
    assert difference == pytest.approx(np.full(5, difference[0]), abs=1e-4)


def test_of_several_functions_the_first_computed_comes_first(tmp_path: Path) -> None:
    engine = engine_of(network(BODY + "s = Sigmoid (z)\ny = Softmax (s)", WEIGHTS), tmp_path)
    assert engine.target == "z"
    assert [n.op for n in behind_target(engine.program, "y", "z")] == ["Sigmoid", "Softmax"]


def test_scores_of_0_and_1_have_logits(tmp_path: Path) -> None:
    engine = engine_of(network(BODY + "y = Sigmoid (z)", WEIGHTS), tmp_path)
    found = logits_of(np.array([0.0, 1.0]), behind_target(engine.program, "y", "z"))
    assert np.isfinite(found).all()
    assert found[0] < -80
    assert found[1] > 80


def test_a_map_of_classes_is_told_along_its_axis(tmp_path: Path) -> None:
    weights = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1)}
    engine = engine_of(network("a = Conv (x, w)\nr = Relu (a)\ny = Conv (r, v)", weights), tmp_path)
    assert class_axis(engine.topology, engine.target) == (5, 1)


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        ("y = Identity (z)", (3, 2)),
        ("y = Softmax <axis=1> (z)", (2, 1)),
        ("y = Softmax (z)", (3, 2)),
        ("y = ArgMax <axis=1> (z)", (2, 1)),
    ],
)
def test_of_two_axes_of_kernels_the_classes_lie_along_that_of_the_softmax_or_the_last(
    tail: str, found: tuple[int, int], tmp_path: Path
) -> None:
    body = f"a = Conv (x, w)\ng = GlobalAveragePool (a)\nz = Reshape (g, k)\n{tail}"
    model = network(body, {"w": (6, 3, 1, 1), "k": np.array([1, 2, 3])})
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    engine = engine_of(model, tmp_path)
    assert class_axis(engine.topology, engine.target) == found


def test_sizes_of_boxes_beside_scores_are_told_from_them(tmp_path: Path) -> None:
    body = """a = Conv (x, w)
s = Sigmoid (a)
t = Transpose <perm=[0,2,3,1]> (s)
p, q = Split <axis=3> (t, k)
b = Mul (p, h)
n = Concat <axis=3> (b, q)
m = Concat <axis=1> (n, n)
y = Reshape (m, f)"""
    weights = {"w": (6, 3, 1, 1), "k": np.array([2, 4]), "h": np.array([9.0]), "f": np.array([1, -1, 6])}
    engine = engine_of(network(body, weights), tmp_path)
    assert probabilities(engine.program, "y", 2).tolist() == [False] * 2 + [True] * 4
    assert probabilities(engine.program, "t", 3).all()
    assert not probabilities(engine.program, "a", 1).any()
