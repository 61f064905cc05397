"""Files of pictures and films: what another reader finds in them, and what is left of a write that failed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted_pictures import FRAMES

from cfp_onnx.errors import OutputError
from cfp_onnx.pictures import encode


def names_in(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def moving():
    """Eight frames of 30 x 41 with a red block that moves right."""
    frames = np.full((8, 30, 41, 3), 230, np.uint8)
    for t in range(8):
        frames[t, 8:20, 4 * t : 4 * t + 10] = (200, 30, 30)
    return frames


def test_png_keeps_every_pixel_and_jpeg_nearly(rng):
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    back = cv2.imdecode(np.frombuffer(encode.encode_png(picture), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(back[..., ::-1], picture)
    smooth = np.full((32, 32, 3), (200, 90, 20), np.uint8)
    data = encode.encode_jpeg(smooth)
    assert data[:2] == b"\xff\xd8"
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back[..., ::-1].astype(int) - smooth).max() < 6
    assert len(encode.encode_jpeg(picture, quality=20)) < len(encode.encode_jpeg(picture, quality=95))


def test_a_written_png_reads_back(tmp_path, rng):
    picture = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = encode.write_png(tmp_path / "new" / "folder" / "a.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    assert names_in(path.parent) == ["a.png"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def read_video(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    rate = capture.get(cv2.CAP_PROP_FPS)
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return np.stack(frames), rate


needs_gif = pytest.mark.skipif(not hasattr(cv2, "imwriteanimation"), reason="this OpenCV writes no GIF")


@pytest.mark.parametrize("suffix", [pytest.param(".gif", marks=needs_gif), ".mp4", ".MP4"])
def test_an_animation_reads_back(tmp_path, moving, suffix):
    path = encode.write_animation(tmp_path / f"a{suffix}", moving, fps=5)
    frames, rate = read_video(path)
    assert len(frames) == len(moving)
    assert rate == pytest.approx(5, abs=0.1)
    height, width = (30, 41) if suffix == ".gif" else (30, 42)
    assert frames.shape[1:3] == (height, width)
    for t in range(8):
        block, paper = frames[t, 10:18, 4 * t + 2 : 4 * t + 8], frames[t, 23:, :]
        assert np.abs(block.mean(axis=(0, 1)) - (200, 30, 30)).max() < 20
        assert np.abs(paper.mean(axis=(0, 1)) - 230).max() < 12
    assert names_in(tmp_path) == [path.name]


@needs_gif
def test_a_gif_is_endless(tmp_path, moving):
    data = encode.write_animation(tmp_path / "a.gif", moving).read_bytes()
    place = data.index(b"NETSCAPE2.0")
    assert data[place + 11 : place + 16] == b"\x03\x01\x00\x00\x00"


@pytest.mark.parametrize("name", ["a.avi", "a", "a.gif.txt"])
def test_an_unknown_suffix_is_refused(tmp_path, moving, name):
    with pytest.raises(OutputError, match=r"suffix \.gif or \.mp4"):
        encode.write_animation(tmp_path / name, moving)
    assert not names_in(tmp_path)


def test_a_missing_gif_writer_is_said(tmp_path, moving, monkeypatch):
    monkeypatch.delattr(cv2, "imwriteanimation", raising=False)
    with pytest.raises(OutputError, match=r"a\.gif.*opencv-python-headless >= 4\.11.*\.mp4"):
        encode.write_animation(tmp_path / "a.gif", moving)
    assert not names_in(tmp_path)


@pytest.mark.parametrize("refusal", ["closed", "raises"])
def test_a_missing_mp4_writer_is_said(tmp_path, moving, monkeypatch, refusal):
    class Closed:
        def __init__(self, *_):
            if refusal == "raises":
                raise cv2.error("no codec")

        fourcc = staticmethod(lambda *_: 0)

        def isOpened(self):  # noqa: N802  (OpenCV's name)
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OutputError, match=r"a\.mp4.*install opencv-python-headless.*\.gif"):
        encode.write_animation(tmp_path / "a.mp4", moving)
    assert not names_in(tmp_path)


WRITERS = [
    pytest.param(lambda path: encode.write_png(path, FRAMES[0]), ".png", id="png"),
    pytest.param(lambda path: encode.write_animation(path, FRAMES), ".mp4", id="mp4"),
]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_folder_that_cannot_be_made_is_said(tmp_path, write, suffix):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=rf"cannot write .*file/a{suffix}.*choose another place"):
        write(tmp_path / "file" / f"a{suffix}")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_folder_in_the_way_is_said(tmp_path, write, suffix):
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path / f"a{suffix}")
    assert names_in(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_an_unwritable_folder_is_said(tmp_path, monkeypatch, write, suffix):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # root, or a system without such modes

        def refused(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "mkstemp", refused)
    with pytest.raises(OutputError, match=rf"cannot write .*a{suffix}: Permission denied; choose another place"):
        write(folder / f"a{suffix}")
    assert not names_in(folder)


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
@pytest.mark.parametrize("name", ["bytes \udc80", "日本", "no%d pattern", "x" * 251])
def test_any_file_name_works(tmp_path, write, suffix, name):
    path = write(tmp_path / f"{name}{suffix}")
    assert path.stat().st_size > 50
    assert len(names_in(tmp_path)) == 1


@pytest.mark.parametrize("name", ["nul\0", "half \ud800 pair", "x" * 300])
def test_an_impossible_file_name_is_said(tmp_path, name):
    with pytest.raises(OutputError, match="cannot write") as caught:
        encode.write_png(tmp_path / f"{name}.png", FRAMES[0])
    str(caught.value).encode("utf-8")
    assert not names_in(tmp_path)
