"""Wrong calls and unusable input: exit code 2 or 3, one line on stderr, nothing on stdout."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny_net import CLIP, TINY, save, tiny_weights


def test_no_model(refuses, clip, tmp_path):
    refuses("explain", tmp_path / "none.onnx", clip, says="no such file")
    refuses("inspect", tmp_path / "none.onnx", says="no such file")
    refuses("inspect", tmp_path, says="not a regular file")


def test_not_onnx(refuses, clip, tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("this is a text\n")
    for name, says in [("noise", "not a"), ("empty", "empty"), ("text", "not a")]:
        refuses("inspect", tmp_path / f"{name}.onnx", says=says)
        refuses("explain", tmp_path / f"{name}.onnx", clip, says=says)


def test_a_damaged_file(refuses, tiny):
    tiny.write_bytes(tiny.read_bytes()[:-200])
    refuses("inspect", tiny, says="tiny.onnx")


def test_no_layer(refuses, clip, tmp_path):
    model = save(tmp_path / "relu.onnx", [helper.make_node("Relu", ["clip"], ["y"], name="r")], {})
    refuses("explain", model, clip, says="no convolution and no dense layer")
    refuses("inspect", model, says="no convolution and no dense layer")


def test_unknown_operator_is_named(refuses, call, clip, tmp_path, rng):
    nodes = [
        TINY[0],
        helper.make_node("Det", ["square"], ["det"], name="odd"),
        helper.make_node("Reshape", ["a", "to"], ["square"], name="shape"),
        helper.make_node("Flatten", ["det"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "head"], ["y"], name="head"),
    ]
    weights = {
        "w1": tiny_weights(rng)["w1"],
        "to": np.array([1, 6, 4, 8, 8], np.int64),
        "head": rng.standard_normal((24, 3)).astype(np.float32),
    }
    model = save(tmp_path / "det.onnx", [nodes[0], nodes[2], nodes[1], *nodes[3:]], weights)
    err = refuses("inspect", model, says="Det")
    assert "odd" in err
    assert "cannot be followed" in err
    assert "--allow-barriers" in err
    assert ".py" not in err
    refuses("explain", model, clip, says="Det")
    code, out, _ = call("inspect", model, "--allow-barriers")
    assert code == 0
    assert "INCOMPLETE" in out
    assert "Det" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--class", "4"], "out of range"),
        (["--class", "-1"], "out of range"),
        (["--class", "99999999999999999999"], "out of range"),
        (["--class", "archery"], "'archery' is unknown"),
        (["--output", "nothing"], "no output 'nothing'"),
        (["--rule", "zminus"], "zminus"),
        (["--rule", "magic"], "magic"),
        (["--class-step", "weights"], "weights"),
        (["--theta", "1.5"], "theta"),
        (["--theta", "nan"], "theta"),
        (["--theta", "x"], "--theta"),
        (["--top-k", "0"], "--top-k"),
        (["--depth", "0"], "depth"),
        (["--depth", "deep"], "depth"),
        (["--size", "112"], "--size"),
        (["--mean", "1,2"], "--mean"),
        (["--std", "0"], "std"),
        (["--frames", "-3"], "--frames"),
        (["--device", "tpu"], "tpu"),
        (["--preset", "vgg"], "vgg"),
        (["--preset", "i3d", "--preprocess", "x.json"], "not allowed with"),
        (["--preprocess", "none.json"], "none.json"),
        (["--labels", "none.txt"], "none.txt"),
        (["--layout", "NCHW"], "NCHW"),
        (["--json", ""], "empty"),
        (["--wrong"], "--wrong"),
        (["--the", "0.5"], "--the"),
    ],
)
def test_wrong_options(refuses, tiny, clip, options, says):
    refuses("explain", tiny, clip, *options, says=says)


@pytest.mark.parametrize("argv", [[], ["explain"], ["explain", "model.onnx"], ["compare", "a", "b"], ["--json", "-"]])
def test_wrong_usage(refuses, argv):
    refuses(*argv, says="see cfp-onnx")


@pytest.mark.parametrize("given", ["other=1,3,4,8,8", "1,3,4,8", "clip=1,3,5,8,8", "clip=1,3,a,8,8", "clip="])
def test_wrong_input_shapes(refuses, tiny, given):
    refuses("inspect", tiny, "--input-shape", given, says="")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 3, 4, 8, 9), np.float32), "(1, 3, 4, 8, 9)"),
        (np.zeros((1, 4, 4, 8, 8), np.float32), "(1, 4, 4, 8, 8)"),
        (np.zeros((1, 3, 2, 8, 8), np.float32), "(1, 3, 2, 8, 8)"),
        (np.full(CLIP, np.nan, np.float32), "NaN"),
        (np.zeros((6, 10, 12, 4), np.uint8), ""),
    ],
)
def test_clips_that_do_not_fit(refuses, tiny, tmp_path, array, says):
    np.save(tmp_path / "bad.npy", array)
    refuses("explain", tiny, tmp_path / "bad.npy", says=says)


def test_clips_that_cannot_be_read(refuses, tiny, tmp_path):
    refuses("explain", tiny, tmp_path / "none.mp4", says="none.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    refuses("explain", tiny, tmp_path / "empty.mp4", says="empty")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)))
    refuses("explain", tiny, tmp_path / "noise.mp4", says="noise.mp4")
    (tmp_path / "folder").mkdir()
    refuses("explain", tiny, tmp_path / "folder", says="no frames")


def test_a_clip_that_is_too_short(refuses, tiny, frames):
    refuses("explain", tiny, frames, "--stride", "3", says="6")


def test_nan_in_the_outputs(refuses, clip, tmp_path, rng):
    weights = tiny_weights(rng)
    weights["fc"][0, 0] = np.inf
    refuses("explain", save(tmp_path / "inf.onnx", TINY, weights), clip, says="NaN or infinity")


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there at all")
def test_a_device_that_is_not_there(refuses, tiny, clip, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refuses("explain", tiny, clip, "--device", "cuda", says="cuda", code=3)


def test_a_device_without_hardware(tiny, clip, call):
    if Path("/dev/nvidia0").exists():
        pytest.skip("a GPU is there")
    code, out, err = call("explain", tiny, clip, "--device", "cuda")
    assert (code, out) == (3, ""), err
    assert err.count("\n") == 1
