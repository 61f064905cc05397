"""The page says which question it answers: rather than what, and with what held; files of before are read as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import report_payloads as payloads
from browser_report import Report

from cfp_onnx.report.pyramid_page import render_pyramid

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH"),
]

LIVE = "Nothing is held. What a kernel does to normalisation, attention and gates counts too."
GATES = "Gates are held fixed: influence that runs only through them is not shown."
NORMS = "Normalisation is held fixed: influence that runs only through it is not shown."
ALL = "Normalisation, attention and gates are held fixed: influence that runs only through them is not shown."


@pytest.fixture
def asked(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Report]]:
    """Opens the page of the built-in network whose run has other keys; None takes one away."""
    contexts = []

    def opened(**run: Any) -> Report:
        payload = payloads.demo()
        keys = {k: v for k, v in {**payload["pyramid"]["run"], **run}.items() if v is not None}
        payload["pyramid"] = {**payload["pyramid"], "run": keys}
        (tmp_path / "page.html").write_text(render_pyramid(payload), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce"))
        return Report(contexts[-1], tmp_path / "page.html")

    yield opened
    for context in contexts:
        context.close()


def fact(page: Any, name: str) -> str:
    """What stands behind a name among the settings."""
    card = page.locator("#facts section", has_text="Settings")
    return str(card.locator(f"dt:text-is('{name}') + dd").inner_text())


CLOCKWISE = [4, "clockwise", 0.83]


@pytest.mark.parametrize(
    ("run", "sentence", "against"),
    [
        ({"against": "mean", "rivals": []}, "right, rather than the mean of the others", "the mean of the others"),
        ({"against": "best", "rivals": [[4, "clockwise", 1.0]]}, "right, rather than clockwise", "clockwise"),
        ({"against": "4", "rivals": [[4, None, 1.0]]}, "right, rather than class 4", "class 4"),
        (
            {"against": "rivals", "rivals": [CLOCKWISE, [0, "left", 0.1], [2, "up", 0.06]]},
            "right, rather than clockwise (83\u00a0%), left (10\u00a0%) and others",
            "clockwise (83\u00a0%), left (10\u00a0%) and others",
        ),
        ({"against": None, "rivals": [], "class_step": "contribution"}, "right", "nothing"),
        ({"against": None, "rivals": None, "holds": None}, "right, rather than the mean of the others",
         "the mean of the others"),
        ({"against": None, "rivals": None, "holds": None, "class_step": "weights"}, "right", "nothing"),
    ],
)  # fmt: skip
def test_the_class_and_its_rival_stand_at_the_top(asked, run, sentence, against):
    report = asked(**run)
    assert report.page.locator("#answer-question").inner_text() == sentence
    assert fact(report.page, "against") == against
    shares = run.get("rivals") if run.get("against") == "rivals" else None
    listed = report.page.locator("#facts dt:text-is('rivals') + dd").all_inner_texts()
    assert listed == ([", ".join(f"{r[1]} {100 * r[2]:.0f}\u00a0%" for r in shares)] if shares else [])
    report.check()


@pytest.mark.parametrize(
    ("holds", "sentence", "words", "gates", "swatch"),
    [
        ([], LIVE, "nothing", "gate", "silent"),
        (None, ALL, "norms, attention, gates", "gate (held)", "held or silent"),
        (["gates"], f"{GATES} What a kernel does to normalisation and attention counts too.", "gates", "gate (held)",
         "held or silent"),
        (["norms"], f"{NORMS} What a kernel does to attention and gates counts too.", "norms", "gate",
         "held or silent"),
    ],
)  # fmt: skip
def test_what_is_held_is_said_and_only_that(asked, holds, sentence, words, gates, swatch):
    report = asked(holds=holds, gates="frozen" if holds is None else None)
    report.scroll_through()
    page = report.page
    assert page.locator("#reading p").last.inner_text() == sentence
    assert fact(page, "holds") == words
    legend = page.locator("#network-legend .legend-item").all_inner_texts()
    assert {gates, swatch} <= set(legend)
    assert gates in page.locator("#link-legend .legend-item").all_inner_texts()
    page.locator("#network-box .layer[aria-label^='node_conv3d_12,']").press("Enter")
    assert ("gate, held" in page.locator("#detail").inner_text()) is (gates == "gate (held)")
    report.check()


OPTIONS = ["clockwise, the best of the others", "the mean of the others", "left"]


def chosen(page: Any) -> set[int]:
    """Kernels that the pyramid shows at the depth that the class reads."""
    return {int(text) for text in page.locator("#pyramid-box .row[data-depth='1'] .chip .chip-name").all_inner_texts()}


def best(levels: Any) -> set[int]:
    return {kernel["kernel"] for level in levels if level["depth"] == 1 for kernel in level["kernels"][:8]}


def test_the_page_switches_between_rivals(opened):
    report = opened("several")
    page = report.page
    pyramid = payloads.several()["pyramid"]
    answers = [pyramid, *pyramid["rather"]]
    select = page.locator("#answer-switch select")
    assert select.locator("option").all_inner_texts() == OPTIONS
    page.locator("#pyramid-tools input[type=range]").first.fill("1")
    report.scroll_through()
    for place, name in ((2, "left"), (1, "the mean of the others"), (0, "clockwise")):
        select.select_option(str(place))
        page.wait_for_selector("html[data-ready]", state="attached")
        answer = answers[place]
        assert page.locator("#answer-question").inner_text() == f"right, rather than {name}"
        assert page.locator("#live").inner_text() != ""
        assert select.evaluate("e => e === document.activeElement && Number(e.value)") == place
        assert fact(page, "against") == name
        assert chosen(page) == best(answer["levels"])
        assert "depth 2 of" in page.locator("#pyramid-tools input[type=range]").first.get_attribute("aria-valuetext")
        links = sum(len(c["sources"]) for e in answer["edges"] for c in e["channels"])
        report.scroll_through()
        assert f"{links} rows" in page.locator("#tables").inner_text()
        relevance = answer["layers"][-2]["relevance"]
        top = max(range(len(relevance)), key=lambda k: relevance[k])
        assert page.locator("#strongest tr:nth-child(1) .pill.for b").first.inner_text() == str(top)
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    report.check()


def test_one_answer_has_no_switch(opened):
    assert not opened("video").page.locator("#answer-switch").is_visible()
