"""A report in one tab of a browser, and the kinds of report that there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import report_payloads as payloads

MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "video": payloads.demo,
    "image": lambda: payloads.demo("image"),
    "curve": lambda: payloads.demo("curve"),
    "none": lambda: payloads.demo("none"),
    "own tubes": payloads.own_tubes,
    "bare": payloads.bare,
    "several": payloads.several,
    "single": payloads.single,
    "unknown": payloads.unknown,
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
