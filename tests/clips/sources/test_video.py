"""Videos: the frames sampled, and a file that is cut off."""

from __future__ import annotations

import os

import numpy as np
import pytest
from clip_files import VIDEO, numbered, numbers, refused, write_video

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
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
