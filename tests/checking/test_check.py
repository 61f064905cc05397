"""What a check must pass, what it must not, and where the change begins.

That a check finds what was broken is judged by how it was broken; that it passes what is the same, by files that
compute the same.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import onnx
import onnxruntime
import pytest
from checked_demo import CLIPS
from compare_net import Spelling
from eight_bit import sums_are_cut_off
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from benchmarks.demo_model import (
    DEMO,
    WRONG_INPUT,
    Array,
    drawn,
    edited,
    eight_bits,
    initializer,
    optimised,
    pruned,
    set_initializer,
    times,
    weights,
)
from benchmarks.motion.clips import make_clip
from cfp_onnx.checking.ci_files import junit
from cfp_onnx.checking.policy import Limits, Policy
from cfp_onnx.cli import main as cli
from cfp_onnx.errors import CfpError, UsageError
from cfp_onnx.testing import assert_same_reasons


def one_kernel(value: Array) -> Array:
    value[7] *= 1.5
    return value


def no_relu(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Relu" and n.input[0] == "getitem_24")
    node.op_type = "Identity"


#: What was done -> the change, the layer whose weights it concerns (None: whatever reaches the first layer), kernels.
PLANTED = {
    **{f"{layer} times 4": (weights(layer, times(4)), layer, ()) for layer in ("stem.0", "mix.0", "head")},
    **{f"{layer} pruned": (weights(layer, pruned), layer, ()) for layer in ("stem.0", "fibers.conv.0", "temporal.0")},
    **{f"{layer} drawn anew": (weights(layer, drawn), layer, ()) for layer in ("depthwise.0", "spatial.0")},
    "one kernel times 1.5": (weights("residual.first.0", one_kernel), "residual.first.0", (7,)),
    **{name: (WRONG_INPUT[name], None, ()) for name in ("BGR instead of RGB", "not normalised")},
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_change_fails_and_is_found(home: Path, tmp_path: Path, name: str) -> None:
    change, layer, kernels = PLANTED[name]
    found = cfp.check(edited(tmp_path / "edited.onnx", change), home / "baseline.json")
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

    model = edited(tmp_path / "edited.onnx", change)
    found = cfp.check(model, home / "baseline.json", policy=Policy(Limits(max_activity=9.0)))
    assert not found.same_reasons
    assert found.first is not None
    assert found.first.weight == "spatial.0.weight"
    assert words in found.first.cause
    assert "strides or dilations changed" in junit(found)


def test_reversed_frames_and_a_missing_relu_fail(home: Path, tmp_path: Path) -> None:
    found = cfp.check(edited(tmp_path / "edited.onnx", WRONG_INPUT["frames reversed"]), home / "baseline.json")
    assert not found.ok
    assert found.flips > 0
    silent = cfp.check(edited(tmp_path / "edited.onnx", no_relu), home / "baseline.json")
    assert not silent.same_reasons
    assert silent.first is not None
    assert silent.first.weight in {"mix.0.weight", "depthwise.0.weight"}


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
def test_what_the_runtime_optimised_passes(home: Path, tmp_path: Path, level: str) -> None:
    found = cfp.check(optimised(tmp_path / "optimised.onnx", level), home / "baseline.json")
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

    found = cfp.check(edited(tmp_path / "edited.onnx", half), home / "baseline.json")
    assert found.ok, str(found)


def test_eight_bits_pass_where_they_were_calibrated_and_fail_on_black_frames(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime.quantization")
    for name, frames in {
        "good": [make_clip(5_000 + n).frames for n in range(24)],
        "black": [np.zeros((16, 40, 40, 3), np.uint8)],
    }.items():
        found = cfp.check(eight_bits(tmp_path / f"{name}.onnx", frames, form="QOperator"), home / "baseline.json")
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
    found = cfp.check(edited(tmp_path / "edited.onnx", weights("stem.0", pruned)), made, folder=Path())
    assert found.first is not None
    stem = found.layers[0]
    assert stem.change.drift is not None
    assert stem.change.drift > 0.01


SPELLINGS = {
    "folded": Spelling(norm="folded", prefix="net/"),
    "spelled out": Spelling(norm="spelled"),
    "channels last": Spelling(last=True, prefix="model/"),
    "fibers": Spelling(fibers=True, norm="folded"),
    "padded": Spelling(padded=True, prefix="x/"),
    "fibers, channels last": Spelling(fibers=True, last=True, norm="folded"),
}


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
    cut_off = kind == "quantised" and sums_are_cut_off()
    policy = Policy(Limits(max_drift=0.2)) if cut_off else None
    for name in names:
        found = cfp.check(folder / name, made, folder=Path(), policy=policy)
        assert found.missing == found.added == (), name
        if manifest[name]["same_padding"]:
            continue
        assert found.ok, f"{name}\n{found}"
        assert {x.evidence for x in found.layers} == {"weights"}, name
        assert found.notes == (), name


def test_another_network_is_refused(home: Path, bench: Any, tmp_path: Path) -> None:
    folder = bench[0]
    other = onnx.load(folder / "a.onnx")
    for name in ("fc.w", "fc.bias"):
        set_initializer(other, name, initializer(other, name)[..., :4])
    other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(other, tmp_path / "four.onnx")
    with pytest.raises(UsageError, match="has 4 classes and the baseline's model has 5"):
        cfp.check(tmp_path / "four.onnx", folder / "baseline.json")
    with pytest.raises(CfpError, match=r"."):
        cfp.check(DEMO, folder / "baseline.json")


def test_quiet_says_nothing_of_a_pass(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = str(home / "baseline.json")
    assert cli.main(["check", str(DEMO), "--baseline", baseline, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    model = edited(tmp_path / "edited.onnx", weights("head", times(4)))
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
    model = edited(tmp_path / "edited.onnx", weights("head", times(4)))
    assert cli.main(["check", str(model), "--baseline", str(home / "baseline.json"), *words]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == (code > 1)


def test_update_writes_a_new_baseline_only_on_request(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "baseline.json"
    shutil.copytree(home / "clips", tmp_path / "clips")
    shutil.copy(home / "baseline.json", file)
    model = edited(tmp_path / "edited.onnx", weights("head", times(4)))
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
    model = edited(tmp_path / "edited.onnx", weights("head", times(4)))
    with pytest.raises(AssertionError, match=r"first +at node_linear \(head.weight\): weights changed"):
        assert_same_reasons(model, home / "baseline.json")
    assert assert_same_reasons(model, home / "baseline.json", max_weights=4, max_activity=2).ok
    with pytest.raises(UsageError, match="max-drift"):
        assert_same_reasons(model, home / "baseline.json", policy=Policy(), max_drift=3)
