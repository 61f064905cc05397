"""The report in a real browser: opened from a file, used by mouse and by keyboard, and printed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import report_payloads as payloads

from benchmarks.report_speed import ACTIONS, ARGUMENTS, TIMED, first_paint
from cfp_onnx.report.pyramid_page import render_pyramid

sync = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]

MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "video": payloads.demo,
    "image": lambda: payloads.demo("image"),
    "curve": lambda: payloads.demo("curve"),
    "none": lambda: payloads.demo("none"),
    "bare": payloads.bare,
    "single": payloads.single,
    "hostile": payloads.hostile,
    "big": payloads.big,
}


class Report:
    """One report in one tab, with everything that it did wrong."""

    def __init__(self, context: Any, file: Path) -> None:
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(
            "window.violations = []; document.addEventListener('securitypolicyviolation',"
            " e => window.violations.push(e.violatedDirective + ' ' + e.blockedURI));"
        )
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def settle(self) -> None:
        """Two frames, so that what a change asked for is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def scroll_through(self) -> None:
        """Brings everything that is drawn lazily into view once."""
        for name in ("answer", "pyramid", "network", "tables", "provenance"):
            self.page.evaluate(f"document.getElementById({name!r}).scrollIntoView({{behavior: 'instant'}})")
            self.page.wait_for_timeout(60)
        self.page.wait_for_selector("#tables-body[data-ready]", state="attached")

    def canvas(self, where: str) -> str:
        """A canvas's pixels."""
        return self.page.locator(where).evaluate("canvas => canvas.toDataURL()")

    def check(self) -> None:
        assert self.wrong == []
        assert self.page.evaluate("window.violations") == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []
        assert len([url for url in self.requests if url.startswith("file:")]) == 1
        assert self.page.evaluate("window.pwned") is None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("reports")

    def file(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render_pyramid(MAKERS[name]()), encoding="utf-8")
        return path

    return file


@pytest.fixture
def opened(browser: Any, files: Callable[[str], Path]) -> Iterator[Callable[..., Report]]:
    contexts = []

    def open_report(name: str, **options: Any) -> Report:
        defaults = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", "color_scheme": "light"}
        contexts.append(browser.new_context(**{**defaults, **options}))
        return Report(contexts[-1], files(name))

    yield open_report
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_a_file_and_asks_for_nothing(opened, name, width):
    report = opened(name, viewport={"width": width, "height": 844})
    report.scroll_through()
    assert report.page.evaluate("document.documentElement.scrollWidth") <= width
    assert report.page.locator("#facts dd").count() > 10
    assert re.findall(r"\bnull\b|NaN|\[object", report.page.locator("main").inner_text()) == []
    report.check()


def test_the_answer_comes_first(opened):
    page = opened("video").page
    assert "right" in page.locator("h1").inner_text()
    assert page.locator("#top li").count() == 5
    assert "6.319 ahead of clockwise" in page.locator("#answer-lede").inner_text()
    assert "100" in page.locator("#sure li").first.inner_text()
    assert page.locator("#sure .doubt").count() == 0
    assert page.locator("#strongest .pill.for").count() >= 6
    assert page.locator("#strongest .pill.against").count() >= 3
    assert "no proof of cause" in page.locator("#reading").inner_text()
    assert page.locator("#banners .banner").count() == 0


def test_what_is_missing_is_loud(opened):
    page = opened("big").page
    banner = page.locator("#banners .banner")
    assert "99.8" in banner.inner_text()
    assert "com.vendor::Fancy" in banner.inner_text()
    assert banner.get_attribute("role") == "alert"
    assert page.locator("#sure .doubt").count() == 2


def test_a_click_opens_a_kernel(opened):
    report = opened("video")
    page = report.page
    page.locator("#pyramid-box .chip", has_text=re.compile("^64$")).click()
    detail = page.locator("#detail")
    assert "Kernel 64" in detail.inner_text()
    assert "node_Conv_226" in detail.inner_text()
    assert "One scale for depth 2: 0 to 6.15" in detail.inner_text()
    assert "kernel 64 of node_Conv_226, depth 2" in page.locator("#live").inner_text()
    assert page.locator("#pyramid-box .chip[aria-pressed=true]").inner_text().strip() == "64"
    assert page.locator("#pyramid-box .links.focus .lit path").count() > 0
    assert page.locator("#detail .strip .cell").count() == 16
    first = detail.locator(".links-of").nth(1).locator("button[data-key]").first
    name = first.locator("b").inner_text()
    first.click()
    assert name.lower() in page.locator("#detail-title").inner_text().lower()
    report.check()


def test_a_constant_map_is_said_in_words(opened):
    page = opened("video").page
    page.locator("#pyramid-box .chip", has=page.locator(".flat")).first.click()
    assert "Constant: this map has the same value everywhere (3.25)" in page.locator("#detail").inner_text()


def test_the_tube_lies_over_the_frames(opened):
    report = opened("video")
    page = report.page
    page.wait_for_timeout(300)
    seen = report.canvas("#player canvas.screen")
    page.locator("#player input[type=checkbox]").uncheck()
    report.settle()
    plain = report.canvas("#player canvas.screen")
    assert plain != seen
    page.locator("#player input[type=checkbox]").check()
    report.settle()
    assert report.canvas("#player canvas.screen") == seen
    opacity = page.locator("#player").get_by_label("Opacity")
    opacity.fill("20")
    report.settle()
    assert report.canvas("#player canvas.screen") not in (seen, plain)
    frame = page.locator("#player .transport input")
    frame.fill("12")
    report.settle()
    assert "Frame 13 of 16" in page.locator("#player canvas.screen").get_attribute("aria-label")
    assert page.locator("#detail .transport input").input_value() == "12"
    depth = page.locator("#player").get_by_label("Depth", exact=True)
    depth.fill("4")
    report.settle()
    assert "depth 5" in page.locator("#player-title").inner_text()
    assert page.locator("#pyramid-tools").get_by_label("Depth", exact=True).input_value() == "4"
    assert page.locator("#pyramid-box .row.here").get_attribute("data-depth") == "5"
    report.check()


def test_interpolation_is_that_of_the_tubes(opened, rng):
    """The page's own bytes at clip pixels, against NumPy: linear between centres, constant beyond them."""
    import base64

    import numpy as np

    report = opened("video")
    shape, size = (3, 4, 5), (7, 12, 9)
    levels = rng.integers(0, 256, shape)
    centres = [np.sort(rng.uniform(0, full - 1, n)) for n, full in zip(shape, size, strict=True)]
    tube = {
        "shape": list(shape),
        "centres": [c.tolist() for c in centres],
        "data": base64.b64encode(levels.astype(np.uint8).tobytes()).decode(),
    }
    expected = levels.astype(float)
    for i, (c, full) in enumerate(zip(centres, size, strict=True)):
        expected = np.apply_along_axis(lambda v, c=c, full=full: np.interp(np.arange(full), c, v), i, expected)
    got = report.page.evaluate(
        "([map, size]) => Array.from({length: size[0]}, (_, t) =>"
        " [...spread(map, sliceAt(map, t, size[0]), size, size[1], size[2])])",
        [tube, list(size)],
    )
    assert np.allclose(np.reshape(got, size), expected, atol=1e-2)


def test_it_plays_and_pauses(opened):
    report = opened("video", reduced_motion="no-preference")
    page = report.page
    button = page.locator("#player .play")
    assert button.inner_text() == "Pause"
    before = page.locator("#player output").first.inner_text()
    page.wait_for_function("old => document.querySelector('#player output').textContent !== old", arg=before)
    button.click()
    assert button.inner_text() == "Play"
    still = page.locator("#player output").first.inner_text()
    page.wait_for_timeout(400)
    assert page.locator("#player output").first.inner_text() == still
    report.check()


def test_nothing_moves_where_motion_is_unwanted(opened):
    page = opened("video").page
    assert page.locator("#player .play").inner_text() == "Play"


def test_two_kernels_side_by_side(opened):
    report = opened("video")
    page = report.page
    page.locator("#pyramid-box .chip", has_text=re.compile("^5$")).first.click()
    page.get_by_role("button", name="Pin to compare").click()
    assert page.locator("#pyramid-box .chip.pinned").inner_text().strip() == "5"
    page.locator("#pyramid-box .chip", has_text=re.compile("^41$")).first.click()
    assert page.locator("#detail canvas.screen").count() == 2
    value = float(re.search(r"Cosine of the two maps: ([−\d.]+)", page.locator(".cosine").inner_text())[1])
    assert value == pytest.approx(cosine("node_Conv_228", 5, 41), abs=0.02)
    page.locator("#detail .transport input").fill("9")
    labels = [c.get_attribute("aria-label") for c in page.locator("#detail canvas.screen").all()]
    assert all("Frame 10" in label for label in labels)
    page.get_by_role("button", name="Unpin kernel 5").click()
    assert page.locator("#detail canvas.screen").count() == 1
    report.check()


def cosine(layer: str, one: int, other: int) -> float:
    """Of the stored maps at their own resolution, which both share."""
    import base64

    import numpy as np

    maps = {(m["layer"], m["kernel"]): m for m in payloads.demo()["tubes"]["maps"]}
    a, b = (np.frombuffer(base64.b64decode(maps[layer, k]["data"]), np.uint8).astype(float) for k in (one, other))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_search_finds_layers_and_kernels(opened):
    report = opened("video")
    page = report.page
    find = page.locator("#pyramid-tools").get_by_label("Find")
    find.fill("conv_228 36")
    assert page.locator(".results button").first.inner_text().startswith("kernel 36")
    assert page.locator("#pyramid-box .chip.dimmed").count() > 10
    find.press("Enter")
    assert page.locator("#detail-title").inner_text() == "Kernel 36"
    find.fill("conv3d")
    assert page.locator(".results button").count() == 2
    find.fill("inception.cube.1")
    assert "node_Conv_208" in page.locator(".results button").first.inner_text()
    assert "inception.cube.1.0" in page.locator("#pyramid-box .group header", has_text="node_Conv_208").inner_text()
    find.fill("no such layer")
    assert "nothing matches" in page.locator(".results").inner_text()
    find.press("Escape")
    assert page.locator("#pyramid-box .chip.dimmed").count() == 0
    report.check()


def test_everything_by_keyboard(opened):
    report = opened("video")
    page = report.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#pyramid-tools input[type=search]").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.dataset.key ? document.activeElement.textContent.trim() : ''"
    assert page.evaluate(focused) == "33"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "5"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "64"
    page.keyboard.press("Enter")
    assert page.locator("#detail-title").inner_text() == "Kernel 64"
    assert page.evaluate(focused) == "64"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.locator("#detail-title").inner_text() == "right"
    page.locator("#network-box").scroll_into_view_if_needed()
    page.wait_for_selector("#network-box .layer[tabindex='0']")
    page.locator("#network-box .layer[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert "Layer, depth" in page.locator("#detail").inner_text()
    assert page.evaluate("document.activeElement.id") == "detail-title"
    report.check()


def test_a_layer_opens_from_the_network(opened):
    report = opened("video")
    page = report.page
    page.locator("#network-box").scroll_into_view_if_needed()
    page.locator("#network-box .layer").nth(7).click()
    text = page.locator("#detail").inner_text()
    assert "node_Conv_212" in text
    assert "Read by" in text
    assert page.locator("#network-box .layer.selected").count() == 1
    for via in ("chain", "branch", "shortcut", "gate"):
        assert page.locator(f"#network-box .link.{via}").count() == 1
        assert page.locator(f"#link-legend .link.{via}").count() == 1
    colours = page.locator("#network-tools").get_by_label("Colour")
    looks = "layers => layers.map(layer => layer.getAttribute('class'))"
    before = page.locator("#network-box .layer").evaluate_all(looks)
    colours.select_option("chosen")
    assert "were chosen" in page.locator("#network-legend").inner_text()
    assert page.locator("#network-box .layer").evaluate_all(looks) != before
    page.locator("#network-tools button").last.click()
    assert int(page.locator("#network-box .net").get_attribute("width")) > 1400
    report.check()


def test_links_differ_by_more_than_colour(opened):
    page = opened("video").page
    dashes = [
        page.locator(f"#link-legend .link.{via}").evaluate("e => getComputedStyle(e).strokeDasharray")
        for via in ("chain", "branch", "shortcut", "gate")
    ]
    assert len(set(dashes)) == 4
    assert page.locator("#pyramid-box .group.fibers").count() == 2
    assert page.locator("#pyramid-box .fiber-name").count() >= 3


def test_tables_sort_filter_and_copy(opened):
    report = opened("video")
    report.scroll_through()
    page = report.page
    table = page.locator("#table-kernels")
    head = table.locator("th", has_text="relevance")
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(c) for c in table.locator("tbody tr td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    table.get_by_label("Filter").fill("Conv_224")
    assert table.locator("tbody tr").count() == 3
    assert "3 of 35 rows" in table.text_content()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table.get_by_role("button", name="Copy as CSV").click()
    sync.expect(table.locator(".copy")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    lines = text.strip().splitlines()
    assert lines[0] == "depth,layer,kernel,relevance,share,rank,tube maximum"
    assert len(lines) == 4
    assert all(line.startswith("5,node_Conv_224,") for line in lines[1:])
    table.get_by_label("Filter").fill("")
    table.get_by_role("button", name="Show 10 more").click()
    assert table.locator("tbody tr").count() == 35
    table.locator("tbody .link-button").first.click()
    assert page.locator("#detail-title").inner_text().startswith("Kernel")
    report.check()


def test_tables_sort_by_words(opened):
    report = opened("video")
    report.scroll_through()
    table = report.page.locator("#table-layers")
    cells = table.locator("tbody td:nth-child(2)")
    table.locator("th", has_text=re.compile("^kind$")).locator("button").click()
    assert cells.all_text_contents() == sorted(cells.all_text_contents())
    table.locator("th", has_text=re.compile("^layer$")).locator("button").click()
    names = table.locator("tbody td:nth-child(1)").all_text_contents()
    numbers = [int(name.removeprefix("node_Conv_")) for name in names if name.startswith("node_Conv_")]
    assert len(numbers) == 13
    assert numbers == sorted(numbers)


def test_copying_without_the_new_interface(opened):
    report = opened("video")
    report.scroll_through()
    page = report.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        "() => { window.old = navigator.clipboard;"
        " Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true}); }"
    )
    page.locator("#table-layers .copy").click()
    sync.expect(page.locator("#table-layers .copy")).to_have_text("Copied")
    assert page.evaluate("window.old.readText()").startswith("layer,kind,depth")
    assert page.locator("textarea").count() == 0


@pytest.mark.parametrize("value", ["=1+1", "@x", "-2+3", "+a", 'q"uo,te\nd', "plain"])
def test_cells_of_csv(opened, value):
    page = opened("bare").page
    cell = page.evaluate("value => csvCell(value)", value)
    assert cell.lstrip('"')[0] not in "=@-+"
    if '"' in value:
        assert cell == '"q""uo,te\nd"'
    assert page.evaluate("csvCell(-2.5)") == "-2.5"


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


# ------------------------------------------------------------------------------------------ the largest size


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
