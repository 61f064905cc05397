"""The command `compare`: exit codes, JSON, text, and what is refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_net as net
import numpy as np
import onnx
import pytest
from compare_bench import Bench
from compare_net import Spelling
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.cli import main as cli
from cfp_onnx.comparison.result import comparison_text
from cfp_onnx.report.comparison_page import payload

Run = Callable[..., Any]


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
