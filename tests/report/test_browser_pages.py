"""Reports of every kind and size in a real browser: hostile names, themes, contrast, print, small screens."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from browser_report import Report

from benchmarks.report_speed import ACTIONS, TIMED, first_paint

pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]


def test_hostile_names_are_shown_as_text(opened):
    report = opened("hostile")
    report.scroll_through()
    page = report.page
    assert "</script><script>" in page.locator("h1").inner_text()
    assert page.locator("img").count() == 0
    names = page.locator("#table-layers tbody tr td:first-child")
    texts = names.all_text_contents()
    assert max(map(len, texts)) < 80
    assert any("\\u{1b}[31mred" in text for text in texts)
    assert any("\\u{202e}" in text for text in texts)
    for chip in page.locator("#pyramid-box .chip").all()[:6]:
        chip.click()
    report.check()


def test_the_theme_can_be_turned(opened):
    report = opened("video")
    page = report.page
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    assert page.evaluate(colour) != light
    assert page.locator("#theme").inner_text() == "Light theme"
    page.locator("#theme").click()
    assert page.evaluate(colour) == light
    dark = opened("video", color_scheme="dark").page
    assert dark.evaluate(colour) != light


CONTRAST = """() => {
  const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
  const paint = canvas.getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data]; };
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => { for (let n = node; n; n = n.parentElement) {
    const c = rgba(getComputedStyle(n).backgroundColor); if (c[3] > 200) return c; } return [255, 255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) continue;
    if (node.closest('svg, noscript, script, .unseen, .skip') || !node.getClientRects().length) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([node.className, node.textContent.slice(0, 30), ratio.toFixed(2)].join(' | '));
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["video", "big"])
def test_text_has_contrast(opened, scheme, name):
    report = opened(name, color_scheme=scheme)
    report.scroll_through()
    assert report.page.evaluate(CONTRAST) == []


def test_every_control_has_a_name(opened):
    report = opened("video")
    report.scroll_through()
    nameless = report.page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, [role=img], [role=region], [role=button]')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()))"
        ".map((e) => e.outerHTML.slice(0, 100))"
    )
    assert nameless == []


def test_it_prints_without_controls(opened):
    report = opened("video")
    page = report.page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#network-box .layer").count() == 16
    assert page.locator("#tables table").count() == 3
    assert page.evaluate(
        "[...document.querySelectorAll('header.top, nav, input, select')].every(e => !e.checkVisibility())"
    )
    assert not page.locator("#player .play").is_visible()
    assert not page.locator("#table-kernels .copy").is_visible()
    assert page.locator("#pyramid-box .chip").first.is_visible()
    assert page.locator("#table-kernels tbody tr").first.is_visible()
    assert len(page.pdf()) > 20_000
    report.check()


@pytest.mark.parametrize(("name", "slider"), [("image", False), ("curve", False), ("none", False), ("video", True)])
def test_a_single_picture_has_no_time(opened, name, slider):
    page = opened(name).page
    assert (page.locator(".play").count() > 0) is slider
    assert page.locator("#player canvas.screen").count() == 1


def test_without_pictures_and_tubes_the_rest_is_there(opened):
    report = opened("bare")
    page = report.page
    assert "without frames and without tubes" in page.locator("#player").inner_text()
    assert page.locator("h1").inner_text().startswith("class 1")
    page.locator("#pyramid-box .chip", has_text=re.compile("^64$")).click()
    assert page.locator("#detail canvas").count() == 0
    assert "not stored with this report" in page.locator("#network-intro").inner_text()
    report.check()


def test_a_single_layer_reads_the_input(opened):
    report = opened("single")
    page = report.page
    assert page.locator("#pyramid-box .input-chip").count() == 3
    assert page.locator("#pyramid-box .links .base path").count() > 0
    assert "The model itself answers right" in page.locator("#answer-lede").inner_text()
    assert "the explained class is number 2" in page.locator("#sure .doubt").inner_text()
    page.locator("#pyramid-box .class-chip").click()
    assert "the input's channel 2" in page.locator("#detail").inner_text()
    report.check()


def test_the_panel_folds_on_a_small_screen(opened):
    page = opened("video", viewport={"width": 390, "height": 844}).page
    detail = page.locator("#detail")
    assert not detail.locator(".links-of").first.is_visible()
    page.locator("#pyramid-box .chip").nth(3).click()
    assert detail.locator("canvas.screen, .note").first.is_visible()
    detail.get_by_role("button", name="Less").click()
    assert not detail.locator(".links-of").first.is_visible()


@pytest.fixture(scope="module")
def large(browser, files) -> Iterator[Report]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", bypass_csp=True)
    report = Report(context, files("big"))
    report.scroll_through()
    yield report
    context.close()


def test_of_the_largest_network_little_is_drawn_at_first(opened):
    """What a page costs at first follows from what it draws; `benchmarks.report_speed` has the milliseconds."""
    page = opened("big").page
    assert page.evaluate("document.getElementsByTagName('*').length") < 3000
    assert page.locator("#table-links tr, #table-kernels tr").count() < 300
    assert first_paint(page) > 0


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_on_the_largest_network_works(large, action):
    for i in range(2):
        assert large.page.evaluate(TIMED, [ACTIONS[action], i]) > 0
    assert large.wrong == []
