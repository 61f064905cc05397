"""Several views of one clip, frames in the axis of the channels, and footage of other channels than three colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_files import VIDEO, numbered, refused, write_folder

from cfp_onnx.clips.clip import Source
from cfp_onnx.clips.layout import layout_text
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError, UsageError

VIEWS = InputSpec("x", (1, 6, 3, 4, 32, 32))


def slanted(count: int, height: int, width: int) -> np.ndarray:
    """Frames that say in their first channel which they are, in the second their row, in the third their column."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(count)[:, None, None]
    frames[..., 1] = np.arange(height)[None, :, None]
    frames[..., 2] = np.arange(width)[None, None, :]
    return frames


def fed(source: Source, spec: InputSpec, **options: object) -> np.ndarray:
    """What an input gets, on the scale 0..255."""
    layout = options.pop("layout", None)
    clip = load_clip(source, [spec], preprocess=Preprocess(**options), layout=layout)
    return np.round(clip.feeds[spec.name] * 255).astype(int)


def test_views_are_equal_parts_of_the_clip():
    array = fed(slanted(60, 32, 32), VIEWS)
    assert array.shape == VIEWS.shape
    np.testing.assert_array_equal(array[0, :, 0, :, 0, 0], [[10 * i + n for n in (0, 3, 6, 9)] for i in range(6)])


def test_with_a_stride_views_are_windows_spread_over_it():
    array = fed(slanted(60, 32, 32), VIEWS, stride=2)
    frames = array[0, :, 0, :, 0, 0]
    np.testing.assert_array_equal(np.diff(frames, axis=1), 2)
    np.testing.assert_array_equal(frames[:, 0], [int((i + 0.5) * 54 / 6) for i in range(6)])


def test_crops_are_cut_along_the_longer_side_crop_by_crop():
    array = fed(slanted(20, 32, 48), VIEWS, view_crops=3)
    np.testing.assert_array_equal(array[0, :, 2, 0, 0, 0], [0, 0, 8, 8, 16, 16])
    np.testing.assert_array_equal(array[0, :, 0, 0, 0, 0], [0, 10] * 3)
    tall = fed(slanted(20, 48, 32), VIEWS, view_crops=3, view_clips=2)
    np.testing.assert_array_equal(tall[0, :, 1, 0, 0, 0], [0, 0, 8, 8, 16, 16])


def test_views_of_an_open_number_and_of_another_layout():
    array = fed(slanted(8, 32, 32), InputSpec("x", (1, None, 4, 32, 32, 3)), view_clips=2)
    assert array.shape == (1, 2, 4, 32, 32, 3)
    clip = load_clip(slanted(20, 32, 48), [VIEWS], preprocess=Preprocess(view_crops=3))
    assert clip.layout == "NSCTHW"
    assert clip.fed["x"].note == "2 clips of 3 crops, crop by crop"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"view_clips": 4}, UsageError, "takes 6 views, which --clips 4 cannot make; their product must be 6"),
        ({"view_clips": 3, "view_crops": 3}, UsageError, "their product must be 6"),
        ({}, ClipError, "clip too short: 20 frames, the model takes 6 clips of 4; use a longer one, fewer clips with"),
    ],
)
def test_views_that_cannot_be_had_are_refused(options, error, words):
    refused(error, words, slanted(20, 32, 32), [VIEWS], preprocess=Preprocess(**options))


def test_a_network_of_one_view_takes_no_crops():
    refused(UsageError, "takes one view; leave out --clips", numbered(9), preprocess=Preprocess(view_crops=3))


@pytest.mark.parametrize(("layout", "rows"), [("N(TC)HW", "tc"), ("N(CT)HW", "ct")])
def test_frames_in_the_axis_of_the_channels(layout, rows):
    frames = slanted(4, 32, 32)
    spec = InputSpec("x", (1, 12, 32, 32), channel_axis=1)
    array = fed(frames, spec, layout=layout)[0, :, 5, 7]
    expected = frames[:, 5, 7].reshape(-1) if rows == "tc" else frames[:, 5, 7].T.reshape(-1)
    np.testing.assert_array_equal(array, expected)
    assert layout_text(load_clip(frames, [spec], layout=layout).layout) == layout
    refused(ClipError, "if they are 4 frames, say whether they lie frame by frame or colour by colour, with --layout "
            "N(TC)HW or N(CT)HW", frames, [spec])  # fmt: skip
    refused(UsageError, "10 channels, which are no frames", frames, [replace(spec, shape=(1, 10, 32, 32))],
            layout=layout)  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_frames_of_as_many_channels_as_the_input_takes(channels, rng):
    frames = rng.integers(0, 256, (8, 32, 32, channels), np.uint8)
    spec = replace(VIDEO, shape=(1, channels, 4, 32, 32))
    array = fed(frames, spec, stride=1)
    np.testing.assert_array_equal(array[0].transpose(1, 2, 3, 0), frames[:4])
    shown = load_clip(frames, [spec], preprocess=Preprocess(stride=1)).frames
    assert shown.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(shown[..., 0], frames[:4, ..., 0])
    half = fed(np.repeat(np.repeat(frames, 2, axis=1), 2, axis=2), spec, stride=1, interpolation="nearest")
    np.testing.assert_array_equal(half, array)


def test_grey_frames_of_a_network_of_one_channel(rng):
    frames = rng.integers(0, 256, (4, 32, 32), np.uint8)
    array = fed(frames, replace(VIDEO, shape=(1, 1, 4, 32, 32)))
    np.testing.assert_array_equal(array[0, 0], frames)


def test_frames_lie_along_a_first_axis_that_is_no_batch():
    spec = InputSpec("x", (4, 3, 32, 32), separate=lambda _: False)
    clip = load_clip(slanted(4, 32, 32), [spec])
    assert clip.layout == "TCHW"
    np.testing.assert_array_equal(np.round(255 * clip.feeds["x"][:, 0, 0, 0]), range(4))
    open_ = InputSpec("x", (None, 3, 32, 32))
    np.testing.assert_array_equal(fed(slanted(4, 32, 32), open_, layout="TCHW", frames=4)[:, 0, 0, 0], range(4))


def test_two_pathways_take_frames_of_one_clip(tmp_path):
    slow, fast = InputSpec("slow", (1, 3, 2, 32, 32)), InputSpec("fast", (1, 3, 8, 32, 32))
    for source in (numbered(8), write_folder(tmp_path / "f", numbered(8))):
        clip = load_clip(source, [slow, fast])
        frames = {name: np.round(a[0, 0, :, 0, 0] * 255 / 4).astype(int).tolist() for name, a in clip.feeds.items()}
        assert frames == {"slow": [0, 7], "fast": list(range(8))}
        assert {name: got.source for name, got in clip.fed.items()} == {"slow": "clip", "fast": "clip"}
