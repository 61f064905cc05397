"""Agreement with removal is what it says: ranks by hand, removal by running the whole network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from gated_net import FRAMES, network
from onnx import helper, numpy_helper, parser

from benchmarks import truth
from benchmarks.truth import __main__ as command
from benchmarks.truth import figures
from benchmarks.truth.measuring import Layer, Measured, Removed
from benchmarks.truth.subjects import Clip, Subject
from benchmarks.zoo.catalogue import entries
from benchmarks.zoo.families import FAMILIES
from cfp_onnx import model, runtime
from cfp_onnx.explanation.engine import Engine


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


def test_row_by_row_spearman_is_spearman(rng: np.random.Generator) -> None:
    ones, others = rng.integers(4, size=(6, 12)), rng.standard_normal((6, 12))
    ones[0] = 3
    expected = [truth.spearman(a, b) for a, b in zip(ones, others, strict=True)]
    assert figures.spearman_rows(ones, others) == pytest.approx(expected, abs=1e-12)


def test_an_interval_holds_the_mean_and_narrows_with_clips(rng: np.random.Generator) -> None:
    few, many = (figures.of_clips(rng.normal(0.7, 0.1, n)) for n in (8, 800))
    assert few is not None
    assert many is not None
    wide, narrow = figures.estimate([[few]]), figures.estimate([[many]])
    assert narrow.low < 0.7 < narrow.high
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(8), rel=0.6)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(800), rel=0.3)


def test_seeds_that_differ_widen_the_interval_of_their_kind() -> None:
    one, other = (figures.of_clips(np.full(20, value)) for value in (0.5, 0.9))
    assert one is not None
    assert other is not None
    assert figures.estimate([[one, other]]) == figures.Estimate(pytest.approx(0.7), 0.5, pytest.approx(0.9))
    kinds = figures.estimate([[one], [other]])  # two kinds stay two kinds
    assert (kinds.low, kinds.high) == (pytest.approx(0.7), pytest.approx(0.7))
    assert np.isnan(figures.estimate([[], []]).mean)


def test_figures_are_printed_to_two_places() -> None:
    assert str(figures.Estimate(0.934, 0.9, 1.0)) == ".93 [.90, 1.00]"
    assert str(figures.Estimate(-0.104, -0.996, -0.001)) == "-.10 [-1.00, 0]"
    assert str(figures.estimate([])) == ""


def test_margins_are_a_logit_less_what_it_is_held_against() -> None:
    whole = np.array([1.0, 2.0, 6.0])
    removed = np.array([[0.0, 0.0, 3.0], [7.0, 2.0, 6.0]])
    found = truth.contrasts(whole, 2)
    assert truth.falls(whole, removed, found["mean"]).tolist() == [4.5 - 3.0, 4.5 - 1.5]
    assert truth.falls(whole, removed, found["best"]).tolist() == [1.0, 0.0]  # class 1 stays the rival
    odds = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert found["rivals"] == pytest.approx([*-odds, 1])
    assert truth.contrasts(whole, 0)["best"].tolist() == [1, 0, -1]


def test_a_change_that_is_rounding_is_none() -> None:
    whole = np.array([100.0, 0.0])
    fall = truth.falls(whole, np.array([[100 - 1e-4, 0.0], [99.0, 0.0]]), truth.contrasts(whole, 0)["mean"])
    assert fall.tolist() == [0.0, 1.0]


def test_the_suffix_reproduces_the_logits(engine: Engine) -> None:
    ablation = truth.Ablation(engine)
    tensors = [f.tensor for layer, f in truth.judged(engine, ablation)]
    recorded = ablation.record(tensors, FRAMES)
    expected = engine.plain(FRAMES)["logits"]
    for tensor in tensors:
        for live in (False, True):
            cut = ablation.suffix(tensor, live=live)
            if cut.session is not None:
                value = recorded[tensor] if cut.batched else recorded[tensor][None]
                assert cut("logits", value, recorded) == pytest.approx(expected, abs=1e-5)


def test_what_only_steers_has_no_held_answer(engine: Engine) -> None:
    ablation = truth.Ablation(engine)
    assert ablation.held == {"gate"}
    found = truth.judged(engine, ablation)
    assert {layer.name: ablation.differs(f.tensor) for layer, f in found} == {
        "three": False, "two": False, "excite": True, "one": True,
    }  # fmt: skip
    assert [layer.name for layer, f in found if not ablation.reaches(f.tensor, live=False)] == ["excite"]
    feature = next(f for layer, f in found if layer.name == "excite")
    recorded = ablation.record([feature.tensor], FRAMES)
    assert np.ptp(ablation.removed(feature, recorded, live=False), axis=0).max() == 0
    assert np.ptp(ablation.removed(feature, recorded, live=True), axis=0).max() > 1e-3


@pytest.mark.parametrize("live", [False, True], ids=["held", "live"])
def test_removal_is_what_the_whole_network_gives(engine: Engine, tiny: Path, live: bool) -> None:
    """A mask behind relu1, and a constant gate where it is held, in the whole network."""
    ablation = truth.Ablation(engine)
    layer, feature = truth.judged(engine, ablation)[-1]
    assert (layer.name, feature.tensor) == ("one", "relu1")
    logits = ablation.removed(feature, ablation.record(["relu1"], FRAMES), live=live)

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
    masks = ones - np.eye(6, dtype=np.float32).reshape(6, 1, 6, 1, 1, 1)
    expected = np.concatenate([whole.run(["logits"], {**FRAMES, "mask": m})[0] for m in masks])
    assert logits == pytest.approx(expected, abs=1e-5)


def test_before_a_linear_head_positional_relevance_is_the_fall_itself(engine: Engine) -> None:
    ablation = truth.Ablation(engine)
    layer, feature = truth.judged(engine, ablation)[0]
    recorded = ablation.record([feature.tensor], FRAMES)
    whole = ablation.logits(recorded["logits"])[0]
    removed = ablation.removed(feature, recorded, live=False)
    found = truth.falls(whole, removed, truth.contrasts(whole, 2)["mean"])
    assert engine.relevance(FRAMES, 2)[layer.index] == pytest.approx(found, abs=1e-5)


# --------------------------------------------------------------------------------------------- held norms

LENGTH, CHANNELS = 5, 6
NORMS = {
    "LayerNormalization": (
        "t = Transpose <perm = [0, 2, 1]> (f)\n n = LayerNormalization <axis = -1, epsilon = 0.01> (t, scale, offset)\n"
        "y = Transpose <perm = [0, 2, 1]> (n)"
    ),
    "RMSNormalization": (
        "t = Transpose <perm = [0, 2, 1]> (f)\n n = RMSNormalization <axis = -1, epsilon = 0.01> (t, scale)\n"
        "y = Transpose <perm = [0, 2, 1]> (n)"
    ),
    "InstanceNormalization": "y = InstanceNormalization <epsilon = 0.01> (f, scale, offset)",
    "GroupNormalization": "y = GroupNormalization <num_groups = 2, epsilon = 0.01> (f, scale, offset)",
    "MeanVarianceNormalization": "y = MeanVarianceNormalization <axes = [0, 1]> (f)",
    "LpNormalization": "y = LpNormalization <axis = 1, p = 2> (f)",
    "written out": (
        "m = ReduceMean (f, one)\n o = Sub (f, m)\n q = Mul (o, o)\n v = ReduceMean (q, one)\n e = Add (v, epsilon)\n"
        "d = Sqrt (e)\n y = Div (o, d)"
    ),
}


def held_norm(name: str, x: np.ndarray, recorded: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """A norm of ``(channels, length)`` in float64 whose deviation is that of another map."""
    axis, epsilon = (1, 0.01) if name == "InstanceNormalization" else (0, 0.01)
    if name == "GroupNormalization":
        halves = zip(np.split(x, 2), np.split(recorded, 2), strict=True)
        parts = [(a - a.mean()) / np.sqrt(b.var() + 0.01) for a, b in halves]
        return np.concatenate(parts) * scale[:, None] + offset[:, None]
    if name == "LpNormalization":
        return x / np.sqrt((recorded**2).sum(0, keepdims=True))
    if name == "RMSNormalization":
        return x / np.sqrt((recorded**2).mean(0, keepdims=True) + epsilon) * scale[:, None]
    centred = x - x.mean(axis, keepdims=True)
    if name == "MeanVarianceNormalization":
        return centred / (recorded.std(axis, keepdims=True) + 1e-9)
    y = centred / np.sqrt(recorded.var(axis, keepdims=True) + epsilon)
    return y if name == "written out" else y * scale[:, None] + offset[:, None]


@pytest.fixture(params=NORMS)
def normed(request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator) -> tuple[str, Path, dict]:
    """Convolution, ReLU, a norm, ReLU, mean, three classes."""
    weights = {
        "w1": rng.standard_normal((CHANNELS, 2, 1)), "scale": rng.uniform(0.5, 2, CHANNELS),
        "offset": rng.standard_normal(CHANNELS), "w2": rng.standard_normal((CHANNELS, 3)), "epsilon": np.float64(0.01),
    }  # fmt: skip
    text = f"""<ir_version: 10, opset_import: ["" : 23]>
    net (float[N, 2, {LENGTH}] x) => (float[N, 3] logits) {{
        c = Conv (x, w1)
        f = Relu (c)
        {NORMS[request.param]}
        r = Relu (y)
        p = ReduceMean <keepdims = 0> (r, two)
        logits = MatMul (p, w2)
    }}"""
    proto = parser.parse_model(text)
    arrays = {k: np.asarray(v, np.float32) for k, v in weights.items()}
    whole = {"one": np.array([1], np.int64), "two": np.array([2], np.int64)}
    used = {i for n in proto.graph.node for i in n.input}
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in {**arrays, **whole}.items() if k in used)
    path = tmp_path / "normed.onnx"
    onnx.save(proto, path)
    return request.param, path, {k: np.asarray(v, np.float64) for k, v in arrays.items()}


def test_a_held_norm_keeps_its_deviation_and_nothing_else(
    normed: tuple[str, Path, dict], rng: np.random.Generator
) -> None:
    name, path, w = normed
    clip = rng.standard_normal((1, 2, LENGTH)).astype(np.float32)
    engine = Engine(model.load(path), {"x": clip}, device=runtime.Device("cpu", 1))
    ablation = truth.Ablation(engine)
    ((_, feature),) = truth.judged(engine, ablation)
    assert feature.tensor == "f"
    recorded = ablation.record(["f"], {"x": clip})
    held = ablation.removed(feature, recorded, live=False)

    value = np.maximum(w["w1"][:, :, 0] @ clip[0].astype(np.float64), 0)

    def logits(x: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.maximum(held_norm(name, x, of, w["scale"], w["offset"]), 0).mean(axis=1) @ w["w2"]

    without = [value * (np.arange(CHANNELS) != k)[:, None] for k in range(CHANNELS)]
    assert ablation.logits(recorded["logits"])[0] == pytest.approx(logits(value, value), abs=1e-5)
    assert held == pytest.approx(np.stack([logits(x, value) for x in without]), abs=1e-5)
    if name not in {"InstanceNormalization", "LpNormalization", "MeanVarianceNormalization"}:  # 0 / 0 at some place
        live = ablation.removed(feature, recorded, live=True)
        assert live == pytest.approx(np.stack([logits(x, x) for x in without]), abs=1e-5)
        assert np.abs(live - held).max() > 1e-3


def test_the_weights_of_an_attention_are_held(tmp_path: Path, rng: np.random.Generator) -> None:
    w = {k: rng.standard_normal((4, 4)) for k in ("wi", "wq", "wk", "wv", "wo")}
    text = """<ir_version: 10, opset_import: ["" : 20]>
    net (float[N, 3, 4] x) => (float[N, 4] logits) {
        i = MatMul (x, wi)
        q = MatMul (i, wq)
        k = MatMul (i, wk)
        v = MatMul (i, wv)
        t = Transpose <perm = [0, 2, 1]> (k)
        s = MatMul (q, t)
        a = Softmax <axis = -1> (s)
        y = MatMul (a, v)
        p = ReduceMean <keepdims = 0> (y, one)
        logits = MatMul (p, wo)
    }"""
    proto = parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    proto.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in w.items())
    onnx.save(proto, tmp_path / "attention.onnx")
    clip = rng.standard_normal((1, 3, 4)).astype(np.float32)
    engine = Engine(model.load(tmp_path / "attention.onnx"), {"x": clip}, device=runtime.Device("cpu", 1))
    ablation = truth.Ablation(engine)
    found = {f.tensor: f for _, f in truth.judged(engine, ablation)}
    assert {t for t in found if not ablation.reaches(t, live=False)} == {"q", "k"}
    recorded = ablation.record(list(found), {"x": clip})

    w = {k: v.astype(np.float32).astype(np.float64) for k, v in w.items()}
    i = clip[0].astype(np.float64) @ w["wi"]

    def weights(i: np.ndarray) -> np.ndarray:
        scores = np.exp((i @ w["wq"]) @ (i @ w["wk"]).T)
        return scores / scores.sum(axis=1, keepdims=True)

    for live in (False, True):
        expected = []
        for kernel in range(4):
            x = i * (np.arange(4) != kernel)
            expected.append((weights(x if live else i) @ x @ w["wv"]).mean(axis=0) @ w["wo"])
        assert ablation.removed(found["i"], recorded, live=live) == pytest.approx(np.stack(expected), abs=1e-4)


# ------------------------------------------------------------------------------------------------- tables


def made(rng: np.random.Generator, said: np.ndarray, falls: np.ndarray) -> Measured:
    """A network of one layer whose relevance and falls, both ``(clips, kernels)``, are given; class 0 of two."""
    logits = np.tile([50.0, 0.0], (len(falls), 1))
    without = np.stack([logits[:, None, 0] - falls, np.zeros_like(falls)], axis=2)
    removed = Removed((Layer("one", falls.shape[1], 1, steers=False),), logits, {"live": [without], "held": [without]})
    clips = tuple(Clip({}, 0) for _ in falls)
    return Measured(Subject("made", "made", 0, "table", Path("made.onnx"), clips), removed, {"rule": [said]})


def test_every_figure_of_a_rule_that_is_the_truth_is_one(rng: np.random.Generator) -> None:
    falls = rng.standard_normal((6, 20))
    table = truth.Table([made(rng, falls, falls)])
    found = {name: table.estimate("rule", name).mean for name in truth.FIGURES}
    empty = {"near head", "middle", "deep"} - {"near head"}  # one layer has no other thirds
    assert {n for n, v in found.items() if np.isnan(v)} == empty
    assert [v for v in found.values() if not np.isnan(v)] == pytest.approx([1] * (len(found) - 2))


def test_a_mean_over_clips_is_ranked_after_it_was_taken(rng: np.random.Generator) -> None:
    """Noise of single clips that the mean over them takes away: the class level sees what the clip level does not."""
    falls = np.tile(np.arange(20.0), (8, 1))
    noise = rng.standard_normal((4, 20)) * 30
    table = truth.Table([made(rng, falls + np.concatenate([noise, -noise]), falls)])
    assert table.estimate("rule", "class level").mean == pytest.approx(1)
    assert table.estimate("rule", "live").mean < 0.6


def test_at_the_level_of_the_data_set_a_sign_does_not_count(rng: np.random.Generator) -> None:
    falls = rng.standard_normal((6, 20))
    table = truth.Table([made(rng, -falls, falls)])
    assert table.estimate("rule", "data-set level").mean == pytest.approx(1)
    assert table.estimate("rule", "class level").mean == pytest.approx(-1)


def test_a_rule_that_is_degraded_step_by_step_is_ranked_so_by_every_figure(rng: np.random.Generator) -> None:
    falls = rng.standard_normal((30, 60))
    noise = rng.standard_normal(falls.shape)
    said = [falls + spoiled * noise for spoiled in (0.0, 0.4, 0.9, 2.0, 6.0)]
    for name in set(truth.FIGURES) - {"middle", "deep"}:
        found = [truth.Table([made(rng, one, falls)]).estimate("rule", name).mean for one in said]
        assert found == sorted(found, reverse=True), name
        assert len(set(found)) == len(found), name


# ------------------------------------------------------------------------------------------------ command


def last_table(printed: str, row: str) -> list[str]:
    """Cells of the last row of a table that begins with a name."""
    line = [line for line in printed.splitlines() if line.startswith(f"| {row} ")][-1]
    return [cell.strip() for cell in line[1:-1].split("|")]


def test_truth_prints_one_row_for_each_rule(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "truth.json"
    arguments = ["--model", str(tiny), "--clips", "2", "--layers", "--json", str(found)]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    names = [v.name for v in truth.available()]
    assert all(f"| {name} | " in printed for name in names)
    figures_of = json.loads(found.read_text())["kinds"]["tiny"]
    assert list(figures_of) == names
    exact = dict(zip(("layer", "depth", "kernels", *names), last_table(printed, "three"), strict=True))
    assert (exact["depth"], exact["kernels"], exact["positional"]) == ("1", "8", "1.00")


def test_a_rule_that_is_not_there_is_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--model", str(tiny), "--rules", "positionel"])
    assert "no rule 'positionel'; there are: random; pooled activation;" in capsys.readouterr().err


def test_what_removal_gave_is_kept(tiny: Path, tmp_path: Path) -> None:
    variants = truth.named(["positional"])
    subject = truth.of_file(tiny, 2)
    first, again = (truth.measure(subject, variants, cache=tmp_path / "kept") for _ in range(2))
    (kept,) = (tmp_path / "kept").iterdir()
    assert again.removed.layers == first.removed.layers
    for way in ("live", "held"):
        for one, other in zip(first.removed.without[way], again.removed.without[way], strict=True):
            assert np.array_equal(one, other)
    spoiled = {**np.load(kept), "live/0": np.zeros_like(first.removed.without["live"][0])}
    np.savez(kept, **spoiled)
    assert not truth.measure(subject, variants, cache=tmp_path / "kept").removed.without["live"][0].any()


def test_a_network_of_the_zoo_is_judged_on_several_clips_of_several_classes(tmp_path: Path) -> None:
    chosen, kept = (entries(role=role, kinds=["resnet"])[0] for role in ("choose", "table"))
    subject, again = (truth.of_zoo(chosen, 14, tmp_path) for _ in range(2))
    assert (subject.name, subject.role, len(subject.clips)) == ("resnet-0", "choose", 14)
    labels = [clip.label for clip in subject.clips]
    families = {chosen.classes[label] in FAMILIES["direction"].classes for label in labels if label is not None}
    assert families == {True, False}
    assert min(labels.count(label) for label in set(labels)) >= 4
    for one, other in zip(subject.clips, again.clips, strict=True):
        assert np.array_equal(one.feeds["clip"], other.feeds["clip"])
    unlike = truth.of_zoo(kept, 14, tmp_path)
    assert not np.array_equal(unlike.clips[0].feeds["clip"], subject.clips[0].feeds["clip"])
    assert truth.measure(subject, ()).correct == 1


def test_motion_clips_are_fed_where_the_network_takes_them() -> None:
    from benchmarks.demo_model import DEMO
    from benchmarks.motion.clips import TEST_SEED, make_clip

    first, again = truth.of_file(DEMO, 2).clips
    expected = (make_clip(TEST_SEED).frames[3, 5, 7].astype(np.float32) / 255 - 0.5) / 0.25
    assert first.feeds["clip"][0, :, 3, 5, 7] == pytest.approx(expected)
    assert first.label == make_clip(TEST_SEED).label
    assert not np.array_equal(first.feeds["clip"], again.feeds["clip"])
