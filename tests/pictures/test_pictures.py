"""What holds for every form of picture: planted values are found in place, names fit, wrong input is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from planted_pictures import FRAMES, LEVELS, TUBE, WORDS, box_of, colourful, grey_frames, planted

from cfp_onnx import pictures
from cfp_onnx.opencv import PIXEL_LIMIT


@pytest.mark.parametrize("draw", [pictures.strip, pictures.stack])
def test_a_planted_spot_is_in_its_frame_and_at_its_place(draw):
    frames = grey_frames(LEVELS)
    tube = planted((8, 40, 40), (5, slice(8, 12), slice(28, 32)), 3.0)
    with_spot = draw(frames, tube, low=0, high=3, **WORDS)
    without = draw(frames, planted((8, 40, 40), (5, 9, 30), 1e-6), low=0, high=3, **WORDS)
    body = np.abs(with_spot.astype(int) - without).max(axis=-1) > 30
    body[round(0.85 * len(body)) :] = False  # the legend's words differ
    rows, columns = np.nonzero(body)
    top, bottom, left, right = box_of(without, LEVELS[5])
    assert top < rows.min() <= rows.max() < bottom
    assert left < columns.min() <= columns.max() < right
    if draw is pictures.strip:
        assert (rows.mean() + 0.5 - top) / (bottom - top) == pytest.approx(10 / 40, abs=0.02)
        assert (columns.mean() + 0.5 - left) / (right - left) == pytest.approx(30 / 40, abs=0.02)
    else:
        seen = (without[top:bottom, left:right] == LEVELS[5]).all(axis=-1)
        assert seen[rows - top, columns - left].mean() > 0.95, "the spot lies on the sheet, not on its neighbours"


def test_a_constant_map_is_said_in_words_instead_of_colours(texts):
    frames = grey_frames([100, 140])
    for draw in (pictures.strip, pictures.stack, pictures.film):
        texts.clear()
        drawn = draw(frames, np.full((2, 40, 40), 1.25), low=0, high=3, **WORDS)
        assert not colourful(drawn).any()
        assert "constant at 1.25: nothing to see" in texts
    texts.clear()
    noise = planted((2, 40, 40), (0, 3, 3), 2.0)
    assert not colourful(pictures.strip(frames, noise, low=0, high=2, constant=True, **WORDS)).any()
    assert "constant at 1: nothing to see" in texts
    assert colourful(pictures.strip(frames, noise, low=0, high=2, **WORDS)).any()


@pytest.mark.parametrize(("draw", "limit"), [(pictures.strip, 32), (pictures.stack, 16)])
def test_of_many_frames_evenly_spaced_ones_are_shown_and_counted(texts, draw, limit):
    count = 100
    draw(grey_frames([100] * count, 4, 4), np.zeros((count, 4, 4)), low=0, high=1, **WORDS)
    assert f"{limit} of 100 frames, evenly spaced" in texts
    numbers = [int(m[1]) for text in texts if (m := re.fullmatch(r"(?:t = )?(\d+)", text))]
    assert numbers[0] == 0
    assert numbers[-1] == 99
    assert len(numbers) == limit
    assert set(np.diff(numbers)) <= {(count - 1) // (limit - 1), (count - 1) // (limit - 1) + 1}


HARD_NAMES = [
    "layer/" + "very_long_name." * 60 + "conv",
    "x" * 100_000,
    "lone \udc80 and \ud800 surrogates",
    "line\nbreak\ttab\x00nul \u202e turned",
    "\U0001f600 日本語 ägyptisch שלום é",
    "",
    "   ",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_can_be_drawn_and_fits(texts, name):
    frames, tube = grey_frames([100]), planted((1, 40, 40), (0, 3, 3), 1.0)
    words = {"title": name, "subtitle": name, "unit": name, "scope": name}
    pictures.strip(frames, tube, low=0, high=1, **words)
    pictures.stack(frames, tube, low=0, high=1, **words)
    pictures.curve(np.zeros((2, 9)), planted((9,), 3, 1.0), low=0, high=1, **words)
    pictures.levels(frames, [pictures.Level(name, tube, 0, 1, unit=name)], title=name, subtitle=name)
    drawn = "".join(texts)
    drawn.encode("utf-8")
    assert drawn.isprintable()


NAN = planted((2, 8, 8), (1, 3, 3), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pictures.overlay(FRAMES.astype(float), TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: pictures.overlay(FRAMES[..., 0], TUBE, low=0, high=1), "uint8 RGB"),
        (lambda: pictures.overlay(FRAMES[:0], TUBE[:0], low=0, high=1), "not empty"),
        (lambda: pictures.overlay(FRAMES, TUBE[:, :4], low=0, high=1), "interpolate the tube"),
        (lambda: pictures.overlay(FRAMES, NAN, low=0, high=1), "not finite"),
        (lambda: pictures.overlay(FRAMES, TUBE, low=0, high=np.inf), "must be finite"),
        (lambda: pictures.overlay(FRAMES, TUBE, low=0, high=1, opacity=1.5), "opacity is 1.5"),
        (lambda: pictures.strip(FRAMES, NAN, low=0, high=1, title=""), "not finite"),
        (lambda: pictures.stack(FRAMES, TUBE, low=0, high=1, title="", limit=0), "at least 1 sheet"),
        (lambda: pictures.image(FRAMES, TUBE, low=0, high=1, title=""), "one frame, not 2"),
        (lambda: pictures.film(FRAMES, TUBE[:1], low=0, high=1, title=""), "interpolate the tube"),
        (lambda: pictures.levels(FRAMES, [], title=""), "at least one row"),
        (lambda: pictures.levels(FRAMES, [pictures.Level("", TUBE, 0, 1)], title="", columns=0), "at least 1 frame"),
        (lambda: pictures.levels(FRAMES, [pictures.Level("", NAN, 0, 1)], title=""), "not finite"),
        (lambda: pictures.curve(np.zeros((2, 5)), np.zeros(4), low=0, high=1, title=""), r"\(C, L\)"),
        (lambda: pictures.curve(np.zeros((0, 5)), np.zeros(5), low=0, high=1, title=""), "not empty"),
        (lambda: pictures.curve(np.full((1, 5), np.inf), np.zeros(5), low=0, high=1, title=""), "not finite"),
        (lambda: pictures.encode_png(FRAMES), "uint8 RGB"),
        (lambda: pictures.encode_png(FRAMES[0].astype(float)), "uint8 RGB"),
        (lambda: pictures.encode_jpeg(FRAMES[0], quality=0), "quality is 0"),
        (lambda: pictures.write_animation("x.gif", FRAMES[0]), "uint8 RGB"),
        (lambda: pictures.write_animation("x.gif", FRAMES, fps=0), "fps is 0"),
        (lambda: pictures.write_animation("x.gif", FRAMES, fps=float("nan")), "fps is nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_inputs_are_left_alone():
    frames, tube = FRAMES.copy(), TUBE.copy()
    frames.flags.writeable = tube.flags.writeable = False
    pictures.overlay(frames, tube, low=0, high=1)
    pictures.strip(frames, tube, low=0, high=1, **WORDS)
    pictures.stack(frames, tube, low=0, high=1, **WORDS)
    pictures.film(frames, tube, low=0, high=1, **WORDS)
    np.testing.assert_array_equal(frames, FRAMES)


@pytest.mark.parametrize("signal", [np.zeros((1, 1)), np.full((3, 7), 5.0), np.array([[1.7e308, -1.7e308, 0.0]])])
def test_flat_short_and_huge_signals_are_drawn(signal):
    page = curves.curve(signal, np.zeros(signal.shape[1]), low=0, high=1, **WORDS)
    assert (page.astype(int) == colours.CURVE_COLOURS[len(signal) - 1]).all(axis=-1).sum() > 20


# --- files ---------------------------------------------------------------------------------------------


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


def test_drawing_first_leaves_the_cap_on_decoded_pixels():
    code = "import os, cfp_onnx.pictures; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == PIXEL_LIMIT
