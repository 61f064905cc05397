"""The page of a pyramid: the answer, the pyramid, the network, tables and tubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfp_onnx.report.compact_payload import compact
from cfp_onnx.report.page import document, embedded

FORMAT = 1

SCRIPTS = (
    "dom.js", "question.js", "model.js", "tubes.js", "pyramid.js", "topology.js", "tables.js", "answer.js", "detail.js",
    "app.js",
)  # fmt: skip
"""Parts of the page's one script, in the order in which they need each other."""

STYLES = ("style.css",)

TITLE_LENGTH = 80


def render_pyramid(payload: Mapping[str, Any]) -> str:
    """The report as the text of one HTML file.

    Args:
        payload: ``pyramid`` and ``topology`` as published JSON values, ``media``, ``tubes``, ``colormap``, ``facts``.

    Returns:
        Text that UTF-8 can hold; the same for the same payload.

    Raises:
        ValueError: If the payload has another format, or a frame is not a picture inside the page.
    """
    if payload.get("format") != FORMAT:
        raise ValueError(f"a report payload of format {payload.get('format')!r}; this version draws format {FORMAT}")
    for frame in payload["media"].get("frames", ()):
        if not frame.startswith("data:image/"):
            raise ValueError(f"a frame is a data:image/ address, not {frame[:40]!r}")
    return document(
        "page.html", title=_title(payload["pyramid"]), styles=STYLES, scripts=SCRIPTS,
        values={"payload": embedded(compact(payload))},
    )  # fmt: skip


def _title(pyramid: Mapping[str, Any]) -> str:
    target = pyramid["target"]
    label = f"class {target['index']}" if target["label"] is None else str(target["label"])
    label = str(target.get("title") or label)
    return f"{label[:TITLE_LENGTH]} - class feature pyramid"


__all__ = ["FORMAT", "SCRIPTS", "TITLE_LENGTH", "render_pyramid"]
