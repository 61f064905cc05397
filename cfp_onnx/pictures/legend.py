"""The legend at the foot of a page: the bar of colours, and the words that say how to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cfp_onnx.opencv import cv2
from cfp_onnx.pictures.colours import FADED, RULE, Picture, blend, is_signed
from cfp_onnx.pictures.lettering import draw_text, drawable, shortened, wrapped
from cfp_onnx.pictures.page import paper, put
from cfp_onnx.pictures.scale import Scale, number_text

_BAR_WIDTH, _BAR_HEIGHT = 300, 14


def legend_of(
    scale: Scale, opacity: float, *, notes: Sequence[str] = (), ticks: tuple[str, str, str] | None = None
) -> Callable[[int], Picture]:
    """Returns a function that draws the legend once the width of the page is known.

    Args:
        scale: The scale and its sentences; without colours there is no bar.
        opacity: As in `overlay`.
        notes: More sentences.
        ticks: Words at the ends and the middle of the bar; None writes the scale's numbers.
    """

    def draw(width: int) -> Picture:
        left = _BAR_WIDTH + 34 if scale.drawn else 0
        texts = [drawable(text) for text in (*scale.sentences, *notes)]
        lines = [line for text in texts for line in wrapped(text, width - left, 14)]
        block = paper(max(13 + 19 * len(lines), 50 if scale.drawn else 0), width)
        for i, line in enumerate(lines):
            draw_text(block, line, (left, 13 + 19 * i), 14)
        if scale.drawn:
            middle = number_text((scale.low + scale.high) / 2)
            _draw_bar(
                block,
                ticks or (number_text(scale.low), middle, number_text(scale.high)),
                scale.unit,
                opacity,
                signed=is_signed(scale.low, scale.high),
            )
        return block

    return draw


def _draw_bar(block: Picture, ticks: tuple[str, str, str], unit: str, opacity: float, *, signed: bool) -> None:
    """Draws the bar of colours with its ticks and its unit into the top left corner of a block."""
    put(block, _colour_bar(opacity, signed=signed), 0, 0)
    cv2.rectangle(block, (0, 0), (_BAR_WIDTH - 1, _BAR_HEIGHT - 1), RULE, 1)
    for text, part in zip(ticks, (0, 0.5, 1), strict=True):
        draw_text(block, text, (round(part * _BAR_WIDTH), _BAR_HEIGHT + 15), 13, color=FADED, align=part)
    text = shortened(drawable(unit), _BAR_WIDTH, 13)
    draw_text(block, text, (_BAR_WIDTH // 2, _BAR_HEIGHT + 30), 13, color=FADED, align=0.5)


def _colour_bar(opacity: float, *, signed: bool) -> Picture:
    """The scale as it looks over mid-grey, so that the weak end is as weak as on the frames."""
    low = -1.0 if signed else 0.0
    ramp = np.broadcast_to(np.linspace(low, 1, _BAR_WIDTH, dtype=np.float32), (_BAR_HEIGHT, _BAR_WIDTH))
    return blend(np.full((_BAR_HEIGHT, _BAR_WIDTH, 3), 128, dtype=np.uint8), ramp, low, 1, opacity)
