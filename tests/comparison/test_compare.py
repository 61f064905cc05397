"""Two files of one network: what must be called the same, what must not, and where they part.

The networks are small and written by hand; that a comparison finds what was broken is judged by how it was broken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import onnx
import pytest
from compare_net import Spelling
from eight_bit import sums_are_cut_off
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.cli import main as cli
from cfp_onnx.comparison.result import comparison_text
from cfp_onnx.comparison.text import divergence_text
from cfp_onnx.errors import CfpError
from cfp_onnx.report.comparison_page import payload

SEED = 20190524


PLAIN = Spelling()


Run = Callable[..., Any]


@dataclass(frozen=True)
class Bench:
    """Weights, a clip, and the file that others are compared with."""

    folder: Path
    weights: dict[str, Any]
    clip: Any
    a: Path

    def other(self, weights: Any = None, spelling: Spelling = PLAIN, name: str = "b.onnx") -> Path:
        return net.write(self.folder / name, self.weights if weights is None else weights, spelling)

    def compare(self, weights: Any = None, spelling: Spelling = PLAIN, **options: Any) -> Any:
        options = {"device": "cpu", "threads": 1, **options}
        return cfp.compare(self.a, self.other(weights, spelling), self.clip, **options)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    rng = np.random.default_rng(SEED)
    weights = net.weights(rng)
    folder = tmp_path_factory.mktemp("compare")
    clip = rng.standard_normal(net.CLIP).astype(np.float32)
    return Bench(folder, weights, clip, net.write(folder / "a.onnx", weights))


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


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in argv])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def clip_file(bench: Bench, tmp_path: Path) -> Path:
    np.save(tmp_path / "clip.npy", bench.clip)
    return tmp_path / "clip.npy"


def test_exit_codes_and_files(call: Run, bench: Bench, clip_file: Path, tmp_path: Path) -> None:
    same, different = bench.other(name="same.onnx"), bench.other(spelling=Spelling(shortcut=False), name="diff.onnx")
    code, out, err = call("compare", bench.a, same, clip_file, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "the same within the tolerance" in out
    folder = tmp_path / "out"
    code, out, err = call(
        "compare", bench.a, different, clip_file, "-o", folder, "--json", tmp_path / "c.json", "--device", "cpu"
    )
    assert (code, err) == (1, "")
    assert "DIFFERENT" in out
    assert "shortcut from 'stem' is missing" in " ".join(out.split())
    assert sorted(p.name for p in folder.iterdir()) == ["comparison.html", "comparison.json"]
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads((folder / "comparison.json").read_text())


def test_json_keeps_its_promise(call: Run, bench: Bench, clip_file: Path) -> None:
    other = bench.other(net.scaled("grp", 3, 1.5)(bench.weights))
    code, out, _ = call("compare", bench.a, other, clip_file, "--json", "-", "--class", "2", "--device", "cpu")

    def no(constant: str) -> None:
        raise AssertionError(constant)

    value = json.loads(out, parse_constant=no)
    assert code == 1
    assert (value["schema"], value["schema_version"], value["same"]) == ("cfp-onnx/comparison", 1, False)
    assert set(value) == {
        "schema", "schema_version", "same", "models", "clips", "target", "tolerance", "first", "outputs", "layers",
        "only_a", "only_b", "notes",
    }  # fmt: skip
    assert value["target"]["index"] == 2
    assert value["first"] == {
        "where": "layer", "layer": "grp", "other": "grp", "kernels": [3], "reader": None,
        "cause": "kernel 3: weights scaled by 1.5",
    }  # fmt: skip
    assert set(value["outputs"]) == {"cosine", "difference", "max_abs", "same_top", "scores"}
    assert set(value["layers"][0]) == {
        "a", "b", "weight", "op", "evidence", "depth", "kernels", "cosine", "difference", "max_abs", "input_difference",
        "weight_difference", "bias_difference", "rank_correlation", "overlap", "tube_cosine", "chosen", "relevance",
        "agrees", "worst", "findings",
    }  # fmt: skip
    assert next(x["a"] for x in value["layers"] if not x["agrees"]) == "grp"


def test_text_names_the_layers(bench: Bench) -> None:
    found = bench.compare(net.scaled("grp", 3, 1.5)(bench.weights))
    text = str(found)
    assert "first      at grp: kernel 3: weights scaled by 1.5" in text
    assert "<- first" in next(line for line in text.splitlines() if line.startswith("grp"))
    assert repr(found) == "<Comparison: different, 13 layers in both>"
    assert comparison_text(found) is not None


def test_text_and_page_know_numbered_layers_by_their_modules(bench: Bench) -> None:
    found = bench.compare(net.scaled("grp", 3, 1.5)(bench.weights))
    assert found.first is not None
    layers = tuple(
        replace(x, a="node_Conv_7", weight=("net.grp.weight", "net.grp.weight")) if x.a == "grp" else x
        for x in found.layers
    )
    text = str(replace(found, layers=layers, first=replace(found.first, layer="node_Conv_7", other="node_Conv_7")))
    assert "first      at node_Conv_7 (net.grp): kernel 3" in text
    assert "node_Conv_7 (net.grp) | grp" in text
    shown = next(x for x in payload(replace(found, layers=layers).to_json())["layers"] if x["b"] == "grp")
    assert shown["modules"] == ["net.grp", ""]


def classifier(path: Path, *, channels: int = 3, size: int = 10, classes: int = 5) -> Path:
    rng = np.random.default_rng(0)
    shape = [1, channels, 4, size, size]
    weights = {
        "w": rng.standard_normal((4, channels, 1, 1, 1)).astype(np.float32),
        "fc": rng.standard_normal((4, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["clip", "w"], ["a"], "conv"),
        helper.make_node("ReduceMean", ["a"], ["p"], "mean", axes=[2, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["p", "fc"], ["y"], "fc"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p / "missing.onnx", "no such file"),
        (lambda p: (p / "bad.onnx", (p / "bad.onnx").write_bytes(b"no model"))[0], "not an ONNX"),
        (lambda p: classifier(p / "b.onnx", classes=7), "has 5 classes and"),
        (lambda p: classifier(p / "b.onnx", size=12), "cannot take what"),
        (lambda p: classifier(p / "b.onnx", channels=1), "cannot take what"),
    ],
)
def test_what_cannot_be_compared(
    call: Run, bench: Bench, clip_file: Path, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    other, folder = make(tmp_path), tmp_path / "out"
    code, out, err = call("compare", bench.a, other, clip_file, "-o", folder, "--json", tmp_path / "c.json")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not folder.exists()
    assert not (tmp_path / "c.json").exists()


def test_a_clip_that_does_not_fit(call: Run, bench: Bench, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.zeros((1, 3, 4, 9, 10), np.float32))
    code, out, err = call("compare", bench.a, bench.other(), tmp_path / "clip.npy")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tolerance", "-1"], "tolerance is -1"),
        (["--tolerance", "nan"], "tolerance is nan"),
        (["--theta", "2"], "theta is 2"),
        (["--class", "9"], "class 9 is out of range"),
        (["--output", "none"], "no output 'none'"),
        (["--layout", "NTCHW"], "NTCHW"),
    ],
)
def test_wrong_options(call: Run, bench: Bench, clip_file: Path, options: list[str], says: str) -> None:
    code, out, err = call("compare", bench.a, bench.a, clip_file, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_frames_are_preprocessed_for_each_file(bench: Bench, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 10, 10, 3)).astype(np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    other = bench.other(spelling=Spelling(last=True))
    found = cfp.compare(bench.a, other, tmp_path / "frames.npy", device="cpu", threads=1)
    assert found.same
    model = onnx.load(other)
    helper.set_model_props(model, {"cfp_onnx.preprocess": json.dumps({"mean": [0.5], "std": [0.5]})})
    onnx.save(model, other)
    found = cfp.compare(bench.a, other, tmp_path / "frames.npy", device="cpu", threads=1)
    assert found.first.where == "input"
    assert "preprocessing" in found.first.cause
    given = cfp.Preprocess(mean=(0.5,), std=(0.5,))
    assert cfp.compare(bench.a, other, tmp_path / "frames.npy", preprocess=given, device="cpu", threads=1).same


HOSTILE = "</script><img src=x onerror=window.pwned=1>\u202e&amp;'\""


def hostile(bench: Bench) -> Any:
    """A result whose names come from an enemy."""
    found = bench.compare(net.scaled("grp", 3, 1.5)(bench.weights))
    layers = tuple(replace(x, a=f"{x.a} {HOSTILE}", b=f"{x.b} {HOSTILE}", findings=(HOSTILE,)) for x in found.layers)
    first = replace(found.first, layer=f"grp {HOSTILE}", cause=HOSTILE)
    models = tuple(replace(m, file=f"/x/{HOSTILE}", producer=HOSTILE) for m in found.models)
    return replace(found, layers=layers, first=first, models=models, only_a=(HOSTILE,), notes=(HOSTILE,))


def test_a_page_is_one_file_with_a_strict_policy(bench: Bench, tmp_path: Path) -> None:
    text = hostile(bench).save(tmp_path).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert HOSTILE not in text
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert "http" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL).replace("http-equiv", "")


def test_the_page_leaves_out_what_nobody_chose(bench: Bench) -> None:
    value = bench.compare(theta=0.1).to_json()
    shown = payload(value)
    assert max(len(x["chips"]) for x in shown["layers"]) > 2
    assert [x["a"] for x in shown["layers"]] == [x["a"] for x in value["layers"]]
    for small, layer in zip(shown["layers"], value["layers"], strict=True):
        assert "relevance" not in small
        assert {row[0] for row in small["chips"]} == set(layer["chosen"]["shared"])
        assert all(0 <= row[2] <= 1.001 for row in small["chips"])
        assert small["count"] == len(layer["kernels"])
        shares = [max(row[2], row[3]) for row in small["chips"]]
        assert shares == sorted(shares, reverse=True)


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_the_page_in_a_browser(bench: Bench, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    page_of = {
        "hostile": hostile(bench).save(tmp_path / "hostile"),
        "shortcut": bench.compare(spelling=Spelling(shortcut=False)).save(tmp_path / "shortcut"),
        "same": bench.compare(spelling=Spelling(norm="folded")).save(tmp_path / "same"),
    }
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for name, file in page_of.items():
            for scheme, width in (("light", 1280), ("dark", 420)):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                wrong: list[str] = []
                requests: list[str] = []
                page.on("console", lambda message, to=wrong: to.append(message.text))
                page.on("pageerror", lambda error, to=wrong: to.append(str(error)))
                page.on("request", lambda request, to=requests: to.append(request.url))
                page.goto(file.as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")
                assert wrong == [], (name, scheme)
                assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
                assert page.evaluate("window.pwned") is None
                assert page.locator(".couple").count() == len(net.SHAPES)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
                if name == "shortcut":
                    use(page)
                if name == "same":
                    assert page.locator("h1").inner_text() == "The same network"
                    assert page.locator(".couple.first, .couple.differs, .parting").count() == 0
                page.close()
        browser.close()


def use(page: Any) -> None:
    """What a reader does: to the first parting by keyboard, partners of a kernel, only what differs, the theme."""
    assert "shortcut from 'stem' is missing" in page.locator(".parting").inner_text()
    first = page.locator(".couple.first")
    assert first.count() == 1
    assert "res.b" in first.inner_text()
    page.locator(".parting button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.classList.contains('first')")
    assert first.locator("details").get_attribute("open") is not None
    chip = page.locator(".side.a .kernel:not(.alone)").first
    chip.focus()
    assert page.locator(".kernel.lit").count() == 2
    page.locator("#only-different").focus()
    page.keyboard.press("Space")
    shown = page.locator(".couple:visible").count()
    assert 0 < shown < len(net.SHAPES)
    assert f"{shown} of {len(net.SHAPES)} layers shown" in page.locator("#rows-note").inner_text()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


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
