"""A refusal is one sentence for the user; this file has what such sentences are made of."""

from __future__ import annotations

from collections.abc import Iterable


class Refusal(Exception):  # noqa: N818 - it is no error of the program
    """One sentence for the user: what, where, and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of a message that may have many; the error's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".: ")


def first_cause(error: BaseException) -> BaseException:
    """The error that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def listed(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    shown = list(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
