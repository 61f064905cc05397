"""The folder that an explanation leaves: the page, the numbers, and the tubes as arrays and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cfp_onnx.errors import UsageError
from cfp_onnx.files.whole import write_bytes, write_json, write_text
from cfp_onnx.pyramid.drawings import ANIMATIONS, Drawing, check_animation, tubes_to_draw
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.page_payload import report_html
from cfp_onnx.pyramid.tube_file import TUBES_FILE, owner, tubes_bytes
from cfp_onnx.pyramid.tube_pictures import TubePictures, class_title
from cfp_onnx.pyramid.tubes import Tubes
from cfp_onnx.values import Progress


def write_folder(
    folder: Path,
    pyramid: Mapping[str, Any],
    *,
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
    drawings: Sequence[Drawing] | None = None,
    animation: str = ANIMATIONS[0],
    progress: Progress | None = None,
) -> list[Path]:
    """Write ``pyramid.json``, ``report.html``, ``tubes.npz`` and the drawings into a folder.

    Args:
        folder: Made where it is missing.
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes; without them only the page and the JSON are written.
        media: The clip as people see it.
        facts: Versions, time of day and times taken.
        drawings: Which tubes become pictures; by default those of the class and of the strongest kernel at up to
            `DEFAULT_DEPTHS` depths.
        animation: ``mp4``, ``gif`` or ``none``.
        progress: Called before each tube that is drawn.

    Returns:
        The files, the report first.

    Raises:
        OutputError: If a file cannot be written; each file is whole or not there.
        UsageError: If the animation is unknown, or tubes are asked for that were not recorded.
    """
    check_animation(animation)
    if drawings and (tubes is None or media is None):
        raise UsageError(
            "there are no tubes to draw: the model's input has no space or time, or they were not recorded; "
            "leave the drawings (--tube) out, or explain again with tubes=True"
        )
    wanted = [] if tubes is None else tubes_to_draw(tubes, drawings, pyramid)
    page = report_html(pyramid, topology=topology, tubes=tubes, media=media, facts=facts)
    written = [write_text(folder / "report.html", page), write_json(folder / "pyramid.json", pyramid)]
    if tubes is None or media is None:
        return written
    written.append(write_bytes(folder / TUBES_FILE, tubes_bytes(tubes, media, of=owner(pyramid))))
    target = pyramid["target"]
    pictures = TubePictures(
        tubes, media, target.get("title") or class_title(target["index"], target["label"]), animation
    )
    overview = pictures.overview(folder / "tubes" / "class.png")
    written.extend([overview] if overview is not None else [])
    for n, tube in enumerate(wanted):
        if progress is not None:
            progress("drawing tubes", n, len(wanted))
        written.extend(pictures.draw(tube, folder / "tubes"))
    return written


__all__ = ["write_folder"]
