"""Two files of one network: what must be called the same, what must not, and where they part.

The networks are small and written by hand; that a comparison finds what was broken is judged by how it was broken.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import pytest
from compare_bench import PLAIN, Bench
from compare_net import Spelling
from eight_bit import sums_are_cut_off

import cfp_onnx as cfp
from cfp_onnx.clips.manifest import Manifest, Row, write_manifest
from cfp_onnx.comparison.text import divergence_text
from cfp_onnx.errors import CfpError

SAME = {
    "the file itself": Spelling(),
    "batch norm folded into the weights": Spelling(norm="folded", prefix="net/"),
    "batch norm as Mul and Add": Spelling(norm="spelled"),
    "channels last": Spelling(last=True, prefix="model/"),
    "fibers as Split, convolutions, Concat": Spelling(fibers=True, norm="folded"),
    "channels last with fibers": Spelling(fibers=True, last=True, norm="folded"),
    "zeros from a Pad": Spelling(padded=True),
    "zeros from a Pad, channels last, fibers": Spelling(padded=True, fibers=True, last=True, norm="folded"),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("order", ["as it is", "kernels permuted"])
def test_another_spelling_is_the_same(bench: Bench, name: str, order: str) -> None:
    weights = bench.weights if order == "as it is" else net.permuted(bench.weights, np.random.default_rng(3))
    found = bench.compare(weights, SAME[name])
    assert found.same, str(found)
    assert found.first is None
    assert len(found.layers) == len(net.SHAPES)
    assert found.only_a == found.only_b == ()
    assert {x.evidence for x in found.layers} == {"weights"}
    assert max(x.difference for x in found.layers) < 1e-5
    assert found.outputs.difference < 1e-5
    assert all(x.rank_correlation is None or x.rank_correlation > 0.999 for x in found.layers)
    assert all(x.tube_cosine is None or x.tube_cosine > 0.999 for x in found.layers)
    assert [x.findings for x in found.layers if x.findings] == []
    moved = [x.a for x in found.layers if x.kernels != tuple(range(len(x.kernels)))]
    assert bool(moved) == (order != "as it is")


def test_permuted_kernels_are_told_one_by_one(bench: Bench) -> None:
    rng = np.random.default_rng(11)
    found = bench.compare(net.permuted(bench.weights, rng))
    rng = np.random.default_rng(11)
    order = {n: rng.permutation(net.SHAPES[n][0]) for n in ("stem", "res.a", "b1", "b2", "b3", "pw", "se1")}
    kernels = {x.a: np.array(x.kernels) for x in found.layers}
    for name, o in {**order, "res.b": order["stem"], "se2": order["pw"]}.items():
        assert np.array_equal(kernels[name], np.argsort(o)), name
    assert np.array_equal(kernels["fc"], np.arange(net.CLASSES))


def test_an_input_turned_round_twice_is_the_same(bench: Bench) -> None:
    assert bench.compare(net.turned_input(bench.weights), Spelling(reverse_input=True)).same


@dataclass(frozen=True)
class Broken:
    """What was done to the second file, and what must be found."""

    layer: str
    says: str
    where: str = "layer"
    kernels: tuple[int, ...] = ()
    reader: str | None = None
    edit: Callable[[Any], Any] = dict
    spelling: Spelling = PLAIN


def swapped_classes(weights: Any) -> Any:
    order = [0, 3, 2, 1, 4]
    return {**weights, "fc.w": weights["fc.w"][order], "fc.bias": weights["fc.bias"][order]}


BROKEN = {
    "one kernel's weights times 1.5": Broken(
        "mix", "kernel 7: weights scaled by 1.5", kernels=(7,), edit=net.scaled("mix", 7, 1.5)
    ),
    "one kernel of a grouped convolution times 1.5": Broken(
        "grp", "kernel 3: weights scaled by 1.5", kernels=(3,), edit=net.scaled("grp", 3, 1.5)
    ),
    "one kernel of the gate times 1.5, dead on this clip": Broken(
        "se1", "kernel 3: weights scaled by 1.5", kernels=(3,), edit=net.scaled("se1", 3, 1.5)
    ),
    "one kernel's offset moved": Broken(
        "b1", "bias differs in kernel 2", kernels=(2,), edit=net.shifted("b1", 2, 0.05)
    ),
    "two kernels swapped": Broken(
        "res.a", "kernels 3 and 9 are swapped", kernels=(3, 9), edit=net.swapped("res.a", 3, 9)
    ),
    "two kernels swapped before a shortcut": Broken(
        "res.b", "kernels 1 and 3 are swapped", kernels=(1, 3), edit=net.swapped("res.b", 1, 3)
    ),
    "two kernels swapped before a depthwise layer": Broken(
        "grp", "kernels 1 and 3 are swapped", kernels=(1, 3), edit=net.swapped("grp", 1, 3)
    ),
    "two kernels of a depthwise layer swapped": Broken(
        "dw", "kernels 1 and 3 are swapped", kernels=(1, 3), edit=net.swapped("dw", 1, 3)
    ),
    "two kernels swapped before a grouped convolution": Broken(
        "mix", "kernels 1 and 3 are swapped", kernels=(1, 3), edit=net.swapped("mix", 1, 3)
    ),
    "two classes swapped": Broken("fc", "kernels 1 and 3 are swapped", kernels=(1, 3), edit=swapped_classes),
    "batch norm's epsilon 1e-3": Broken(
        "grp", "epsilon is 1e-05 in A and 0.001 in B", spelling=Spelling(epsilon={"grp": 1e-3})
    ),
    "epsilon 1e-3, folded": Broken(
        "mix", "as another epsilon of a batch norm does", spelling=Spelling(epsilon={"mix": 1e-3}, norm="folded")
    ),
    "SAME padding": Broken(
        "stem", "padding differs: 1+1 1+1 1+1 in A, 1+1 0+1 0+1 in B (SAME",
        spelling=Spelling(pads={"stem": [1, 0, 0, 1, 1, 1]}),
    ),
    "a Relu missing": Broken(
        "b2", "an activation (Relu) is missing after it in B", spelling=Spelling(silent=frozenset({"b2"}))
    ),
    "the Relu behind the Add missing": Broken(
        "res.b", "an activation (Relu) is missing in B", "between", reader="b1",
        spelling=Spelling(silent=frozenset({"add"})),
    ),
    "one activation more behind a branch": Broken(
        "b1", "an activation (Sigmoid) is missing in A", "between", reader="mix",
        spelling=Spelling(twice=frozenset({"b1"})),
    ),
    "RGB and BGR, in the weights": Broken(
        "stem", "in the order 2, 1, 0 in B (RGB against BGR)", "input", reader="stem", edit=net.turned_input
    ),
    "RGB and BGR, in the graph": Broken(
        "stem", "in the order 2, 1, 0 in B (RGB against BGR)", "input", reader="stem",
        spelling=Spelling(reverse_input=True),
    ),
    "the shortcut dropped": Broken(
        "res.b", "the shortcut from 'stem' is missing in B at the Add that follows", "between", reader="b1",
        spelling=Spelling(shortcut=False),
    ),
    "the groups of the shuffle turned round": Broken(
        "grp", "the order of a shuffle differs", "between", reader="dw", spelling=Spelling(reverse_shuffle=True)
    ),
    "the pool's padding": Broken(
        "res.b", "what is pooled differs", "between", reader="b3", spelling=Spelling(pool=(0, 2))
    ),
    "a Softmax at the end": Broken(
        "fc", "followed by nothing in A and by Softmax in B", "output", spelling=Spelling(softmax=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(bench: Bench, name: str) -> None:
    case = BROKEN[name]
    found = bench.compare(case.edit(bench.weights), case.spelling)
    assert not found.same
    assert found.first is not None
    assert (found.first.where, found.first.layer) == (case.where, case.layer), found.first
    assert case.says in found.first.cause
    assert found.first.kernels == case.kernels
    assert found.first.reader == case.reader
    assert case.says in divergence_text(found.first)


UNDER_ANY_ORDER = [
    "one kernel of a grouped convolution times 1.5", "two kernels swapped", "two kernels of a depthwise layer swapped",
    "two kernels swapped before a grouped convolution", "batch norm's epsilon 1e-3", "a Relu missing",
    "RGB and BGR, in the weights", "the shortcut dropped", "the groups of the shuffle turned round",
]  # fmt: skip


@pytest.mark.parametrize("name", UNDER_ANY_ORDER)
def test_it_is_found_under_permuted_kernels_too(bench: Bench, name: str) -> None:
    case = BROKEN[name]
    weights = case.edit(net.permuted(bench.weights, np.random.default_rng(2)))
    spelling = net.rewrite(case.spelling, prefix="other/")
    found = bench.compare(weights, spelling)
    assert (found.first.where, found.first.layer) == (case.where, case.layer), found.first
    assert len(found.first.kernels) == len(case.kernels)


def test_the_two_files_may_change_places(bench: Bench) -> None:
    other = bench.other(spelling=Spelling(shortcut=False))
    found = cfp.compare(other, bench.a, bench.clip, device="cpu", threads=1)
    assert found.first.layer == "res.b"
    assert "the shortcut from 'stem' is missing in A" in found.first.cause


def test_a_layer_more_is_named(bench: Bench) -> None:
    other = bench.other(spelling=Spelling(extra=True))
    found = cfp.compare(bench.a, other, bench.clip, device="cpu", threads=1)
    assert found.only_b == ("more",)
    assert (found.first.where, found.first.layer) == ("only_b", "more")
    back = cfp.compare(other, bench.a, bench.clip, device="cpu", threads=1)
    assert back.only_a == ("more",)
    assert (back.first.where, back.first.layer) == ("only_a", "more")


def test_other_weights_are_aligned_by_name_or_place(bench: Bench) -> None:
    weights = net.weights(np.random.default_rng(5))
    found = bench.compare(weights)
    assert [x.a for x in found.layers] == [x.b for x in found.layers]
    assert {x.evidence for x in found.layers} <= {"names", "weights"}
    assert found.first.layer == "stem"
    assert "weights differ in all 8 kernels" in found.first.cause


def test_tolerance_decides(bench: Bench) -> None:
    spelling = Spelling(epsilon={"grp": 1e-3})
    assert not bench.compare(spelling=spelling).same
    assert not bench.compare(spelling=spelling, tolerance=1e-5).same
    assert bench.compare(spelling=spelling, tolerance=1e-2).same


def test_several_clips_are_taken_together(bench: Bench) -> None:
    rng = np.random.default_rng(1)
    clips = [bench.clip, rng.standard_normal(net.CLIP).astype(np.float32)]
    edit = net.scaled("stem", 3, 1.5)
    other = bench.other(edit(bench.weights))
    singles = [cfp.compare(bench.a, other, c, target=1, device="cpu", threads=1) for c in clips]
    both = cfp.compare(bench.a, other, clips, target=1, device="cpu", threads=1)
    for k, layer in enumerate(both.layers):
        assert layer.difference == pytest.approx(max(s.layers[k].difference for s in singles))
        assert layer.cosine == pytest.approx(min(s.layers[k].cosine for s in singles))
        if layer.rank_correlation is not None:
            assert layer.rank_correlation == pytest.approx(np.mean([s.layers[k].rank_correlation for s in singles]))
    assert len(both.clips) == 2
    for order in (clips, clips[::-1]):  # kernels that differ on one clip only count, whichever it is
        found = cfp.compare(bench.a, other, [order[0] * 0, order[1]], target=1, device="cpu", threads=1)
        alone = cfp.compare(bench.a, other, order[1], target=1, device="cpu", threads=1)
        ours, theirs = ({x.a: set(x.worst) for x in f.layers} for f in (found, alone))
        assert all(theirs[n] <= ours[n] or len(ours[n]) == 8 for n in theirs)


def test_a_manifest_stands_for_its_clips(bench: Bench, tmp_path: Path) -> None:
    for k, name in enumerate(("a.npy", "b.npy")):
        np.save(tmp_path / name, np.random.default_rng(k).standard_normal(net.CLIP).astype(np.float32))
    rows = (Row("a", "a.npy"), Row("gone", "gone.npy", problem="it is not there"), Row("b", "b.npy"))
    path = write_manifest(Manifest("list", str(tmp_path), rows), tmp_path / "m.parquet")
    found = cfp.compare(bench.a, bench.other(), path, depth=1, device="cpu", threads=1)
    assert [Path(clip.file).name for clip in found.clips] == ["a.npy", "b.npy"]


def test_tubes_may_be_left_out(bench: Bench) -> None:
    found = bench.compare(tubes=False)
    assert found.same
    assert all(x.tube_cosine is None for x in found.layers)


def test_float16_passes_and_is_named(bench: Bench) -> None:
    rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in bench.weights.items()}
    found = bench.compare(rounded)
    assert found.same
    assert found.tolerance["precision"] == "float16"
    assert [m["precision"] for m in found.models] == ["float32", "float16"]
    assert 1e-5 < max(x.difference for x in found.layers) < found.tolerance["outputs"]


@pytest.mark.shared
@pytest.mark.slow
def test_every_exporter_writes_the_same_network(shared_dir: Path) -> None:
    folder = shared_dir / "models" / "exporters"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    kinds = {"lossless": "float32", "fp16": "float16", "quantised": "int8"}
    tried = set()
    for name, entry in manifest.items():
        if entry["kind"] not in kinds or entry["same_padding"]:
            continue
        found = cfp.compare(folder / "pt_dynamo.onnx", folder / name, folder / "clip.npy", device="cpu", threads=2)
        assert len(found.layers) == 15, name
        assert found.only_a == found.only_b == (), name
        assert found.tolerance["precision"] == kinds[entry["kind"]], name
        assert found.same == (entry["kind"] != "quantised"), (name, found.first)
        assert {x.evidence for x in found.layers} == {"weights"}, name
        drift = max(x.difference for x in found.layers)
        eight = (2e-2, 0.5 if sums_are_cut_off() else 0.3)
        limits = {"lossless": (0.0, 1e-5), "fp16": (1e-4, 1e-2), "quantised": eight}[entry["kind"]]
        assert limits[0] <= drift <= limits[1], (name, drift)
        tried.add(entry["kind"])
    assert tried == set(kinds)
    eight = folder / "var_dynq_u8.onnx"
    assert cfp.compare(folder / "pt_dynamo.onnx", eight, folder / "clip.npy", tolerance=0.2, device="cpu").same


@pytest.mark.shared
def test_another_network_is_refused_in_a_sentence(shared_dir: Path) -> None:
    folder = shared_dir / "models" / "exporters"
    with pytest.raises(CfpError) as caught:
        cfp.compare(folder / "pt_dynamo.onnx", folder / "var2d_ort_all.onnx", folder / "clip.npy")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
