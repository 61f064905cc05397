"""Tubes as pictures, films and arrays in files of their own, and all depths in one picture."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx.files.whole import write_bytes
from cfp_onnx.pictures import curves, encode, pairs, sheets, slanted
from cfp_onnx.pyramid.drawings import DEFAULT_DEPTHS, evenly_spaced
from cfp_onnx.pyramid.headers import TargetHeader
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes, drawn_values
from cfp_onnx.values import Array

NOTEBOOK_BYTES = 480_000
"""Most bytes of the picture that a notebook shows."""

OVERVIEW_DEPTHS = 16
"""Most rows of the overview; of more depths, as many evenly spaced ones."""

UNIT_WORDS = {
    "activation": "activation", "relevance": "relevance per pixel", "evidence": "evidence, share of the strongest",
}  # fmt: skip
EVIDENCE_WORDS = "where in the clip the evidence for the class lies, and against it"
CLASS_WORDS = "where this depth holds what speaks for the class"
KERNEL_WORDS = "where it fires"


@dataclass(frozen=True)
class TubePictures:
    """Draws tubes of one pyramid into files.

    Attributes:
        tubes: All tubes, for the scales.
        media: The clip as people see it.
        subject: The class, in words.
        animation: ``mp4``, ``gif`` or ``none``.
    """

    tubes: Tubes
    media: Media
    subject: str
    animation: str = "mp4"

    def draw(self, tube: Tube, folder: Path) -> list[Path]:
        """The array of one tube, and what suits the clip: a picture, a curve, or strip, stack of frames and film.

        Raises:
            OutputError: If a file cannot be written.
        """
        stem = folder / file_stem(tube)
        volume = tube.at(self.media.size)
        scale = self.tubes.scale(tube.kind, tube.depth)
        options: dict[str, Any] = {
            "low": scale.low, "high": scale.high, "unit": UNIT_WORDS[tube.kind],
            "scope": f"depth {tube.depth}" if tube.depth else "",
            "constant": tube.constant, "extremes": _extremes(tube),
            "title": tube_title(tube, self.subject), "subtitle": self._subtitle(tube),
        }  # fmt: skip
        array = _npz(tube=volume, low=scale.low, high=scale.high)
        return [
            write_bytes(stem.with_suffix(".npz"), array),
            *self._pictures(stem, drawn_values(volume, tube.kind), options),
        ]

    def _pictures(self, stem: Path, drawn: Array, options: dict[str, Any]) -> list[Path]:
        png = stem.with_suffix(".png")
        if self.media.kind == "curve" and self.media.curve is not None:
            return [encode.write_png(png, curves.curve(self.media.curve, drawn.reshape(-1), **options))]
        frames = self.media.frames
        if frames is None:
            return []
        if self.media.kind == "image":
            return [encode.write_png(png, pairs.image(frames[0], drawn[0], **options))]
        written = [
            encode.write_png(png, sheets.strip(frames, drawn, **options)),
            encode.write_png(stem.with_name(f"{stem.name}_stack.png"), slanted.stack(frames, drawn, **options)),
        ]
        if self.animation != "none":
            film = pairs.film(frames, drawn, **options)
            written.append(encode.write_animation(stem.with_suffix(f".{self.animation}"), film))
        return written

    def overview(self, path: Path) -> Path | None:
        """The class's tubes of at most `OVERVIEW_DEPTHS` depths in one picture; None where nothing can be drawn."""
        picture = self.levels(OVERVIEW_DEPTHS)
        return None if picture is None else encode.write_png(path, picture)

    def levels(self, depths: int, columns: int = 8) -> Array | None:
        """The class's tube, then the maps of at most so many depths; (h, w, 3) uint8, None where there are none.

        Args:
            depths: Most rows; of more depths, as many evenly spaced ones.
            columns: Most frames per row.
        """
        own, found = self.tubes.of("evidence", "class"), self.tubes.of("relevance", "depth")
        if self.media.frames is None or not (own or found):
            return None
        kept = evenly_spaced(found, depths)
        some = "" if len(kept) == len(found) else f"; {len(kept)} of {len(found)} depths"
        words = "; ".join(w for w, there in ((EVIDENCE_WORDS, own), (f"below, {CLASS_WORDS}{some}", found)) if there)
        rows = [self._level(tube) for tube in (*own, *kept)]
        return sheets.levels(self.media.frames, rows, title=self.subject, subtitle=words, columns=columns)

    def _level(self, tube: Tube) -> sheets.Level:
        scale = self.tubes.scale(tube.kind, tube.depth)
        return sheets.Level(
            f"depth {tube.depth}" if tube.depth else "the class", tube.at(self.media.size), scale.low, scale.high,
            UNIT_WORDS[tube.kind],
            tube.constant, _extremes(tube),
        )  # fmt: skip

    def _subtitle(self, tube: Tube) -> str:
        t, h, w = tube.values.shape
        frames, height, width = self.media.size
        words = {"relevance": CLASS_WORDS, "evidence": EVIDENCE_WORDS}.get(tube.kind, KERNEL_WORDS)
        return f"{words}; map {t} x {h} x {w} over a clip of {frames} x {height} x {width}"


def overview_address(tubes: Tubes, media: Media, target: TargetHeader) -> str | None:
    """The class's tube and maps of depths, four rows at most, as a ``data:`` address of a PNG; None without pictures.

    It shows six frames, or fewer where they would take more than `NOTEBOOK_BYTES`.
    """
    drawn = TubePictures(tubes, media, target.title or class_title(target.index, target.label), "none")
    rows = DEFAULT_DEPTHS - len(tubes.of("evidence", "class"))
    for columns in range(6, 0, -1):
        picture = drawn.levels(rows, columns)
        if picture is None:
            return None
        data = encode.encode_png(picture)
        if len(data) <= NOTEBOOK_BYTES:
            break
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _extremes(tube: Tube) -> tuple[float, float]:
    return float(tube.values.min()), float(tube.values.max())


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def class_title(index: int, label: str | None) -> str:
    """The class as titles name it."""
    return f"class {index}" if label is None else f"class {index} “{label}”"


def tube_title(tube: Tube, subject: str) -> str:
    """What a picture of a tube shows, in words.

    Args:
        tube: The tube.
        subject: The class, in words.
    """
    if tube.kind == "evidence":
        return f"{subject}: evidence for and against{'' if tube.layer is None else f' that {tube.layer} holds'}"
    where = f"depth {tube.depth}" if tube.layer is None else tube.layer
    if tube.kernel is not None:
        where = f"kernel {tube.kernel} of {tube.layer}"
    return f"{subject}: {tube.kind} at {where}"


_LIKE_OURS = re.compile(r"-[0-9a-f]{8}$|_kernel[0-9]+$")
"""Ends of layer names that could be mistaken for what `file_stem` adds."""


def file_stem(tube: Tube) -> str:
    """A file name without suffix that says what a tube is and that every file system takes."""
    if tube.kind == "evidence" and tube.layer is None:
        return "class_evidence"
    parts = [f"depth{tube.depth}"]
    if tube.layer is not None:
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", tube.layer).strip("-")[:48]
        if slug != tube.layer or not slug or _LIKE_OURS.search(slug):
            slug += "-" + hashlib.sha256(tube.layer.encode("utf-8", "backslashreplace")).hexdigest()[:8]
        parts.append(slug)
    if tube.kernel is not None:
        parts.append(f"kernel{tube.kernel}")
    return "_".join([*parts, tube.kind])


__all__ = [
    "CLASS_WORDS", "EVIDENCE_WORDS", "KERNEL_WORDS", "NOTEBOOK_BYTES", "OVERVIEW_DEPTHS", "UNIT_WORDS", "TubePictures",
    "class_title", "file_stem", "overview_address", "tube_title",
]  # fmt: skip
