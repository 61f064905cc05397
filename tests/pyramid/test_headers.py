"""Headers of a pyramid: typed values that also answer by key, as the published JSON does."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from pyramids import invented, refusal

import cfp_onnx as cfp
from cfp_onnx.pyramid.headers import CoverageHeader, RunHeader, TargetHeader

KEYS = {
    "model": ["file", "sha256", "producer", "opset"],
    "input": ["file", "sha256", "shape", "layout", "fed"],
    "run": [
        "rule", "class_step", "theta", "top_k", "depth", "holds", "order", "against", "rivals", "provider",
        "onnxruntime", "output_difference", "undefined", "negative_sums", "links_omitted",
    ],
    "target": ["output", "index", "label", "score", "top"],
    "coverage": ["channels", "layers", "operators_unknown"],
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_every_published_key_is_there_in_its_order(pyramid, name):
    assert list(pyramid.to_json()[name]) == list(getattr(pyramid, name)) == KEYS[name]


@pytest.mark.parametrize("name", KEYS)
def test_a_header_answers_by_attribute_and_by_key(pyramid, name):
    header = getattr(pyramid, name)
    assert dict(header) == header.to_json() == header == pyramid.to_json()[name]
    assert len(header) == len(KEYS[name])
    for key in KEYS[name]:
        assert json.dumps(header[key]) == json.dumps(getattr(header, key))
        assert header.get(key) == header[key]
        assert key in header
    assert "nothing" not in header
    assert header.get("nothing", 3) == 3
    with pytest.raises(KeyError):
        header["nothing"]
    with pytest.raises(KeyError):
        header["extra"]


def test_keys_give_what_json_gives():
    target = invented().target
    assert target["top"] == [[1, None, 9.0]]
    assert target.top[0].score == 9.0
    assert {**target, "index": 2}["index"] == 2
    assert CoverageHeader(channels=1.0, layers=0.5, operators_unknown=("x::Odd",))["operators_unknown"] == ["x::Odd"]
    assert invented().input["shape"] == [1, 1, 8]


def test_what_a_run_does_not_report_is_not_in_its_json():
    run = invented().run
    assert list(run) == [k for k in KEYS["run"] if getattr(run, k) is not None or k == "top_k"]
    assert "top_k" in run
    assert "gates" not in run
    assert list(replace(run, gates="frozen"))[4:7] == ["depth", "gates", "provider"]
    assert list(replace(run, holds=(), rivals=()))[4:8] == ["depth", "holds", "rivals", "provider"]


def test_headers_cannot_be_changed_and_can_be_copied():
    run = invented().run
    with pytest.raises(FrozenInstanceError):
        run.rule = "zplus"
    with pytest.raises(TypeError):
        run["rule"] = "zplus"
    for made in (copy.copy(run), copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert isinstance(made, RunHeader)
        assert made == run
    assert replace(run, rule="zplus") != run


def test_complete_is_what_nothing_is_missing_of():
    whole = CoverageHeader(channels=1.0, layers=1.0, operators_unknown=())
    assert whole.complete
    for gap in ({"channels": 0.99}, {"layers": 0.5}, {"operators_unknown": ("x::Odd",)}):
        assert not replace(whole, **gap).complete


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_are_not_known_are_kept_and_written_again(tmp_path, name):
    value = invented().to_json()
    value[name] = {**value[name], "later": {"a": [1, None]}}
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    found = cfp.load_pyramid(tmp_path)
    assert getattr(found, name)["later"] == {"a": [1, None]}
    assert json.dumps(found.to_json()) == json.dumps(value)
    assert found != invented()


def test_whole_numbers_are_written_again_as_they_were(tmp_path):
    value = invented().to_json()
    value["run"]["theta"] = 1
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    assert json.dumps(cfp.load_pyramid(tmp_path).to_json()) == json.dumps(value)


@pytest.mark.parametrize(
    ("name", "key", "wrong"),
    [
        ("run", "gates", 3),
        ("run", "holds", "norms"),
        ("run", "against", 3),
        ("run", "rivals", [[1, None]]),
        ("run", "onnxruntime", ["1.31"]),
        ("run", "negative_sums", "none"),
        ("run", "links_omitted", -1),
        ("run", "depth", None),
        ("target", "top", [[1, None, "9"]]),
        ("target", "top", [{"index": 1}]),
        ("input", "shape", [1, 0.5]),
    ],
)
def test_a_value_of_another_type_is_named_with_its_place(tmp_path, name, key, wrong):
    value = invented().to_json()
    value[name][key] = wrong
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    said = refusal(tmp_path)
    assert f"'{name}'" in said
    assert f"'{key}'" in said


def test_the_strongest_classes_are_values():
    top = TargetHeader(output="y", index=0, label="a", score=1.0, top=()).to_json()["top"]
    assert top == []
