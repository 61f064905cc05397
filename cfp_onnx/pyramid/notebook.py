"""A pyramid as a small piece of HTML for notebooks."""

from __future__ import annotations

import html

from cfp_onnx.pyramid.drawings import evenly_spaced
from cfp_onnx.pyramid.headers import target_title
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.question import rather_than
from cfp_onnx.pyramid.tube_pictures import overview_address
from cfp_onnx.pyramid.tubes import Tubes
from cfp_onnx.pyramid.values import Findings, Kernel, ranks_in_layers
from cfp_onnx.text import printable

NOTEBOOK_DEPTHS = 12
"""Most depths in the table; of more, as many evenly spaced ones."""

NOTEBOOK_KERNELS = 5
"""Most kernels of a depth in the table."""

_CELL = "text-align:left;overflow-wrap:anywhere"


def notebook_html(pyramid: Findings, tubes: Tubes | None, media: Media | None) -> str:
    """The answer, a picture of the class's tubes at up to four depths, and the strongest kernels of each depth.

    Args:
        pyramid: The pyramid.
        tubes: Its tubes; without them there is no picture.
        media: The clip as people see it.
    """
    target = pyramid.target
    picture = None if tubes is None or media is None else overview_address(tubes, media, target)
    image = "" if picture is None else f"<img alt='class tubes by depth' style='max-width:100%' src='{picture}'>"
    depths = evenly_spaced(sorted(pyramid.levels), NOTEBOOK_DEPTHS)
    some = f"<p>{len(depths)} of {len(pyramid.levels)} depths</p>" if len(depths) < len(pyramid.levels) else ""
    rows = "".join(_row(depth, pyramid.levels[depth]) for depth in depths)
    against = rather_than(target, pyramid.run)
    answer = f"{against and f'{_escaped(against)}, '}score {target.score:.4g}, rule {_escaped(pyramid.run.rule)}"
    return (
        f"<div><p><b>{_escaped(target_title(target))}</b>, {answer}</p>{image}"
        f"<table><tr><th scope='col'>depth</th><th scope='col' style='{_CELL}'>strongest kernels of each layer</th>"
        f"</tr>{rows}</table>{some}</div>"
    )


def _row(depth: int, kernels: tuple[Kernel, ...]) -> str:
    """The strongest kernel of each layer, then the second of each: relevance is compared within a layer only."""
    ranked = sorted(zip(ranks_in_layers(k.layer for k in kernels), kernels, strict=True), key=lambda pair: pair[0])
    words = ", ".join(_escaped(f"{k.layer}:{k.kernel}") for _, k in ranked[:NOTEBOOK_KERNELS]) or "none"
    more = len(ranked) - NOTEBOOK_KERNELS
    tail = f" and {more} more" if more > 0 else ""
    return f"<tr><th scope='row'>{depth}</th><td style='{_CELL}'>{words}{tail}</td></tr>"


def _escaped(text: object) -> str:
    return html.escape(printable(text))


__all__ = ["NOTEBOOK_DEPTHS", "NOTEBOOK_KERNELS", "notebook_html"]
