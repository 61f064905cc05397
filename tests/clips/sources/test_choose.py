"""A source that is missing, damaged or of no known kind is refused in a sentence."""

from __future__ import annotations

import os

import pytest
from clip_files import VIDEO, numbered, refused, write_folder

from cfp_onnx.clips.load import load_clip
from cfp_onnx.errors import ClipError


def test_hashes_follow_the_bytes(tmp_path):
    one, two = write_folder(tmp_path / "a", numbered(4)), write_folder(tmp_path / "b", numbered(4))
    sha = [load_clip(folder, [VIDEO]).sha256 for folder in (one, two)]
    assert sha[0] == sha[1]
    (two / "frame_4.png").rename(two / "frame_5.png")
    assert load_clip(two, [VIDEO]).sha256 != sha[0]
    arrays = [load_clip(a, [VIDEO]).sha256 for a in (numbered(4), numbered(4)[..., ::-1], numbered(5))]
    assert arrays[0] == arrays[1] != arrays[2]
    assert all(len(digest) == 64 for digest in sha + arrays)


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    refused(ClipError, "not a regular file", tmp_path / "clip.mp4")
