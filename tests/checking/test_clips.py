"""The clips of a baseline and of a check."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from check_net import FLOAT, network
from checked_demo import CLIPS
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from benchmarks.demo_model import DEMO
from benchmarks.motion.clips import make_clip
from cfp_onnx.checking.ci_files import junit
from cfp_onnx.checking.renew import renewed
from cfp_onnx.cli import main as cli
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


def test_a_list_gives_classes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{home}/clips/clip0.npz shake\n{home}/clips/clip1.npz\n")
    made = cfp.baseline(DEMO, tmp_path / "list.txt")
    assert made.clips[0].label == "shake"
    assert made.clips[1].index == made.clips[1].top
    found = cfp.check(DEMO, made, folder=Path())
    assert found.ok
    with pytest.raises(CfpError, match="unknown"):
        cfp.baseline(DEMO, home / "clips", target="juggling")


def test_a_clip_named_twice_counts_once_and_keeps_all_its_classes(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("clip0.npy,1\nclip0.npy,3\nclip1.npy,2\nclip1.npy,2\n")
    model, file = network(tmp_path / "m.onnx"), tmp_path / "b.json"
    assert cli.main(["baseline", str(model), str(tmp_path / "list.csv"), "-o", str(file), "-q"]) == 0
    found = cfp.check(model, file, [clips[0], clips[0], clips[1]])
    assert [(Path(c.file).name, c.index) for c in found.clips] == [
        ("clip0.npy", 1), ("clip0.npy", 3), ("clip1.npy", 2), ("clip1.npy", 2),
    ]  # fmt: skip
    names = [case.get("name") for case in ET.fromstring(junit(found)).iter("testcase")][-4:]
    assert names == ["clip0.npy (1)", "clip0.npy (3)", "clip1.npy (2)", "clip1.npy (2) #2"]
    before = file.read_bytes()
    assert cli.main(["check", str(model), str(tmp_path / "list.csv"), "--baseline", str(file), "--update", "-q"]) == 0
    assert file.read_bytes() == before


def test_an_update_loses_no_clip(
    clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    model, file = network(tmp_path / "m.onnx"), tmp_path / "b.json"
    cfp.baseline(model, clips, relative_to=tmp_path).save(file)
    before = file.read_bytes()
    assert cli.main(["check", str(model), str(clips[1]), "--baseline", str(file), "--update"]) == 2
    assert "1 of the baseline's 3 clips were named" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_update_keeps_classes_whose_labels_are_numbers(clips: list[Path], tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    made = cfp.baseline(model, clips, target="1", labels=["4", "3", "2", "1", "0"])
    assert {c.index for c in made.clips} == {3}
    again = renewed(model, made, folder=Path())
    assert [(c.index, c.label) for c in again.clips] == [(3, "1")] * 3


def test_a_layout_that_was_given_is_remembered(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = {"w": rng.standard_normal((72, 8)), "v": rng.standard_normal((8, 4))}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]), helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 8, 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    np.save(tmp_path / "c.npy", rng.integers(0, 255, (20, 30, 3), np.uint8))
    with pytest.raises(UsageError, match="ambiguous"):
        cfp.baseline(tmp_path / "m.onnx", tmp_path / "c.npy")
    for layout in ("NCHW", "NHWC"):
        made = cfp.baseline(tmp_path / "m.onnx", tmp_path / "c.npy", layout=layout)
        found = cfp.check(tmp_path / "m.onnx", made, folder=Path())
        assert found.ok, str(found)


def test_links_to_folders_and_files(clips: list[Path], tmp_path: Path) -> None:
    real, elsewhere = tmp_path / "real" / "deep", tmp_path / "elsewhere"
    (real / "clips").mkdir(parents=True)
    elsewhere.mkdir()
    for clip in clips:
        clip.rename(real / "clips" / clip.name)
    (elsewhere / "link").symlink_to(real)
    model = str(network(tmp_path / "m.onnx"))
    words = ["baseline", model, str(elsewhere / "link" / "clips"), "-q", "-o"]
    assert cli.main([*words, str(elsewhere / "link" / "b.json")]) == 0
    assert [c.file for c in cfp.load_baseline(real / "b.json").clips] == [f"clips/clip{n}.npy" for n in range(3)]
    (elsewhere / "b.json").symlink_to(real / "b.json")
    for file in (real / "b.json", elsewhere / "link" / "b.json", elsewhere / "b.json"):
        assert cli.main(["check", model, "--baseline", str(file), "-q"]) == 0
        assert cfp.check(model, file).ok
    before = (real / "b.json").stat().st_ino
    assert cli.main(["check", model, "--baseline", str(elsewhere / "b.json"), "--update", "-q"]) == 0
    assert (elsewhere / "b.json").is_symlink()
    assert (real / "b.json").stat().st_ino != before
