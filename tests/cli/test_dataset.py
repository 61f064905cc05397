"""The commands `dataset` and `class-pyramid`, from a manifest to the kernels of a class."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_net
import pytest

from cfp_onnx.cli.main import main


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder = tmp_path_factory.mktemp("set")
    files = str(dataset_net.saved(folder)), str(dataset_net.data_set(folder / "data")), str(folder / "run")
    assert main(["dataset", *files[:2], "-o", files[2], "--workers", "0", "--device", "cpu"]) == 0
    return files


def test_a_run_that_is_complete_does_nothing_more(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", *files[:2], "-o", files[2], "--workers", "0", "--device", "cpu"]) == 0
    assert "0 clips explained, 18 were done before; 2 layers in" in capsys.readouterr().out


def test_a_class_is_printed_and_written(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.json"
    assert main(["class-pyramid", files[2], "--class", "run", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "run: 6 clips from 2 groups" in said
    assert "depth 2" in said
    value = json.loads(out.read_text("utf-8"))
    assert (value["schema"], value["class"]) == ("cfp-onnx/class-pyramid", {"index": 2, "name": "run"})
    assert [len(layer["share"]) for layer in value["layers"]] == [dataset_net.KERNELS, 6]


def test_two_classes_are_set_against_each_other(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["class-pyramid", files[2], "--class", "run", "--against", "walk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if "kernel" in line and "strongest" not in line and "clips" not in line)
    assert f"kernel    {dataset_net.PLANTED}" in first or "kernels" in first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["class-pyramid", "nowhere", "--class", "run"], "holds no run"),
        (["class-pyramid", "{run}", "--class", "swim"], "has no class 'swim'"),
        (["dataset", "{model}", "nowhere.parquet", "-o", "out"], "cannot read the manifest"),
        (["dataset", "{model}", "{manifest}", "-o", "{run}", "--order", "2"], "order was 1 and is 2 now"),
        (["dataset", "{model}", "{manifest}", "-o", "out", "--rule", "published"], "rule published"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    files: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = dict(zip(("model", "manifest", "run"), files, strict=True))
    assert main([a.format(**names) for a in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
