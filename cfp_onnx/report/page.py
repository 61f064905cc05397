"""What the pages share: one HTML text that needs nothing else, no network and no second file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

DIGITS = 7
"""Significant digits of numbers that come by the thousand; ``pyramid.json`` holds them all."""


def embedded(value: object) -> str:
    """JSON that may stand inside a script element: ASCII, and no character that markup could mean something by."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def rounded(value: float | None) -> float | int | None:
    """A number with `DIGITS` significant digits, whole ones without a point."""
    if value is None or not math.isfinite(value):
        return None
    number = float(f"{value:.{DIGITS}g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def finite(value: Any) -> Any:
    """Plain JSON values in which a number that JSON cannot hold is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def escaped(text: str) -> str:
    """Text for markup: control characters and lone surrogates become visible, the rest entities; ASCII."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return html.escape(shown).encode("ascii", "xmlcharrefreplace").decode("ascii")


def policy(style: str, script: str) -> str:
    """A content security policy that allows this style, this script and pictures inside the page, nothing else."""
    return "; ".join((
        "default-src 'none'",
        "img-src data:",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        "base-uri 'none'",
        "form-action 'none'",
    ))  # fmt: skip


def _hash(text: str) -> str:
    """A source expression of CSP level 2 for an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def part(name: str) -> str:
    """The text of a file in ``assets``."""
    return (resources.files("cfp_onnx.report") / "assets" / name).read_text("utf-8")


__all__ = ["DIGITS", "embedded", "escaped", "finite", "part", "policy", "rounded"]
