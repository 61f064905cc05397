"""Natural order of names, and the kinds of file that suffixes claim."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cfp_onnx.clips.names import (
    CLIP_SUFFIXES,
    LIST_SUFFIXES,
    PICTURE_SUFFIXES,
    is_clip,
    is_list,
    is_picture,
    natural_order,
    natural_path,
)


@pytest.mark.parametrize(
    "names",
    [
        ["frame_8", "frame_9", "frame_10", "frame_100"],
        ["a2b9", "a2b10", "a10b1"],
        ["c01", "c1", "c02", "c2"],
        ["7", "10", "a", "b"],
        ["n" + "9" * 4999, "n1" + "0" * 4999],
        ["x٣", "x٤"],
    ],
)
def test_numbers_in_names_are_compared_as_numbers(names):
    mixed = random.Random(5).sample(names, len(names))
    assert sorted(mixed, key=natural_order) == names
    assert [p.name for p in sorted((Path("z") / n for n in mixed), key=natural_path)] == names


@pytest.mark.parametrize(
    ("name", "kind"),
    [("A.MP4", is_clip), ("b.Npz", is_clip), ("c.JPG", is_picture), ("d.csv", is_list), ("e.md", None)],
)
def test_a_suffix_claims_one_kind_of_file_at_most(name, kind):
    assert [test for test in (is_clip, is_picture, is_list) if test(Path(name))] == ([kind] if kind else [])
    assert not CLIP_SUFFIXES & PICTURE_SUFFIXES
    assert not LIST_SUFFIXES & (CLIP_SUFFIXES | PICTURE_SUFFIXES)
