"""Clip coordinates against the runtime: which pixels move an element, and where a single hot pixel is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import TensorProto, helper
from position_nets import CHECKED, Case
from small_nets import Net, engine_of

import cfp_onnx as cfp
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.positions import grid_of, positions, spatial_axes
from cfp_onnx.pyramid.tube_collector import TubeCollector

Array = npt.NDArray[Any]


def impulses(shape: tuple[int, ...], axes: Sequence[int]) -> Array:
    """One clip per place of the input, hot there in all channels and 0 elsewhere."""
    sizes = [shape[a] for a in axes]
    clips = np.zeros((int(np.prod(sizes)), *shape[1:]), np.float32)
    for n, place in enumerate(np.ndindex(*sizes)):
        where: list[Any] = [slice(None)] * len(shape)
        for axis, at in zip(axes, place, strict=True):
            where[axis] = at
        clips[(n, *where[1:])] = 1.0
    return clips


def responses(case: Case, engine: Engine, clips: Array) -> dict[str, Array]:
    """Every tensor of the model as the runtime makes it: (clips, *shape for one clip)."""
    model = case.model()
    made = [name for node in model.graph.node for name in node.output if name not in {"y", "n", "nn"}]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(made, session.run(made, {"x": clips}), strict=True))
    return {
        name: value.reshape(len(clips), *engine.program.shapes[name])
        for name, value in found.items()
        if value.size == len(clips) * np.prod(engine.program.shapes[name])
    }


def engine_at(case: Case, folder: Path) -> Engine:
    return engine_of(case.model(), {"x": np.zeros(case.shape, np.float32)}, folder)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_a_coordinate_is_the_middle_of_the_pixels_that_move_the_element(case: Case, tmp_path: Path) -> None:
    engine = engine_at(case, tmp_path)
    channel = engine.axes["x"]
    axes = spatial_axes(len(case.shape), channel)
    found = positions(engine.topology, "x", channel)
    results = responses(case, engine, impulses(case.shape, axes))
    places = np.array(list(np.ndindex(*(case.shape[a] for a in axes))), np.float64)
    names = [n for n in results if n in found and n not in {"pooled", "flat", "p" if case.tail else "y"}]
    assert "f" in names
    judged = 0
    for name in names:
        hit = results[name] > 0
        for k, axis in enumerate(axes):
            at = places[:, k].reshape(-1, *[1] * (hit.ndim - 1))
            low, high = np.where(hit, at, np.inf).min(axis=0), np.where(hit, at, -np.inf).max(axis=0)
            inside = hit.any(axis=0) & (low >= case.margin) & (high <= case.shape[axis] - 1 - case.margin)
            claimed = np.broadcast_to(found[name][k], hit.shape[1:])
            truth = (low[inside] + high[inside]) / 2
            np.testing.assert_allclose(claimed[inside], truth, rtol=0, atol=case.slack, err_msg=f"{name}, axis {axis}")
            judged += int(inside.sum())
    assert judged > 20


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_a_hot_pixel_is_drawn_where_it_is(case: Case, tmp_path: Path) -> None:
    """Its kernels' tubes over the clip: no further off than half the stride, and right on average over a stride."""
    engine = engine_at(case, tmp_path)
    channel = engine.axes["x"]
    axes = spatial_axes(len(case.shape), channel)
    sizes = [case.shape[a] for a in axes]
    clips = impulses(case.shape, axes)
    results = responses(case, engine, clips)
    middle = [(n - case.stride) // 2 for n in sizes]
    judged = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    assert judged
    for layer in judged:
        feature = feature_of(engine.topology, layer, engine.target)
        for k, n in enumerate(sizes):
            errors = []
            for step in range(case.stride):
                place = [m + step * (j == k) for j, m in enumerate(middle)]
                value = results[feature.tensor][np.ravel_multi_index(place, sizes)]
                collector = TubeCollector.of(engine.topology, engine.depths, "x", channel)
                assert collector is not None
                collector.add_activations(layer, feature, value, np.arange(1))
                tube = collector.finish().items[0]
                drawn = np.maximum(tube.at(collector.size), 0).astype(np.float64)
                line = drawn.sum(axis=tuple(a for a in range(3) if a != 3 - len(sizes) + k))
                if line.sum() > 0:
                    errors.append(float((line * np.arange(n)).sum() / line.sum()) - place[k])
            assert errors, "no pixel is seen"
            assert max(abs(e) for e in errors) <= max(0.75, case.stride / 2), (layer.name, k, errors)
            if len(errors) == case.stride:
                assert abs(np.mean(errors)) <= 0.3 + case.slack / 2, (layer.name, k, errors)


def test_an_explicit_pad_counts_as_the_convolutions_own(tmp_path: Path) -> None:
    """Also beyond the border, where the line of coordinates goes on."""
    padded = next(c for c in CHECKED if c.name == "explicit pad")
    body = "c1 = Conv <pads=[1,1,1,1]> (x, w1)\nr1 = Relu (c1)\nc2 = Conv <pads=[3,2,1,4]> (r1, w2)\nf = Relu (c2)"
    one = engine_at(padded, tmp_path)
    two = engine_at(replace(padded, body=body, weights={k: padded.weights[k] for k in ("w1", "w2")}), tmp_path)
    for a, b in zip(positions(one.topology, "x", 1)["f"], positions(two.topology, "x", 1)["f"], strict=True):
        np.testing.assert_allclose(a, b)
        assert np.nanmin(a) == -2 or np.nanmin(a) == -1


def test_a_constant_token_looks_at_no_place(tmp_path: Path) -> None:
    case = next(c for c in CHECKED if c.name.startswith("class token"))
    engine = engine_at(case, tmp_path)
    grid = grid_of(positions(engine.topology, "x", 1)["f"], engine.program.shapes["f"], 2)
    assert grid.shape == (6, 5)
    np.testing.assert_allclose(grid.centres[0], 1.5 + 4 * np.arange(6))
    np.testing.assert_allclose(grid.centres[1], 1.5 + 4 * np.arange(5))
    np.testing.assert_array_equal(grid.index, np.arange(-1, 30))
    np.testing.assert_array_equal(grid.mean(np.arange(31.0)), np.arange(1.0, 31).reshape(6, 5))


@pytest.mark.parametrize(("value", "before"), [(0.5, np.nan), (0.0, -2.5)])
def test_what_is_put_beside_features_has_a_place_only_as_padding(value: float, before: float, tmp_path: Path) -> None:
    """A token that the file keeps, before the tokens of a signal: zeros are padding, anything else has no place."""
    body = (
        "c1 = Conv <strides=[4]> (x, w1)\nt1 = Transpose <perm=[0,2,1]> (c1)\nt2 = Concat <axis=1> (token, t1)\n"
        "f = MatMul (t2, w2)\nm = ReduceMean <keepdims=0> (f, one)\ny = MatMul (m, w3)"
    )
    weights = {
        "w1": (8, 1, 4), "w2": np.ones((8, 6), np.float32), "w3": np.ones((6, 5), np.float32), "one": [1],
        "token": np.full((1, 1, 8), value, np.float32),
    }  # fmt: skip
    net = Net("a token of its own", "x=1,1,20", body, weights)
    engine = engine_of(net.model(), net.feeds(), tmp_path)
    (found,) = positions(engine.topology, "x", 1)["f"]
    np.testing.assert_allclose(found.reshape(-1), [before, 1.5, 5.5, 9.5, 13.5, 17.5])
    clip = cfp.explain(tmp_path / "net.onnx", net.feeds(), device="cpu")
    assert clip.tubes is not None
    assert clip.target.score == pytest.approx(float(engine.plain(net.feeds())["y"].max()))


def test_elements_at_one_place_are_averaged_or_added_up(rng: np.random.Generator) -> None:
    """Columns of two channels, the second half a pixel further: their mean; then two rows at one place."""
    columns = np.array([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]).reshape(1, 2, 1, 3)
    rows = np.array([7.0, 9.0, 7.0, 3.0]).reshape(1, 1, 4, 1)
    grid = grid_of((rows, columns), (1, 2, 4, 3), 1)
    np.testing.assert_array_equal(grid.centres[0], [3, 7, 9])
    np.testing.assert_array_equal(grid.centres[1], [0.5, 2.5, 4.5])
    values = rng.standard_normal((5, 4, 3))
    np.testing.assert_allclose(grid.total(values)[:, 1], values[:, 0] + values[:, 2])
    np.testing.assert_allclose(grid.mean(values)[:, 1], (values[:, 0] + values[:, 2]) / 2)
    np.testing.assert_allclose(grid.mean(values)[:, 0], values[:, 3])
    np.testing.assert_allclose(grid.total(values)[:, 2], values[:, 1])
