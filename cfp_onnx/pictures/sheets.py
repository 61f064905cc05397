"""Tubes laid over what the network was shown: contact sheets, slanted stacks, films, and their files.

Every picture states in words which scale its colours have, because two maps compare only under one scale. The
drawing functions are pure: arrays in, one RGB array out; the writers at the end put whole files in place.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cfp_onnx.errors import OutputError
from cfp_onnx.files.whole import named, write_bytes
from cfp_onnx.opencv import cv2, quiet
from cfp_onnx.values import Array

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

FRAME_LIMIT = 32
"""Most frames that a contact sheet shows; of more, as many evenly spaced ones."""

_PAPER, _INK, _FADED, _RULE = (252, 252, 250), (28, 30, 36), (92, 96, 106), (190, 192, 196)
_DESATURATED = 0.5
_PAD, _GAP = 22, 8
_MIN_WIDTH = 680  # the legend's words beside its colour bar
_BAR = (300, 14)
_LINES = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (60, 60, 60),
          (140, 86, 75))  # fmt: skip
"""Colours of curves that colour-blind readers can tell apart (Okabe and Ito)."""

_FONT = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
"""The TrueType font inside OpenCV 5; None before, where only strokes for ASCII exist."""

_ASCII = str.maketrans({"…": "...", "×": "x", "–": "-", "−": "-", "·": "-"})
_FLAT_CHANGE = 1e-12
_GIF_DITHER = 1  # of -1 (most) to 3 (none): smooth maps without bands, backgrounds without patterns


@dataclass(frozen=True)
class Level:
    """One row of `levels`: a class's tube at one depth, with its scale.

    Attributes:
        title: What stands at the left of the row, e.g. ``"depth 2"``.
        tube: ``(T, H, W)`` float, at the frames' pixels.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        unit: What the numbers are.
        constant: Whether to draw no colours and say so.
        extremes: True minimum and maximum of the map; None takes the tube's.
    """

    title: str
    tube: Array
    low: float
    high: float
    unit: str = "relevance"
    constant: bool = False
    extremes: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Scale:
    """Numbers and words of one legend; `drawn` is False where the map shows no colours."""

    low: float
    high: float
    unit: str
    sentences: tuple[str, ...]
    drawn: bool


def colormap() -> Picture:
    """Returns inferno, ``(256, 3)`` uint8 RGB: from black to pale yellow, each step equally visible to all readers."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


def overlay(frames: Picture, tube: Array, *, low: float, high: float, opacity: float = 0.8) -> Picture:
    """Lays a tube over its frames.

    With n = (v - low) / (high - low), clipped to 0..1, a pixel of colour f becomes (1 - a) g + a c(n): g is f with
    less saturation, c the colour map and a = opacity · n. So 0 leaves the paler frame, and weak looks weak.
    A map without any variation, or a scale without extent, colours nothing.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        tube: ``(T, H, W)`` float, values in the scale's unit.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        opacity: Share of the last colour where it covers most, 0..1.

    Returns:
        ``(T, H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or the opacity is outside 0..1.
    """
    _check_clip(frames, tube)
    _check_scale(low, high, opacity)
    drawn = _has_colours(tube, low, high)
    return np.stack([_blend(f, m if drawn else None, low, high, opacity) for f, m in zip(frames, tube, strict=True)])


def strip(
    frames: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws a contact sheet: every frame under the tube, with its number; of more than 32, as many evenly spaced ones.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        tube: ``(T, H, W)`` float, at the frames' pixels.
        low: Value drawn as nothing.
        high: Value drawn with the last colour.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        unit: Word under the colour bar.
        scope: What shares the scale, e.g. ``"depth 2"``.
        constant: Whether to draw no colours and say so.
        extremes: True minimum and maximum of the map, for the legend; None takes the tube's.
        opacity: As in `overlay`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`.
    """
    _check_clip(frames, tube)
    _check_scale(low, high, opacity)
    scale = _scale_of(tube, low, high, unit, scope, constant, extremes)
    chosen = _evenly(len(frames), FRAME_LIMIT)
    cells = [_labelled(_shown(frames[t], tube[t], scale, opacity, 150, 256), f"t = {t}") for t in chosen]
    body = _grid(cells, _columns(len(cells), cells[0].shape[1] / cells[0].shape[0]))
    return _page(body, title, subtitle, _legend(scale, opacity, notes=_sampled(len(chosen), len(frames))))


def stack(
    frames: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
    limit: int = 16,
) -> Picture:
    """Draws the frames under the tube as a row of slanted sheets that goes back in time's direction.

    This is the form of the figures in the papers on Saliency Tubes and Class Feature Pyramids.

    Takes what `strip` takes, and draws at most `limit` sheets: of more frames, as many evenly spaced ones.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, or the limit is below 1.
    """
    _check_clip(frames, tube)
    _check_scale(low, high, opacity)
    if limit < 1:
        raise ValueError(f"limit is {limit}; a stack has at least 1 sheet")
    scale = _scale_of(tube, low, high, unit, scope, constant, extremes)
    chosen = _evenly(len(frames), limit)
    sheets = [_shown(frames[t], tube[t], scale, opacity, 2 * _SHEET, 2 * _SHEET) for t in chosen]
    body = _sheets(sheets, [str(t) for t in chosen])
    return _page(body, title, subtitle, _legend(scale, opacity, notes=_sampled(len(chosen), len(frames))))


def image(
    frame: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws a picture, and beside it the picture under its map: the form for 2-D models.

    The frame is ``(H, W, 3)`` or ``(1, H, W, 3)`` uint8 RGB, the tube ``(H, W)`` or ``(1, H, W)`` float at its pixels;
    the options are those of `strip`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, or there is more than one frame.
    """
    frames, maps = (frame[None] if frame.ndim == 3 else frame), (tube[None] if tube.ndim == 2 else tube)
    _check_clip(frames, maps)
    if len(frames) != 1:
        raise ValueError(f"image draws one frame, not {len(frames)}; use strip, stack or film")
    _check_scale(low, high, opacity)
    scale = _scale_of(maps, low, high, unit, scope, constant, extremes)
    body = _pair(frames[0], maps[0], scale, opacity, "as the network got it")
    return _page(body, title, subtitle, _legend(scale, opacity))


def film(
    frames: Picture,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws the pictures of an animation for `write_animation`: each frame, beside it the frame under the tube.

    Takes what `strip` takes.

    Returns:
        ``(T, h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`.
    """
    _check_clip(frames, tube)
    _check_scale(low, high, opacity)
    scale = _scale_of(tube, low, high, unit, scope, constant, extremes)
    legend = _legend(scale, opacity)
    return np.stack(
        [
            _page(_pair(f, m, scale, opacity, f"t = {t} (of 0 to {len(frames) - 1})"), title, subtitle, legend)
            for t, (f, m) in enumerate(zip(frames, tube, strict=True))
        ]
    )


def levels(
    frames: Picture,
    rows: Sequence[Level],
    *,
    title: str,
    subtitle: str = "",
    columns: int = 8,
    opacity: float = 0.8,
) -> Picture:
    """Draws a whole pyramid: one row of frames per depth, its title and its own scale at the left.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        rows: The tubes from top to bottom.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        columns: Most frames per row; of more, as many evenly spaced ones.
        opacity: As in `overlay`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: As `overlay`, there is no row, or `columns` is below 1.
    """
    if not rows:
        raise ValueError("levels needs at least one row")
    if columns < 1:
        raise ValueError(f"columns is {columns}; a row has at least 1 frame")
    for row in rows:
        _check_clip(frames, row.tube)
        _check_scale(row.low, row.high, opacity)
    chosen = _evenly(len(frames), columns)
    lines, any_drawn = [], False
    for number, row in enumerate(rows, 1):
        scale = _scale_of(row.tube, row.low, row.high, row.unit, "", row.constant, row.extremes)
        any_drawn |= scale.drawn
        cells = [_shown(frames[t], row.tube[t], scale, opacity, 120, 160) for t in chosen]
        if number == len(rows):
            cells = [_labelled(cell, f"t = {t}") for cell, t in zip(cells, chosen, strict=True)]
        lines.append(_beside(_caption(row.title, scale.sentences, 190, cells[0].shape[0]), _grid(cells, len(cells))))
    words = ["each row has its own scale, stated at its left"] if len(rows) > 1 else []
    units = " / ".join(dict.fromkeys(row.unit for row in rows))
    shared = _Scale(0.0, 1.0, units, tuple(words), drawn=any_drawn)
    notes = _sampled(len(chosen), len(frames))
    legend = _legend(shared, opacity, notes=notes, ticks=("low end", "", "high end"))
    return _page(_column(lines), title, subtitle, legend)


def curve(
    signal: Array,
    tube: Array,
    *,
    low: float,
    high: float,
    title: str,
    subtitle: str = "",
    unit: str = "activation",
    scope: str = "",
    constant: bool = False,
    extremes: tuple[float, float] | None = None,
    opacity: float = 0.8,
) -> Picture:
    """Draws a signal's channels as curves with the tube as a coloured band beneath: the form for 1-D models.

    The signal is ``(C, L)`` float, one row per input channel, of which the first eight are drawn; the tube is ``(L,)``
    float at its samples. The options are those of `strip`.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or the opacity is outside 0..1.
    """
    if signal.ndim != 2 or tube.ndim != 1 or not signal.size or signal.shape[1] != tube.shape[0]:
        raise ValueError(f"signal {signal.shape} and tube {tube.shape} must be (C, L) and (L,), and not empty")
    if not (np.isfinite(signal).all() and np.isfinite(tube).all()):
        raise ValueError("signal or tube holds values that are not finite; nothing can be drawn")
    _check_scale(low, high, opacity)
    scale = _scale_of(tube, low, high, unit, scope, constant, extremes)
    drawn = signal[: len(_LINES)].astype(np.float64)
    notes = [f"{len(drawn)} of {len(signal)} channels are drawn"] if len(drawn) < len(signal) else []
    body = _plot(drawn, tube.astype(np.float64), scale, opacity)
    return _page(body, title, subtitle, _legend(scale, opacity, notes=notes))


@dataclass(frozen=True)
class Dot:
    """A kernel in `pyramid_diagram`.

    Attributes:
        key: What lines refer to.
        text: What stands in it, if it fits.
        share: Its part of the strongest of its group, 0..1: the disc's size.
        chosen: Drawn as a disc, otherwise as a ring.
    """

    key: Hashable
    text: str
    share: float
    chosen: bool = True


@dataclass(frozen=True)
class DotRow:
    """A row of `pyramid_diagram`: its title and words at the left, and groups of kernels with their names."""

    title: str
    words: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Dot]]]


@dataclass(frozen=True)
class DotLine:
    """A link of `pyramid_diagram`: keys of a dot and of one that feeds it, strength 0..1, and a word for its kind."""

    reader: Hashable
    source: Hashable
    strength: float
    kind: str = "chain"


def pyramid_diagram(
    rows: Sequence[DotRow], lines: Sequence[DotLine], *, title: str, subtitle: str = "", width: int = 1100
) -> Picture:
    """Draws kernels as dots, one row per depth, with lines to what feeds them.

    Within a group dots stand where their readers are, so that few lines cross.

    Args:
        rows: From top to bottom.
        lines: Those whose ends are not drawn are left out.
        title: First line; shortened in the middle where it does not fit.
        subtitle: Second line.
        width: Width of the rows in pixels, at least 680; more where a row has many dots.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        ValueError: There is no dot, or a share or strength is outside 0..1.
    """
    dots = [dot for row in rows for _, group in row.groups for dot in group]
    if not dots:
        raise ValueError("a diagram needs at least one dot")
    if not all(0 <= x <= 1 for x in (*(d.share for d in dots), *(line.strength for line in lines))):
        raise ValueError("a share or strength is outside 0..1")
    slots = [sum(len(g) for _, g in row.groups) + _GROUP_GAP * max(0, len(row.groups) - 1) for row in rows]
    width = max(width, _MIN_WIDTH, _DOT_LEFT + round(max(slots) * 2 * (_DOT_MOST + 1)))
    body = _paper(_DOT_ROW * len(rows), width)
    placed = _placed(rows, slots, lines, width)
    drawn = [line for line in lines if line.reader in placed and line.source in placed]
    for line in sorted(drawn, key=lambda x: x.strength):
        _draw_link(body, placed[line.reader], placed[line.source], line.strength, _LINK_COLORS.get(line.kind, _FADED))
    for number, row in enumerate(rows):
        _put(body, _caption(row.title, row.words, _DOT_LEFT - 30, 0)[:_DOT_ROW], number * _DOT_ROW, 0)
        for name, group in row.groups:
            for dot in group:
                _draw_dot(body, dot, placed[dot.key])
            if len(row.groups) > 1 and group:
                xs = [placed[dot.key][0] for dot in group]
                text = _shortened(_drawable(name), max(90, round(max(xs) - min(xs)) + 40), 11)
                middle, base, half = (
                    round((min(xs) + max(xs)) / 2),
                    number * _DOT_ROW + 68,
                    _text_width(text, 11) // 2 + 3,
                )
                body[base - 11 : base + 4, max(0, middle - half) : middle + half] = _PAPER  # over the lines
                _draw_text(body, text, (middle, base), 11, color=_FADED, align=0.5)
    return _page(body, title, subtitle, _link_legend(list(dict.fromkeys(line.kind for line in drawn))))


# --- scales and colours --------------------------------------------------------------------------------


def _check_clip(frames: Array, tube: Array) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; they must be uint8 RGB (T, H, W, 3), not empty")
    if tube.shape != frames.shape[:3]:
        raise ValueError(f"tube is {tube.shape}, the frames are {frames.shape[:3]}; interpolate the tube first")
    if not np.isfinite(tube).all():
        raise ValueError("tube holds values that are not finite; nothing can be drawn")


def _check_scale(low: float, high: float, opacity: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"the scale {low} to {high} must be finite")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; it must be 0 to 1")


def _has_colours(tube: Array, low: float, high: float) -> bool:
    smallest, largest = float(tube.min()), float(tube.max())
    return high > low and largest - smallest > _FLAT_CHANGE * max(abs(smallest), abs(largest))


def _scale_of(
    tube: Array,
    low: float,
    high: float,
    unit: str,
    scope: str,
    constant: bool,  # noqa: FBT001  (callers pass on their keyword)
    extremes: tuple[float, float] | None,
) -> _Scale:
    """Decides whether a map has colours, and says it in words."""
    smallest, largest = extremes or (float(tube.min()), float(tube.max()))
    flat = constant or largest - smallest <= _FLAT_CHANGE * max(abs(smallest), abs(largest))
    if flat:
        words = [f"constant at {_number((smallest + largest) / 2)}: nothing to see"]
        return _Scale(low, high, unit, tuple(words), drawn=False)
    shared = f"one scale for {scope}" if scope else "scale"
    words = [f"{shared}: {_number(low)} to {_number(high)}; this map {_number(smallest)} to {_number(largest)}"]
    if high <= low:
        return _Scale(low, high, unit, (*words, "a scale without extent: nothing is drawn"), drawn=False)
    if smallest < low <= float(tube.min()):
        words.append("negative values are drawn by their size")
    elif largest <= low:
        words.append(f"nothing of this map is above {_number(low)}: no colours")
    elif smallest < low:
        words.append(f"below {_number(low)} nothing is drawn")
    if largest > high:
        words.append(f"above {_number(high)} the last colour")
    return _Scale(low, high, unit, tuple(words), drawn=_has_colours(tube, low, high))


def _number(value: float) -> str:
    """At least three significant digits, as people write them."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    text = (
        f"{value:.0f}"
        if abs(value) >= 1e3
        else np.format_float_positional(value, precision=3, fractional=False, trim="-")
    )
    return "0" if text == "-0" else text


def _blend(frame: Picture, values: Array | None, low: float, high: float, opacity: float) -> Picture:
    """One frame ``(H, W, 3)`` under one map ``(H, W)``; None is a map without colours."""
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    pale = frame + _DESATURATED * (grey - frame)
    if values is not None:
        part = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
        alpha = (opacity * part)[:, :, None]
        pale += alpha * (colormap()[np.rint(part * 255).astype(np.intp)] - pale)
    return cast("Picture", np.rint(pale).astype(np.uint8))


def _fitted(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """Size of a frame on the page: enlarged by a whole factor, or shrunk, until its long side is least..most."""
    longest = max(height, width)
    if longest > most:
        return max(16, round(height * most / longest)), max(16, round(width * most / longest))
    factor = math.ceil(least / longest)
    return height * factor, width * factor


def _resized(picture: Array, height: int, width: int, interpolation: int) -> Array:
    if picture.shape[:2] == (height, width):
        return picture
    way = cv2.INTER_AREA if height < picture.shape[0] else interpolation
    return cast("Array", cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=way))


def _shown(frame: Picture, values: Array, scale: _Scale, opacity: float, least: int, most: int) -> Picture:
    """A frame at the size of the page, under its map where that has colours."""
    height, width = _fitted(frame.shape[0], frame.shape[1], least, most)
    big = _resized(frame, height, width, cv2.INTER_CUBIC)
    if not scale.drawn:
        return _blend(big, None, 0, 1, opacity)
    fine = _resized(values.astype(np.float64), height, width, cv2.INTER_LINEAR)
    return _blend(big, fine, scale.low, scale.high, opacity)


def _evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return [int(i) for i in np.rint(np.linspace(0, count - 1, limit))]


def _sampled(chosen: int, count: int) -> list[str]:
    return [f"{chosen} of {count} frames, evenly spaced"] if chosen < count else []


# --- text ----------------------------------------------------------------------------------------------


def _drawable(text: str) -> str:
    """Escapes what no font draws: control characters, lone surrogates, signs outside the basic plane."""
    if len(text) > 2000:
        text = f"{text[:1000]}…{text[-1000:]}"
    kept = "".join(c if c.isprintable() and ord(c) < 0x10000 else c.encode("unicode_escape").decode() for c in text)
    return kept if _FONT is not None else kept.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def _text_width(text: str, size: int, weight: int = 400) -> int:
    if not text:
        return 0
    if _FONT is None:
        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / 30, 1 + (weight > 500))[0][0])
    left, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _FONT, size, weight)
    return int(left + width)


def _draw_text(
    page: Picture,
    text: str,
    at: tuple[int, int],
    size: int = 14,
    *,
    weight: int = 400,
    color: tuple[int, int, int] = _INK,
    align: float = 0,
) -> None:
    """Draws drawable text in place; `at` is on the baseline, at the left (align 0), middle (.5) or right (1)."""
    if not text:
        return
    origin = (round(at[0] - align * _text_width(text, size, weight)), at[1])
    if _FONT is None:
        thickness = 1 + (weight > 500)
        cv2.putText(page, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size / 30, color, thickness, cv2.LINE_AA)
    else:
        cv2.putText(page, text, origin, color, _FONT, size, weight)


def _shortened(text: str, width: int, size: int, weight: int = 400) -> str:
    """Cuts out of the middle of drawable text until it is at most `width` pixels wide."""
    if _text_width(text, size, weight) <= width:
        return text
    mark = "…" if _FONT is not None else "..."
    least, most = 0, len(text) - 1
    while least < most:
        kept = (least + most + 1) // 2
        if _text_width(_without_middle(text, kept, mark), size, weight) <= width:
            least = kept
        else:
            most = kept - 1
    return _without_middle(text, least, mark)


def _without_middle(text: str, kept: int, mark: str) -> str:
    return text[: kept - kept // 2] + mark + text[len(text) - kept // 2 :]


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """Breaks drawable text between clauses, else words; a word wider than the line is shortened."""
    if "; " in text and _text_width(text, size) > width:
        head, tail = text.split("; ", 1)
        return [*_wrapped(f"{head};", width, size), *_wrapped(tail, width, size)]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _text_width(longer, size) <= width:
            lines[-1] = longer
        elif lines[-1]:
            lines.append(_shortened(word, width, size))
        else:
            lines[-1] = _shortened(word, width, size)
    return [line for line in lines if line]


# --- blocks of a page ----------------------------------------------------------------------------------


def _paper(height: int, width: int) -> Picture:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)


def _put(page: Picture, block: Picture, top: int, left: int) -> None:
    page[top : top + block.shape[0], left : left + block.shape[1]] = block


def _labelled(cell: Picture, text: str) -> Picture:
    """A picture with a line of text beneath."""
    height, width = cell.shape[:2]
    wide = max(width, _text_width(text, 13))
    block = _paper(height + 22, wide)
    _put(block, cell, 0, 0)
    _draw_text(block, text, (0, height + 15), 13, color=_FADED)
    return block


def _columns(count: int, aspect: float) -> int:
    """Number of columns that makes a wide page with few empty places."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * aspect / rows / 2.5)) + 3 * (rows * columns - count) / count

    return min(range(1, min(count, 12) + 1), key=cost)


def _grid(cells: Sequence[Picture], columns: int) -> Picture:
    """Cells of one size, row by row."""
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    rows = math.ceil(len(cells) / columns)
    block = _paper(rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP)
    for i, cell in enumerate(cells):
        _put(block, cell, i // columns * (height + _GAP), i % columns * (width + _GAP))
    return block


def _beside(left: Picture, right: Picture) -> Picture:
    block = _paper(max(left.shape[0], right.shape[0]), left.shape[1] + _GAP + right.shape[1])
    _put(block, left, 0, 0)
    _put(block, right, 0, left.shape[1] + _GAP)
    return block


def _column(blocks: Sequence[Picture]) -> Picture:
    block = _paper(sum(b.shape[0] + _GAP for b in blocks) - _GAP, max(b.shape[1] for b in blocks))
    top = 0
    for part in blocks:
        _put(block, part, top, 0)
        top += part.shape[0] + _GAP
    return block


def _pair(frame: Picture, values: Array, scale: _Scale, opacity: float, text: str) -> Picture:
    """A frame, and beside it the frame under its map."""
    height, width = _fitted(frame.shape[0], frame.shape[1], 300, 420)
    plain = cast("Picture", _resized(frame, height, width, cv2.INTER_CUBIC))
    over = _shown(frame, values, scale, opacity, 300, 420)
    return _grid([_labelled(plain, text), over], 2)


def _caption(title: str, sentences: Sequence[str], width: int, height: int) -> Picture:
    """What stands at the left of a row: its title, its scale."""
    lines = [line for sentence in sentences for line in _wrapped(_drawable(sentence), width, 12)]
    block = _paper(max(height, 34 + 16 * len(lines)), width)
    _draw_text(block, _shortened(_drawable(title), width, 16, 600), (0, 18), 16, weight=600)
    for i, line in enumerate(lines):
        _draw_text(block, line, (0, 40 + 16 * i), 12, color=_FADED)
    return block


def _legend(
    scale: _Scale,
    opacity: float,
    *,
    notes: Sequence[str] = (),
    ticks: tuple[str, str, str] | None = None,
) -> Callable[[int], Picture]:
    """Makes the block at a page's foot once its width is known: the colour bar and the words."""

    def draw(width: int) -> Picture:
        bar_width, bar_height = _BAR
        left = bar_width + 34 if scale.drawn else 0
        texts = [_drawable(text) for text in (*scale.sentences, *notes)]
        lines = [line for text in texts for line in _wrapped(text, width - left, 14)]
        block = _paper(max(13 + 19 * len(lines), 50 if scale.drawn else 0), width)
        for i, line in enumerate(lines):
            _draw_text(block, line, (left, 13 + 19 * i), 14)
        if scale.drawn:
            _put(block, _colour_bar(opacity), 0, 0)
            cv2.rectangle(block, (0, 0), (bar_width - 1, bar_height - 1), _RULE, 1)
            middle = _number((scale.low + scale.high) / 2)
            names = ticks or (_number(scale.low), middle, _number(scale.high))
            for text, part in zip(names, (0, 0.5, 1), strict=True):
                _draw_text(block, text, (round(part * bar_width), bar_height + 15), 13, color=_FADED, align=part)
            unit = _shortened(_drawable(scale.unit), bar_width, 13)
            _draw_text(block, unit, (bar_width // 2, bar_height + 30), 13, color=_FADED, align=0.5)
        return block

    return draw


def _colour_bar(opacity: float) -> Picture:
    """The scale as it looks over mid-grey, so that the weak end is as weak as on the frames."""
    width, height = _BAR
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    return _blend(np.full((height, width, 3), 128, dtype=np.uint8), ramp, 0, 1, opacity)


def _page(body: Picture, title: str, subtitle: str, legend: Callable[[int], Picture]) -> Picture:
    """Puts the title over the body and the legend under it."""
    width = max(body.shape[1], _MIN_WIDTH)
    heading = _shortened(_drawable(title), width, 22, 600)
    small = _wrapped(_drawable(subtitle), width, 14)
    small = [*small[:1], _shortened(" ".join(small[1:]), width, 14)] if len(small) > 1 else small
    foot = legend(width)
    top = _PAD + (34 if heading else 0) + 20 * len(small) + (8 if small else 0)
    page = _paper(top + body.shape[0] + 18 + foot.shape[0] + _PAD, width + 2 * _PAD)
    _draw_text(page, heading, (_PAD, _PAD + 18), 22, weight=600)
    start = _PAD + (34 if heading else 0) + 13
    for i, line in enumerate(small):
        _draw_text(page, line, (_PAD, start + 20 * i), 14, color=_FADED)
    _put(page, body, top, _PAD)
    _put(page, foot, top + body.shape[0] + 18, _PAD)
    return page


# --- diagrams ------------------------------------------------------------------------------------------

_DOT_LEFT, _DOT_ROW, _DOT_LEAST, _DOT_MOST = 215, 84, 9, 15
_GROUP_GAP = 1.2
_LINK_COLORS = {"chain": _LINES[0], "branch": _LINES[2], "shortcut": _LINES[1], "gate": _LINES[3]}


def _placed(
    rows: Sequence[DotRow], slots: Sequence[float], lines: Sequence[DotLine], width: int
) -> dict[Hashable, tuple[float, float]]:
    """Centres of all dots; a row's dots follow the mean place of their readers, weighted by strength."""
    readers: dict[Hashable, list[tuple[Hashable, float]]] = {}
    for line in lines:
        readers.setdefault(line.source, []).append((line.reader, line.strength))
    placed: dict[Hashable, tuple[float, float]] = {}

    def pull(dot: Dot) -> float:
        known = [(placed[reader][0], strength) for reader, strength in readers.get(dot.key, ()) if reader in placed]
        total = sum(strength for _, strength in known)
        return sum(x * strength for x, strength in known) / total if total > 0 else width / 2

    for number, (row, count) in enumerate(zip(rows, slots, strict=True)):
        step = min(62.0, (width - _DOT_LEFT) / max(count, 1))
        x = _DOT_LEFT + (width - _DOT_LEFT - step * count) / 2 + step / 2
        wanted = {dot.key: pull(dot) for _, group in row.groups for dot in group}
        for _, group in row.groups:
            for dot in sorted(group, key=lambda d: wanted[d.key]):
                placed[dot.key] = (x, number * _DOT_ROW + 34.0)
                x += step
            x += step * _GROUP_GAP
    return placed


def _draw_link(
    page: Picture, top: tuple[float, float], end: tuple[float, float], strength: float, color: tuple[int, int, int]
) -> None:
    """A curve that leaves and arrives upright; weak links are paler and thinner."""
    t = np.linspace(0, 1, 40)[:, None]
    lean = np.array([0.0, 0.5 * (end[1] - top[1])])
    a, d = np.array(top), np.array(end)
    points = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * (a + lean) + 3 * (1 - t) * t**2 * (d - lean) + t**3 * d
    share = 0.25 + 0.75 * strength
    mixed = tuple(round(share * c + (1 - share) * p) for c, p in zip(color, _PAPER, strict=True))
    pixels = np.round(points * 16).astype(np.int32)
    cv2.polylines(page, [pixels], isClosed=False, color=mixed, thickness=1 + round(2 * strength), lineType=cv2.LINE_AA,
                  shift=4)  # fmt: skip


def _draw_dot(page: Picture, dot: Dot, at: tuple[float, float]) -> None:
    radius = _DOT_LEAST + (_DOT_MOST - _DOT_LEAST) * math.sqrt(dot.share) if dot.chosen else _DOT_LEAST + 3
    centre = (round(at[0] * 16), round(at[1] * 16))
    cv2.circle(page, centre, round(16 * radius), _INK if dot.chosen else _PAPER, -1, cv2.LINE_AA, 4)
    if not dot.chosen:
        cv2.circle(page, centre, round(16 * radius), _RULE, 1, cv2.LINE_AA, 4)
    text = _drawable(dot.text)
    size = next((s for s in (11, 10, 9) if _text_width(text, s) <= 2 * radius - 2), None)
    if size is not None:
        color = _PAPER if dot.chosen else _FADED
        _draw_text(page, text, (round(at[0]), round(at[1]) + 4), size, color=color, align=0.5)


def _link_legend(kinds: Sequence[str]) -> Callable[[int], Picture]:
    words = (
        "A disc is a chosen kernel, its size the share of the strongest in its layer; a ring only feeds chosen ones.",
        "Lines lead down to what feeds a kernel, stronger where it carries more.",
    )

    def draw(width: int) -> Picture:
        sentences = [line for text in words for line in _wrapped(text, width, 14)]
        block = _paper(19 * len(sentences) + (24 if kinds else 4), width)
        for i, sentence in enumerate(sentences):
            _draw_text(block, sentence, (0, 13 + 19 * i), 14)
        left, base = 0, 19 * len(sentences) + 15
        for kind in kinds:
            text = _drawable(kind)
            cv2.line(block, (left, base - 4), (left + 26, base - 4), _LINK_COLORS.get(kind, _FADED), 3, cv2.LINE_AA)
            _draw_text(block, text, (left + 34, base), 13, color=_FADED)
            left += 34 + _text_width(text, 13) + 24
        return block

    return draw


# --- slanted sheets ------------------------------------------------------------------------------------

_SHEET = 230
"""Height in pixels of the first sheet, about."""

_YAW, _PITCH = math.radians(54), math.radians(13)
_ROW_WIDTH = 1560
"""Most pixels that a row of sheets takes; a longer one is drawn smaller."""


def _projected(points: Array, distance: float) -> Array:
    """Looks at points ``(n, 3)`` (right, down, back; a sheet is 1 high) from the left and above; ``(n, 2)``."""
    x, y, z = points.T
    across, back = x * math.cos(_YAW) + z * math.sin(_YAW), z * math.cos(_YAW) - x * math.sin(_YAW)
    down, away = y * math.cos(_PITCH) - back * math.sin(_PITCH), back * math.cos(_PITCH) + y * math.sin(_PITCH)
    size = distance / (distance + away)
    return np.stack([across * size, down * size], axis=1)


def _sheets(pictures: Sequence[Picture], names: Sequence[str]) -> Picture:
    """Sheets one behind another with their names and an arrow for time, on paper."""
    aspect = pictures[0].shape[1] / pictures[0].shape[0]
    gap = max(0.68 * aspect, 0.45)
    length = gap * (len(pictures) - 1)
    distance = 6 + 1.5 * length
    half, side = aspect / 2, [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corners = [
        _projected(np.array([[half * sx, sy / 2, gap * i] for sx, sy in side]), distance) for i in range(len(pictures))
    ]
    marks = _projected(np.array([[half, 0.5, gap * i] for i in range(len(pictures))]), distance)
    ends = np.array([[half + 0.16, 0.62, -0.1 * gap], [half + 0.16, 0.62, length + 0.35]])
    arrow = _projected(ends, distance)
    every = np.concatenate([*corners, arrow])
    extent, margin = every.max(axis=0) - every.min(axis=0), 16
    scale = min(float(_SHEET), _ROW_WIDTH / float(extent[0]))
    size = extent * scale
    offset = margin - every.min(axis=0) * scale
    width, height = math.ceil(size[0]) + 2 * margin + 30, math.ceil(size[1]) + 2 * margin + 14

    fine = 2  # drawn twice as large, then averaged: smooth edges
    page = _paper(height * fine, width * fine)
    for picture, corner in reversed(list(zip(pictures, corners, strict=True))):
        _sheet(page, picture, (corner * scale + offset) * fine)
    first, last = ((point * scale + offset) * fine for point in arrow)
    if len(pictures) > 1:
        tip = 22 / max(float(np.hypot(*(last - first))), 1.0)
        cv2.arrowedLine(page, _pixel(first), _pixel(last), _FADED, 2 * fine, cv2.LINE_AA, 0, tip)
    page = cast("Picture", cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA))
    for name, mark in zip(names, marks * scale + offset, strict=True):
        _draw_text(page, name, (round(mark[0]) + 3, round(mark[1]) + 15), 13, color=_FADED, align=0.5)
    if len(pictures) > 1:
        middle = (arrow[0] * 0.5 + arrow[1] * 0.5) * scale + offset
        _draw_text(page, "time (frame)", (round(middle[0]) + 14, round(middle[1]) + 24), 14, color=_FADED)
    return page


def _pixel(point: Array) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _sheet(page: Picture, picture: Picture, corners: Array) -> None:
    """Draws a picture into four corners of the page, with an outline."""
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 3
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    height, width = picture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32) - 0.5
    way = cv2.getPerspectiveTransform(source, (corners - low).astype(np.float32))
    bent = cv2.warpPerspective(picture, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = np.zeros((size[1], size[0]), dtype=np.uint8)
    polygon = np.rint((corners - low) * 16).astype(np.int32)
    cv2.fillConvexPoly(cover, polygon, 255, cv2.LINE_AA, 4)
    share = cover[:, :, None].astype(np.float32) / 255
    place = page[low[1] : high[1], low[0] : high[0]]
    place[:] = np.rint(place + share * (bent.astype(np.float32) - place)).astype(np.uint8)
    cv2.polylines(place, [polygon], True, (250, 250, 250), 3, cv2.LINE_AA, 4)  # noqa: FBT003  (closed)
    cv2.polylines(place, [polygon], True, (110, 112, 118), 2, cv2.LINE_AA, 4)  # noqa: FBT003  (closed)


# --- curves --------------------------------------------------------------------------------------------


def _plot(signal: Array, tube: Array, scale: _Scale, opacity: float) -> Picture:
    """Axes, one curve per row of the signal, and the tube as a band that shares the axis of samples."""
    left, right, top, width, height, band = 64, 12, 10, 900, 260, 40
    several = len(signal) > 1
    band_top = top + height + 8
    block = _paper(band_top + band + 44 + (22 if several else 0), left + width + right)
    low, high = float(signal.min()), float(signal.max())
    if high <= low:
        low, high = low - 1, high + 1
    count = signal.shape[1]
    places = left + (np.arange(count) / max(count - 1, 1) if count > 1 else np.array([0.5])) * (width - 1)
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = round(_height_of(part, top, height))
        cv2.line(block, (left, y), (left + width - 1, y), (230, 231, 233), 1)
        value = (1 - part) * low + part * high
        text = _number(0.0 if abs(value) < 1e-3 * (high / 2 - low / 2) else value)
        if part in (0, 0.5, 1):
            _draw_text(block, text, (left - 8, y + 5), 13, color=_FADED, align=1)
    values = np.interp(np.arange(left, left + width), places, tube)
    grey = np.full((band, width, 3), 225, dtype=np.uint8)
    ramp = np.broadcast_to(values, (band, width)) if scale.drawn else None
    _put(block, _blend(grey, ramp, scale.low, scale.high, opacity), band_top, left)
    if scale.drawn:
        plot = block[top : top + height, left : left + width]
        tint = np.broadcast_to(values, (height, width))
        plot[:] = _blend(plot, tint, scale.low, scale.high, 0.3 * opacity)
    half = high / 2 - low / 2
    rows = _height_of((signal / half - low / half) / 2, top, height)
    for row, color in zip(rows, _LINES, strict=False):
        points = np.stack(_thinned(places, row, width), axis=1)
        if count == 1:
            cv2.circle(block, _pixel(points[0]), 4, color, -1, cv2.LINE_AA)
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.polylines(block, [fixed], False, color, 2, cv2.LINE_AA, 4)  # noqa: FBT003  (open)
    cv2.rectangle(block, (left - 1, top - 1), (left + width, top + height), _RULE, 1)
    cv2.rectangle(block, (left - 1, band_top - 1), (left + width, band_top + band), _RULE, 1)
    _draw_text(block, "map", (left - 8, band_top + band // 2 + 5), 13, color=_FADED, align=1)
    base = band_top + band + 17
    for i in sorted({0, (count - 1) // 2, count - 1}):
        part = i / (count - 1) if count > 1 else 0.5
        _draw_text(block, str(i), (round(float(places[i])), base), 13, color=_FADED, align=part)
    _draw_text(block, "sample", (left + width // 2, base + 17), 13, color=_FADED, align=0.5)
    x = left
    for i in range(len(signal) if several else 0):
        cv2.line(block, (x, base + 34), (x + 22, base + 34), _LINES[i], 2, cv2.LINE_AA)
        _draw_text(block, f"channel {i}", (x + 28, base + 39), 13, color=_FADED)
        x += 28 + _text_width(f"channel {i}", 13) + 18
    return block


def _height_of(part: Any, top: int, height: int) -> Any:
    """Row of the page for 0 (lowest value) to 1 (highest), a little away from the plot's edges."""
    return top + 8 + (1 - part) * (height - 17)


def _thinned(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """Of a long curve, the smallest and largest value per half pixel: the same picture from fewer points."""
    if len(x) <= 4 * width:
        return x, y
    starts = np.linspace(0, len(x), 2 * width, endpoint=False).astype(int)
    pairs = np.stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)], axis=1)
    return np.repeat(x[starts], 2), pairs.reshape(-1)


# --- files ---------------------------------------------------------------------------------------------


def encode_png(image: Picture) -> bytes:
    """Encodes a picture ``(H, W, 3)`` uint8 RGB as PNG.

    Raises:
        ValueError: It is no such picture.
    """
    return _encoded(".png", image, [])


def encode_jpeg(frame: Picture, quality: int = 80) -> bytes:
    """Encodes a picture ``(H, W, 3)`` uint8 RGB as JPEG.

    Args:
        frame: The picture.
        quality: 1 (small) to 100 (faithful).

    Raises:
        ValueError: It is no such picture, or the quality is outside 1..100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be 1 to 100")
    return _encoded(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encoded(kind: str, picture: Picture, options: list[int]) -> bytes:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"picture is {picture.dtype} {picture.shape}; it must be uint8 RGB (H, W, 3), not empty")
    try:
        _, data = cv2.imencode(kind, np.ascontiguousarray(picture[:, :, ::-1]), options)
    except cv2.error as error:
        raise ValueError(f"a picture of {picture.shape[:2]} pixels is too large for {kind}") from error
    return data.tobytes()


def write_png(path: str | os.PathLike[str], image: Picture) -> Path:
    """Writes a picture ``(H, W, 3)`` uint8 RGB as PNG, atomically.

    Raises:
        OutputError: If the folder cannot be made or written to; nothing half-written stays.
        ValueError: It is no such picture.
    """
    return write_bytes(Path(path), encode_png(image))


def write_animation(path: str | os.PathLike[str], frames: Picture, *, fps: float = 8) -> Path:
    """Writes frames ``(T, H, W, 3)`` uint8 RGB as an endless GIF or as an MP4, atomically.

    An MP4's sides are even; an odd one repeats its last row or column. A GIF counts time in hundredths of a second.

    Args:
        path: Its suffix, ``.gif`` or ``.mp4``, decides.
        frames: The pictures.
        fps: Frames per second, above 0 and at most 50 (what a GIF can hold).

    Raises:
        OutputError: The suffix is another one, OpenCV lacks the writer, or the folder cannot be made or written to;
            nothing half-written stays.
        ValueError: The frames are none, or fps is out of range.
    """
    path = Path(path)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; they must be uint8 RGB (T, H, W, 3), not empty")
    if not 0 < fps <= 50:
        raise ValueError(f"fps is {fps}; it must be above 0 and at most 50")
    encoders = {".gif": _gif, ".mp4": _mp4}
    encode = encoders.get(path.suffix.lower())
    if encode is None:
        raise OutputError(f"cannot write {named(path)}: give the name of an animation the suffix .gif or .mp4")
    try:
        # OpenCV wants a file, and fails on names that are no text: one of ours, read back.
        with tempfile.TemporaryDirectory(prefix="cfp-") as folder:
            file = Path(folder) / f"animation{path.suffix.lower()}"
            done = encode(file, frames[..., ::-1], fps)
            data = file.read_bytes() if done and file.is_file() else b""
    except OSError as error:
        raise OutputError(f"cannot write {named(path)}: {error.strerror or error}; free some space") from error
    except cv2.error as error:
        raise OutputError(_no_encoder(path)) from error
    if not data:
        raise OutputError(_no_encoder(path))
    return write_bytes(path, data)


def _no_encoder(path: Path) -> str:
    other, newest = (".mp4", " >= 4.11") if path.suffix.lower() == ".gif" else (".gif", "")
    return (
        f"cannot write {named(path)}: this OpenCV ({cv2.__version__}) cannot make such a file; "
        f"install opencv-python-headless{newest}, or name it {other}"
    )


def _gif(file: Path, frames: Picture, fps: float) -> bool:
    """Writes BGR frames; an OpenCV before 4.11 cannot."""
    if not hasattr(cv2, "imwriteanimation"):
        return False
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame) for frame in frames]
    animation.durations = [10 * round(100 / fps)] * len(frames)
    with quiet():
        return bool(cv2.imwriteanimation(str(file), animation, [cv2.IMWRITE_GIF_DITHER, _GIF_DITHER]))


def _mp4(file: Path, frames: Picture, fps: float) -> bool:
    """Writes BGR frames; the codec halves the colours' resolution, so the sides must be even."""
    padded = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    height, width = padded.shape[1:3]
    with quiet():
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        try:
            if not writer.isOpened():
                return False
            for frame in padded:
                writer.write(np.ascontiguousarray(frame))
        finally:
            writer.release()
    return True
