"""Plain text for terminals, logs and files."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

PRINTED_WIDTH = 100
"""Columns of a result that is printed."""


def plain_text(result: RenderableType) -> str:
    """A result as text without colours, in a notebook too, where rich would show it by itself."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=PRINTED_WIDTH, record=True, color_system=None, force_terminal=False,
        force_jupyter=False, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    console.print(result)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()).rstrip()


def printable(text: object) -> str:
    """Text on one line: control characters, line breaks and lone surrogates are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def first_line(error: BaseException) -> str:
    """The first line of an error of somebody else's, short enough for one sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def shape_text(shape: Iterable[int | None]) -> str:
    """A shape as people write it: ``(?, 3, 16, 112, 112)``."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


__all__ = ["PRINTED_WIDTH", "first_line", "plain_text", "printable", "shape_text"]
