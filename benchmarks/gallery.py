"""Pictures of explained networks for ``docs/gallery.md``, small enough for a repository.

``python -m benchmarks.gallery -o docs/gallery NAME=MODEL.onnx[:PRESET] ...`` explains the demonstration network on the
built-in clip, and each named model's strongest class on one synthetic motion clip. Of each it draws the class's tubes
by depth, one stack of frames, and the chosen kernels with their links; of the demonstration network also a film.
Everything follows from fixed seeds. Colours are reduced to a palette until a picture is small enough.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_model import DEMO, DEMO_CLIP
from benchmarks.motion import clips
from cfp_onnx import pictures
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.presets import PRESETS
from cfp_onnx.explanation.call import explain
from cfp_onnx.files.whole import write_bytes
from cfp_onnx.model import load
from cfp_onnx.pyramid import tube_pictures
from cfp_onnx.pyramid.resampling import resample
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.tubes import Tube, Tubes
from cfp_onnx.pyramid.values import Kernel

Array = NDArray[Any]

CLIP_SEED = clips.TEST_SEED + 7
CLIP_SIDE = 256
PNG_BYTES = 200_000
GIF_BYTES = 690_000
MOST_WIDE = 1100
LEVELS, COLUMNS = 4, 5
DIAGRAM_DEPTHS, DIAGRAM_DOTS, DIAGRAM_RINGS = 6, 18, 8


# ------------------------------------------------------------------------------------------------- clips


def motion_clip(side: int = CLIP_SIDE) -> Array:
    """A synthetic motion clip enlarged smoothly: ``(T, side, side, 3) uint8``."""
    frames = clips.make_clip(CLIP_SEED).frames
    t, h, w = frames.shape[:3]
    own = (np.arange(t), np.arange(h), np.arange(w))
    places = (np.arange(t), np.linspace(-0.5, h - 0.5, side), np.linspace(-0.5, w - 0.5, side))
    planes = [resample(frames[..., c].astype(np.float32), own, places) for c in range(3)]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


# ----------------------------------------------------------------------------------------- small pictures


def palette_of(picture: Array, count: int) -> Array:
    """Colours that stand for all of a picture's, ``(count, 3) uint8``: the widest box is cut, again and again."""
    packed, weights = np.unique((picture >> 2).reshape(-1, 3) @ np.array([4096, 64, 1]), return_counts=True)
    colors = np.stack([packed >> 12, (packed >> 6) & 63, packed & 63], axis=1) * 4 + 2
    boxes = [np.arange(len(colors))]

    def spread(box: Array) -> float:
        return float(np.ptp(colors[box], axis=0).max()) * float(weights[box].sum()) ** 0.15

    while len(boxes) < count:
        widest = max(range(len(boxes)), key=lambda i: spread(boxes[i]))
        box = boxes[widest]
        if len(box) < 2:
            break
        axis = int(np.ptp(colors[box], axis=0).argmax())
        box = box[np.argsort(colors[box, axis], kind="stable")]
        total = np.cumsum(weights[box])
        cut = int(np.clip(np.searchsorted(total, total[-1] / 2), 1, len(box) - 1))
        boxes[widest : widest + 1] = [box[:cut], box[cut:]]
    means = [np.average(colors[b], axis=0, weights=weights[b]) for b in boxes]
    return np.clip(np.rint(means), 0, 255).astype(np.uint8)


def indexed(picture: Array, palette: Array) -> Array:
    """The nearest colour of each pixel, ``(h, w) uint8``."""
    packed, places = np.unique(picture.reshape(-1, 3) @ np.array([65536, 256, 1]), return_inverse=True)
    colors = np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=1).astype(np.float32)
    nearest = np.empty(len(colors), np.uint8)
    for start in range(0, len(colors), 8192):
        part = colors[start : start + 8192, None] - palette[None].astype(np.float32)
        nearest[start : start + 8192] = (part**2).sum(axis=2).argmin(axis=1)
    return nearest[places].reshape(picture.shape[:2])


def palette_png(picture: Array, count: int = 256) -> bytes:
    """A PNG of at most so many colours (colour type 3 of its specification)."""
    palette = palette_of(picture, count)
    pixels = indexed(picture, palette)
    height, width = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row is its filter: none
    rows[:, 1:] = pixels
    return b"".join((
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", palette.tobytes()),
        chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
        chunk(b"IEND", b""),
    ))  # fmt: skip


def small_png(picture: Array, limit: int = PNG_BYTES) -> bytes:
    """A PNG within the limit: fewer colours first, then fewer pixels."""
    picture = shrunk(picture, min(1.0, MOST_WIDE / picture.shape[1]))
    while True:
        for count in (256, 192, 128):
            data = palette_png(picture, count)
            if len(data) <= limit:
                return data
        picture = shrunk(picture, 0.88)


def shrunk(picture: Array, scale: float) -> Array:
    """A smaller picture, by the mean of the pixels that fall into one."""
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


# --------------------------------------------------------------------------------------------- diagrams


def diagram(pyramid: Pyramid, title: str) -> Array:
    """Chosen kernels of the first depths, those that feed them, and the links between."""
    head = next(x for x in pyramid.layers if x.depth == 0)
    top = (head.name, pyramid.target.index)
    strength: dict[tuple[Any, ...], tuple[float, str]] = {}
    for edge in pyramid.edges:
        most = max((abs(c.weight) for c in edge.channels), default=0.0)
        for link in edge.channels:
            for source in link.sources:
                key = ((edge.layer, edge.kernel), (source.layer, source.kernel))
                value = abs(link.weight) / most * source.share if most > 0 else 0.0
                if value > strength.get(key, (-1.0, ""))[0]:
                    strength[key] = (min(value, 1.0), source.via)
    rows = [pictures.DotRow("class", _class_words(pyramid), [("", [pictures.Dot(top, str(top[1]), 1.0)])])]
    shown, short = {top}, short_names([x.name for x in pyramid.layers if x.depth > 0])
    for depth in sorted(pyramid.levels)[:DIAGRAM_DEPTHS]:
        layers = [x for x in pyramid.layers if x.depth == depth]
        limit = max(1, DIAGRAM_DOTS // len(layers))
        groups: list[tuple[str, list[pictures.Dot]]] = []
        left_out = 0
        for layer in layers:
            chosen = [k for k in pyramid.kernels(depth) if k.layer == layer.name]
            left_out += max(0, len(chosen) - limit)
            dots = [_disc(k, max(layer.relevance)) for k in chosen[:limit]]
            known = {d.key for d in dots}
            feeding: dict[tuple[str, int], float] = {}
            for (reader, source), (value, _) in strength.items():
                if reader in shown and source[0] == layer.name and source not in known:
                    feeding[source] = max(value, feeding.get(source, 0.0))
            ranked = sorted(feeding, key=lambda s: (-feeding[s], s))[: max(1, DIAGRAM_RINGS // len(layers))]
            dots += [pictures.Dot(s, str(s[1]), 0.0, chosen=False) for s in ranked]
            if dots:
                groups.append((short[layer.name], dots))
        shown |= {d.key for _, dots in groups for d in dots}
        rows.append(pictures.DotRow(f"depth {depth}", _row_words(pyramid, depth, left_out, short), groups))
    lines = [pictures.DotLine(r, s, value, via) for (r, s), (value, via) in strength.items()]
    return pictures.pyramid_diagram(rows, lines, title=title, subtitle="chosen kernels and what feeds them")


def _disc(kernel: Kernel, most: float) -> pictures.Dot:
    share = min(max(kernel.relevance / most, 0.0), 1.0) if most > 0 else 0.0
    return pictures.Dot((kernel.layer, kernel.kernel), str(kernel.kernel), share)


def _class_words(pyramid: Pyramid) -> list[str]:
    label = pyramid.target.label
    return [*([] if label is None else [label]), f"score {pyramid.target.score:.3g}"]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the parts between slashes with which all of them begin and end."""
    parts = {name: name.split("/") for name in names}
    least = min((len(p) for p in parts.values()), default=1) - 1

    def common(place: Callable[[int], int]) -> int:
        same = (n for n in range(least) if len({p[place(n)] for p in parts.values()}) > 1)
        return next(same, least)

    start = common(lambda n: n)
    end = min(common(lambda n: -1 - n), least - start)
    return {name: "/".join(p[start : len(p) - end]) for name, p in parts.items()}


def _row_words(pyramid: Pyramid, depth: int, left_out: int, short: Mapping[str, str]) -> list[str]:
    layers = [x for x in pyramid.layers if x.depth == depth]
    count = len(pyramid.kernels(depth))
    name = short[layers[0].name] if len(layers) == 1 else f"{len(layers)} layers"
    name = name if len(name) <= 30 else f"...{name[-27:]}"
    words = f"{count} of {sum(x.kernels for x in layers)} kernels"
    return [name, words + (f", {left_out} not drawn" if left_out else "")]


# ---------------------------------------------------------------------------------------------- gallery


@dataclass(frozen=True)
class Subject:
    """A network of the gallery."""

    name: str
    model: Path
    preset: str | None = None


def subject_of(text: str) -> Subject:
    """``NAME=MODEL.onnx[:PRESET]``."""
    name, equals, rest = text.partition("=")
    path, colon, preset = rest.rpartition(":")
    if not (colon and preset in PRESETS):
        path, preset = rest, ""
    if not (name.isidentifier() and equals and path.endswith(".onnx")):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=MODEL.onnx[:PRESET]; presets: {', '.join(PRESETS)}")
    return Subject(name, Path(path), preset or None)


def draw(name: str, pyramid: Pyramid, folder: Path, *, stacked: Tube) -> None:
    """The three pictures of one network."""
    assert pyramid.tubes is not None
    assert pyramid.media is not None
    assert pyramid.media.frames is not None
    sheet = sheet_of(name, pyramid)
    write_bytes(folder / f"{name}-levels.png", small_png(sheet.levels(LEVELS, COLUMNS)))
    scale = pyramid.tubes.scale(stacked.kind, stacked.depth)
    stack = pictures.stack(
        pyramid.media.frames, stacked.at(pyramid.media.size), low=scale.low, high=scale.high,
        title=tube_pictures.tube_title(stacked, sheet.subject), unit=tube_pictures.UNIT_WORDS[stacked.kind],
        limit=8,
    )  # fmt: skip
    write_bytes(folder / f"{name}-stack.png", small_png(stack))
    write_bytes(folder / f"{name}-pyramid.png", small_png(diagram(pyramid, sheet.subject)))


def sheet_of(name: str, pyramid: Pyramid) -> tube_pictures.TubePictures:
    """What draws the class's tubes, with the network's name in the title."""
    subject = f"{name}, {tube_pictures.class_title(pyramid.target.index, pyramid.target.label)}"
    return tube_pictures.TubePictures(pyramid.tubes or Tubes((1, 1, 1), ()), pyramid.media, subject, "none")


def film(pyramid: Pyramid, file: Path) -> None:
    """The class's tube, playing."""
    assert pyramid.tubes is not None
    assert pyramid.media is not None
    tube = pyramid.tubes.find("evidence")
    scale = pyramid.tubes.scale("evidence", tube.depth)
    shots = pictures.film(
        pyramid.media.frames, tube.at(pyramid.media.size), low=scale.low, high=scale.high,
        title=f"Where does something speak for “{pyramid.target.label}”, or against it?",
        unit=tube_pictures.UNIT_WORDS["evidence"],
    )  # fmt: skip
    scale_to = 1.0
    while True:
        pictures.write_animation(file, np.stack([shrunk(s, scale_to) for s in shots]), fps=6)
        if file.stat().st_size <= GIF_BYTES:
            return
        scale_to *= 0.88


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=subject_of, metavar="NAME=MODEL.onnx[:PRESET]")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--no-demo", action="store_true", help="draw the named models only")
    options = parser.parse_args(arguments)
    if not options.no_demo:
        pyramid = explain(DEMO, DEMO_CLIP, depth="all", device="cpu")
        assert pyramid.tubes is not None
        draw("demo", pyramid, options.out, stacked=pyramid.tubes.find("evidence"))
        film(pyramid, options.out / "demo.gif")
        print("demo", pyramid)
    for subject in options.models:
        start = time.perf_counter()
        preprocess = Preprocess() if subject.preset is None else PRESETS[subject.preset]
        pyramid = explain(load(subject.model), motion_clip(), depth="all", preprocess=preprocess, device="cpu")
        assert pyramid.tubes is not None
        draw(subject.name, pyramid, options.out, stacked=pyramid.tubes.find("evidence"))
        print(f"{subject.name}: {len(pyramid.levels)} depths, {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
