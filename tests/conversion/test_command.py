"""The command `convert`."""

from __future__ import annotations

import sys

import pytest

import cfp_onnx
from cfp_onnx.cli import main as cli
from cfp_onnx.model import load


@pytest.fixture
def call(capsys):
    def run(*argv):
        code = cli.main([str(a) for a in argv])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_the_command(call, order, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcde"))
    code, out, err = call(
        "convert", "torch", order(), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--labels", labels, "--mean", "0.5", "--std", "0.25", "--size", "8", "--frames", "4",
        "--layout", "NCTHW",
    )  # fmt: skip
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(tmp_path / "m.onnx")
    assert lines[1] == "fake 1.0, order, written by by hand, opset 17"
    assert lines[2].startswith("2 layers, 100% of their channels traced; outputs of 3 random clips differ")
    assert lines[3] == "note: nothing was repaired"
    model = load(tmp_path / "m.onnx")
    assert model.labels == tuple("abcde")
    assert model.preprocess["mean"] == [0.5]
    assert model.preprocess["std"] == [0.25]
    assert model.preprocess["layout"] == "NCTHW"


def test_a_preset_is_fitted_and_its_parts_give_way(call, order, tmp_path):
    code, _, err = call(
        "convert", "torch", order(), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--preset", "mfnet", "--std", "1,1,0.5",
    )  # fmt: skip
    assert (code, err) == (0, "")
    value = load(tmp_path / "m.onnx").preprocess
    assert (value["size"], value["frames"], value["std"]) == ([8, 8], 4, [1.0, 1.0, 0.5])
    assert value["mean"] == list(cfp_onnx.PRESETS["mfnet"].mean)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["keras3", "x", "-o", "m.onnx"],
            "there is no converter for framework 'keras3'; choose one of torch, keras, tensorflow, tflite, jax,",
        ),
        (["torch", "x.pt", "-o", "-"], "-o needs the name of a file"),
        (["torch", "x.pt"], "-o/--out"),
        (["torch", "x.pt", "-o", "m.onnx", "--batch", "few"], "--batch"),
        (["torch", "x.pt", "-o", "m.onnx", "--input-shape", "1,3", "--input-shape", "1,4"], "a name for each"),
        (["torch", "x.pt", "-o", "m.onnx", "--preset", "no"], "preset 'no' is unknown"),
        (["torch", "x.pt", "-o", "m.onnx", "--input-shape", "1,3,4,8,8"], "x.pt: no such file"),
        (["torch", "x.pt", "-o", "m.onnx"], "--input-shape 1,3,16,112,112"),
    ],
)
def test_wrong_usage_is_one_line(call, tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("convert", *argv)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_never_overwritten(call, order, tmp_path):
    source = order()
    code, _, err = call("convert", "torch", source, "-o", source, "--input-shape", "1,3,4,8,8")
    assert code == 2
    assert "is an input of this command" in err


def test_debug_shows_all_that_the_converter_said(call, order, tmp_path):
    code, _, err = call(
        "convert", "torch", order(crash=True), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--debug",
    )  # fmt: skip
    assert code == 2
    assert 'raise KeyError("something deep inside")' in err
