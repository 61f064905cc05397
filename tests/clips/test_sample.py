"""From frames to an input: which frames, which pixels, which colours, and where each value lands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_files import IMAGE, OPEN, VIDEO, numbered, numbers, planted, refused

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import ClipError, LimitError, UsageError


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


def test_an_image_model_takes_the_middle_frame_without_a_stride():
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
