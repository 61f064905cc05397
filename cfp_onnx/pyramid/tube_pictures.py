"""Tubes as pictures, films and arrays in files of their own, and all depths in one picture."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx.files.whole import write_bytes
from cfp_onnx.pictures import sheets as pictures
from cfp_onnx.pyramid.drawings import DEFAULT_DEPTHS, spread
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes, drawn_values
from cfp_onnx.values import Array

NOTEBOOK_BYTES = 480_000
"""Most bytes of the picture that a notebook shows."""


OVERVIEW_DEPTHS = 16
"""Most rows of the overview; of more depths, as many evenly spaced ones."""


@dataclass(frozen=True)
class Sheet:
    """Draws tubes of one pyramid into files.

    Attributes:
        tubes: All tubes, for the scales.
        media: What is seen of the clip.
        subject: The class, in words.
        animation: ``mp4``, ``gif`` or ``none``.
    """

    tubes: Tubes
    media: Media
    subject: str
    animation: str = "mp4"

    def draw(self, tube: Tube, folder: Path) -> list[Path]:
        """Strip (or picture, or curve), stack of frames, animation and array of one tube.

        Raises:
            OutputError: If a file cannot be written.
        """
        stem = folder / file_stem(tube)
        size = self.media.size
        volume = tube.at(size)
        scale = self.tubes.scale(tube.kind, tube.depth)
        options: dict[str, Any] = {
            "low": scale.low, "high": scale.high, "unit": UNIT_WORDS[tube.kind], "scope": f"depth {tube.depth}",
            "constant": tube.constant, "extremes": (float(tube.values.min()), float(tube.values.max())),
            "title": title(tube, self.subject), "subtitle": self._subtitle(tube),
        }  # fmt: skip
        arrays: dict[str, Any] = {"tube": volume, "low": scale.low, "high": scale.high}
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        written = [write_bytes(stem.with_suffix(".npz"), stream.getvalue())]
        drawn = drawn_values(volume, tube.kind)
        if self.media.kind == "curve" and self.media.curve is not None:
            picture = pictures.curve(self.media.curve, drawn.reshape(-1), **options)
            return [*written, pictures.write_png(stem.with_suffix(".png"), picture)]
        if self.media.frames is None:
            return written
        if self.media.kind == "image":
            picture = pictures.image(self.media.frames[0], drawn[0], **options)
            return [*written, pictures.write_png(stem.with_suffix(".png"), picture)]
        written.append(
            pictures.write_png(stem.with_suffix(".png"), pictures.strip(self.media.frames, drawn, **options))
        )
        stacked = pictures.stack(self.media.frames, drawn, **options)
        written.append(pictures.write_png(stem.with_name(f"{stem.name}_stack.png"), stacked))
        if self.animation != "none":
            film = pictures.film(self.media.frames, drawn, **options)
            written.append(pictures.write_animation(stem.with_suffix(f".{self.animation}"), film))
        return written

    def overview(self, path: Path) -> Path | None:
        """The class's tubes of at most `OVERVIEW_DEPTHS` depths in one picture; None where nothing can be drawn."""
        picture = self.levels(OVERVIEW_DEPTHS)
        return None if picture is None else pictures.write_png(path, picture)

    def levels(self, depths: int, columns: int = 8) -> Array | None:
        """The class's tubes of at most so many depths over frames, (h, w, 3) uint8; None where there are none.

        Args:
            depths: Most rows; of more depths, as many evenly spaced ones.
            columns: Most frames per row.
        """
        found = self.tubes.of("relevance", "depth")
        if self.media.frames is None or not found:
            return None
        rows = []
        for tube in spread(found, depths):
            scale = self.tubes.scale("relevance", tube.depth)
            extremes = (float(tube.values.min()), float(tube.values.max()))
            rows.append(
                pictures.Level(
                    f"depth {tube.depth}", tube.at(self.media.size), scale.low, scale.high, UNIT_WORDS["relevance"],
                    tube.constant, extremes,
                )
            )  # fmt: skip
        some = "" if len(rows) == len(found) else f"; {len(rows)} of {len(found)} depths"
        return pictures.levels(
            self.media.frames, rows, title=self.subject, subtitle=CLASS_WORDS + some, columns=columns
        )

    def _subtitle(self, tube: Tube) -> str:
        t, h, w = tube.values.shape
        frames, height, width = self.media.size
        words = CLASS_WORDS if tube.kind == "relevance" else KERNEL_WORDS
        return f"{words}; map {t} x {h} x {w} over a clip of {frames} x {height} x {width}"


def overview_address(tubes: Tubes, media: Media, target: Mapping[str, Any]) -> str | None:
    """The class's tubes of at most four depths as a ``data:`` address of a PNG; None where there is no picture.

    As many frames as `NOTEBOOK_BYTES` hold are shown, six at most.
    """
    sheet = Sheet(tubes, media, class_words(target), "none")
    for columns in range(6, 0, -1):
        picture = sheet.levels(DEFAULT_DEPTHS, columns)
        if picture is None:
            return None
        data = pictures.encode_png(picture)
        if len(data) <= NOTEBOOK_BYTES:
            break
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


UNIT_WORDS = {"activation": "activation", "relevance": "relevance per pixel"}


CLASS_WORDS = "where the evidence for the class lies (rule zplus)"


KERNEL_WORDS = "where it fires"


def title(tube: Tube, subject: str) -> str:
    """What a picture shows, in words."""
    where = f"depth {tube.depth}" if tube.layer is None else tube.layer
    if tube.kernel is not None:
        where = f"kernel {tube.kernel} of {tube.layer}"
    what = "Evidence" if tube.kind == "relevance" else "Activation"
    return f"{subject}: {what.lower()} at {where}"


_LIKE_OURS = re.compile(r"-[0-9a-f]{8}$|_kernel[0-9]+$")
"""Ends of layer names that could be mistaken for what `file_stem` adds."""


def file_stem(tube: Tube) -> str:
    """A file name without suffix that says what a tube is and that every file system takes."""
    parts = [f"depth{tube.depth}"]
    if tube.layer is not None:
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", tube.layer).strip("-")[:48]
        if slug != tube.layer or not slug or _LIKE_OURS.search(slug):
            slug += "-" + hashlib.sha256(tube.layer.encode("utf-8", "backslashreplace")).hexdigest()[:8]
        parts.append(slug)
    if tube.kernel is not None:
        parts.append(f"kernel{tube.kernel}")
    return "_".join([*parts, tube.kind])


def class_words(target: Mapping[str, Any]) -> str:
    """The class as titles name it."""
    label = target["label"]
    return f"class {target['index']}" if label is None else f"class {target['index']} “{label}”"


__all__ = [
    "CLASS_WORDS",
    "KERNEL_WORDS",
    "NOTEBOOK_BYTES",
    "OVERVIEW_DEPTHS",
    "UNIT_WORDS",
    "Sheet",
    "class_words",
    "file_stem",
    "overview_address",
    "title",
]
