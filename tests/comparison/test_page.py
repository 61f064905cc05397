"""The page of a comparison: one file, hostile names, and what a reader does in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_net as net
import pytest
from compare_bench import Bench
from compare_net import Spelling

from cfp_onnx.report.comparison_page import payload

HOSTILE = "</script><img src=x onerror=window.pwned=1>\u202e&amp;'\""


def hostile(bench: Bench) -> Any:
    """A result whose names come from an enemy."""
    found = bench.compare(net.scaled("grp", 3, 1.5)(bench.weights))
    layers = tuple(replace(x, a=f"{x.a} {HOSTILE}", b=f"{x.b} {HOSTILE}", findings=(HOSTILE,)) for x in found.layers)
    first = replace(found.first, layer=f"grp {HOSTILE}", cause=HOSTILE)
    models = tuple(replace(m, file=f"/x/{HOSTILE}", producer=HOSTILE) for m in found.models)
    return replace(found, layers=layers, first=first, models=models, only_a=(HOSTILE,), notes=(HOSTILE,))


def test_a_page_is_one_file_with_a_strict_policy(bench: Bench, tmp_path: Path) -> None:
    text = hostile(bench).save(tmp_path).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert HOSTILE not in text
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert "http" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL).replace("http-equiv", "")


def test_the_page_leaves_out_what_nobody_chose(bench: Bench) -> None:
    value = bench.compare(theta=0.1).to_json()
    shown = payload(value)
    assert max(len(x["chips"]) for x in shown["layers"]) > 2
    assert [x["a"] for x in shown["layers"]] == [x["a"] for x in value["layers"]]
    for small, layer in zip(shown["layers"], value["layers"], strict=True):
        assert "relevance" not in small
        assert {row[0] for row in small["chips"]} == set(layer["chosen"]["shared"])
        assert all(0 <= row[2] <= 1.001 for row in small["chips"])
        assert small["count"] == len(layer["kernels"])
        shares = [max(row[2], row[3]) for row in small["chips"]]
        assert shares == sorted(shares, reverse=True)


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_the_page_in_a_browser(bench: Bench, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    page_of = {
        "hostile": hostile(bench).save(tmp_path / "hostile"),
        "shortcut": bench.compare(spelling=Spelling(shortcut=False)).save(tmp_path / "shortcut"),
        "same": bench.compare(spelling=Spelling(norm="folded")).save(tmp_path / "same"),
    }
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for name, file in page_of.items():
            for scheme, width in (("light", 1280), ("dark", 420)):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                wrong: list[str] = []
                requests: list[str] = []
                page.on("console", lambda message, to=wrong: to.append(message.text))
                page.on("pageerror", lambda error, to=wrong: to.append(str(error)))
                page.on("request", lambda request, to=requests: to.append(request.url))
                page.goto(file.as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")
                assert wrong == [], (name, scheme)
                assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
                assert page.evaluate("window.pwned") is None
                assert page.locator(".couple").count() == len(net.SHAPES)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
                if name == "shortcut":
                    use(page)
                if name == "same":
                    assert page.locator("h1").inner_text() == "The same network"
                    assert page.locator(".couple.first, .couple.differs, .parting").count() == 0
                page.close()
        browser.close()


def use(page: Any) -> None:
    """What a reader does: to the first parting by keyboard, partners of a kernel, only what differs, the theme."""
    assert "shortcut from 'stem' is missing" in page.locator(".parting").inner_text()
    first = page.locator(".couple.first")
    assert first.count() == 1
    assert "res.b" in first.inner_text()
    page.locator(".parting button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.classList.contains('first')")
    assert first.locator("details").get_attribute("open") is not None
    chip = page.locator(".side.a .kernel:not(.alone)").first
    chip.focus()
    assert page.locator(".kernel.lit").count() == 2
    page.locator("#only-different").focus()
    page.keyboard.press("Space")
    shown = page.locator(".couple:visible").count()
    assert 0 < shown < len(net.SHAPES)
    assert f"{shown} of {len(net.SHAPES)} layers shown" in page.locator("#rows-note").inner_text()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
