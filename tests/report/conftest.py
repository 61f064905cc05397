"""Reports in a browser, as fixtures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_report import MAKERS, Report

from benchmarks.report_speed import ARGUMENTS
from cfp_onnx.report.pyramid_page import render_pyramid


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a file; the tests are skipped where there is none."""
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a kind of report once."""
    folder = tmp_path_factory.mktemp("reports")

    def file(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render_pyramid(MAKERS[name]()), encoding="utf-8")
        return path

    return file


@pytest.fixture
def opened(browser: Any, files: Callable[[str], Path]) -> Iterator[Callable[..., Report]]:
    """Opens a kind of report in a tab of its own."""
    contexts = []

    def open_report(name: str, **options: Any) -> Report:
        defaults = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", "color_scheme": "light"}
        contexts.append(browser.new_context(**{**defaults, **options}))
        return Report(contexts[-1], files(name))

    yield open_report
    for context in contexts:
        context.close()
