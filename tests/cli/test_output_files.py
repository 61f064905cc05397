"""Files that a command writes: refused before the run where they cannot work, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest


def listing(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*"))


def test_occupied_outputs_are_refused_before_the_run(refuses, tiny, clip, tmp_path, monkeypatch):
    from cfp_onnx import model

    monkeypatch.setattr(model, "load", lambda _: pytest.fail("the run began"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder" / "pyramid.json").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    before = listing(tmp_path)
    refuses("explain", tiny, clip, "-o", tmp_path / "file", says="not a folder")
    refuses("explain", tiny, clip, "-o", tmp_path / "file" / "below", says="not a folder")
    refuses("explain", tiny, clip, "-o", tmp_path / "folder", says="it is a folder")
    refuses("explain", tiny, clip, "--json", tmp_path / "folder", says="it is a folder")
    refuses("explain", tiny, clip, "--json", tmp_path / "file" / "x.json", says="not a folder")
    refuses("explain", tiny, clip, "--json", tiny, says="input of this command")
    refuses("explain", tiny, clip, "--json", clip, says="input of this command")
    refuses("explain", tiny, clip, "--json", "/dev/null", says="regular file")
    refuses("explain", tiny, clip, "-o", tmp_path / "loop", says="loop")
    refuses("explain", tiny, clip, "-o", "/proc/cfp", says="/proc")
    refuses("inspect", tiny, "--graphml", tmp_path / "folder", says="it is a folder")
    refuses("inspect", tiny, "--graphml", "-", says="--graphml")
    refuses("inspect", tiny, "--graphml", tmp_path / "x", "--json", tmp_path / "x", says="two files")
    refuses("demo", "-o", tmp_path / "file", says="not a folder")
    assert listing(tmp_path) == before


def test_a_failed_run_leaves_nothing(refuses, tiny, clip, tmp_path):
    before = listing(tmp_path)
    refuses(
        "explain",
        tiny,
        clip,
        "-o",
        tmp_path / "out",
        "--json",
        tmp_path / "x.json",
        "--class",
        "9",
        says="range",
    )
    assert listing(tmp_path) == before


def test_a_failed_write_keeps_the_old_file(refuses, tiny, clip, tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("old")
    before = listing(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    refuses("explain", tiny, clip, "--json", tmp_path / "x.json", says="No space left")
    assert (tmp_path / "x.json").read_text() == "old"
    assert listing(tmp_path) == before
