"""How soon a report paints and how soon it answers: ``python -m benchmarks.report_speed REPORT.html ...``.

Headless Chromium opens each page several times; given is the median of the first paint (with the answer in it) and, for
each action, the median time from the event to the frame that shows its effect. Needs Playwright and a chromium on PATH.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
RUNS = 5

ACTIONS = {
    "open a kernel": "i => document.querySelectorAll('#pyramid-box .chip[data-key]')[2 + i].click()",
    "move the depth": "i => set('#pyramid-tools input[type=range]', 20 + 7 * i)",
    "move the frame": "i => set('#player .transport input', i)",
    "change the opacity": "i => [...document.querySelectorAll('#player .controls input[type=range]')].at(-1)"
    " && set('#player .controls > .field:nth-last-child(2) input', 30 + i)",
    "search": "i => set('#pyramid-tools input[type=search]', 'layer3 conv' + i)",
    "search a number": "i => set('#pyramid-tools input[type=search]', String(40 + i))",
    "sort links": "i => document.querySelectorAll('#table-links th button')[i].click()",
    "filter links": "i => set('#table-links input[type=search]', 'layer2.' + i)",
    "filter kernels": "i => set('#table-kernels input[type=search]', String(i))",
    "open a layer": "i => document.querySelectorAll('#network-box .layer')[10 * i + 3]"
    ".dispatchEvent(new MouseEvent('click', {bubbles: true}))",
    "copy links": "i => document.querySelector('#table-links .copy').click()",
    "zoom": "i => set('#network-tools input[type=range]', 40 + 10 * i)",
    "show more": "i => document.querySelector('#table-links > button').click()",
    "pin": "i => document.querySelector('#detail .toolbar button')?.click()",
    "theme": "i => document.getElementById('theme').click()",
}
"""What a person does, as JavaScript of one number that tells the repetitions apart."""

TIMED = """async ([source, i]) => {
  const set = (where, value) => { const e = document.querySelector(where); e.value = value;
    e.dispatchEvent(new Event('input', {bubbles: true})); };
  const act = eval(source);
  await new Promise((done) => setTimeout(done, 60));
  const start = performance.now();
  act(i);
  await new Promise((done) => requestAnimationFrame(() => {
    const after = new MessageChannel();
    after.port1.onmessage = done;
    after.port2.postMessage(0);
  }));
  return performance.now() - start;
}"""


def first_paint(page: Any) -> float:
    """Milliseconds until the first paint, and until the answer stands on the page, whichever is later."""
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    names = ("first-contentful-paint", "cfp-answer")
    return float(max(page.evaluate(f"performance.getEntriesByName('{n}')[0].startTime") for n in names))


def measure(browser: Any, file: Path) -> tuple[float, dict[str, float]]:
    """Median first paint and median time of each action, in milliseconds."""
    from playwright import sync_api

    def opened() -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", bypass_csp=True)
        page = context.new_page()
        page.goto(file.absolute().as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    pages = [opened() for _ in range(RUNS)]
    paint = statistics.median(first_paint(page) for page in pages)
    page = pages[-1]
    for name in ("answer", "pyramid", "network", "tables", "provenance"):
        page.evaluate(f"document.getElementById({name!r}).scrollIntoView({{behavior: 'instant'}})")
        page.wait_for_timeout(60)
    page.wait_for_selector("#tables-body[data-ready]", state="attached")
    times = {}
    for name, source in ACTIONS.items():
        try:
            times[name] = statistics.median(page.evaluate(TIMED, [source, i]) for i in range(RUNS))
        except sync_api.Error as error:  # a small report lacks some controls
            print(f"{file.name}: {name} was not possible: {str(error).splitlines()[0]}", file=sys.stderr)
    return paint, times


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT.html")
    options = parser.parse_args(arguments)
    from playwright import sync_api

    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium on PATH", file=sys.stderr)
        return 2
    print("| report | MB | first paint ms | slowest action | ms | median action ms |\n|---|---|---|---|---|---|")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        for file in options.reports:
            paint, times = measure(browser, file)
            slowest = max(times, key=lambda k: times[k])
            middle = statistics.median(times.values())
            size = file.stat().st_size / 1e6
            print(f"| {file} | {size:.1f} | {paint:.0f} | {slowest} | {times[slowest]:.0f} | {middle:.0f} |")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
