"""Frame databases: the order of their rows, and what they may not hold."""

from __future__ import annotations

import sqlite3

import pytest
from clip_files import IMAGE, VIDEO, numbered, numbers, refused, write_database

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import ClipError


@pytest.mark.parametrize("ids", [[3, 0, 2, 1, 10], ["f3", "f0", "f2", "f1", "f10"]])
def test_database_rows_are_ordered_by_id(tmp_path, ids):
    frames = numbered(11)[[3, 0, 2, 1, 10]]
    path = write_database(tmp_path / "odd #?%20.db", frames, ids)
    clip = load_clip(path, [VIDEO], preprocess=Preprocess(stride=1, start=1))
    assert numbers(clip) == [1, 2, 3, 10]


def test_unusable_databases(tmp_path):
    frames = numbered(4)
    refused(ClipError, "no table Images", write_database(tmp_path / "a.db", frames, range(4), table="Other"))
    refused(ClipError, "holds no frames", write_database(tmp_path / "b.db", [], []))
    refused(ClipError, "each once", write_database(tmp_path / "c.db", frames, [0, 1, 1, 2]))
    path = write_database(tmp_path / "d.db", frames, range(4))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE Images SET frames = 'text' WHERE ObjId = 3")
    connection.close()
    refused(ClipError, "no JPEG blob", path)


def test_a_database_cannot_grow_in_memory(tmp_path):
    with sqlite3.connect(tmp_path / "v.db") as connection:
        connection.execute("CREATE TABLE Images (ObjId, frames AS (zeroblob(1000000000)))")
        connection.execute("INSERT INTO Images VALUES (1)")
    connection.close()
    refused(ClipError, "is no frame database", tmp_path / "v.db", preprocess=Preprocess(stride=1), inputs=[IMAGE])
