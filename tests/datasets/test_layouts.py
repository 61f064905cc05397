"""Each data set as it is distributed: what stands in its manifest, trap by trap."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

import cfp_onnx as cfp
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.datasets.layouts import LAYOUTS
from cfp_onnx.errors import UsageError


def by_id(found: Manifest) -> dict[str, Row]:
    return {row.id: row for row in found.rows}


def loads(found: Manifest, row: Row, frames: int = 2) -> np.ndarray:
    """The clip as a network of so many frames gets it."""
    spec = InputSpec("clip", (1, 3, frames, 16, 16), "float32", 1)
    return load_clip(found.place(row), [spec], preprocess=row.preprocess(Preprocess())).feeds["clip"]


def test_kinetics(tmp_path: Path) -> None:
    found = cfp.manifest("kinetics", trees.kinetics(tmp_path))
    rows = by_id(found)
    assert found.labels == ("air drumming", "bending metal", "tai chi")
    assert "training" in str(found.labels_from)
    drumming = rows["_dbcJuKJQNs_000040_000050"]
    assert (drumming.label, drumming.name, drumming.split, drumming.group) == (
        0,
        "air drumming",
        "train",
        "_dbcJuKJQNs",
    )
    assert drumming.path == "train/air drumming/_dbcJuKJQNs_000040_000050.mp4"
    assert rows["zz0_abcdefg_000001_000011"].path == "train/tai_chi/zz0_abcdefg_000001_000011.mp4"
    assert (rows["a-b_c000000_000100_000110"].label, rows["a-b_c000000_000100_000110"].split) == (2, "val")
    assert (rows["test0000000_000003_000013"].label, rows["test0000000_000003_000013"].path) == (
        None,
        "test/test0000000.mp4",
    )
    assert rows["lost0000000_000005_000015"].problem == "it is not there"
    assert "no times" in str(rows["bad00000000"].problem)
    assert len(found.usable) == 4
    loads(found, drumming)


def test_a_part_of_kinetics(tmp_path: Path) -> None:
    trees.kinetics(tmp_path)
    for split in ("val", "val.csv", str(tmp_path / "annotations" / "val.csv")):
        found = cfp.manifest("kinetics", tmp_path, split=split)
        assert {row.split for row in found.rows} == {"val"}
        assert found.labels == ("air drumming", "bending metal", "tai chi")


def test_ucf101(tmp_path: Path) -> None:
    found = cfp.manifest("ucf101", trees.ucf101(tmp_path))
    rows = by_id(found)
    assert found.labels == ("ApplyEyeMakeup", "Archery", "YoYo")
    makeup = rows["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01"]
    assert (makeup.label, makeup.split, makeup.group) == (0, "train", "ApplyEyeMakeup/g08")
    assert (rows["Archery/v_Archery_g01_c01"].label, rows["Archery/v_Archery_g01_c01"].split) == (1, "test")
    assert "says class 3" in str(rows["Archery/v_Archery_g10_c01"].problem)
    assert rows["YoYo/v_YoYo_g01_c01"].problem == "the file is empty"
    assert [row.id for row in cfp.manifest("ucf101", tmp_path, split="2").rows] == ["YoYo/v_YoYo_g01_c01"]
    loads(found, makeup)


def test_hmdb51(tmp_path: Path) -> None:
    found = cfp.manifest("hmdb51", trees.hmdb51(tmp_path))
    rows = by_id(found)
    assert found.labels == ("brush_hair", "wave")
    assert {row.id: (row.label, row.split) for row in found.usable} == {
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0": (0, "train"),
        "brush_hair/odd (1) hair_2": (0, "test"),
        "wave/a_wave_f_nm_np1_fr_med_0": (1, "unused"),
    }
    assert "not 0, 1 or 2" in str(rows["wave/b_wave"].problem)
    with pytest.raises(UsageError, match="--split takes 1, 2 or 3"):
        cfp.manifest("hmdb51", tmp_path, split="3")
    loads(found, rows["brush_hair/odd (1) hair_2"])


@pytest.mark.parametrize(
    ("task", "label", "name"), [(None, 0, "take"), ("noun", 2, "plate"), ("action", 0, "take plate")]
)
def test_epic_kitchens(tmp_path: Path, task: str | None, label: int, name: str) -> None:
    found = cfp.manifest("epic-kitchens", trees.epic_kitchens(tmp_path), task=task)
    rows = by_id(found)
    plate = rows["P01_11_0"]
    assert (plate.label, plate.name, plate.split, plate.group) == (label, name, "train", "P01")
    assert plate.heads == {"verb": 0, "noun": 2, "action": 0}
    assert (plate.start, plate.stop, plate.unit) == (0, 5, "frames")
    assert found.head_labels["noun"] == ("tap", "spoon", "plate")
    assert (rows["P01_11_99"].label, rows["P01_11_99"].split) == (None, "test")
    assert "known to be wrong" in str(rows["P01_109_7"].problem)
    assert "no segment" in str(rows["P03_01_1"].problem)
    assert rows["P02_01_0"].path == "P02/rgb_frames/P02_01.tar"
    assert rows["P03_01_0"].path == "P03/videos/P03_01.MP4"


def test_segments_take_the_frames_from_start_to_stop_both_in(tmp_path: Path) -> None:
    found = cfp.manifest("epic-kitchens", trees.epic_kitchens(tmp_path))
    rows = by_id(found)
    for key, expected in (("P01_11_1", [60, 80, 100]), ("P02_01_0", [20, 40])):
        values = loads(found, rows[key], len(expected))[0, 0, :, 8, 8] * 255
        np.testing.assert_allclose(values, expected, atol=4)  # JPEG


def test_egtea(tmp_path: Path) -> None:
    found = cfp.manifest("egtea", trees.egtea(tmp_path))
    bacon = found.rows[0]
    assert (bacon.label, bacon.name, bacon.group, bacon.split) == (0, "Open Fridge", "P19", "train")
    assert found.rows[1].heads == {"action": 1, "verb": 1, "noun": 1}
    assert "action 9 is not among the 2" in str(found.rows[2].problem)
    assert found.labels == ("Open Fridge", "Cut Cucumber")
    assert cfp.manifest("egtea", tmp_path, task="noun").rows[1].name == "Cucumber"
    loads(found, bacon)


def test_lists(tmp_path: Path) -> None:
    trees.video(tmp_path / "some path" / "clip 7.avi")
    trees.frames(tmp_path / "dir-1", [f"img_{n:05d}.jpg" for n in range(1, 8)])
    whole = trees.text(tmp_path / "a.txt", "some path/clip 7.avi 1", "dir-1 -1", "missing.mp4 0")
    found = cfp.manifest("list", whole)
    assert [(r.path, r.label) for r in found.rows] == [("some path/clip 7.avi", 1), ("dir-1", None), ("missing.mp4", 0)]
    assert [r.problem for r in found.rows] == [None, None, "it is not there"]
    counted = cfp.manifest("list", tmp_path, split=trees.text(tmp_path / "b.txt", "dir-1 5 1", "dir-1 6 0").name)
    assert [(r.start, r.stop, r.label) for r in counted.rows] == [(0, 5, 1), (0, 6, 0)]
    shifted = cfp.manifest("list", trees.text(tmp_path / "c.txt", "dir-1 3 4 2"))
    assert [(r.start, r.stop, r.label) for r in shifted.rows] == [(2, 6, 2)]
    np.testing.assert_allclose(loads(shifted, shifted.rows[0], 4)[0, 0, :, 8, 8] * 255, [40, 60, 80, 100], atol=4)
    several = cfp.manifest("list", trees.text(tmp_path / "d.txt", "dir-1 5 1 3 4", "dir-1 5 2"))
    assert [(r.label, dict(r.heads)) for r in several.rows] == [(1, {"label 2": 3, "label 3": 4}), (2, {})]
    with pytest.raises(UsageError, match="line 1: no class stands behind"):
        cfp.manifest("list", trees.text(tmp_path / "e.txt", "dir-1"))


def test_folders(tmp_path: Path) -> None:
    for part in ("train", "val"):
        trees.video(tmp_path / part / "run" / f"{part}1.mp4")
        trees.frames(tmp_path / part / "jump" / f"{part}2", ["1.jpg", "2.jpg"])
    (tmp_path / "val" / "run" / "empty").mkdir()
    found = cfp.manifest("folder", tmp_path)
    assert found.labels == ("jump", "run")
    assert {(r.path, r.label, r.split) for r in found.usable} == {
        ("train/run/train1.mp4", 1, "train"), ("train/jump/train2", 0, "train"),
        ("val/run/val1.mp4", 1, "val"), ("val/jump/val2", 0, "val"),
    }  # fmt: skip
    assert [r.problem for r in found.rows if r.problem] == ["the folder holds no frames"]
    assert {r.split for r in cfp.manifest("folder", tmp_path, split="val").rows} == {"val"}


def test_tables(tmp_path: Path) -> None:
    trees.video(tmp_path / "a, b.mp4")
    path = trees.text(
        tmp_path / "t.csv",
        "video,label,group,start_time,end_time",
        '"a, b.mp4",run,P1,0.1,0.25',
        "a,jump,,,",
        "b,run,,9,3",
    )
    found = cfp.manifest("csv", path)
    assert found.labels == ("jump", "run")
    assert [(r.label, r.group, r.start, r.stop, r.unit) for r in found.rows[:1]] == [(1, "P1", 0.1, 0.25, "seconds")]
    assert [r.problem for r in found.rows[1:]] == ["it is not there", "line 4: it stops at 3, before it starts at 9"]
    with pytest.raises(UsageError, match="more values than the heading"):
        cfp.manifest("csv", trees.text(tmp_path / "u.csv", "path,label", "a,1,2"))
    with pytest.raises(UsageError, match="no column of paths"):
        cfp.manifest("csv", trees.text(tmp_path / "v.csv", "x,label", "a,1"))


def test_tao(tmp_path: Path) -> None:
    trees.frames(tmp_path / "walk" / "v1" / "rgb", ["000000.png", "000001.png"])
    (tmp_path / "ride" / "v2").mkdir(parents=True)
    found = cfp.manifest("tao", tmp_path)
    assert [(r.path, r.label, r.problem) for r in found.rows] == [
        ("ride/v2/rgb", 0, "it is not there"), ("walk/v1/rgb", 1, None),
    ]  # fmt: skip
    loads(found, found.rows[1])


def test_databases(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    picture = (trees.frames(tmp_path / "p", ["1.jpg"]) / "1.jpg").read_bytes()
    with sqlite3.connect(tmp_path / "run" / "a.db") as connection:
        connection.execute("CREATE TABLE Images (ObjId INTEGER, frames BLOB)")
        connection.executemany("INSERT INTO Images VALUES (?, ?)", [(n, picture) for n in range(3)])
    connection.close()
    trees.video(tmp_path / "run" / "b.mp4")
    found = cfp.manifest("database", tmp_path)
    assert [(r.path, r.label) for r in found.rows] == [("run/a.db", found.labels.index("run"))]
    loads(found, found.rows[0])


def test_names_of_classes_may_be_given(tmp_path: Path) -> None:
    trees.video(tmp_path / "d" / "run" / "a.mp4")
    trees.video(tmp_path / "d" / "swim" / "a.mp4")
    found = cfp.manifest("folder", tmp_path / "d", labels=trees.text(tmp_path / "names.txt", "jump", "run"))
    assert [(r.label, r.problem) for r in found.rows] == [
        (1, None),
        (None, "its folder 'swim' is not among the names of the classes"),
    ]
    with pytest.raises(UsageError, match="without a gap"):
        cfp.manifest("folder", tmp_path / "d", labels=trees.text(tmp_path / "names.txt", "1 jump", "3 run"))


def test_a_frame_of_each_clip_is_read_on_request(tmp_path: Path) -> None:
    trees.video(tmp_path / "run" / "a.mp4")
    (tmp_path / "run" / "b.mp4").write_bytes((tmp_path / "run" / "a.mp4").read_bytes()[:300])
    assert len(cfp.manifest("folder", tmp_path).usable) == 2
    assert [r.id for r in cfp.manifest("folder", tmp_path, verify=True).usable] == ["run/a.mp4"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_is_no_data_set(tmp_path: Path, layout: str) -> None:
    with pytest.raises(UsageError) as caught:
        cfp.manifest(layout, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="is not there"):
        cfp.manifest(layout, tmp_path / "nowhere")


def test_what_is_listed_twice_is_run_once(tmp_path: Path) -> None:
    trees.video(tmp_path / "a.mp4")
    found = cfp.manifest("csv", trees.text(tmp_path / "t.csv", "path,label", "a.mp4,0", "a.mp4,1"))
    assert [(r.id, r.problem) for r in found.rows] == [("a.mp4", None), ("a.mp4#2", "a.mp4 is listed twice")]
