"""An If becomes the branch that was observed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from text_net import Array, engine_of, network

from cfp_onnx import runtime


def chosen(sign: float) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A network whose If depends on the sign of the input's mean."""
    model = network(
        """m = ReduceMean <keepdims=0> (x)
        c = Greater (m, zero)
        a = Conv (x, w)
        g = GlobalAveragePool (a)
        f = Flatten (g)
        y = Gemm (f, v)""",
        {"w": (4, 3, 1, 1), "v": (4, 5), "zero": 0.0, "u": (4, 4, 1, 1)},
    )
    one = helper.make_node("Conv", ["a", "u"], ["then_value"], "deep")
    other = helper.make_node("Relu", ["a"], ["else_value"], "flat")
    made = [
        helper.make_graph([n], "branch", [], [helper.make_empty_tensor_value_info(n.output[0])]) for n in (one, other)
    ]
    call = helper.make_node("If", ["c"], ["k"], "switch", then_branch=made[0], else_branch=made[1])
    model.graph.node.insert(3, call)
    model.graph.node[4].input[0] = "k"
    return model, {"x": np.full((1, 3, 6, 6), sign, np.float32)}


@pytest.mark.parametrize(("sign", "layers"), [(1.0, 3), (-1.0, 2)])
def test_an_if_becomes_the_branch_the_clip_takes(sign: float, layers: int, tmp_path: Path) -> None:
    model, feeds = chosen(sign)
    engine = engine_of(model, tmp_path, feeds=feeds)
    assert len(engine.topology.layers) == layers
    assert engine.coverage.complete
    assert set(engine.relevance(feeds, 2)) == set(range(layers - 1))


def branch(nodes: list[onnx.NodeProto], *, inside: dict[str, Array] | None = None) -> onnx.GraphProto:
    """A branch that gives the output of its last node."""
    result = helper.make_empty_tensor_value_info(nodes[-1].output[0])
    held = [onnx.numpy_helper.from_array(a, k) for k, a in (inside or {}).items()]
    return helper.make_graph(nodes, "branch", [], [result], held)


def product(weight: str, out: str = "z") -> onnx.NodeProto:
    return helper.make_node("MatMul", ["f", weight], [out], "product")


INSIDE = np.random.default_rng(8).standard_normal((16, 40)).astype(np.float32)
NESTED_IF = helper.make_node(
    "If", ["far"], ["q"], "inner", then_branch=branch([product("o")]), else_branch=branch([product("t")])
)
LAST = [helper.make_node("MatMul", ["d", "h"], ["y"])]
ENDS = {
    "an output": (branch([product("t")]), branch([product("o")]), []),
    "an output that is read": (branch([product("t")]), branch([product("o")]), LAST),
    "an If inside": (
        branch([NESTED_IF, helper.make_node("Relu", ["q"], ["z"], "product")]), branch([product("o")]),
        LAST,
    ),
    "its own weights": (branch([product("mine")], inside={"mine": INSIDE}), branch([product("o")]), []),
    "handed on": (
        branch([helper.make_node("Identity", ["t40"], ["z"])]), branch([product("o")]),
        LAST,
    ),
}  # fmt: skip
"""Both branches of an If that gives ``d``, and what reads it."""


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", ENDS)
def test_an_if_is_no_obstacle_wherever_it_stands(kind: str, sign: float, tmp_path: Path) -> None:
    one, other, behind = ENDS[kind]
    model = network(
        """m = ReduceMean <keepdims=0> (x)
        c = Greater (m, zero)
        far = Greater (m, most)
        a = Conv (x, w)
        g = GlobalAveragePool (a)
        f = Flatten (g)
        t40 = MatMul (f, t)
        y = Identity (f)""",
        {"w": (16, 3, 1, 1), "t": (16, 40), "o": (16, 40), "h": (40, 5), "zero": 0.0, "most": 1e9},
    )
    del model.graph.node[-1]
    switch = helper.make_node("If", ["c"], ["d"], "switch", then_branch=one, else_branch=other)
    model.graph.node.extend([switch, *behind])
    names = ["d", "y"] if behind else ["d"]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names[::-1])
    feeds = {"x": np.full((1, 3, 6, 6), sign, np.float32)}
    engine = engine_of(model, tmp_path, feeds=feeds)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    found = runtime.run(engine.graph.session(runtime.Device("cpu")), names, feeds)
    for array, known in zip(found, session.run(names, feeds), strict=True):
        np.testing.assert_allclose(array, known, rtol=1e-5, atol=1e-5 * np.abs(known).max())
    assert engine.coverage.complete
    assert len({n.name for n in engine.program.nodes}) == len(engine.program.nodes)
    assert not any(np.any(np.isnan(r)) for r in engine.relevance(feeds, 2).values())
