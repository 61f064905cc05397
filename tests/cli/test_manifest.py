"""The command `manifest`: a table on disk, counts on the terminal, and what is wrong in one sentence."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest

from cfp_onnx.cli.main import main
from cfp_onnx.clips.manifest import read_manifest


def test_a_data_set_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = trees.ucf101(tmp_path / "ucf"), tmp_path / "m.parquet"
    assert main(["manifest", "ucf101", str(root), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "ucf101: 3 of 5 clips can be used" in said
    assert "2 classes with clips, 3 names of classes, from classInd.txt" in said
    assert "parts: test 1, train 2" in said
    assert "1 cannot be used: the file is empty (YoYo/v_YoYo_g01_c01)" in said
    assert len(read_manifest(out).rows) == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["folder", "nowhere", "-o", "m.parquet"], "is not there"),
        (["folder", ".", "-o", "m.csv"], "should end in .parquet"),
        (["folder", ".", "-o", "m.parquet", "--task", "verb"], "has no task 'verb'"),
        (["folder", "data", "-o", "m.parquet"], "no clip of data can be used"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "run").mkdir(parents=True)
    (tmp_path / "data" / "run" / "a.mp4").touch()
    assert main(["manifest", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
