"""Presets hold the numbers that were published, and give way to the model."""

from __future__ import annotations

import numpy as np
from clip_files import IMAGE, OPEN, VIDEO, numbered

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.presets import PRESETS


def test_presets_hold_the_published_numbers():
    pixel = np.array([124.0, 117.0, 104.0])
    mfnet = PRESETS["mfnet"]
    x = np.array([255.0, 0.0, 30.0])
    np.testing.assert_allclose((x / 255 - mfnet.mean) / mfnet.std, (x - pixel) * 0.0167)
    i3d = PRESETS["i3d"]
    np.testing.assert_allclose((x / 255 - i3d.mean) / i3d.std, x / 127.5 - 1)
    np.testing.assert_allclose(np.array(PRESETS["resnext101-3d"].mean) * 255, pixel)
    assert PRESETS["resnet3d"].short_side == 128


def test_a_preset_yields_to_the_model():
    fitted = PRESETS["resnet3d"].fitted(VIDEO, "NCTHW")
    assert (fitted.frames, fitted.size, fitted.short_side) == (4, (32, 32), 37)
    assert not fitted.yields
    assert load_clip(numbered(10), [VIDEO], preprocess=PRESETS["resnet3d"]).feeds["clip"].shape == VIDEO.shape
    assert load_clip(numbered(16), [OPEN], preprocess=PRESETS["mfnet"]).frames.shape == (16, 224, 224, 3)
    assert load_clip(numbered(3), [IMAGE], preprocess=PRESETS["mfnet"]).frames.shape == (1, 32, 32, 3)
