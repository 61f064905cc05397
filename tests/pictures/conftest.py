"""The words that are drawn on a page."""

from __future__ import annotations

import cv2
import pytest


@pytest.fixture
def texts(monkeypatch):
    """Every text that OpenCV draws from now on; each must fit on what it is drawn on."""
    drawn = []
    original = cv2.putText

    def record(page, text, origin, *style):
        left, base = origin
        if isinstance(style[0], tuple):
            _, font, size, weight = style
            start, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, size, weight)
            right = left + start + width
        else:
            font, scale, _, thickness, _ = style
            size, right = 30 * scale, left + cv2.getTextSize(text, font, scale, thickness)[0][0]
        assert left >= -1, f"{text!r} is cut off at the left"
        assert right <= page.shape[1] + 1, f"{text!r} is cut off at the right"
        assert base - 0.6 * size > 0, f"{text!r} is cut off at the top"
        assert base <= page.shape[0], f"{text!r} is cut off at the bottom"
        drawn.append(text)
        return original(page, text, origin, *style)

    monkeypatch.setattr(cv2, "putText", record)
    return drawn
