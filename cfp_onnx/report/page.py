"""What the pages share: each is one HTML text that needs nothing else, no network and no second file.

Names in a page come from files of unknown origin. They enter only as JSON in which no character can end the script
element, and as escaped text; the scripts put them into text nodes, never into markup. A content security policy with
the hashes of the page's one style and one script forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from cfp_onnx.text import printable

DIGITS = 7
"""Significant digits of numbers that come by the thousand; ``pyramid.json`` holds them all."""


def document(
    template: str, *, title: str, styles: Sequence[str], scripts: Sequence[str] = (), values: Mapping[str, str]
) -> str:
    """The text of one HTML file.

    Args:
        template: File in ``assets`` with ``{{name}}`` where something is filled in.
        title: Any text.
        styles: Files in ``assets`` that become the page's one style.
        scripts: Files in ``assets`` that become the page's one script, in the order in which they need each other.
        values: What is filled in besides ``title``, ``style``, ``script`` and ``policy``, as markup.
    """
    style, script = ("\n".join(_asset(name) for name in names) for names in (styles, scripts))
    filled = {"policy": _policy(style, script), "title": escaped(title), "style": style, "script": script, **values}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], _asset(template))


def embedded(value: object) -> str:
    """JSON for inside a script element: ASCII, without the characters ``& < >`` that have a meaning in markup."""
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
    """Text for markup, in ASCII: control characters and lone surrogates are made visible, the rest are entities."""
    return html.escape(printable(text)).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _policy(style: str, script: str) -> str:
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


def _asset(name: str) -> str:
    return (resources.files("cfp_onnx.report") / "assets" / name).read_text("utf-8")


__all__ = ["DIGITS", "document", "embedded", "escaped", "finite", "rounded"]
