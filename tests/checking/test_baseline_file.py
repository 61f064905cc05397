"""The baseline's file: it comes back as it was, and nothing in it is trusted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checked_demo import CLIPS

import cfp_onnx as cfp
from benchmarks.demo_model import DEMO
from cfp_onnx.cli import main as cli
from cfp_onnx.errors import OutputError, UsageError
from cfp_onnx.files import strict_json as strict


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
    held = ("norms", "attention", "gates")
    pyramid = cfp.explain(DEMO, home / clip.file, tubes=False, hold=held, against="mean")
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
    monkeypatch.setattr(strict, "LARGEST", 100)
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
