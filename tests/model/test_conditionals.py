"""An If becomes the branch that was observed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from text_net import Array, engine_of, network


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
