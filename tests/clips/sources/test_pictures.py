"""Pictures: one, a folder in natural order, and patterns of names."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from clip_files import IMAGE, VIDEO, numbered, numbers, refused, write_folder

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import ClipError


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


def test_a_picture_is_every_frame(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(2))
    assert numbers(load_clip(folder / "frame_2.png", [VIDEO])) == [1, 1, 1, 1]
    assert load_clip(folder / "frame_2.png", [IMAGE]).feeds["image"].shape == (1, 3, 32, 32)


def test_empty_folder(tmp_path):
    refused(ClipError, "holds no frames", tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_cut_off_pictures(tmp_path, suffix):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    path = write_folder(tmp_path / "f", [noise], f"{{}}.{suffix}") / f"1.{suffix}"
    os.truncate(path, path.stat().st_size // 2)
    refused(ClipError, "is cut off", path)


def test_frames_of_two_sizes(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(3))
    cv2.imwrite(str(folder / "frame_9.png"), np.zeros((16, 32, 3), np.uint8))
    refused(ClipError, "must have one size", folder)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ((1, 2, 3, 4), None),
        ((5, 10, 15, 20), None),
        ((1, 2, 4, 5), "1 frame is missing in the row, the first behind frame_2; the gap is passed over"),
        ((1, 2, 6, 7, 9), "4 frames are missing in the row, the first behind frame_2; the gap is passed over"),
        ((0, 2, 4, 8), "1 frame is missing in the row, the first behind frame_4; the gap is passed over"),
    ],
)
def test_a_gap_in_a_row_of_frames_is_said(tmp_path, taken, said):
    for number in taken:
        write_folder(tmp_path / str(number), numbered(1), first=number)
        (tmp_path / str(number) / f"frame_{number}.png").rename(tmp_path / f"frame_{number}.png")
        (tmp_path / str(number)).rmdir()
    assert load_clip(tmp_path, [VIDEO]).fed["clip"].note == said


def test_a_picture_for_a_network_of_clips_is_said_to_stand_still(tmp_path):
    folder = write_folder(tmp_path / "f", numbered(1))
    assert load_clip(folder / "frame_1.png", [VIDEO]).fed["clip"].note == "one picture, shown 4 times: nothing moves"
    assert load_clip(folder / "frame_1.png", [IMAGE]).fed["image"].note is None


def test_a_clip_for_a_network_of_pictures_is_said_to_be_one_frame():
    assert load_clip(numbered(9), [IMAGE]).fed["image"].note == "one frame of 9: the model takes one at a time"
