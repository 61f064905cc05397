"""The report in a real browser: opened from a file, used by mouse and by keyboard."""

from __future__ import annotations

import re
import shutil

import pytest
import report_payloads as payloads
from browser_report import MAKERS

sync = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]


def names():
    """Layers that the page of the built-in network shows."""
    return [layer["name"] for layer in payloads.demo()["pyramid"]["layers"]]


def chosen():
    """Chosen kernels on that page."""
    return [(k["layer"], k["kernel"]) for level in payloads.demo()["pyramid"]["levels"] for k in level["kernels"]]


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


def test_the_class_has_a_map_for_it_one_against_it_and_one_of_each_depth(opened):
    report = opened("own tubes")
    page = report.page
    screen, title = page.locator("#player canvas.screen"), page.locator("#player-title")
    choice, depth = page.locator("#player select"), page.locator("#player").get_by_label("Depth", exact=True)
    assert title.inner_text() == "Where in the clip the evidence for right lies"
    assert "with the evidence for the class, from" in screen.get_attribute("aria-label")
    assert "Depth 3 does not say where: layers that only steer." in page.locator("#player").inner_text()
    own = report.canvas("#player canvas.screen")
    choice.select_option("against")
    report.settle()
    assert title.inner_text() == "Where in the clip something speaks against right"
    assert report.canvas("#player canvas.screen") != own
    depth.fill("1")
    report.settle()
    assert choice.input_value() == "depth"
    assert title.inner_text() == "Where depth 2 holds what speaks for right (4 × 10 × 10 places)"
    depth.fill("2")
    report.settle()
    assert title.inner_text() == "Depth 3 does not say where"
    choice.select_option("evidence")
    report.settle()
    assert report.canvas("#player canvas.screen") == own
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
    layers, kernels = [name for name in names() if "conv3d" in name], [c for c in chosen() if "conv3d" in c[0]]
    assert page.locator(".results button").count() == len(layers) + len(kernels) == 2 + len(kernels)
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
    all_rows, mine = len(chosen()), len([c for c in chosen() if c[0] == "node_Conv_224"])
    assert table.locator("tbody tr").count() == mine > 0
    assert f"{mine} of {all_rows} rows" in table.text_content()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table.get_by_role("button", name="Copy as CSV").click()
    sync.expect(table.locator(".copy")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    lines = text.strip().splitlines()
    assert lines[0] == "depth,layer,kernel,relevance,share,rank,tube maximum"
    assert len(lines) == mine + 1
    assert all(line.startswith("5,node_Conv_224,") for line in lines[1:])
    table.get_by_label("Filter").fill("")
    table.get_by_role("button", name=f"Show {all_rows - 25} more").click()
    assert table.locator("tbody tr").count() == all_rows
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
