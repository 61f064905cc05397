"""Clips: sampling, geometry and colours judged by planted frames; unusable sources by their sentence."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cfp_onnx.clips.layout import layout_of
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.presets import PRESETS
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError, LimitError, UsageError

VIDEO = InputSpec("clip", (1, 3, 4, 32, 32), "float32", 1)
IMAGE = InputSpec("image", (1, 3, 32, 32), "float32", 1)
OPEN = InputSpec("clip", (None, 3, None, None, None), "float32", 1)


def numbered(count, height=32, width=32):
    """Frames whose grey value is four times their number."""
    return np.stack([np.full((height, width, 3), 4 * i, np.uint8) for i in range(count)])


def numbers(clip):
    return [round(float(frame.mean()) / 4) for frame in clip.frames]


def write_video(path, frames, codec):
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return path


def write_folder(path, frames, name="frame_{}.png", first=1):
    path.mkdir()
    for i, frame in enumerate(frames, first):
        cv2.imwrite(str(path / name.format(i)), frame[..., ::-1].copy())
    return path


def write_database(path, frames, ids, table="Images"):
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} (ObjId, frames BLOB)")
        for key, frame in zip(ids, frames, strict=True):
            blob = cv2.imencode(".jpg", frame[..., ::-1].copy())[1].tobytes()
            connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, blob))
    connection.close()
    return path


def refused(error, words, source, inputs=(VIDEO,), **options):
    with pytest.raises(error) as caught:
        load_clip(source, list(inputs), **options)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message


# --- layouts


@pytest.mark.parametrize(
    ("shape", "axis", "layout"),
    [
        ((None, 3, 16, 112, 112), None, "NCTHW"),
        ((None, 16, 3, 112, 112), None, "NTCHW"),
        ((1, 16, 112, 112, 3), None, "NTHWC"),
        ((1, 1, 16, 112, 112), None, "NCTHW"),
        ((1, 16, 112, 112, 1), None, "NTHWC"),
        ((1, 3, 3, 112, 112), 2, "NTCHW"),
        ((None, None, None, None, None), 4, "NTHWC"),
        ((1, 3, 224, 224), None, "NCHW"),
        ((1, 224, 224, 3), None, "NHWC"),
        ((1, None, None, None), 3, "NHWC"),
        ((1, 1, 16000), None, "NCL"),
        ((1, 40, 300), 2, "NLC"),
        ((1, 10), None, "NC"),
    ],
)
def test_layout_is_read_off_the_model(shape, axis, layout):
    assert layout_of(InputSpec("x", shape, "float32", axis)) == layout


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 3, 3, 112, 112), None),
        ((1, 3, 16, 112, 3), None),
        ((1, 10, 16, 112, 112), None),
        ((None,) * 5, None),
        ((1, 16, 112, 3, 112), 3),
        ((1, 40, 300), None),
        ((3,), None),
        ((1, 1, 3, 16, 112, 112), None),
    ],
)
def test_an_ambiguous_layout_asks(shape, axis):
    with pytest.raises(UsageError, match="--layout"):
        layout_of(InputSpec("x", shape, "float32", axis))


def test_a_requested_layout_settles_it():
    spec = InputSpec("x", (1, 3, 3, 112, 112))
    assert layout_of(spec, "NTCHW") == "NTCHW"
    assert layout_of(spec, "n,c,t,h,w") == "NCTHW"
    assert layout_of(InputSpec("flow", (1, 10, 16, 112, 112)), "NCTHW") == "NCTHW"


@pytest.mark.parametrize(
    ("requested", "words"),
    [
        ("NCHW", "names 4 axes"),
        ("NTHWC", "the graph reads them from axis 1"),
        ("NCTHH", "each axis once"),
        ("NCTHX", "each axis once"),
        ("NLTHW", "each axis once"),
    ],
)
def test_a_requested_layout_is_checked(requested, words):
    with pytest.raises(UsageError, match=words):
        layout_of(VIDEO, requested)


def test_a_requested_layout_is_checked_against_the_channel_count():
    with pytest.raises(UsageError, match="32 channels"):
        layout_of(replace(VIDEO, channel_axis=None), "NTHWC")


# --- sampling


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 3, 6, 9]),
        ({"stride": 1}, [0, 1, 2, 3]),
        ({"stride": 2, "start": 3}, [3, 5, 7, 9]),
        ({"start": 4}, [4, 6, 7, 9]),
        ({"start": 6}, [6, 7, 8, 9]),
    ],
)
def test_sampled_frames(options, expected):
    assert numbers(load_clip(numbered(10), [VIDEO], preprocess=Preprocess(**options))) == expected


def test_an_image_model_takes_the_middle_frame_unless_told():
    assert numbers(load_clip(numbered(9), [IMAGE])) == [4]
    assert numbers(load_clip(numbered(9), [IMAGE], preprocess=Preprocess(stride=1, start=7))) == [7]


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (3, {}, "clip too short: 3 frames, the model takes 4;"),
        (1, {}, "clip too short: 1 frame, the model takes 4;"),
        (9, {"stride": 3}, "takes 4 at stride 3;"),
        (9, {"start": 6}, "takes 4 from frame 6;"),
    ],
)
def test_too_short(count, options, words):
    refused(ClipError, words, numbered(count), preprocess=Preprocess(**options))


def test_what_a_dynamic_model_gets():
    clip = load_clip(numbered(40), [OPEN])
    assert clip.feeds["clip"].shape == (1, 3, 16, 112, 112)
    still = load_clip(numbered(1)[0], [replace(IMAGE, shape=(None, 3, None, None))])
    assert still.feeds["image"].shape == (1, 3, 224, 224)
    chosen = load_clip(numbered(40), [OPEN], preprocess=Preprocess(frames=5, size=(20, 24)))
    assert chosen.feeds["clip"].shape == (1, 3, 5, 20, 24)


@pytest.mark.parametrize("options", [{"frames": 8}, {"size": (32, 64)}])
def test_an_option_may_not_contradict_the_model(options):
    refused(UsageError, "was asked for", numbered(20), preprocess=Preprocess(**options))


def test_an_absurd_size_is_a_limit():
    refused(LimitError, "fewer or smaller", numbered(1)[0], [OPEN], preprocess=Preprocess(frames=10**9))
    refused(LimitError, "crop the clip", np.zeros((1, 10**6, 3), np.uint8))


# --- geometry


def ramp(height, width):
    """A frame whose red is its row and whose green is its column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


@pytest.mark.parametrize(("height", "width", "corner"), [(32, 64, (0, 16)), (48, 32, (8, 0)), (32, 32, (0, 0))])
def test_without_a_short_side_the_crop_is_just_covered(height, width, corner):
    shown = load_clip(ramp(height, width), [IMAGE]).frames[0]
    assert shown.shape == (32, 32, 3)
    assert tuple(shown[0, 0, :2]) == corner
    assert tuple(shown[-1, -1, :2]) == (corner[0] + 31, corner[1] + 31)


def test_the_short_side_is_resized_before_the_crop():
    shown = load_clip(ramp(40, 60), [IMAGE], preprocess=Preprocess(short_side=40)).frames[0]
    assert tuple(shown[0, 0, :2]) == (4, 14)
    doubled = load_clip(ramp(40, 60), [IMAGE], preprocess=Preprocess(short_side=80, interpolation="nearest"))
    assert tuple(doubled.frames[0, 0, 0, :2]) == (12, 22)


def test_a_crop_larger_than_the_resized_frame():
    refused(UsageError, "smaller than the crop", ramp(40, 60), [IMAGE], preprocess=Preprocess(short_side=20))


# --- colours, scale and layout


def planted():
    """Four frames of red 200, green 100, blue 50."""
    return np.broadcast_to(np.array([200, 100, 50], np.uint8), (4, 32, 32, 3))


@pytest.mark.parametrize(
    ("source", "tolerance"),
    [("array", 0), ("png", 0), ("jpg", 3), ("MJPG", 5), ("mp4v", 5), ("database", 3), ("image", 0)],
)
def test_colours_survive_every_reader(tmp_path, source, tolerance):
    frames, sources = planted(), {
        "array": planted,
        "png": lambda: write_folder(tmp_path / "f", frames),
        "jpg": lambda: write_folder(tmp_path / "f", frames, "{}.jpg"),
        "MJPG": lambda: write_video(tmp_path / "v.avi", frames, "MJPG"),
        "mp4v": lambda: write_video(tmp_path / "v.mp4", frames, "mp4v"),
        "database": lambda: write_database(tmp_path / "f.db", frames, range(4)),
        "image": lambda: write_folder(tmp_path / "f", frames[:1]) / "frame_1.png",
    }  # fmt: skip
    clip = load_clip(sources[source](), [VIDEO])
    assert clip.frames.shape == (4, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert np.abs(clip.frames.mean((0, 1, 2)) - [200, 100, 50]).max() <= tolerance
    assert np.abs(clip.feeds["clip"].mean((0, 2, 3, 4)) * 255 - [200, 100, 50]).max() <= tolerance + 0.01


def test_mean_and_std_are_in_the_fed_order():
    preprocess = Preprocess(color="BGR", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    clip = load_clip(planted(), [VIDEO], preprocess=preprocess)
    expected = (np.array([50, 100, 200]) / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]
    np.testing.assert_allclose(clip.feeds["clip"][0, :, 0, 0, 0], expected, rtol=1e-5)
    assert tuple(clip.frames[0, 0, 0]) == (200, 100, 50)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("NCTHW", (1, 3, 4, 32, 40)),
        ("NTCHW", (1, 4, 3, 32, 40)),
        ("NTHWC", (1, 4, 32, 40, 3)),
        ("TCHW", (4, 3, 32, 40)),
        ("CTHW", (3, 4, 32, 40)),
    ],
)
def test_every_value_lands_in_its_place(layout, shape):
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 40, 3), np.uint8)
    clip = load_clip(frames, [InputSpec("x", shape)], layout=layout)
    fed = clip.feeds["x"]
    assert fed.shape == shape
    assert fed.flags.c_contiguous
    assert clip.layout == layout
    at = {"N": 0, "C": 2, "T": 3, "H": 5, "W": 7}
    assert fed[tuple(at[letter] for letter in layout)] == pytest.approx(frames[3, 5, 7, 2] / 255)


def test_grey_models_get_luma():
    grey = InputSpec("x", (1, 1, 4, 32, 32), "float32", 1)
    fed = load_clip(planted(), [grey]).feeds["x"]
    assert fed.shape == (1, 1, 4, 32, 32)
    assert fed.mean() * 255 == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)
    refused(UsageError, "one grey channel", planted(), [grey], preprocess=Preprocess(mean=(0.1, 0.2, 0.3)))


@pytest.mark.parametrize("channels", [2, 10])
def test_flow_models_do_not_take_frames(channels):
    refused(
        ClipError,
        f"takes {channels} channels",
        planted(),
        [InputSpec("x", (1, channels, 4, 32, 32), "float32", 1)],
    )


def test_input_types():
    assert load_clip(planted(), [replace(VIDEO, dtype="float16")]).feeds["clip"].dtype == np.float16
    whole = replace(VIDEO, dtype="uint8")
    fed = load_clip(planted(), [whole]).feeds["clip"]
    assert fed.dtype == np.uint8
    assert fed[0, 0, 0, 0, 0] == 200
    refused(UsageError, "leave mean and std out", planted(), [whole], preprocess=Preprocess(mean=(0.5,)))
    refused(ClipError, "NumPy lacks", planted(), [replace(VIDEO, dtype="float8e4m3")])


def test_a_fixed_batch_is_filled_with_copies():
    fed = load_clip(numbered(4), [replace(VIDEO, shape=(3, 3, 4, 32, 32))]).feeds["clip"]
    assert fed.shape == (3, 3, 4, 32, 32)
    np.testing.assert_array_equal(fed[0], fed[2])


# --- arrays fed as they are


def values(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


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


# --- files


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "MJPG"), ("v.mp4", "mp4v"), ("misnamed.npy", "MJPG")])
def test_video_frames_are_the_ones_sampled(tmp_path, name, codec):
    path = write_video(tmp_path / "v.avi" if codec == "MJPG" else tmp_path / name, 3 * numbered(20, 64, 64), codec)
    path = path.rename(tmp_path / name)
    before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    clip = load_clip(path, [VIDEO], preprocess=Preprocess(stride=5, start=2))
    # Steps of 12 grey values: a lossy codec may be off by a few.
    assert [round(n / 3) for n in numbers(clip)] == [2, 7, 12, 17]
    assert clip.file == str(path)
    assert os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") == before


def test_a_folder_is_read_in_natural_order(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(12)[1:])
    (folder / "notes.txt").write_text("no frame")
    assert numbers(load_clip(folder, [VIDEO], preprocess=Preprocess(stride=1, start=7))) == [8, 9, 10, 11]


@pytest.mark.parametrize("pattern", ["frame_%d.png", "frame_%05d.png", "frame_*.png", "frame_[0-9]*.png"])
def test_patterns_choose_frames(tmp_path, pattern):
    folder = write_folder(tmp_path / "f", numbered(12))
    cv2.imwrite(str(folder / "mask_1.png"), numbered(60)[-1])
    clip = load_clip(folder / pattern, [VIDEO], preprocess=Preprocess(stride=1))
    assert numbers(clip) == [0, 1, 2, 3]


def test_a_picture_stands_for_every_frame(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(2))
    assert numbers(load_clip(folder / "frame_2.png", [VIDEO])) == [1, 1, 1, 1]
    assert load_clip(folder / "frame_2.png", [IMAGE]).feeds["image"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("ids", [[3, 0, 2, 1, 10], ["f3", "f0", "f2", "f1", "f10"]])
def test_database_rows_are_ordered_by_id(tmp_path, ids):
    frames = numbered(11)[[3, 0, 2, 1, 10]]
    path = write_database(tmp_path / "odd #?%20.db", frames, ids)
    clip = load_clip(path, [VIDEO], preprocess=Preprocess(stride=1, start=1))
    assert numbers(clip) == [1, 2, 3, 10]


def test_hashes_follow_the_bytes(tmp_path):
    one, two = write_folder(tmp_path / "a", numbered(4)), write_folder(tmp_path / "b", numbered(4))
    sha = [load_clip(folder, [VIDEO]).sha256 for folder in (one, two)]
    assert sha[0] == sha[1]
    (two / "frame_4.png").rename(two / "frame_5.png")
    assert load_clip(two, [VIDEO]).sha256 != sha[0]
    arrays = [load_clip(a, [VIDEO]).sha256 for a in (numbered(4), numbered(4)[..., ::-1], numbered(5))]
    assert arrays[0] == arrays[1] != arrays[2]
    assert all(len(digest) == 64 for digest in sha + arrays)


# --- files that cannot be used


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.mp4", "No such file"),
        ("missing_%03d.png", "holds no frames"),
        ("nowhere/*.png", "No such file"),
        ("a\0b.mp4", "null byte"),
        ("x" * 300, "too long"),
        ("http://localhost/clip.mp4", "No such file"),
    ],
)
def test_missing(tmp_path, name, words):
    refused(ClipError, words, f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is no video, picture"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "is no video, picture"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "is no video, picture"),
        (b"\0\0\0\x18ftypmp42" + bytes(64), "cannot be opened as a video"),
        (b"RIFF\0\0\0\0AVI " + bytes(64), "cannot be opened as a video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is cut off"),
        (b"BM" + bytes(64), "cannot be decoded"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': 'broken", "is no NumPy array"),
        (b"PK\x03\x04" + bytes(64), "is no NumPy archive"),
        (b"SQLite format 3\0" + bytes(600), "is no frame database"),
    ],
)
def test_unusable_files(tmp_path, data, words, capfd):
    (tmp_path / "clip.mp4").write_bytes(data)
    refused(ClipError, words, tmp_path / "clip.mp4")
    assert capfd.readouterr() == ("", "")


def test_pickles_and_short_arrays_are_refused(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(ClipError, "is no NumPy array", tmp_path / "pickle.npy")
    np.savez(tmp_path / "pickle.npz", clip=np.array([{}], dtype=object))
    refused(ClipError, "is no NumPy archive", tmp_path / "pickle.npz")
    np.save(tmp_path / "short.npy", values(1, 3, 4, 32, 32))
    os.truncate(tmp_path / "short.npy", 1000)
    refused(ClipError, "is no NumPy array", tmp_path / "short.npy")


def test_empty_folder(tmp_path):
    refused(ClipError, "holds no frames", tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_cut_off_pictures(tmp_path, suffix):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    path = write_folder(tmp_path / "f", [noise], f"{{}}.{suffix}") / f"1.{suffix}"
    os.truncate(path, path.stat().st_size // 2)
    refused(ClipError, "is cut off", path)


def test_a_cut_off_video(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (30, 32, 32, 3), np.uint8)
    path = write_video(tmp_path / "v.avi", noise, "MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) // 4])
    refused(ClipError, "of 30 frames can be decoded", path)
    assert load_clip(path, [VIDEO], preprocess=Preprocess(stride=1)).frames.shape == (4, 32, 32, 3)


def test_frames_of_two_sizes(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(3))
    cv2.imwrite(str(folder / "frame_9.png"), np.zeros((16, 32, 3), np.uint8))
    refused(ClipError, "must have one size", folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    refused(ClipError, "not a regular file", tmp_path / "clip.mp4")


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


def test_models_that_take_no_frames():
    refused(ClipError, "no height and width", planted(), [InputSpec("x", (1, 1, 16000))])
    refused(ClipError, "has no input", planted(), [])
    with pytest.raises(ClipError, match="empty axis"):
        InputSpec("x", (0, 3, 4, 32, 32))


# --- options


def test_options_travel_as_json():
    preprocess = Preprocess.from_json(
        {
            "frames": 8,
            "stride": 2,
            "size": [112, 96],
            "short_side": 128,
            "mean": [0.5],
            "std": [1, 1, 2],
            "color": "BGR",
        }
    )
    assert preprocess.size == (112, 96)
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    assert Preprocess.from_json({}) == Preprocess()
    for preset in PRESETS.values():
        assert Preprocess.from_json(preset.to_json()) == preset


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"fps": 3}, "fps"),
        ({"yields": True}, "yields"),
        ({"frames": True}, "frames"),
        ({"frames": 2.0}, "frames"),
        ({"stride": 0}, "stride"),
        ({"start": -1}, "start"),
        ({"start": None}, "start"),
        ({"size": [112]}, "size"),
        ({"size": 112}, "size"),
        ({"size": [0, 1]}, "size"),
        ({"mean": [1, 2]}, "mean"),
        ({"mean": [float("nan")]}, "mean"),
        ({"mean": "0.5"}, "mean"),
        ({"std": [0]}, "std"),
        ({"std": [True]}, "std"),
        ({"color": "rgb"}, "color"),
        ({"layout": 5}, "layout"),
        ({"interpolation": ["area"]}, "interpolation"),
    ],
)
def test_a_wrong_option_is_named(data, key):
    with pytest.raises(UsageError, match=f"'{key}'"):
        Preprocess.from_json(data)


def test_options_are_an_object():
    with pytest.raises(UsageError, match="JSON object"):
        Preprocess.from_json([1])


def test_presets_hold_the_published_numbers():
    pixel = np.array([124.0, 117.0, 104.0])
    mfnet = PRESETS["mfnet"]
    x = np.array([255.0, 0.0, 30.0])
    np.testing.assert_allclose((x / 255 - mfnet.mean) / mfnet.std, (x - pixel) * 0.0167)
    i3d = PRESETS["i3d"]
    np.testing.assert_allclose((x / 255 - i3d.mean) / i3d.std, x / 127.5 - 1)
    np.testing.assert_allclose(np.array(PRESETS["resnext101-3d"].mean) * 255, pixel)
    assert PRESETS["resnet3d"].short_side == 128


def test_a_preset_yields_to_the_model():
    fitted = PRESETS["resnet3d"].fitted(VIDEO, "NCTHW")
    assert (fitted.frames, fitted.size, fitted.short_side) == (4, (32, 32), 37)
    assert not fitted.yields
    assert load_clip(numbered(10), [VIDEO], preprocess=PRESETS["resnet3d"]).feeds["clip"].shape == VIDEO.shape
    assert load_clip(numbered(16), [OPEN], preprocess=PRESETS["mfnet"]).frames.shape == (16, 224, 224, 3)
    assert load_clip(numbered(3), [IMAGE], preprocess=PRESETS["mfnet"]).frames.shape == (1, 32, 32, 3)


def test_the_layout_argument_wins():
    spec = InputSpec("x", (1, 3, 3, 32, 32))
    preprocess = Preprocess(layout="NCTHW")
    assert load_clip(numbered(3), [spec], preprocess=preprocess).layout == "NCTHW"
    assert load_clip(numbered(3), [spec], preprocess=preprocess, layout="NTCHW").layout == "NTCHW"
