"""How far the work is: a bar on a terminal, where it takes long."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfp_onnx.values import Progress

BAR_AFTER = 2.0
"""Seconds that work may take before a bar is shown."""


@contextmanager
def progress_bar(text: str, options: argparse.Namespace) -> Iterator[Progress | None]:
    """A bar on a terminal's stderr for work of over `BAR_AFTER` seconds; nothing elsewhere."""
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cfp_onnx.text import printable

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(printable(text), total=None)

    def advance(what: str, done: int, of: int) -> None:
        bars.update(task, description=printable(f"{text}: {what}"), completed=done, total=of)

    timer = threading.Timer(BAR_AFTER, bars.start)
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        bars.stop()


__all__ = ["progress_bar"]
