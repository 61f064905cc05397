"""The clips of a baseline and of a check."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from demo_edits import CLIPS, DEMO

import cfp_onnx as cfp
from benchmarks.motion.clips import make_clip
from cfp_onnx.errors import CfpError, ClipError, UsageError


def test_clips_are_told_by_their_content(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(home / "clips", moved)
    (moved / "clip1.npz").rename(moved / "renamed.npz")
    (moved / "clip2.npz").unlink()
    found = cfp.check(DEMO, home / "baseline.json", moved)
    assert found.ok
    assert sorted(c.file for c in found.clips) == [f"clips/clip{n}.npz" for n in (0, 1, 3, 4)]
    assert found.notes == (f"1 of the baseline's {CLIPS} clips were not looked at",)
    np.savez_compressed(moved / "clip0.npz", frames=make_clip(7).frames)
    with pytest.raises(ClipError, match="none of the baseline's"):
        cfp.check(DEMO, home / "baseline.json", moved / "clip0.npz")
    shutil.copy(home / "baseline.json", tmp_path / "baseline.json")
    with pytest.raises(ClipError, match="is not there"):
        cfp.check(DEMO, tmp_path / "baseline.json")
    shutil.copytree(moved, tmp_path / "clips")
    with pytest.raises(ClipError, match="content has changed"):
        cfp.check(DEMO, tmp_path / "baseline.json")


def test_lists_folders_and_frames_are_clips(tmp_path: Path) -> None:
    from cfp_onnx.clips.lists import Listed, clips_in

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


def test_a_list_gives_classes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{home}/clips/clip0.npz shake\n{home}/clips/clip1.npz\n")
    made = cfp.baseline(DEMO, tmp_path / "list.txt")
    assert made.clips[0].label == "shake"
    assert made.clips[1].index == made.clips[1].top
    found = cfp.check(DEMO, made, folder=Path())
    assert found.ok
    with pytest.raises(CfpError, match="unknown"):
        cfp.baseline(DEMO, home / "clips", target="juggling")
