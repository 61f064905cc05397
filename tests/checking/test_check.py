"""The gate: what must pass, what must not, where it begins, and that a baseline from elsewhere is not believed.

That a check finds what was broken is judged by how it was broken; that it passes what is the same, by files that
compute the same. Baselines are damaged one value at a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import onnx
import onnxruntime
import pytest
from compare_net import Spelling
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from benchmarks.motion.clips import TEST_SEED, make_clip
from cfp_onnx import cli
from cfp_onnx.checking import change as measures
from cfp_onnx.checking import judge
from cfp_onnx.checking.ci_files import junit, markdown
from cfp_onnx.checking.policy import Limits, Policy, read_policy
from cfp_onnx.errors import CfpError, ClipError, OutputError, UsageError
from cfp_onnx.files import packed_numbers, strict_json
from cfp_onnx.testing import assert_same_reasons

Array = np.ndarray
DEMO = Path(cfp.__file__).parent / "data" / "demo.onnx"
CLIPS = 5
SEED = 20190524


# ------------------------------------------------------------------------------------- the demo model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, and a baseline of the demo model on them."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "clips").mkdir()
    for n in range(CLIPS):
        np.savez_compressed(folder / "clips" / f"clip{n}.npz", frames=make_clip(TEST_SEED + n).frames)
    assert cli.main(["baseline", str(DEMO), str(folder / "clips"), "-o", str(folder / "baseline.json"), "-q"]) == 0
    return folder


def initializer(model: onnx.ModelProto, name: str) -> tuple[Any, Array]:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    return tensor, numpy_helper.to_array(tensor).copy()


def edited(folder: Path, change: Callable[[onnx.ModelProto], None], name: str = "edited.onnx") -> Path:
    """The demo model with a change."""
    model = onnx.load(DEMO)
    change(model)
    onnx.save(model, folder / name)
    return folder / name


def weights(layer: str, edit: Callable[[Array], Array]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor, value = initializer(model, f"{layer}.weight")
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(edit(value), np.float32), tensor.name))

    return change


def in_front(*nodes: onnx.NodeProto, **constants: Any) -> Callable[[onnx.ModelProto], None]:
    """Nodes between the input and what read it; the last one writes ``fed``."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["fed" if name == "clip" else name for name in node.input]
        kept = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *kept])
        for name, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    return change


def pruned(value: Array) -> Array:
    return np.where(np.abs(value) <= np.quantile(np.abs(value), 0.3), 0, value)


def drawn(value: Array) -> Array:
    return np.random.default_rng(1).standard_normal(value.shape) * value.std()


def one_kernel(value: Array) -> Array:
    value[7] *= 1.5
    return value


def no_relu(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Relu" and n.input[0] == "getitem_24")
    node.op_type = "Identity"


#: What was done -> the change, the layer whose weights it concerns (None: whatever reaches the first layer), kernels.
PLANTED = {
    **{f"{layer} times 4": (weights(layer, lambda w: w * 4), layer, ()) for layer in ("stem.0", "mix.0", "head")},
    **{f"{layer} pruned": (weights(layer, pruned), layer, ()) for layer in ("stem.0", "fibers.conv.0", "temporal.0")},
    **{f"{layer} drawn anew": (weights(layer, drawn), layer, ()) for layer in ("depthwise.0", "spatial.0")},
    "one kernel times 1.5": (weights("residual.first.0", one_kernel), "residual.first.0", (7,)),
    "BGR": (in_front(helper.make_node("Gather", ["clip", "order"], ["fed"], axis=1), order=[2, 1, 0]), None, ()),
    "not normalised": (
        in_front(helper.make_node("Mul", ["clip", "s"], ["m"]), helper.make_node("Add", ["m", "b"], ["fed"]),
                 s=np.float32(0.25), b=np.float32(0.5)), None, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_change_fails_and_is_found(home: Path, tmp_path: Path, name: str) -> None:
    change, layer, kernels = PLANTED[name]
    found = cfp.check(edited(tmp_path, change), home / "baseline.json")
    assert not found.ok
    assert not found.same_reasons
    assert found.first is not None
    assert found.first.weight == f"{layer or 'stem.0'}.weight"
    assert found.first.kernels[: len(kernels)] == kernels
    if layer is None:
        assert "what reaches it (preprocessing" in found.first.cause
    else:
        assert "weights changed" in found.first.cause
    assert found.missing == found.added == ()


@pytest.mark.parametrize(("key", "value", "words"), [
    ("dilations", [1, 2, 2], "dilations differ: 1x1x1 then, 1x2x2 now"),
    ("strides", [1, 2, 2], "strides differ: 1x1x1 then, 1x2x2 now"),
])  # fmt: skip
def test_another_window_with_the_same_weights_fails(
    home: Path, tmp_path: Path, key: str, value: list[int], words: str
) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if "spatial.0.weight" in n.input)
        for attribute in node.attribute:
            if attribute.name in {key, "pads"}:
                attribute.ints[:] = value if attribute.name == key else [0, *value[1:], 0, *value[1:]]

    found = cfp.check(edited(tmp_path, change), home / "baseline.json", policy=Policy(Limits(max_activity=9.0)))
    assert not found.same_reasons
    assert found.first is not None
    assert found.first.weight == "spatial.0.weight"
    assert words in found.first.cause
    assert "strides or dilations changed" in junit(found)


def test_reversed_frames_and_a_missing_relu_fail(home: Path, tmp_path: Path) -> None:
    backwards = helper.make_node("Slice", ["clip", "from", "to", "axis", "step"], ["fed"])
    turned = in_front(backwards, **{"from": [-1], "to": [-1000], "axis": [2], "step": [-1]})
    found = cfp.check(edited(tmp_path, turned), home / "baseline.json")
    assert not found.ok
    assert found.flips > 0
    silent = cfp.check(edited(tmp_path, no_relu), home / "baseline.json")
    assert not silent.same_reasons
    assert silent.first is not None
    assert silent.first.weight in {"mix.0.weight", "depthwise.0.weight"}


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
def test_what_the_runtime_optimised_passes(home: Path, tmp_path: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(DEMO, options, providers=["CPUExecutionProvider"])
    found = cfp.check(tmp_path / "optimised.onnx", home / "baseline.json")
    assert found.ok, str(found)
    assert all(x.change.activity < 1e-3 and x.weights < 2e-3 for x in found.layers)


def test_float16_weights_pass(home: Path, tmp_path: Path) -> None:
    def half(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                value = numpy_helper.to_array(tensor).astype(np.float16)
                name, tensor.name = tensor.name, f"{tensor.name}__half"
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
                cast = helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
                model.graph.node.insert(0, cast)

    found = cfp.check(edited(tmp_path, half), home / "baseline.json")
    assert found.ok, str(found)


def test_eight_bits_pass_where_they_were_calibrated_and_fail_on_black_frames(home: Path, tmp_path: Path) -> None:
    quantisation = pytest.importorskip("onnxruntime.quantization")

    class Frames(quantisation.CalibrationDataReader):
        def __init__(self, frames: list[Array]) -> None:
            self.left = [((f.astype(np.float32) / 255 - 0.5) / 0.25).transpose(3, 0, 1, 2)[None] for f in frames]

        def get_next(self) -> dict[str, Array] | None:
            return {"clip": self.left.pop()} if self.left else None

    for name, frames in {
        "good": [make_clip(5_000 + n).frames for n in range(24)],
        "black": [np.zeros((16, 40, 40, 3), np.uint8)],
    }.items():
        quantisation.quantize_static(
            DEMO, tmp_path / f"{name}.onnx", Frames(frames), quant_format=quantisation.QuantFormat.QOperator
        )
        found = cfp.check(tmp_path / f"{name}.onnx", home / "baseline.json")
        assert found.same_reasons == (name == "good"), str(found)
        assert found.first is None or "or the ranges of its integers" in found.first.cause


def test_the_same_file_passes_with_nothing_changed(home: Path) -> None:
    found = cfp.check(DEMO, home / "baseline.json")
    assert found.ok
    assert found.first is None
    assert found.flips == 0
    assert len(found.clips) == CLIPS
    assert found.notes == ()
    assert "the same reasons, the same predictions" in str(found)
    assert all(x.evidence == "weights" and not x.reordered for x in found.layers)
    assert max(x.change.activity for x in found.layers) < 1e-3


def test_all_depths_hold_relevance_of_every_layer(home: Path, tmp_path: Path) -> None:
    made = cfp.baseline(DEMO, home / "clips", depth="all")
    with_relevance = [
        t.weight for t, r in zip(made.traits, made.clips[0].sight.relevance, strict=True) if r is not None
    ]
    assert with_relevance == [t.weight for t in made.traits if not t.head and not t.weight.startswith("gate.")]
    found = cfp.check(edited(tmp_path, weights("stem.0", pruned)), made, folder=Path())
    assert found.first is not None
    stem = found.layers[0]
    assert stem.change.drift is not None
    assert stem.change.drift > 0.01


# -------------------------------------------------------------------------- other spellings of one network

SPELLINGS = {
    "folded": Spelling(norm="folded", prefix="net/"),
    "spelled out": Spelling(norm="spelled"),
    "channels last": Spelling(last=True, prefix="model/"),
    "fibers": Spelling(fibers=True, norm="folded"),
    "padded": Spelling(padded=True, prefix="x/"),
    "fibers, channels last": Spelling(fibers=True, last=True, norm="folded"),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array], Any]:
    """A folder with clips, the weights of a small network of every block kind, and its baseline at all depths."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp("spellings")
    values = net.weights(rng)
    for n in range(3):
        np.save(folder / f"clip{n}.npy", rng.standard_normal(net.CLIP).astype(np.float32))
    a = net.write(folder / "a.onnx", values)
    made = cfp.baseline(a, [folder / f"clip{n}.npy" for n in range(3)], depth="all", relative_to=folder)
    made.save(folder / "baseline.json")
    return folder, values, made


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("order", ["as it is", "kernels permuted"])
def test_another_spelling_passes(bench: Any, tmp_path: Path, name: str, order: str) -> None:
    folder, values, _ = bench
    if order != "as it is":
        values = net.permuted(values, np.random.default_rng(3))
    found = cfp.check(net.write(tmp_path / "b.onnx", values, SPELLINGS[name]), folder / "baseline.json")
    assert found.ok, str(found)
    assert len(found.layers) == len(net.SHAPES)
    assert all(x.change.activity < 2e-3 and x.weights < 2e-3 for x in found.layers), str(found)
    assert all(x.change.rank is None or x.change.rank > 0.99 for x in found.layers)
    assert any("another order" in note for note in found.notes) == (order != "as it is")


BROKEN = {
    "a shortcut dropped": (Spelling(shortcut=False), {"b1", "b2", "b3", "res.b"}),
    "the shuffle turned round": (Spelling(reverse_shuffle=True), {"dw"}),
    "a missing Relu": (Spelling(silent=frozenset({"pw"})), {"pw"}),
    "the input turned round": (Spelling(reverse_input=True), {"stem"}),
    "other padding": (Spelling(pads={"res.a": [0, 0, 0, 2, 2, 2]}), {"res.a"}),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("norm", ["kept", "folded"])
def test_what_is_wired_otherwise_fails_where_it_begins(bench: Any, tmp_path: Path, name: str, norm: str) -> None:
    folder, values, _ = bench
    spelling, places = BROKEN[name]
    found = cfp.check(net.write(tmp_path / "b.onnx", values, replace(spelling, norm=norm)), folder / "baseline.json")
    assert not found.ok
    assert found.first is not None
    assert found.first.layer in places, str(found)


def test_a_layer_more_or_less_fails(bench: Any, tmp_path: Path) -> None:
    folder, values, _ = bench
    more = cfp.check(net.write(tmp_path / "b.onnx", values, Spelling(extra=True)), folder / "baseline.json")
    assert more.added == ("more",)
    assert not more.ok
    assert more.first is not None
    assert "new" in more.first.cause
    bigger = cfp.baseline(tmp_path / "b.onnx", folder / "clip0.npy")
    less = cfp.check(folder / "a.onnx", bigger, folder=Path())
    assert less.missing == ("more",)
    assert not less.ok


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["lossless", "fp16", "quantised"])
def test_every_exporter_passes(shared_dir: Path, kind: str) -> None:
    """Files of one network by many tools, and as they are deployed; SAME padding is another network."""
    folder = shared_dir / "models" / "exporters"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    made = cfp.baseline(folder / "pt_dynamo.onnx", folder / "clip.npy", depth="all")
    names = [n for n, entry in manifest.items() if entry["kind"] == kind]
    assert names
    for name in names:
        found = cfp.check(folder / name, made, folder=Path())
        assert found.missing == found.added == (), name
        if manifest[name]["same_padding"]:
            continue
        assert found.ok, f"{name}\n{found}"
        assert {x.evidence for x in found.layers} == {"weights"}, name
        assert found.notes == (), name


# --------------------------------------------------------------------------------------- the baseline's file


def test_a_baseline_comes_back_as_it_was(home: Path) -> None:
    one = cfp.load_baseline(home / "baseline.json")
    text = (home / "baseline.json").read_text()
    assert one.to_text() == text
    two = cfp.baseline(DEMO, home / "clips", relative_to=home)
    assert two.to_text() == text, "the same job gives the same file"
    assert one.noise.variants == ("the same again", "1 thread", "no optimisation", "batch of 2")
    assert 0 < one.noise.outputs < 1e-3
    assert [c.file for c in one.clips] == [f"clips/clip{n}.npz" for n in range(CLIPS)]
    assert str(home) not in text
    assert len(text) < 60_000


def test_relevance_is_what_explain_says(home: Path) -> None:
    made = cfp.load_baseline(home / "baseline.json")
    clip = made.clips[0]
    pyramid = cfp.explain(DEMO, home / clip.file, tubes=False)
    assert pyramid.target["index"] == clip.index == clip.top
    theirs = {layer.name: np.asarray(layer.relevance) for layer in pyramid.layers}
    seen = 0
    for traits, relevance in zip(made.traits, clip.sight.relevance, strict=True):
        if relevance is not None:
            np.testing.assert_allclose(relevance, theirs[traits.name], atol=1e-3 * np.abs(relevance).max())
            seen += 1
    assert seen == 2


def resealed(value: dict[str, Any]) -> str:
    """A baseline's text with a digest that fits, as someone who edits it with care would write."""
    body = {k: v for k, v in value.items() if k != "digest"}
    packed = json.dumps(body, separators=(",", ":"), sort_keys=True)
    return json.dumps({**body, "digest": hashlib.sha256(packed.encode()).hexdigest()})


def set_at(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


NAN16 = base64.b64encode(np.float32(1).tobytes() + np.full(10, np.nan, "<f2").tobytes()).decode()
INF32 = base64.b64encode(np.float32(np.inf).tobytes() + np.ones(10, "<f2").tobytes()).decode()

#: Baselines whose digest fits and that are wrong all the same -> words of the sentence.
FORGED = {
    "another schema": (set_at("schema", value="cfp-onnx/pyramid"), "its schema is 'cfp-onnx/pyramid'"),
    "a later version": (set_at("schema_version", value=2), "of version 2"),
    "a version that is no number": (set_at("schema_version", value=True), "of version True"),
    "an unknown key": (set_at("extra", value=1), "unknown key 'extra'"),
    "an unknown key in a layer": (set_at("layers", 0, "extra", value=1), "layer 0 has the unknown key"),
    "a key that is gone": (lambda b: b["layers"][2].pop("bias"), "layer 2 has no key 'bias'"),
    "true for a number": (set_at("layers", 0, "kernels", value=True), "'kernels' is bool 'True'"),
    "a float for a whole number": (set_at("layers", 0, "kernels", value=24.0), "'kernels' is float"),
    "too many kernels": (set_at("layers", 0, "kernels", value=2**40), "'kernels'"),
    "no kernels": (set_at("layers", 0, "kernels", value=0), "at least 1"),
    "a wrong length": (set_at("layers", 0, "kernels", value=25), "holds 24 numbers, it must hold 25"),
    "no base64": (set_at("clips", 0, "scores", value="??"), "no base64"),
    "a list for numbers": (set_at("clips", 0, "scores", value=[1, 2]), "must be numbers in base64"),
    "NaN among the scores": (set_at("clips", 0, "scores", value=NAN16), "NaN"),
    "an infinite scale": (set_at("clips", 0, "scores", value=INF32), "infinity"),
    "a class that is not there": (set_at("clips", 0, "target", "index", value=10), "'classes'"),
    "clips of other classes": (set_at("clips", 0, "classes", value=9), "holds 10 numbers"),
    "no clips": (set_at("clips", value=[]), "no clip"),
    "layers without noise": (lambda b: b["noise"]["layers"].pop(), "16 entries"),
    "a negative noise": (set_at("noise", "outputs", value=-1), "at least 0"),
    "a rule of another kind": (set_at("run", "rule", value="published"), "'rule'"),
    "a window of two ranks": (set_at("layers", 0, "strides", value=[1, 1]), "of the rank of the window"),
    "a depth of 0": (set_at("run", "depth", value=0), "'depth'"),
    "preprocessing that is none": (set_at("preprocess", "std", value=[0, 0, 0]), "'std'"),
    "a text for an object": (set_at("model", value="demo.onnx"), "must be an object"),
    "an activity too few": (lambda b: b["clips"][0]["activity"].pop(), "16 entries"),
    "a text too deep": (set_at("labels", value=[["left"]]), "'labels'"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_baseline_is_refused_in_a_sentence(home: Path, tmp_path: Path, name: str) -> None:
    change, words = FORGED[name]
    body = json.loads((home / "baseline.json").read_text())
    change(body)
    file = tmp_path / "baseline.json"
    file.write_text(resealed(body))
    with pytest.raises(UsageError, match=r".") as caught:
        cfp.load_baseline(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resealing_alone_changes_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(resealed(json.loads((home / "baseline.json").read_text())))
    assert cfp.load_baseline(tmp_path / "b.json").to_text() == (home / "baseline.json").read_text()


DAMAGED = {
    "cut off": (lambda t: t[: len(t) // 2], "cut off"),
    "empty": (lambda _: "", "not a baseline"),
    "one figure changed": (lambda t: t.replace('"opset":20', '"opset":21'), "digest does not fit"),
    "a key twice": (lambda t: t.replace('"schema_version":1', '"schema_version":1,"schema_version":1'), "twice"),
    "NaN": (lambda t: t.replace('"outputs":', '"outputs":NaN,"old":', 1), "NaN is no JSON number"),
    "too large a number": (lambda t: t.replace('"outputs":', '"outputs":1e999,"old":', 1), "too large a number"),
    "a list": (lambda _: "[]", "no JSON object"),
    "nested": (lambda _: "[" * 100_000, "nested too deeply"),
    "no text": (lambda _: b"\xff\xfe\x00", "not a baseline"),
    "another file": (lambda _: "schema: cfp", "not a baseline"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_baseline_is_refused_in_a_sentence(
    home: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = DAMAGED[name]
    file = tmp_path / "baseline.json"
    made = change((home / "baseline.json").read_text())
    file.write_bytes(made if isinstance(made, bytes) else made.encode())
    assert cli.main(["check", str(DEMO), "--baseline", str(file)]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "LARGEST", 100)
    (tmp_path / "b.json").write_text(json.dumps({"schema": "x" * 200}))
    with pytest.raises(UsageError, match="too large"):
        cfp.load_baseline(tmp_path / "b.json")
    with pytest.raises(UsageError, match="cannot read"):
        cfp.load_baseline(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "baseline.json"
    file.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        cfp.load_baseline(home / "baseline.json").save(file)
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["baseline.json"]


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e30, 1e30).map(lambda v: v if abs(v) > 1e-30 else 0.0))
)
@settings(max_examples=100, deadline=None)
def test_packed_numbers_come_back_to_float16(values: Array) -> None:
    back = packed_numbers.rounded(values)
    top = np.abs(values).max(initial=0.0)
    np.testing.assert_allclose(back, values, rtol=2e-3, atol=1e-7 * top)
    np.testing.assert_array_equal(packed_numbers.rounded(back), back)


# ------------------------------------------------------------------------------------------------- measures


def test_measures_of_nothing_and_of_everything(rng: np.random.Generator) -> None:
    r, a = rng.standard_normal(30), rng.standard_normal(30)
    same = measures.change((a, a), (r, r))
    assert (same.drift, same.overlap, same.rank, same.activity) == (0.0, 1.0, pytest.approx(1.0), 0.0)
    scaled = measures.change((a, a), (r, 7 * r))
    assert scaled.drift == pytest.approx(0.0)
    turned = measures.change((a, -a), (r, -r))
    assert turned.drift == pytest.approx(1.0)
    assert turned.rank == pytest.approx(-1.0)
    assert turned.activity == pytest.approx(2.0)
    none = measures.change((a, 0 * a), (r, 0 * r))
    assert (none.drift, none.overlap, none.rank, none.activity) == (1.0, 0.0, 0.0, 1.0)
    both = measures.change((0 * a, 0 * a), (0 * r, 0 * r))
    assert (both.drift, both.overlap, both.rank, both.activity) == (0.0, 1.0, 1.0, 0.0)
    assert measures.drift(np.array([3.0, 1.0]), np.array([1.0, 3.0])) == pytest.approx(0.5)


def test_nan_breaks_every_limit() -> None:
    nan = math.nan
    found = judge.breaches_of(measures.Change(nan, nan, nan, nan), nan, Limits())
    assert [b.measure for b in found] == ["drift", "overlap", "rank", "activity", "weights"]
    assert judge.breaches_of(measures.Change(0.0, 1.0, 1.0, 0.0), 0.0, Limits()) == []


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 2))
def test_limits_only_ever_loosen_for_noise(drift: float, overlap: float, rank: float, activity: float) -> None:
    noise = measures.Change(drift, overlap, rank, activity)
    limits = judge.above_noise(Limits(), noise)
    assert limits.max_drift >= max(Limits().max_drift, min(1, drift))
    assert limits.min_overlap <= min(Limits().min_overlap, overlap)
    assert limits.min_rank <= min(Limits().min_rank, rank)
    assert limits.max_activity >= max(Limits().max_activity, activity)
    assert limits.max_weights == Limits().max_weights


# --------------------------------------------------------------------------------------------------- limits


def test_limits_from_toml_reach_layers_and_classes(home: Path, tmp_path: Path) -> None:
    model = edited(tmp_path, weights("mix.0", lambda w: w * np.float32(1.06)))
    plain = cfp.check(model, home / "baseline.json")
    assert [x.weight for x in plain.broken] == ["mix.0.weight"]
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[tool.other]\nx = 1\n[tool.cfp_onnx]\nmax-flips = 2\n[tool.cfp_onnx.layers."mix.*"]\nmax-weights = 0.1'
    )
    policy = read_policy(file)
    assert policy.max_flips == 2
    assert cfp.check(model, home / "baseline.json", policy=policy).ok
    label = cfp.load_baseline(home / "baseline.json").clips[0].label
    limits = tmp_path / "limits.toml"
    limits.write_text(
        f'max-weights = 0.1\n[classes.{label}]\nmax-activity = 0.001\n[classes."no such"]\nmin-rank = 1.0'
    )
    found = cfp.check(model, home / "baseline.json", policy=read_policy(limits))
    assert not found.same_reasons
    assert {b.label for x in found.broken for b in x.breaches} == {label}
    assert found.layers[0].breaches == (), "layers above the change are as they were"


BAD_LIMITS = {
    "max-drift = 2": "from 0 to 1",
    "max-drift = true": "must be a number",
    "max-drift = nan": "must be a number",
    "max-dirft = 0.1": "'max-dirft' is unknown",
    "layers = 3": "table",
    "[layers.a]\nmin-rank = 'x'": "must be a number",
    "[layers]\na = 1": "table",
    "max-flips = 0.5": "whole number",
    "max-drift = ": "cannot read limits",
}


@pytest.mark.parametrize("text", BAD_LIMITS)
def test_bad_limits_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(UsageError, match=r".") as caught:
        read_policy(tmp_path / "limits.toml")
    assert BAD_LIMITS[text] in str(caught.value)


# ---------------------------------------------------------------------------------------------------- clips


def test_clips_are_told_by_their_content(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(home / "clips", moved)
    (moved / "clip1.npz").rename(moved / "renamed.npz")
    (moved / "clip2.npz").unlink()
    found = cfp.check(DEMO, home / "baseline.json", moved)
    assert found.ok
    assert sorted(c.file for c in found.clips) == [f"clips/clip{n}.npz" for n in (0, 1, 3, 4)]
    assert found.notes == (f"1 of the baseline's {CLIPS} clips were not looked at",)
    np.savez_compressed(moved / "clip0.npz", frames=make_clip(7).frames)
    with pytest.raises(ClipError, match="none of the baseline's"):
        cfp.check(DEMO, home / "baseline.json", moved / "clip0.npz")
    shutil.copy(home / "baseline.json", tmp_path / "baseline.json")
    with pytest.raises(ClipError, match="is not there"):
        cfp.check(DEMO, tmp_path / "baseline.json")
    shutil.copytree(moved, tmp_path / "clips")
    with pytest.raises(ClipError, match="content has changed"):
        cfp.check(DEMO, tmp_path / "baseline.json")


def test_lists_folders_and_frames_are_clips(tmp_path: Path) -> None:
    from cfp_onnx.clips.lists import Listed, clips_in

    for name in ("c10.npz", "c9.npz", "frames/0.png", "frames/1.png", ".hidden.npz", "other/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = clips_in([tmp_path])
    assert [Path(x.file).name for x in found] == ["c9.npz", "c10.npz", "frames"]
    assert clips_in([tmp_path / "frames"]) == [Listed(str(tmp_path / "frames"))]
    (tmp_path / "list.txt").write_text("# clips\nc9.npz left\n\nc10.npz\tshake\n")
    assert [(Path(x.file).name, x.target) for x in clips_in([tmp_path / "list.txt"])] == [
        ("c9.npz", "left"), ("c10.npz", "shake"),
    ]  # fmt: skip
    (tmp_path / "list.csv").write_text('"c9.npz",3\nc10.npz\n')
    assert [x.target for x in clips_in([tmp_path / "list.csv"])] == ["3", None]
    (tmp_path / "bad.csv").write_text("a,b,c\n")
    with pytest.raises(UsageError, match="cannot read"):
        clips_in([tmp_path / "bad.csv"])
    with pytest.raises(ClipError, match="holds no clip"):
        clips_in([tmp_path / "other" / ".." / "other"])


def test_a_list_gives_classes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{home}/clips/clip0.npz shake\n{home}/clips/clip1.npz\n")
    made = cfp.baseline(DEMO, tmp_path / "list.txt")
    assert made.clips[0].label == "shake"
    assert made.clips[1].index == made.clips[1].top
    found = cfp.check(DEMO, made, folder=Path())
    assert found.ok
    with pytest.raises(CfpError, match="unknown"):
        cfp.baseline(DEMO, home / "clips", target="juggling")


def test_another_network_is_refused(home: Path, bench: Any, tmp_path: Path) -> None:
    folder = bench[0]
    other = onnx.load(folder / "a.onnx")
    for name in ("fc.w", "fc.bias"):
        tensor, value = initializer(other, name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value[..., :4]), name))
    other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(other, tmp_path / "four.onnx")
    with pytest.raises(UsageError, match="has 4 classes and the baseline's model has 5"):
        cfp.check(tmp_path / "four.onnx", folder / "baseline.json")
    with pytest.raises(CfpError, match=r"."):
        cfp.check(DEMO, folder / "baseline.json")


# ----------------------------------------------------------------------------------------------- the command


def test_results_for_other_programs(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = edited(tmp_path, weights("spatial.0", lambda w: w * 4), "a_b.onnx")
    names = {"--json": "c.json", "--junit": "j.xml", "--markdown": "m.md", "--html": "page"}
    options = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
    (tmp_path / "m.md").write_text("before\n")
    assert cli.main(["check", str(model), "--baseline", str(home / "baseline.json"), *options]) == 1
    out = capsys.readouterr().out
    assert "OTHER REASONS" in out
    assert "spatial.0.weight" in out
    assert "\x1b" not in out
    value = json.loads((tmp_path / "c.json").read_text())
    assert value["schema"] == "cfp-onnx/check"
    assert value["ok"] is False
    assert value == json.loads((tmp_path / "page" / "check.json").read_text())
    assert value["first"]["weight"] == "spatial.0.weight"
    root = ET.fromstring((tmp_path / "j.xml").read_text())
    suite = root[0]
    cases = list(suite)
    failed = [c for c in cases if c.find("failure") is not None]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), str(len(failed)))
    assert len(cases) == 1 + 16 + CLIPS
    assert "it begins here: weights changed" in failed[0].find("failure").get("message")
    assert len({(c.get("classname"), c.get("name")) for c in cases}) == len(cases)
    text = (tmp_path / "m.md").read_text()
    assert text.startswith("before\n### cfp-onnx check FAILED")
    assert "a\\_b.onnx" in text
    assert text.count("\n| ") == 17
    page = (tmp_path / "page" / "check.html").read_text()
    assert_sound(page)
    assert "Failed: other reasons" in page


class Tags(HTMLParser):
    """Open tags that wait for their end, and what was asked from elsewhere."""

    void = frozenset({"meta", "path", "rect", "line", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src"}:
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.void, tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_sound(page: str) -> None:
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert all(link.startswith("#") and link[1:] in parser.ids for link in parser.links)
    assert "{{" not in page


def test_hostile_names_stay_text(home: Path, tmp_path: Path) -> None:
    found = cfp.check(DEMO, home / "baseline.json")
    evil = '<img src=x onerror="a">\x00|`_*'
    layer = replace(found.layers[0], name=evil, other=evil)
    bad = replace(found, layers=(layer,), notes=(evil,), missing=(evil,), model=replace(found.model, file=evil))
    from cfp_onnx.checking.ci_files import save_page

    page = save_page(bad, tmp_path).read_text()
    assert_sound(page)
    assert "<img" not in page
    ET.fromstring(junit(bad))
    assert "\\<img" in markdown(bad)
    assert "<img" in str(bad), "a terminal may show it"
    assert "\x00" not in str(bad)


def test_quiet_says_nothing_of_a_pass(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = str(home / "baseline.json")
    assert cli.main(["check", str(DEMO), "--baseline", baseline, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    model = edited(tmp_path, weights("head", lambda w: w * 4))
    assert cli.main(["check", str(model), "--quiet", "--baseline", baseline, str(home / "clips")]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert "head.weight" in out
    assert err == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--max-weights", "4", "--max-activity", "4"], 0),
        (["--max-weights", "-1"], 2),
        (["--max-drift", "x"], 2),
        (["--config", "nowhere.toml"], 2),
        (["--json", "-", "--markdown", "-"], 2),
        (["--junit", "-"], 2),
        (["--nonsense"], 2),
        (["--device", "cuda:9"], 3),
        (["nowhere.npz"], 2),
    ],
)
def test_exit_codes(
    home: Path, tmp_path: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if code == 3 and "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    model = edited(tmp_path, weights("head", lambda w: w * 4))
    assert cli.main(["check", str(model), "--baseline", str(home / "baseline.json"), *words]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == (code > 1)


def test_update_writes_a_new_baseline_only_on_request(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "baseline.json"
    shutil.copytree(home / "clips", tmp_path / "clips")
    shutil.copy(home / "baseline.json", file)
    model = edited(tmp_path, weights("head", lambda w: w * 4))
    before = file.read_bytes()
    assert cli.main(["check", str(model), "--baseline", str(file)]) == 1
    assert file.read_bytes() == before
    assert cli.main(["check", str(model), "--baseline", str(file), "--update"]) == 0
    assert "is now the baseline" in capsys.readouterr().err
    new, old = cfp.load_baseline(file), cfp.load_baseline(home / "baseline.json")
    assert new.model["file"] == "edited.onnx"
    assert [(c.file, c.index, c.sha256) for c in new.clips] == [(c.file, c.index, c.sha256) for c in old.clips]
    assert cli.main(["check", str(model), "--baseline", str(file)]) == 0
    assert cli.main(["check", str(DEMO), "--baseline", str(file)]) == 1


def test_predictions_are_told_apart_from_reasons(home: Path) -> None:
    found = cfp.check(DEMO, home / "baseline.json")
    flipped = replace(found.clips[0], top=(0, 1), top_labels=("left", "right"))
    bad = replace(found, clips=(flipped, *found.clips[1:]))
    assert bad.same_reasons
    assert not bad.same_predictions
    assert not bad.ok
    assert "right instead of left" in str(bad)
    assert "the same reasons, OTHER predictions on 1 of 5 clips" in str(bad)
    assert replace(bad, max_flips=1).ok


def test_an_assertion_for_test_suites(home: Path, tmp_path: Path) -> None:
    assert assert_same_reasons(DEMO, home / "baseline.json").ok
    model = edited(tmp_path, weights("head", lambda w: w * 4))
    with pytest.raises(AssertionError, match=r"first +at node_linear \(head.weight\): weights changed"):
        assert_same_reasons(model, home / "baseline.json")
    assert assert_same_reasons(model, home / "baseline.json", max_weights=4, max_activity=2).ok
    with pytest.raises(UsageError, match="max-drift"):
        assert_same_reasons(model, home / "baseline.json", policy=Policy(), max_drift=3)


def test_the_table_of_a_deep_network_is_short(home: Path, tmp_path: Path) -> None:
    found = cfp.check(edited(tmp_path, weights("spatial.0", lambda w: w * 4)), home / "baseline.json")
    fine = next(x for x in found.layers if not x.breaches)
    near = replace(fine, name="nearly", weights=0.9 * fine.limits.max_weights)
    many = [replace(fine, name=f"layer{n}") for n in range(40)]
    deep = replace(found, layers=(*many, near, *found.broken))
    text = str(deep)
    assert all(x.name in text for x in found.broken)
    assert "nearly" in text
    assert "28 more layers, all within their limits" in text
    assert "28 more layers, all within their limits" in markdown(deep)
    assert text.count("layer3") < 12
    assert "allowed" in text
    assert "< 15 %" in text
    assert len(ET.fromstring(junit(deep))[0]) == 1 + len(deep.layers) + CLIPS
    passed = str(replace(deep, layers=(*many, near), first=None, clips=()))
    assert "nearly" in passed
    assert "36 more layers" in passed
    worst = str(replace(deep, layers=tuple(replace(found.broken[0], name=f"bad{n}") for n in range(20))))
    assert "4 more layers, 4 of which broke a limit" in worst
