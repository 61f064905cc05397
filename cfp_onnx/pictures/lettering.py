"""Text on a page: what the font can draw, how wide it is, and where a line breaks."""

from __future__ import annotations

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import INK, Picture

_FONT = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
"""The TrueType font inside OpenCV 5; None before, where only strokes for ASCII exist."""


_ASCII = str.maketrans({"…": "...", "×": "x", "–": "-", "−": "-", "·": "-"})
"""Signs that the stroke font lacks, and what is drawn for them."""


def drawable(text: str) -> str:
    """Escapes what no font draws: control characters, lone surrogates, signs outside the basic plane."""
    if len(text) > 2000:
        text = f"{text[:1000]}…{text[-1000:]}"
    kept = "".join(c if c.isprintable() and ord(c) < 0x10000 else c.encode("unicode_escape").decode() for c in text)
    return kept if _FONT is not None else kept.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def text_width(text: str, size: int, weight: int = 400) -> int:
    """Returns the width of drawable text in pixels; a weight of 400 is regular, 600 is bold."""
    if not text:
        return 0
    if _FONT is None:
        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / 30, 1 + (weight > 500))[0][0])
    left, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _FONT, size, weight)
    return int(left + width)


def draw_text(
    page: Picture,
    text: str,
    at: tuple[int, int],
    size: int = 14,
    *,
    weight: int = 400,
    color: tuple[int, int, int] = INK,
    align: float = 0,
) -> None:
    """Draws drawable text in place; `at` lies on the baseline, at its left (align 0), middle (0.5) or right (1) end."""
    if not text:
        return
    origin = (round(at[0] - align * text_width(text, size, weight)), at[1])
    if _FONT is None:
        thickness = 1 + (weight > 500)
        cv2.putText(page, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size / 30, color, thickness, cv2.LINE_AA)
    else:
        cv2.putText(page, text, origin, color, _FONT, size, weight)


def shortened(text: str, width: int, size: int, weight: int = 400) -> str:
    """Cuts out of the middle of drawable text until it is at most `width` pixels wide."""
    if text_width(text, size, weight) <= width:
        return text
    mark = "…" if _FONT is not None else "..."
    least, most = 0, len(text) - 1
    while least < most:
        kept = (least + most + 1) // 2
        if text_width(_without_middle(text, kept, mark), size, weight) <= width:
            least = kept
        else:
            most = kept - 1
    return _without_middle(text, least, mark)


def _without_middle(text: str, kept: int, mark: str) -> str:
    return text[: kept - kept // 2] + mark + text[len(text) - kept // 2 :]


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Breaks drawable text into lines: at semicolons, else between words; a word wider than a line is shortened."""
    if "; " in text and text_width(text, size) > width:
        head, tail = text.split("; ", 1)
        return [*wrapped(f"{head};", width, size), *wrapped(tail, width, size)]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width:
            lines[-1] = longer
        elif lines[-1]:
            lines.append(shortened(word, width, size))
        else:
            lines[-1] = shortened(word, width, size)
    return [line for line in lines if line]
