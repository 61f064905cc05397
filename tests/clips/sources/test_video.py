"""Videos: the frames sampled, and a file that is cut off."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from clip_files import VIDEO, numbered, numbers, refused, write_video

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.sources.video import _uneven
from cfp_onnx.errors import ClipError


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


def test_a_cut_off_video(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (30, 32, 32, 3), np.uint8)
    path = write_video(tmp_path / "v.avi", noise, "MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) // 4])
    refused(ClipError, "of 30 frames can be decoded", path)
    assert load_clip(path, [VIDEO], preprocess=Preprocess(stride=1)).frames.shape == (4, 32, 32, 3)
    path.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) * 7 // 10])
    note = load_clip(path, [VIDEO]).fed["clip"].note
    assert re.fullmatch(r"(19|2[0-2]) of 30 frames can be decoded: the file is damaged or cut off", note)
    path.write_bytes(data)
    assert load_clip(path, [VIDEO]).fed["clip"].note is None


def test_an_mp4_without_its_index(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered(30), "mp4v")
    assert load_clip(path, [VIDEO]).fed["clip"].note is None
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(ClipError, "cut off, for its index (the box moov) is missing; copy or record it again", path)


def test_frames_between_a_start_and_an_end(tmp_path):
    path = write_video(tmp_path / "v.avi", 3 * numbered(20, 64, 64), "MJPG")
    clip = load_clip(path, [VIDEO], preprocess=Preprocess(start=4, end=8))
    assert [round(n / 3) for n in numbers(clip)] == [4, 5, 6, 7]
    refused(ClipError, "the model takes 4 from frame 4 up to frame 7", path, preprocess=Preprocess(start=4, end=7))
    assert [round(n / 3) for n in numbers(load_clip(path, [VIDEO], preprocess=Preprocess(end=99)))][-1] == 19


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0, 40, 80, 120, 160, 200], None),
        ([0, 33, 67, 100, 133, 167], None),
        (
            [0, 40, 80, 180, 280, 320],
            "the frame rate varies (40 to 100 ms a frame)",
        ),
        ([0, 0, 0, 0, 0, 0], None),
    ],
)
def test_a_frame_rate_that_varies_is_said(times, said):
    found = _uneven(times)
    assert found == said if said is None else found.startswith(said)
