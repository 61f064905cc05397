"""Text that is safe on a terminal."""

from __future__ import annotations

import pytest

from cfp_onnx.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv 1/é", "conv 1/é"),
        ("a\nb", "a\\nb"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\udc80", "\\udc80"),
        ("\u202e", "\\u202e"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
