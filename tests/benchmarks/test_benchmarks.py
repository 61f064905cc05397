"""The benchmarks measure what they claim: times of the session that is meant, what a session keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from gated_net import FRAMES
from gated_net import network as gated
from onnx_text import small

from benchmarks import overhead, wild
from cfp_onnx import model, runtime
from cfp_onnx.explanation.engine import Engine


@pytest.fixture(params=["N", 1], ids=["free batch", "batch 1"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(gated(rng, request.param), path)
    return path


@pytest.fixture
def engine(tiny: Path) -> Engine:
    return Engine(model.load(tiny), FRAMES, device=runtime.Device("cpu", 1))


def test_overhead_prints_its_columns(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "overhead.json"
    arguments = [str(tiny), "--pairs", "1", "--threads", "1", "--active", "--no-memory", "--json", str(found)]
    assert overhead.main(arguments) == 0
    head = capsys.readouterr().out.splitlines()[0]
    modes = ["published", "mean", "positional", "active"]
    columns = ["network", "plain ms", *modes, "control", "file itself", "published walk"]
    assert [c.strip() for c in head.strip("|").split("|")] == columns
    (row,) = json.loads(found.read_text())
    assert set(row["timings"]) == {"control", "published", "mean", "positional", "active", "file"}
    assert all(t["ratio"] > 0 for t in row["timings"].values())
    floats = 2 * 75 + 6 * 75 * 5 + 6 * 3 + 8 * 75 * 2 + 8 * 2 + 3
    assert row["activations_mb"] == pytest.approx(4 * floats / 1e6)


@pytest.mark.parametrize("mode", ["plain", "positional"])
def test_a_child_measures_the_saved_session(engine: Engine, mode: str) -> None:
    measured = overhead.plain(engine, FRAMES) if mode == "plain" else overhead.probed(engine, FRAMES, mode, 0)
    assert 10 < overhead.session_peak(measured, 1) < 500


def test_the_saved_graph_is_the_session(engine: Engine, tmp_path: Path) -> None:
    measured = overhead.probed(engine, FRAMES, "positional", 1)
    path = overhead.save(measured, tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for one, other in zip(
        session.run(measured.names, measured.feeds),
        measured.session.run(measured.names, measured.feeds),
        strict=True,
    ):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_noisy_control_is_flagged() -> None:
    steady, noisy = (overhead.Timing.of([(1.0, r)]) for r in (1.01, 1.03))
    results = [overhead.Result(n, [1], 1.0, {"control": c}) for n, c in (("good", steady), ("bad", noisy))]
    assert [r.steady for r in results] == [True, False]
    text = overhead.markdown(results)
    assert "Discard the times of bad:" in text
    assert text.count("**noisy**") == 1


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    assert overhead.Timing.of([(1.0, 2.0), (2.0, 2.0), (1.0, 30.0)]).ratio == 2


def test_the_sweep_tells_what_becomes_of_each_file(
    tiny: Path, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = tmp_path / "files", tmp_path / "wild.json"
    folder.mkdir()
    onnx.save(gated(rng, 1), folder / "gated.onnx")
    onnx.save(small("g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = Relu(x) }"), folder / "relu.onnx")
    (folder / "torn.onnx").write_bytes(tiny.read_bytes()[:200])
    assert wild.main([str(folder), "--seconds", "100", "--json", str(found)]) == 0
    gate, relu, torn = json.loads(found.read_text())
    assert (gate["outcome"], gate["layers"], gate["equal"], gate["coverage"]) == ("explained", True, True, 1.0)
    assert gate["relevant"] > 0
    assert (relu["outcome"], relu["layers"], torn["outcome"]) == ("refused", False, "not run")
    assert "1 of 1 that run and have layers are explained (100.0 %)" in capsys.readouterr().out


def test_the_sweep_knows_a_score_that_is_not_the_files() -> None:
    output = np.array([[0.25, 0.5], [4.0, 8.0]], np.float32)
    assert wild.holds(output, 1, 0.5)
    assert not wild.holds(output, 1, 8.0)
    assert wild.holds(np.arange(12.0).reshape(1, 2, 6), 1, 8.5)
    assert not wild.holds(np.arange(12.0).reshape(1, 2, 6), 0, 8.5)
    assert wild.holds(np.arange(12.0).reshape(1, 2, 6), 1, 7.0, placed=True)
    assert not wild.holds(np.arange(12.0).reshape(1, 2, 6), 5, 8.0, placed=True)
    assert wild.holds(np.array([3]), 3, 0.2)
    assert not wild.holds(np.array([3]), 2, 0.2)
    assert wild.holds([{"ant": 0.25, "bee": 0.75}], 1, 0.75)
    assert not wild.holds([{"ant": 0.25, "bee": 0.75}], 0, 0.75)
