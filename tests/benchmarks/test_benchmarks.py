"""The benchmarks measure what they claim: ranks by hand, ablation by running the whole network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from benchmarks import overhead, truth, tubes
from cfp_onnx import model, runtime
from cfp_onnx.explanation.engine import Engine

FRAMES = {"clip": np.random.default_rng(7).standard_normal((1, 2, 3, 5, 5)).astype(np.float32)}


def network(rng: np.random.Generator, batch: int | str) -> onnx.ModelProto:
    """Conv, ReLU, gate, shortcut around a conv, mean, three classes; every kernel map is a tensor `relu*`."""
    shapes = {"w1": (6, 2, 3, 3, 3), "wg": (6, 6, 1, 1, 1), "w2": (6, 6, 1, 3, 3), "w3": (8, 6, 1, 1, 1)}
    weights = {"b4": np.zeros(3, np.float32)}
    for name, shape in {**shapes, "w4": (3, 8)}.items():
        weights[name] = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) / 2)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["clip", "w1"], ["c1"], "one", pads=[1] * 6),
        helper.make_node("Relu", ["c1"], ["relu1"], "relu_one"),
        helper.make_node("GlobalAveragePool", ["relu1"], ["s"], "squeeze"),
        helper.make_node("Conv", ["s", "wg"], ["e"], "excite"),
        helper.make_node("Sigmoid", ["e"], ["gate"], "sigmoid"),
        helper.make_node("Mul", ["relu1", "gate"], ["gated"], "gating"),
        helper.make_node("Conv", ["gated", "w2"], ["c2"], "two", pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Add", ["c2", "gated"], ["sum"], "shortcut"),
        helper.make_node("Conv", ["sum", "w3"], ["c3"], "three"),
        helper.make_node("Relu", ["c3"], ["relu3"], "relu_three"),
        helper.make_node("GlobalAveragePool", ["relu3"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["logits"], "head", transB=1),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("clip", kind, [batch, 2, 3, 5, 5])],
        [helper.make_tensor_value_info("logits", kind, [batch, 3])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(params=["N", 1], ids=["free batch", "batch 1"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(network(rng, request.param), path)
    return path


@pytest.fixture
def engine(tiny: Path) -> Engine:
    return Engine(model.load(tiny), FRAMES, device=runtime.Device("cpu", 1))


def test_spearman_with_ties_agrees_with_a_hand_computed_case() -> None:
    # Ranks 0 1.5 1.5 3 4 against 1 0 2 4 3: products 7, sums of squares 9.5 and 10.
    assert np.array_equal(truth.ranks(np.array([1.0, 2.0, 2.0, 7.0, 9.0])), [0, 1.5, 1.5, 3, 4])
    one, other = np.array([1.0, 2.0, 2.0, 7.0, 9.0]), np.array([5.0, -1.0, 6.0, 80.0, 8.0])
    assert truth.spearman(one, other) == pytest.approx(7 / np.sqrt(9.5 * 10), abs=1e-12)


def test_spearman_is_one_for_equal_order_and_minus_one_for_reversed(rng: np.random.Generator) -> None:
    values = rng.standard_normal(30)
    assert truth.spearman(values, np.exp(values)) == pytest.approx(1)
    assert truth.spearman(values, -values) == pytest.approx(-1)
    assert truth.spearman(values, np.zeros(30)) == 0


def test_overlap_and_recall_count_the_true_top() -> None:
    exact = np.arange(20.0)
    assert truth.best(exact, 0.1) == {18, 19}
    assert truth.agreement(exact, exact) == truth.Agreement(pytest.approx(1), 1, 1)
    third, fifth = (truth.agreement(np.roll(exact, shift), exact) for shift in (2, 4))
    assert (third.overlap, third.recall) == (0, 1)
    assert (fifth.overlap, fifth.recall) == (0, 0)


def test_the_margin_is_a_logit_less_the_mean_of_the_others() -> None:
    logits = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    assert np.array_equal(truth.margins(logits, 2, 1, 3), [4.5, 3.0])
    assert np.array_equal(truth.margins(logits, 0, 1, 3), [-3.0, -1.5])


def test_the_suffix_reproduces_the_logits(engine: Engine) -> None:
    ablation = truth.Ablation(engine)
    tensors = [f.tensor for _, f in truth.judged(engine)]
    recorded = ablation.record(tensors, FRAMES)
    expected = engine.plain(FRAMES)["logits"]
    for tensor in tensors:
        for live in (False, True):
            cut = ablation.suffix(tensor, live=live)
            value = recorded[tensor] if cut.batched else recorded[tensor][None]
            assert cut("logits", value, recorded) == pytest.approx(expected, abs=1e-5)


def test_the_gate_layer_is_not_judged_and_a_gate_follows_the_first_layer_only(engine: Engine) -> None:
    ablation = truth.Ablation(engine)
    assert ablation.gates == {"gate"}
    follow = {layer.name: ablation.gates_follow(f.tensor) for layer, f in truth.judged(engine)}
    assert follow == {"three": False, "two": False, "one": True}


@pytest.mark.parametrize("live", [False, True], ids=["frozen", "live"])
def test_ablation_is_what_the_whole_network_gives(
    engine: Engine, tiny: Path, live: bool, rng: np.random.Generator
) -> None:
    """A mask behind relu1, and a constant gate where it is frozen, in the whole network."""
    layer, feature = truth.judged(engine)[-1]
    assert (layer.name, feature.tensor) == ("one", "relu1")
    ablation = truth.Ablation(engine)
    falls = ablation.falls(feature, 1, ablation.record(["relu1"], FRAMES), live=live)

    proto = onnx.load(tiny)
    proto.graph.node[1].output[0] = "raw"
    proto.graph.node.insert(2, helper.make_node("Mul", ["raw", "mask"], ["relu1"], "masking"))
    proto.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1, 6, 1, 1, 1]))
    proto.graph.output.append(helper.make_tensor_value_info("gate", onnx.TensorProto.FLOAT, None))
    whole = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ones = np.ones((1, 6, 1, 1, 1), np.float32)
    gate = whole.run(["gate"], {**FRAMES, "mask": ones})[0]
    if not live:
        next(n for n in proto.graph.node if n.name == "sigmoid").output[0] = "unused"
        del proto.graph.output[1:]
        proto.graph.initializer.append(numpy_helper.from_array(gate, "gate"))
        whole = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    def margin(mask: np.ndarray) -> float:
        logits = whole.run(["logits"], {**FRAMES, "mask": mask})[0][0].astype(np.float64)
        return float(logits[1] - (logits[0] + logits[2]) / 2)

    masks = ones - np.eye(6, dtype=np.float32).reshape(6, 1, 6, 1, 1, 1)
    assert falls == pytest.approx([margin(ones) - margin(m) for m in masks], abs=1e-5)
    assert truth.agreement(falls, falls) == truth.Agreement(pytest.approx(1), 1, 1)


def test_before_a_linear_head_positional_relevance_is_the_ablation_itself(engine: Engine) -> None:
    layer, feature = truth.judged(engine)[0]
    ablation = truth.Ablation(engine)
    falls = ablation.falls(feature, 2, ablation.record([feature.tensor], FRAMES), live=False)
    assert engine.relevance(FRAMES, 2)[layer.index] == pytest.approx(falls, abs=1e-5)


def test_truth_prints_one_row_for_each_rule(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "truth.json"
    arguments = ["--model", str(tiny), "--clips", "2", "--threads", "1", "--layers", "--json", str(found)]
    assert truth.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"| {truth.NAMES.get(rule, rule)} | " in printed for rule in truth.RULES)
    rules = json.loads(found.read_text())["rules"]
    assert rules["positional"]["near head"] == pytest.approx(1)
    assert set(rules) == set(truth.RULES)


def test_motion_clips_are_fed_where_the_network_takes_them() -> None:
    port = model.Port("clip", (None, 3, 16, 40, 40), "float32")
    loaded = model.Model(Path("demo.onnx"), "", "", 20, (port,), (), {}, None)  # type: ignore[arg-type]
    (feeds, label), (again, _) = truth.clips(loaded, 2, truth.TEST_SEED)
    expected = (truth.make_clip(truth.TEST_SEED).frames[3, 5, 7].astype(np.float32) / 255 - 0.5) / 0.25
    assert feeds["clip"][0, :, 3, 5, 7] == pytest.approx(expected)
    assert label == truth.make_clip(truth.TEST_SEED).label
    assert not np.array_equal(feeds["clip"], again["clip"])


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


# ------------------------------------------------------------------------------------------------ tubes


def test_energy_is_one_by_chance_and_the_inverse_of_the_area_at_best(rng: np.random.Generator) -> None:
    mask = rng.uniform(size=(4, 5, 6)) < 0.2
    assert tubes.energy(np.ones(mask.shape), mask) == pytest.approx(1)
    assert tubes.energy(mask.astype(float), mask) == pytest.approx(1 / mask.mean())
    assert tubes.energy((~mask).astype(float), mask) == 0
    spoiled = np.where(mask, 2.0, -7.0)
    assert tubes.energy(spoiled, mask) == pytest.approx(1 / mask.mean())
    assert np.isnan(tubes.energy(np.zeros(mask.shape), mask))
    assert np.isnan(tubes.energy(np.ones(mask.shape), np.zeros_like(mask)))


def test_share_is_half_by_chance_and_forgets_what_lies_outside_both() -> None:
    own, other = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    own[:, :2], other[:, 3] = True, True
    tube = np.full((2, 4, 4), 5.0)
    tube[own], tube[other] = 3.0, 2.0
    assert tubes.share(tube, own, other) == pytest.approx(3 * 16 / (3 * 16 + 2 * 8))
    assert tubes.share(tube, own, own) == 0.5
    assert np.isnan(tubes.share(-tube, own, other))


def test_the_difference_of_frames_needs_no_network() -> None:
    frames = np.zeros((3, 2, 2, 3), np.uint8)
    frames[1, 0, 0] = (1, 2, 250)
    found = tubes.difference(frames)
    assert found[:, 0, 0].tolist() == [253, 253, 253]
    assert found[:, 1].max() == 0


def test_the_tubes_table_has_a_row_for_each_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tubes.json"
    assert tubes.main(["--clips", "1", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert {"depth 1", tubes.PUBLISHED, tubes.DIFFERENCE} <= set(found)
    assert {len(v["energy"]) for v in found.values()} == {1}
    assert {len(v["share"]) for v in found.values()} == {2}
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + len(found)
    name, *numbers = (cell.strip() for cell in rows[2].strip("|").split("|"))
    expected = [found[name]["energy"][0], np.mean(found[name]["share"])]
    assert [float(n) for n in numbers] == pytest.approx(expected, abs=0.051)
