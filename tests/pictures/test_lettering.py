"""Text that is shortened, and text without a TrueType font."""

from __future__ import annotations

import re

from planted_pictures import grey_frames, planted

from cfp_onnx.pictures import lettering, sheets


def test_a_long_name_keeps_both_its_ends():
    short = lettering.shortened("layer1/block/" + "a" * 500 + "/conv3", 300, 14)
    assert short.startswith("layer1/block/")
    assert short.endswith("/conv3")
    before, after = re.split("…|[.]{3}", short)
    assert abs(len(before) - len(after)) <= 1
    assert 270 < lettering.text_width(short, 14) <= 300


def test_without_a_truetype_font_strokes_do(texts, monkeypatch):
    monkeypatch.setattr(lettering, "_FONT", None)
    page = sheets.strip(grey_frames([100]), planted((1, 40, 40), (0, 3, 3), 1.0), low=0, high=1,
                          title="kernel é × " * 40, subtitle="a – b")  # fmt: skip
    assert "".join(texts).isascii()
    assert "a - b" in texts
    assert any("..." in text and r"\xe9" in text for text in texts)
    assert page.min() < 100, "something is written"
