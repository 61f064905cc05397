"""A saved pyramid comes back as it was; a file that is none is refused in one sentence."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from pyramids import invented, refusal

import cfp_onnx as cfp


@pytest.mark.parametrize("what", ["folder", "file", "text"])
def test_what_is_loaded_equals_what_was_saved(pyramid, saved, what):
    place = {"folder": saved, "file": saved / "pyramid.json", "text": str(saved)}[what]
    loaded = cfp.load_pyramid(place)
    assert loaded == pyramid
    assert loaded.to_json() == pyramid.to_json()
    assert len(loaded.tubes.items) == len(pyramid.tubes.items)
    for mine, theirs in zip(loaded.tubes.items, pyramid.tubes.items, strict=True):
        assert replace(mine, values=0, centres=()) == replace(theirs, values=0, centres=())
        for a, b in zip((mine.values, *mine.centres), (theirs.values, *theirs.centres), strict=True):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes()
    assert (loaded.tubes.size, loaded.tubes.notes) == (pyramid.tubes.size, pyramid.tubes.notes)
    assert loaded.media.frames.tobytes() == pyramid.media.frames.tobytes()
    assert replace(loaded.media, frames=None) == replace(pyramid.media, frames=None)


def test_what_was_loaded_prints_shows_and_saves_again(pyramid, saved, tmp_path):
    loaded = cfp.load_pyramid(saved)
    assert str(loaded) == str(pyramid)
    assert loaded._repr_html_() == pyramid._repr_html_()
    loaded.save(tmp_path, drawings=(), animation="none")
    assert (tmp_path / "pyramid.json").read_bytes() == (saved / "pyramid.json").read_bytes()
    assert cfp.load_pyramid(tmp_path) == pyramid


def test_a_json_alone_is_a_pyramid_without_tubes(pyramid, saved, tmp_path):
    (tmp_path / "mine.json").write_bytes((saved / "pyramid.json").read_bytes())
    loaded = cfp.load_pyramid(tmp_path / "mine.json")
    assert loaded == pyramid
    assert loaded.tubes is None
    assert loaded.media is None


def test_a_file_of_before_says_that_all_was_held(pyramid, tmp_path):
    value = pyramid.to_json()
    value["run"] = {k: v for k, v in value["run"].items() if k not in {"holds", "against", "rivals"}}
    value["run"] = {**value["run"], "gates": "frozen"}
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    loaded = cfp.load_pyramid(tmp_path)
    assert loaded.to_json() == value
    assert (loaded.run.holds, loaded.run.against, loaded.run.gates) == (None, None, "frozen")
    lines = str(loaded).splitlines()
    assert lines[0] == "class 1 right, rather than the mean of the others"
    assert "holds     norms, attention, gates" in lines
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "pyramid.json").read_text("utf-8")) == value


def test_tubes_of_another_pyramid_are_left_alone(pyramid, saved, tmp_path):
    (tmp_path / "tubes.npz").write_bytes((saved / "tubes.npz").read_bytes())
    other = replace(pyramid, target=replace(pyramid.target, index=2))
    (tmp_path / "other.json").write_text(json.dumps(other.to_json()))
    assert cfp.load_pyramid(tmp_path / "other.json").tubes is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"null", b"[]", b"3", b"[" * 100_000, b"{" + b'"a":{' * 100_000, b'{"a": NaN}',
     b'{"schema": "cfp-onnx/topology", "schema_version": 1}', b'{"schema": "cfp-onnx/pyramid", "schema_version": 3}',
     b'{"schema": "cfp-onnx/pyramid", "schema_version": 1}', b'{"schema": "cfp-onnx/pyramid"}', b"9" * 5000],
    ids=lambda x: repr(x[:24]),
)  # fmt: skip
def test_files_that_are_no_pyramids(tmp_path, content):
    (tmp_path / "pyramid.json").write_bytes(content)
    assert "pyramid.json" in refusal(tmp_path)


def test_places_where_nothing_is(tmp_path):
    assert "No such file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "nowhere.json")
    refusal("\0")


def _paths(value, here=()):
    """Places of all keys, one example for each list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*here, key)
            yield from _paths(item, (*here, key))
    elif isinstance(value, list) and value:
        yield from _paths(value[0], (*here, 0))


NEEDED = [p for p in _paths(invented().to_json()) if p[0] not in {"schema", "schema_version"}]


def _holder(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


@pytest.mark.parametrize("path", NEEDED, ids=lambda p: ".".join(map(str, p)))
def test_no_key_may_be_missing_or_something_else(tmp_path, path):
    whole = invented().to_json()
    file = tmp_path / "pyramid.json"
    file.write_text(json.dumps(whole))
    assert cfp.load_pyramid(file) == invented()
    broken = copy.deepcopy(whole)
    del _holder(broken, path)[path[-1]]
    file.write_text(json.dumps(broken))
    assert repr(path[-1]) in refusal(file)
    for wrong in ({"x": 1}, True, [[]]):
        broken = copy.deepcopy(whole)
        _holder(broken, path)[path[-1]] = wrong
        file.write_text(json.dumps(broken))
        refusal(file)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("levels", 0, "kernels", 0, "kernel"), 7),
        (("levels", 0, "kernels", 0, "kernel"), -1),
        (("levels", 0, "kernels", 0, "layer"), "nowhere"),
        (("levels", 0, "kernels", 0, "kernel"), 0.5),
        (("edges", 0, "kernel"), 3),
        (("edges", 1, "channels", 0, "sources", 0, "kernel"), 99),
        (("layers", 0, "relevance"), [1.0]),
        (("layers", 0, "relevance"), [1.0, "NaN", 2.0]),
        (("layers", 0, "relevance"), [1.0, float("nan"), 2.0]),
        (("layers", 0, "relevance"), [1.0, float("inf"), 2.0]),
        (("layers", 0, "relevance"), [1.0, 10**400, 2.0]),
        (("layers", 1, "name"), "a"),
        (("target", "score"), float("nan")),
        (("target", "top"), [[1, None]]),
        (("coverage", "operators_unknown"), [3]),
    ],
    ids=str,
)
def test_numbers_that_contradict_each_other(tmp_path, path, wrong):
    value = invented().to_json()
    _holder(value, path)[path[-1]] = wrong
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    refusal(tmp_path)


def test_a_float_too_large_for_any_number_is_refused(tmp_path):
    text = json.dumps(invented().to_json()).replace("80.0", "1e999")
    (tmp_path / "pyramid.json").write_text(text)
    assert "1e999" in refusal(tmp_path)
