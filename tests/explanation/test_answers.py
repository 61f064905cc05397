"""The score without a pass of its own: what the file answered while its shapes were observed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from text_net import network, saved

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Sessions
from cfp_onnx.model import load

BODY = "a = Conv (x, w)  r = Relu (a)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, v)"
HALF = """h = Cast <to = 10> (x)  k = Cast <to = 10> (w)  a = Conv (h, k)  r = Relu (a)  g = GlobalAveragePool (r)
f = Flatten (g)  m = Cast <to = 1> (f)  y = MatMul (m, v)"""
SIZES = {"w": (4, 3, 3, 3), "v": (4, 5)}


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each run of the file alone."""
    seen: list[str] = []
    real: Callable[..., dict[str, Any]] = Sessions.plain
    monkeypatch.setattr(Sessions, "plain", lambda self, feeds: (seen.append("plain"), real(self, feeds))[1])
    return seen


def test_a_file_of_float32_is_not_run_alone(tmp_path: Path, rng: np.random.Generator, count: list[str]) -> None:
    path, clip = saved(network(BODY, SIZES), tmp_path), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    pyramid = cfp.explain(path, clip, device="cpu")
    alone = runtime.run(runtime.plain_session(load(path), runtime.Device("cpu")), ["y"], {"x": clip})[0]
    assert count == []
    assert pyramid.target.score == pytest.approx(float(alone.max()), rel=1e-6)


def test_half_precision_is(tmp_path: Path, rng: np.random.Generator, count: list[str]) -> None:
    path, clip = saved(network(HALF, SIZES), tmp_path), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    cfp.explain(path, clip, device="cpu")
    assert count == ["plain"]


def test_runs_that_differ_by_more_than_rounding_are_settled_by_the_file_alone(
    tmp_path: Path, rng: np.random.Generator, count: list[str]
) -> None:
    path, clip = saved(network(BODY, SIZES), tmp_path), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    engine = Engine(load(path), {"x": clip}, device=runtime.Device("cpu"))
    right = float(engine.answers({"x": clip})["y"][0, 0])
    engine.program.answers["y"][...] *= 1.0001
    settings = cfp.explanation.options.WalkOptions().settings()
    footage = cfp.explanation.options.ClipOptions().read(clip, engine.file)
    seen = engine.answers({"x": clip})
    pyramid = engine.pyramid(footage, settings, rule="positional", labels=None, plain=seen)
    assert count == ["plain"]
    assert pyramid.target.score == pytest.approx(right, rel=1e-6)


def test_another_clip_is_run(tmp_path: Path, rng: np.random.Generator, count: list[str]) -> None:
    path, clip = saved(network(BODY, SIZES), tmp_path), rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    engine = Engine(load(path), {"x": clip}, device=runtime.Device("cpu"))
    engine.answers({"x": 2 * clip})
    assert count == ["plain"]


def test_a_file_that_the_runtime_does_not_load_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    model = network(BODY, SIZES)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", TensorProto.INT32, [1, 4, 4, 4]))
    path = saved(model, tmp_path)
    with pytest.raises(ModelError, match="onnxruntime cannot run"):
        cfp.explain(path, rng.standard_normal((1, 3, 6, 6)).astype(np.float32), device="cpu")


def test_an_answer_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = saved(network(BODY, SIZES), tmp_path)
    with pytest.raises(RunError, match="NaN or infinity"):
        cfp.explain(path, np.full((1, 3, 6, 6), 3e38, np.float32), device="cpu")
