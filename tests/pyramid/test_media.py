"""The clip as people see it."""

from __future__ import annotations

import numpy as np
import pytest

from cfp_onnx.pyramid import media


@pytest.mark.parametrize("low", [-3.0, 0.5, -9.0])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_array_is_stretched_from_black_to_white(channels: int, low: float, rng: np.random.Generator) -> None:
    array = rng.uniform(low, low + 5, (2, channels, 4, 6, 5)).astype(np.float32)
    frames = media.stretched_frames(array, {"C": 1, "T": 2, "H": 3, "W": 4})
    assert frames.shape == (4, 6, 5, 3)
    assert frames.dtype == np.uint8
    seen = array[0, : 3 if channels >= 3 else 1]
    expected = (seen - seen.min()) / (seen.max() - seen.min()) * 255
    for colour in range(3):
        np.testing.assert_allclose(frames[..., colour], expected[colour % len(expected)], atol=0.51)


def test_a_picture_with_its_channels_last_is_one_frame() -> None:
    array = np.zeros((1, 4, 5, 3), np.float32)
    array[0, 1, 2] = 1
    frames = media.stretched_frames(array, {"C": 3, "H": 1, "W": 2})
    assert frames.shape == (1, 4, 5, 3)
    assert frames[0, 1, 2].tolist() == [255] * 3
    assert media.stretched_frames(np.full((1, 3, 4, 5), 7.0), {"C": 1, "H": 2, "W": 3}).max() == 0
