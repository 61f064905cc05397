"""Damaged files of tubes are refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from pyramids import invented, refusal

import cfp_onnx as cfp
from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes


@pytest.fixture
def small(tmp_path):
    """A folder with a pyramid whose tubes are small."""
    centres = (np.zeros(1), np.zeros(1), np.arange(8, dtype=np.float64))
    tube = Tube("relevance", 1, None, None, np.ones((1, 1, 8), np.float32), centres)
    media = Media("curve", (1, 1, 8), curve=np.zeros((1, 8), np.float32), note="n")
    found = invented(tubes=Tubes((1, 1, 8), (tube,), ("left out",)), media=media)
    found.save(tmp_path, drawings=())
    assert cfp.load_pyramid(tmp_path).tubes.notes == ("left out",)
    return tmp_path


def _rewritten(folder, **changes):
    with np.load(folder / "tubes.npz") as found:
        arrays = {k: found[k] for k in found.files}
    for key, value in changes.items():
        arrays.pop(key) if value is None else arrays.update({key: value})
    np.savez(folder / "tubes.npz", **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"values_0": None},
        {"t_0": None},
        {"index": None},
        {"index": np.array("{")},
        {"index": np.array("[]")},
        {"index": np.array('{"format": 99}')},
        {"values_0": np.full((1, 1, 8), np.nan, np.float32)},
        {"values_0": np.ones((1, 8), np.float32)},
        {"values_0": np.ones((1, 1, 8), np.int32)},
        {"values_0": np.array([["text"]])},
        {"w_0": np.arange(7.0)},
        {"w_0": np.arange(8.0)[::-1]},
        {"w_0": np.full(8, np.inf)},
        {"curve": np.zeros((1, 5), np.float32)},
        {"curve": np.full((1, 8), np.nan, np.float32)},
        {"frames": np.zeros((1, 1, 8), np.uint8)},
    ],
    ids=lambda c: f"{next(iter(c))}-{np.asarray(next(iter(c.values()))).dtype}",
)
def test_damaged_tubes_are_one_sentence(small, changes):
    _rewritten(small, **changes)
    assert "tubes.npz" in refusal(small)


def test_every_truncation_and_many_flipped_bytes_are_one_sentence(small, rng):
    file = small / "tubes.npz"
    whole = file.read_bytes()
    for length in rng.integers(0, len(whole), 60):
        file.write_bytes(whole[:length])
        assert "tubes.npz" in refusal(small)
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        said = ""
        try:
            cfp.load_pyramid(small)
        except UsageError as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + bytes(40)])
def test_other_files_of_that_name(small, content):
    (small / "tubes.npz").write_bytes(content)
    assert "tubes.npz" in refusal(small)
