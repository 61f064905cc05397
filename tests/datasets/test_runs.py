"""Runs over data sets: each clip once, whatever happens, and the same numbers as `explain` gives."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dataset_net
import numpy as np
import pyarrow.parquet as pq
import pytest

import cfp_onnx as cfp
from cfp_onnx.clips.manifest import Manifest, Row, read_manifest, write_manifest
from cfp_onnx.datasets.call import chosen_rows
from cfp_onnx.datasets.rows import RunFolder
from cfp_onnx.datasets.run import Run
from cfp_onnx.errors import CfpError, UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("set")
    return dataset_net.saved(folder), dataset_net.data_set(folder / "data")


def ran(files: tuple[Path, Path], out: Path, **options: object) -> cfp.Ran:
    return cfp.dataset(*files, out, **{"workers": 0, "device": "cpu", **options})


def everything(run: Run) -> list[object]:
    """All numbers of a run, to the last digit."""
    found: list[object] = []
    for n in range(len(run.header.layers)):
        rows, relevance, activation = run.values(n)
        found.append((rows, relevance.tobytes(), None if activation is None else activation.tobytes()))
    pyramids = [run.class_pyramid(name).to_json() for name in dataset_net.CLASSES]
    return [found, json.dumps(pyramids)]


def test_a_row_holds_what_explain_says_of_its_clip(files: tuple[Path, Path], tmp_path: Path) -> None:
    found = ran(files, tmp_path / "run")
    assert (found.explained, found.before, found.failures, found.left_out) == (18, 0, (), 0)
    run = found.run
    assert [(x.depth, x.kernels) for x in run.header.layers] == [(2, 6), (1, dataset_net.KERNELS)]
    for number, layer in enumerate(run.header.layers):
        rows, relevance, _ = run.values(number)
        assert len(rows) == 18
        for row, values in list(zip(rows, relevance, strict=True))[::5]:
            pyramid = cfp.explain(
                files[0], files[1].parent / f"{row.id}.npy", target=row.label, depth="all", tubes=False, device="cpu"
            )
            own = next(x for x in pyramid.layers if x.name == layer.name)
            np.testing.assert_allclose(values, own.relevance, rtol=1e-4, atol=1e-5 * np.abs(own.relevance).max())
            assert row.score == pytest.approx(pyramid.target.score, rel=1e-5)
            assert row.predicted == pyramid.target.top[0].class_index


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 5}, {"workers": 2, "batch": 3}], ids=str)
def test_batches_and_workers_change_nothing_that_is_seen(
    files: tuple[Path, Path], tmp_path: Path, options: dict[str, int]
) -> None:
    run, other = ran(files, tmp_path / "a", batch=4).run, ran(files, tmp_path / "b", **options).run
    for n in range(len(run.header.layers)):
        (rows, one, _), (same, two, _) = run.values(n), other.values(n)
        assert [r.key for r in rows] == [r.key for r in same]
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_parts_in_any_order_and_partition_give_the_same_digits(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole = ran(files, tmp_path / "whole", batch=1).run
    table = read_manifest(files[1])
    for n, rows in enumerate((table.rows[::-2], table.rows[::-1][1::2])):
        half = write_manifest(replace(table, rows=rows), tmp_path / f"half{n}.parquet")
        ran((files[0], half), tmp_path / f"run{n}", batch=1)
    parts = cfp.load_run(tmp_path / "run1", tmp_path / "run0")
    assert everything(parts) == everything(whole)
    copied = tmp_path / "run0" / "parts"
    for part in sorted(copied.glob("*.parquet")):  # a part that is there twice counts once
        shutil.copy(part, copied / f"0{part.name}")
    assert everything(cfp.load_run(tmp_path / "run0", tmp_path / "run1")) == everything(whole)


def test_a_run_goes_on_where_it_was(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole = ran(files, tmp_path / "whole").run
    table = read_manifest(files[1])
    first = write_manifest(replace(table, rows=table.rows[:7]), tmp_path / "first.parquet")
    ran((files[0], first), tmp_path / "run")
    rest = ran(files, tmp_path / "run")
    assert (rest.explained, rest.before) == (11, 7)
    assert (ran(files, tmp_path / "run").explained, len(rest.run.keys)) == (0, 18)
    for n in range(len(whole.header.layers)):
        np.testing.assert_allclose(rest.run.values(n)[1], whole.values(n)[1], rtol=1e-4, atol=1e-5)


def test_killed_at_any_moment_nothing_is_lost_or_counted_twice(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole = ran(files, tmp_path / "whole", batch=1).run
    code = (
        "import sys, cfp_onnx as cfp; from cfp_onnx.datasets import call; call.PART = 2\n"
        "cfp.dataset(sys.argv[1], sys.argv[2], sys.argv[3], batch=1, workers=1, device='cpu')"
    )
    command = [sys.executable, "-c", "if __name__ == '__main__':\n " + code.replace("\n", "\n "), *map(str, files)]
    draw, out = random.Random(3), tmp_path / "run"
    for _ in range(4):
        child = subprocess.Popen([*command, str(out)], cwd=ROOT, start_new_session=True)
        deadline = time.monotonic() + 60
        wanted = len(list((out / "parts").glob("*.parquet"))) + draw.randrange(3)
        while child.poll() is None and time.monotonic() < deadline:
            if len(list((out / "parts").glob("*.parquet"))) >= wanted and (out / "lock.json").exists():
                break
            time.sleep(0.01)
        time.sleep(draw.random() / 10)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    done = ran(files, out, batch=1)
    assert everything(done.run) == everything(whole)
    keys = [k for part in (out / "parts").glob("*.parquet") for k in set(pq.read_table(part)["key"].to_pylist())]
    assert sorted(keys) == sorted(set(keys)) == sorted(whole.keys)
    assert not list(out.glob("*/.cfp-*"))


def test_a_clip_that_cannot_be_read_does_not_end_the_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(files[1].parent, data)
    table = replace(read_manifest(files[1]), root=str(data))
    (data / "walk2.npy").write_bytes(b"no array")
    np.save(data / "run1.npy", np.full((1, 3, 8, 8), 3e38, np.float32))
    damaged = write_manifest(table, tmp_path / "m.parquet")
    found = ran((files[0], damaged), tmp_path / "run")
    assert [(f.id, f.stage) for f in found.failures] == [("run1", "run"), ("walk2", "read")]
    assert found.explained == 16
    shutil.copy(files[1].parent / "walk2.npy", data / "walk2.npy")
    assert ran((files[0], damaged), tmp_path / "run").explained == 0
    again = ran((files[0], damaged), tmp_path / "run", retry_failed=True)
    assert (again.explained, [f.id for f in again.failures]) == (1, ["run1"])


def test_another_question_on_an_old_run_is_refused_with_the_difference(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    ran(files, tmp_path / "run")
    with pytest.raises(UsageError, match='against was "rivals" and is "mean" now'):
        ran(files, tmp_path / "run", against="mean")
    with pytest.raises(UsageError, match="depth was null and is 1 now"):
        ran(files, tmp_path / "run", depth=1)
    (tmp_path / "other").mkdir()
    net = dataset_net.saved(tmp_path / "other")
    net.write_bytes(net.read_bytes() + b"\x72\x02ab")
    with pytest.raises(CfpError):
        ran((net, files[1]), tmp_path / "run")
    assert ran(files, tmp_path / "run").before == 18


def test_two_writers_are_kept_apart(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(UsageError, match="is being written by process"):
        ran(files, tmp_path / "run")
    (tmp_path / "run" / "lock.json").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}), "utf-8")
    assert "cut off before" in str(ran(files, tmp_path / "run").note)
    assert not (tmp_path / "run" / "lock.json").exists()


def test_which_clips_are_run(files: tuple[Path, Path]) -> None:
    table = read_manifest(files[1])
    assert {r.name for r in chosen_rows(table, ["walk", 2], None, 0)} == {"walk", "run"}
    drawn = chosen_rows(table, None, 2, 0)
    assert [r.label for r in drawn] == [0, 0, 1, 1, 2, 2]
    assert drawn == chosen_rows(table, None, 2, 0)
    assert drawn != chosen_rows(table, None, 2, 1)
    with pytest.raises(UsageError, match="no clip of the manifest has the class 'swim'"):
        chosen_rows(table, ["swim"], None, 0)


def test_predicted_classes_beside_the_labels(files: tuple[Path, Path], tmp_path: Path) -> None:
    run = ran(files, tmp_path / "run", target="both").run
    wrong = {r.id for r in run.clips() if r.predicted != r.label}
    assert {r.id for r in run.clips() if r.asked == "predicted"} == wrong
    assert all(r.explained == (r.label if r.asked == "label" else r.predicted) for r in run.clips())


def test_names_of_another_network_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 3 classes and there are 2 names"):
        ran(files, tmp_path / "run", labels=["a", "b"])


def test_a_manifest_without_usable_clips_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    empty = Manifest("list", str(tmp_path), (Row("a", "a.npy", problem="it is not there"),))
    with pytest.raises(UsageError, match="no clip of the manifest is left to run; 1 have a problem"):
        ran((files[0], write_manifest(empty, tmp_path / "m.parquet")), tmp_path / "run")
    missing = Manifest("list", str(tmp_path), (Row("a", "a.npy"),))
    with pytest.raises(UsageError, match="no clip of the manifest could be read; of a"):
        ran((files[0], write_manifest(missing, tmp_path / "m.parquet")), tmp_path / "run")
