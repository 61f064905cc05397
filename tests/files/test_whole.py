"""Files are written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cfp_onnx.errors import OutputError
from cfp_onnx.files.whole import write_bytes, write_json, write_text


def test_a_write_that_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    file = write_text(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_bytes(file, b"new")
    monkeypatch.undo()
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "old"


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_what_files_refuse(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(tmp_path / "a\0b", b"")
    with pytest.raises(OutputError, match="NaN or infinity"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert write_text(tmp_path / "b", "\udcff").read_text() == "\\udcff"
    assert [f.name for f in tmp_path.iterdir()] == ["b"]


def test_json_has_a_line_for_each_item(tmp_path):
    value = {
        "schema": "x",
        "none": [],
        "numbers": [1.5, None],
        "rows": [{"a": [1, 2]}, {"b": "\n"}],
        "deep": {"c": [[]]},
    }
    lines = write_json(tmp_path / "a.json", value).read_text().splitlines()
    assert json.loads("\n".join(lines)) == value
    assert lines[3:8] == ['"numbers":[1.5,null],', '"rows":[', '{"a":[1,2]},', '{"b":"\\n"}', "],"]
    assert json.loads(write_json(tmp_path / "b.json", {}).read_text()) == {}
