"""Interpolation as a matrix: the numbers of onnxruntime's own Resize, and what it means for kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from removal import lost_by_removal
from text_net import network, saved

from cfp_onnx import explain
from cfp_onnx.graph.interpolation import COORDINATES, Line, interpolation


def resized(x: np.ndarray, scale: float, **attributes: Any) -> np.ndarray:
    scales = numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), "scales")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)], "g",
        [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, None)], [scales],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
@pytest.mark.parametrize("cubic", [None, -0.75, -0.5])
@pytest.mark.parametrize("scale", [2.0, 0.5, 1.6, 0.7, 0.15])
@pytest.mark.parametrize("outside", [True, False])
def test_the_matrix_does_what_the_runtime_does(
    coordinates: str, cubic: float | None, scale: float, *, outside: bool
) -> None:
    x = np.random.default_rng(1).standard_normal((1, 1, 4, 7)).astype(np.float32)
    more = {} if cubic is None else {"cubic_coeff_a": cubic, "exclude_outside": int(not outside)}
    if cubic is None and not outside:
        more = {}
    mode = "linear" if cubic is None else "cubic"
    y = resized(x, scale, mode=mode, coordinate_transformation_mode=coordinates, **more)
    matrix = interpolation(7, y.shape[3], scale, Line(coordinates, cubic, outside=outside or cubic is None))
    np.testing.assert_allclose(x @ matrix.T, y, atol=1e-5)


NET = """a = Conv (x, w)
b = Resize <mode="{mode}", coordinate_transformation_mode="{places}"> (a, , , size)
c = Conv <pads=[1,1,1,1]> (b, v)
p = Slice (c, low, high, axes)
g = ReduceSum <keepdims=0> (p, axes)
y = MatMul (g, z)"""
WEIGHTS: dict[str, Any] = {
    "w": (4, 3, 1, 1), "v": (5, 4, 3, 3), "z": (5, 3), "size": np.array([1, 4, 11, 9]), "axes": np.array([2, 3]),
    "low": np.array([1, 2]), "high": np.array([7, 5]),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("places", ["half_pixel", "align_corners"])
def test_relevance_is_what_the_score_loses(mode: str, places: str, tmp_path: Path) -> None:
    model = network(NET.format(mode=mode, places=places), WEIGHTS, opset=18)
    clip = np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)
    pyramid = explain(saved(model, tmp_path), clip, target=1, depth="all", class_step="contribution")
    assert pyramid.coverage.complete

    lost = lost_by_removal(model, clip, 1)
    assert len(lost) == 4
    np.testing.assert_allclose(pyramid.layers[0].relevance, lost, atol=1e-4 * max(map(abs, lost)))
    assert any(explain(saved(model, tmp_path), clip, target=1, depth="all", rule="zplus").layers[0].relevance)
