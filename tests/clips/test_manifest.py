"""Manifests: what is written is read back, and what is no manifest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.clips.manifest import Manifest, Row, read_manifest, write_manifest
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import ClipError, UsageError

ROWS = (
    Row("a", "x/a.mp4", label=1, name="jump, high", split="val", group="P01", heads={"verb": 3, "noun": 0}),
    Row("b", "https://host/b.mp4", start=3, stop=9, unit="frames"),
    Row("c", "c", problem="the file is empty"),
)
MANIFEST = Manifest("list", "/data", ROWS, ("run", "jump, high"), "the list's own", "verb", {"noun": ("cup",)})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_manifest(write_manifest(MANIFEST, tmp_path / "m.parquet")) == MANIFEST


def test_places_are_below_the_root_or_as_they_are() -> None:
    assert [MANIFEST.place(row) for row in ROWS] == ["/data/x/a.mp4", "https://host/b.mp4", "/data/c"]
    assert Manifest("list", "s3://bucket/set/", ROWS).place(ROWS[0]) == "s3://bucket/set/x/a.mp4"
    assert [row.id for row in MANIFEST.usable] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "rate", "expected"),
    [
        (Row("a", "p"), None, (0, None)),
        (Row("a", "p", 3, 9, "frames"), None, (3, 9)),
        (Row("a", "p", 1.5, 3.0, "seconds"), 30.0, (45, 90)),
        (Row("a", "p", None, 2.0, "seconds"), 25.0, (0, 50)),
    ],
)
def test_a_row_says_which_frames(row: Row, rate: float | None, expected: tuple[int, int | None]) -> None:
    found = row.preprocess(Preprocess(), rate)
    assert (found.start, found.end) == expected


def test_a_row_without_frames_is_refused() -> None:
    with pytest.raises(ClipError, match="no frame lies between"):
        Row("a", "p", 9, 9, "frames").preprocess(Preprocess())
    with pytest.raises(ClipError, match="frames per second"):
        Row("a", "p", 1, 2, "seconds").preprocess(Preprocess())


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two rows have the id 'a'"):
        write_manifest(Manifest("list", "/", (ROWS[0], ROWS[0])), tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet").exists()


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(UsageError, match="cannot read the manifest"):
        read_manifest(path)
    path.write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(UsageError, match="cannot read the manifest"):
        read_manifest(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(UsageError, match="no manifest"):
        read_manifest(path)
    newer = json.dumps({"schema": "cfp-onnx/manifest", "schema_version": 2}).encode()
    pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata({b"cfp_onnx.manifest": newer}), path)
    with pytest.raises(UsageError, match="version 2"):
        read_manifest(path)


def test_a_manifest_stands_for_its_clips(tmp_path: Path) -> None:
    rows = (Row("a", "a.mp4", label=2), Row("b", "b.mp4", problem="it is not there"), Row("c", "c.mp4"))
    path = write_manifest(Manifest("list", str(tmp_path), rows), tmp_path / "m.parquet")
    assert clips_in([path]) == [Listed(str(tmp_path / "a.mp4"), 2), Listed(str(tmp_path / "c.mp4"))]
    part = write_manifest(Manifest("list", "/", (Row("a", "a.mp4", 0, 9, "frames"),)), tmp_path / "n.parquet")
    with pytest.raises(UsageError, match="a is a part of a longer video"):
        clips_in([part])
    none = write_manifest(Manifest("list", "/", rows[1:2]), tmp_path / "o.parquet")
    with pytest.raises(ClipError, match="no clip of the manifest can be used"):
        clips_in([none])
