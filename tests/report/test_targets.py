"""The page names what is explained: a class at a place, the value of a single output, a direction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from browser_report import Report
from text_net import network

import cfp_onnx as cfp

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH"),
]

DENSE = "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, v)\nd = Conv (r, u)\ny = Concat <axis=1> (c, d)"
VALUE = "a = Conv (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nf = Flatten (g)\nz = Gemm (f, m)\ny = Sigmoid (z)"
WEIGHTS: dict[str, Any] = {"w": (4, 3, 3, 3), "v": (2, 4, 1, 1), "u": (3, 4, 1, 1), "m": (4, 1)}
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "place": (DENSE, {"target": 3, "at": "2,5"}, "class 3 at place 2,5 of 10x10"),
    "value": (VALUE, {}, "output 'y': what speaks for it"),
    "other side": (VALUE, {"target": "not:0"}, "output 'y': what speaks against it"),
    "direction": (DENSE, {"direction": "own", "at": "2,5"}, "output 'y' at place 2,5 of 10x10 along the direction"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_page_names_what_is_explained(name: str, browser: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    body, options, title = CASES[name]
    used = {k: v for k, v in WEIGHTS.items() if f"{k})" in body}
    onnx.save(network(body, used, "float[1,3,12,12] x"), tmp_path / "net.onnx")
    clip = rng.standard_normal((1, 3, 12, 12)).astype(np.float32)
    found = cfp.explain(tmp_path / "net.onnx", clip, device="cpu", **options)
    found.save(tmp_path / "out")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    report = Report(context, tmp_path / "out" / "report.html")
    report.scroll_through()
    report.check()
    page = report.page
    assert page.locator("#answer-title span").first.inner_text() == title
    asked = page.locator("#answer-question").inner_text()
    assert asked == "" or asked.startswith(f"{title}, rather than")
    assert "class 0" not in page.locator("#answer-title").inner_text()
    for note in found.target.notes or ():
        assert note[1:] in page.locator("#answer-lede").inner_text()
    if not found.target.top:
        assert page.locator("#top").inner_text().startswith("A single number")
    assert title[-12:] in page.locator("#pyramid").inner_text()
    context.close()
