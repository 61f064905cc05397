"""Plain text for terminals, logs and files."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console, RenderableType

PRINTED_WIDTH = 100
"""Columns of a result that is printed."""


def plain_text(result: RenderableType) -> str:
    """A result as text without colours, in a notebook too, where rich would show it by itself."""
    console = Console(
        file=io.StringIO(), width=PRINTED_WIDTH, record=True, color_system=None, force_terminal=False,
        force_jupyter=False, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    console.print(result)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()).rstrip()


def printable(text: object) -> str:
    """Text on one line: control characters, line breaks and lone surrogates are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def listed(names: Sequence[str], most: int) -> str:
    """Names in a sentence, with the number of those beyond the first so many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def described(value: object) -> str:
    """A value with its type, shortened, for a sentence that refuses it."""
    if value is None:
        return "null"
    return f"{type(value).__name__} {str(value)[:40]!r}"


__all__ = ["PRINTED_WIDTH", "described", "listed", "plain_text", "printable"]
