"""What a conversion keeps: the file, what is known about it, and weights beside it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_converter import CLASSES, SHAPE, make, refused

import cfp_onnx
from cfp_onnx.conversion import call as conversion
from cfp_onnx.conversion import environments, keep
from cfp_onnx.errors import OutputError
from cfp_onnx.model import load


def test_a_conversion_is_kept_with_what_is_known_about_it(order, tmp_path):
    source = order()
    labels = [f"class {k}" for k in range(CLASSES)]
    preprocess = cfp_onnx.PRESETS["i3d"]
    done = make(source, tmp_path / "new" / "m.onnx", labels=labels, preprocess=preprocess, layout="NCTHW")
    assert (done.framework, done.exporter, done.kind, done.opset) == ("fake 1.0", "by hand", "order", 17)
    assert done.notes == ("nothing was repaired",)
    assert (done.clips, done.layers, done.coverage) == (3, 2, 1.0)
    assert 0 <= done.difference < 1e-4
    model = load(done.path)
    assert model.labels == tuple(labels)
    assert model.preprocess == {
        **preprocess.to_json(), "frames": 4, "size": [8, 8], "short_side": 9, "layout": "NCTHW"
    }  # fmt: skip
    own = json.loads(model.metadata["cfp_onnx.source"])
    digest = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[0]
    assert own == {"sha256": digest, "framework": "fake 1.0", "exporter": "by hand", "kind": "order"}
    assert str(tmp_path).encode() not in done.path.read_bytes()
    assert list((tmp_path / "new").iterdir()) == [done.path]


def test_the_file_explains_itself(order, tmp_path, rng):
    done = make(order(), tmp_path / "m.onnx", labels=list("abcde"), preprocess=cfp_onnx.Preprocess(mean=(0.5,) * 3))
    pyramid = cfp_onnx.explain(done.path, rng.integers(0, 256, (6, 10, 12, 3)).astype(np.uint8), target="c")
    assert (pyramid.target["index"], pyramid.target["label"]) == (2, "c")


def test_without_knowledge_no_metadata_but_the_source(order, tmp_path):
    assert set(load(make(order(), tmp_path / "m.onnx").path).metadata) == {"cfp_onnx.source"}


def test_the_request_keeps_the_contract(order, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("source.net" if order() else "", tmp_path / "m.onnx", batch=1, opset=18, seed=7, labels=list("abcde"))
    said = json.loads((tmp_path / "said" / "log.json").read_text("utf-8"))
    assert Path(said["python"]) == Path(sys.executable)
    assert said["request"] == {
        "format": 1, "source": str(tmp_path / "source.net"), "weights": None, "arch": None, "classes": None,
        "frames": None, "size": None, "input_shape": list(SHAPE), "layout": None, "batch": 1, "opset": 18,
        "allow_pickle": False, "labels": list("abcde"), "preprocess": None, "seed": 7, "cwd": str(tmp_path),
    }  # fmt: skip


def test_weights_beside_the_model_stay_beside_it(order, tmp_path):
    source = order(save={"save_as_external_data": True, "location": "w.bin", "size_threshold": 0})
    out = tmp_path / "big" / "m.onnx"
    make(source, out)
    assert sorted(f.name for f in out.parent.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert cfp_onnx.topology(out).coverage.channels == 1.0


def test_old_weights_beside_a_model_survive_a_full_disk(order, tmp_path, monkeypatch):
    source = order(save={"save_as_external_data": True, "location": "w.bin", "size_threshold": 0})
    out = tmp_path / "big" / "m.onnx"
    make(source, out)
    before = {f.name: f.read_bytes() for f in out.parent.iterdir()}

    def full(path, data):
        raise OutputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(keep, "write_bytes", full)
    (out.parent / "m.onnx.data").write_bytes(b"old")
    refused(source, out, "No space left", OutputError)
    assert {f.name: f.read_bytes() for f in out.parent.iterdir()} == {**before, "m.onnx.data": b"old"}


def test_the_hash_of_a_folder_is_over_names_and_bytes(tmp_path):
    from cfp_onnx.conversion.keep import _digest

    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1")
    first = _digest(tmp_path / "a")
    (tmp_path / "a" / "b" / "x").rename(tmp_path / "a" / "b" / "y")
    assert _digest(tmp_path / "a") != first


def test_the_weights_beside_are_asked_for_and_hashed(order, tmp_path):
    source = order()
    graph = source.rename(tmp_path / "net.json")
    (tmp_path / "net.pdiparams").write_bytes(b"weights")
    done = conversion.convert("paddle", tmp_path / "net", tmp_path / "m.onnx", input_shape=SHAPE, python=sys.executable)
    said = json.loads((tmp_path / "said" / "log.json").read_text("utf-8"))["request"]
    assert (said["source"], said["weights"]) == (str(graph), str(tmp_path / "net.pdiparams"))
    own = json.loads(load(done.path).metadata["cfp_onnx.source"])
    assert own["sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert own["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_a_made_environment_converts(order, tmp_path, monkeypatch):
    """The whole way without --python, with an installation that links the running interpreter."""

    def install(command):
        if "venv" in command:
            place = Path(command[-1])
            (place / "bin").mkdir(parents=True, exist_ok=True)
            script = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
            (place / "bin" / "python").write_text(script)
            (place / "bin" / "python").chmod(0o755)

    monkeypatch.setattr(environments, "_run_install", install)
    assert make(order(), tmp_path / "m.onnx", python=None).layers == 2


@pytest.mark.parametrize(
    ("arch", "preset"),
    [
        ("resnet50-3d", "resnet3d"), ("resnet18-3d-a", "resnet3d"), ("resnext101-3d", "resnext101-3d"),
        ("mfnet", "mfnet"), ("i3d", "i3d"), ("nobody", None), (None, None),
    ],
)  # fmt: skip
def test_built_in_networks_bring_their_preprocessing(arch, preset):
    assert keep.preset_of(arch) == (None if preset is None else cfp_onnx.PRESETS[preset])
