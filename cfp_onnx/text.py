"""Plain text for terminals, logs and files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

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


def listed(names: Sequence[str], most: int) -> str:
    """Names in a sentence, with the number of those beyond the first so many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def either(names: Sequence[str]) -> str:
    """Names in a sentence, any one of them: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def first_line(error: BaseException) -> str:
    """The first line of an error of somebody else's, short enough for one sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def described(value: object) -> str:
    """A value with its type, shortened, for a sentence that refuses it."""
    if value is None:
        return "null"
    return f"{type(value).__name__} {str(value)[:40]!r}"


def shape_text(shape: Iterable[int | None]) -> str:
    """A shape as people write it: ``(?, 3, 16, 112, 112)``."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def fact_table(rows: Iterable[tuple[str, str | Text, str]]) -> Table:
    """Facts in two columns.

    Args:
        rows: Name, text, and the style of a plain text, which may be empty.
    """
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text, style in rows:
        value = text if isinstance(text, Text) else Text(printable(text), style=style)
        grid.add_row(Text(name, style="dim"), value)
    return grid


def figure_table(first: str, figures: Iterable[str]) -> Table:
    """An empty table: names, figures to their right, and remarks behind them.

    Args:
        first: Head of the names.
        figures: Heads of the columns of figures.
    """
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    return table


__all__ = [
    "PRINTED_WIDTH",
    "described",
    "either",
    "fact_table",
    "figure_table",
    "first_line",
    "listed",
    "plain_text",
    "printable",
    "shape_text",
]
