"""Clips that are meant by folders, files and lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.errors import ClipError, UsageError


def test_lists_folders_and_frames_are_clips(tmp_path: Path) -> None:
    for name in ("c10.npz", "c9.npz", "frames/0.png", "frames/1.png", ".hidden.npz", "other/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = clips_in([tmp_path])
    assert [Path(x.file).name for x in found] == ["c9.npz", "c10.npz", "frames"]
    assert clips_in([tmp_path / "frames"]) == [Listed(str(tmp_path / "frames"))]
    (tmp_path / "list.txt").write_text("# clips\nc9.npz left\n\nc10.npz\tshake\n")
    assert [(Path(x.file).name, x.target) for x in clips_in([tmp_path / "list.txt"])] == [
        ("c9.npz", "left"), ("c10.npz", "shake"),
    ]  # fmt: skip
    (tmp_path / "list.csv").write_text('"c9.npz",3\nc10.npz\n')
    assert [x.target for x in clips_in([tmp_path / "list.csv"])] == ["3", None]
    (tmp_path / "bad.csv").write_text("a,b,c\n")
    with pytest.raises(UsageError, match="cannot read"):
        clips_in([tmp_path / "bad.csv"])
    with pytest.raises(ClipError, match="holds no clip"):
        clips_in([tmp_path / "other" / ".." / "other"])


def test_lists_as_people_have_them(tmp_path: Path) -> None:
    for name in ("two words.npy", "a,b.npy", "c1.npy", "c01.npy"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("\ufefftwo words.npy\na,b.npy\ntwo words.npy 3\nc1.npy\n", encoding="utf-8")
    found = [(Path(x.file).name, x.target) for x in clips_in([tmp_path / "list.txt"])]
    assert found == [("two words.npy", None), ("a,b.npy", None), ("two words.npy", "3"), ("c1.npy", None)]
    assert [Path(x.file).name for x in clips_in([tmp_path])] == ["a,b.npy", "c01.npy", "c1.npy", "two words.npy"]
