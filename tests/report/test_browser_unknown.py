"""What a page says of a layer whose relevance nothing is known of."""

from __future__ import annotations

import re
import shutil

import pytest

pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH"),
]


def test_it_is_called_unknown_and_nothing_breaks(opened):
    report = opened("unknown")
    report.scroll_through()
    page = report.page
    assert "is unknown" in page.locator("#banners").inner_text()
    while (more := page.get_by_text(re.compile("deeper depth"))).count() and more.first.is_visible():
        more.first.click()
    assert "unknown: it lies behind Fancy" in page.locator("#answer").inner_text()
    for chip in page.locator("#pyramid-box .chip").all()[:6]:
        chip.click()
    report.check()
