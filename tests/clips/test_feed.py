"""Arrays that are fed as they are, bit for bit, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_files import OPEN, VIDEO, numbered, numbers, planted, refused, values, write_folder

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError


def test_a_float_array_is_fed_bit_for_bit(tmp_path):
    array = values(1, 3, 4, 32, 32)
    np.save(tmp_path / "clip.npy", array)
    clip = load_clip(tmp_path / "clip.npy", [VIDEO])
    np.testing.assert_array_equal(clip.feeds["clip"], array)
    assert (clip.frames, clip.layout) == (None, "NCTHW")
    assert load_clip(array.astype(np.float64), [VIDEO]).feeds["clip"].dtype == np.float32


@pytest.mark.parametrize(
    ("batch", "items", "fed"), [(1, 1, 1), (None, 1, 1), (None, 5, 1), (3, 1, 3), (3, 2, 3), (3, 8, 3)]
)
def test_of_a_batch_the_first_item_counts(batch, items, fed):
    array = values(items, 3, 4, 32, 32)
    got = load_clip(array, [replace(VIDEO, shape=(batch, *VIDEO.shape[1:]))]).feeds["clip"]
    assert got.shape[0] == fed
    for item in got:
        np.testing.assert_array_equal(item, array[0])


def test_a_missing_batch_axis_is_added():
    array = values(3, 4, 32, 32)
    np.testing.assert_array_equal(load_clip(array, [VIDEO]).feeds["clip"], array[None])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 4, 3, 32, 32), "if it is NTCHW, pass array.transpose(0, 2, 1, 3, 4) to make it NCTHW"),
        ((4, 32, 32, 3), "if it is NTHWC, pass array.transpose(0, 4, 1, 2, 3) to make it NCTHW"),
        ((1, 3, 5, 32, 32), "has shape (1, 3, 5, 32, 32), input 'clip' takes (1, 3, 4, 32, 32)"),
        ((2, 3, 4, 32, 32), "has shape (2, 3, 4, 32, 32)"),
        ((0, 3, 4, 32, 32), "has shape (0, 3, 4, 32, 32)"),
        ((3, 32, 32), "has shape (3, 32, 32)"),
        ((), "has shape ()"),
    ],
)
def test_a_float_array_of_another_shape(shape, words):
    refused(ClipError, words, values(*shape))


def test_an_empty_batch_fits_no_model():
    refused(ClipError, "has shape (0,", values(0, 3, 4, 32, 32), [replace(VIDEO, shape=(None, 3, 4, 32, 32))])
    refused(ClipError, "has shape (1, 3, 0,", values(1, 3, 0, 32, 32), [OPEN])


def test_an_array_needs_no_layout():
    spec = InputSpec("x", (None, 40), "int64")
    clip = load_clip(np.arange(40.0), [spec])
    assert clip.feeds["x"].dtype == np.int64
    unknown = load_clip(values(1, 10, 4, 8, 8), [InputSpec("flow", (1, 10, 4, 8, 8))])
    assert unknown.layout is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_array_must_be_finite(bad):
    array = values(1, 3, 4, 32, 32)
    array[0, 0, 0, 0, 0] = bad
    refused(ClipError, "NaN or infinity", array)


def test_an_array_the_input_cannot_hold():
    refused(ClipError, "cannot hold as float16", values(1, 3, 4, 32, 32) * 1e6, [replace(VIDEO, dtype="float16")])
    refused(ClipError, "cannot hold as uint8", values(1, 3, 4, 32, 32), [replace(VIDEO, dtype="uint8")])


@pytest.mark.parametrize(
    "array", [np.zeros((4, 32, 32), np.uint8), np.zeros((1, 3, 4, 32, 32), complex), np.array(["a"])]
)
def test_arrays_of_another_kind(array):
    refused(ClipError, "pass uint8 frames (T, H, W, 3) or a float32 array", array)


def test_archives_by_input_name(tmp_path):
    slow, fast = (
        InputSpec("slow", (1, 3, 4, 32, 32), "float32", 1),
        InputSpec("fast", (1, 3, 8, 32, 32), "float32", 1),
    )
    np.savez(tmp_path / "two.npz", slow=values(1, 3, 4, 32, 32), fast=numbered(8))
    clip = load_clip(tmp_path / "two.npz", [slow, fast])
    assert set(clip.feeds) == {"slow", "fast"}
    assert numbers(clip) == list(range(8))
    np.savez(tmp_path / "one.npz", slow=values(1, 3, 4, 32, 32))
    refused(ClipError, "lacks the inputs 'fast'; it holds 'slow'", tmp_path / "one.npz", [slow, fast])
    refused(ClipError, "lacks the inputs 'clip'", tmp_path / "two.npz")
    assert load_clip(tmp_path / "one.npz", [VIDEO]).feeds["clip"].shape == (1, 3, 4, 32, 32)


@pytest.mark.parametrize("kind", ["array", "image"])
def test_one_clip_is_not_enough_for_two_inputs(tmp_path, kind):
    inputs = [VIDEO, replace(VIDEO, name="other")]
    source = planted() if kind == "array" else write_folder(tmp_path / "f", planted())
    refused(ClipError, "pass an .npz with the keys 'clip', 'other'", source, inputs)


def test_arrays_by_name_from_memory():
    clip = load_clip({"clip": numbered(4), "unused": np.zeros(1)}, [VIDEO])
    assert numbers(clip) == [0, 1, 2, 3]
