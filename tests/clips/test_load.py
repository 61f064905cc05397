"""Every source gives the same colours; what no source can be fed to is refused."""

from __future__ import annotations

import numpy as np
import pytest
from clip_files import VIDEO, numbered, planted, refused, write_database, write_folder, write_video

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError


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


def test_models_that_take_no_frames():
    refused(ClipError, "no height and width", planted(), [InputSpec("x", (1, 1, 16000))])
    refused(ClipError, "has no input", planted(), [])
    with pytest.raises(ClipError, match="empty axis"):
        InputSpec("x", (0, 3, 4, 32, 32))


def test_the_layout_argument_wins():
    spec = InputSpec("x", (1, 3, 3, 32, 32))
    preprocess = Preprocess(layout="NCTHW")
    assert load_clip(numbered(3), [spec], preprocess=preprocess).layout == "NCTHW"
    assert load_clip(numbered(3), [spec], preprocess=preprocess, layout="NTCHW").layout == "NTCHW"
