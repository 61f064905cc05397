"""What an explanation leaves in a folder: the page, the numbers, and the tubes as pictures, films and arrays."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx import pictures
from cfp_onnx.errors import UsageError
from cfp_onnx.files.whole import named, write_bytes, write_json, write_text
from cfp_onnx.pyramid.tubes import KINDS, UNITS, Media, Size, Tube, Tubes, weighted
from cfp_onnx.report import render
from cfp_onnx.values import Array, Progress

ANIMATIONS = ("mp4", "gif", "none")
TUBES_FILE = "tubes.npz"
TUBES_VERSION = 1

REPORT_BYTES = 8 * 10**6
"""Most bytes of a report."""

REPORT_TUBES = 3 * 2**20
"""Bytes of maps that a report holds at first; halved until the page is small enough."""

REPORT_MAP = 2**16
"""Most elements of one map in a report; a finer one is averaged."""

REPORT_LINKS = 20_000
"""Most links in a report; ``pyramid.json`` holds all."""

REPORT_FRAMES = 2 * 10**6
"""Bytes that the frames of a report may take; larger ones are shrunk."""

REPORT_SAMPLES = 100_000
"""Most numbers of a signal in a report; of a longer one, the lowest and highest of each stretch."""

NOTEBOOK_BYTES = 480_000
"""Most bytes of the picture that a notebook shows."""

DRAWN = 3
"""Kernels of a depth that are drawn unless more are asked for."""


@dataclass(frozen=True)
class Drawing:
    """Which tubes are drawn into files.

    Attributes:
        kind: ``activation`` or ``relevance``.
        unit: One tube for each ``kernel``, ``layer`` or ``depth``.
        limit: Most tubes per depth, the strongest.
    """

    kind: str
    unit: str
    limit: int = DRAWN

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.unit not in UNITS:
            raise UsageError(
                f"a tube is {' or '.join(KINDS)} of one {', '.join(UNITS)}; {self.kind!r} of {self.unit!r} is neither"
            )
        if self.limit < 1:
            raise UsageError(f"the number of tubes is {self.limit}, it must be at least 1")


DEFAULT_DEPTHS = 4
"""Depths that are drawn where nothing is asked for, evenly spaced: the class's tube and the strongest kernel's."""

OVERVIEW_DEPTHS = 16
"""Most rows of the overview; of more depths, as many evenly spaced ones."""


# ------------------------------------------------------------------------------------------------ arrays


def owner(pyramid: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the tubes of one pyramid from those of another: its file, clip, class and rule."""
    target, run = pyramid["target"], pyramid["run"]
    return {
        "model": pyramid["model"]["sha256"], "input": pyramid["input"]["sha256"], "shape": pyramid["input"]["shape"],
        "output": target["output"], "index": target["index"],
        **{key: run[key] for key in ("rule", "class_step", "theta", "top_k", "depth")},
    }  # fmt: skip


def tubes_bytes(tubes: Tubes, media: Media | None, *, of: Mapping[str, Any]) -> bytes:
    """All tubes at their own resolution, with their coordinates and the clip, as a compressed ``.npz``.

    Args:
        tubes: The tubes.
        media: What is seen of the clip.
        of: The `owner`.
    """
    index = [
        {"kind": t.kind, "depth": t.depth, "layer": t.layer, "kernel": t.kernel, "constant": t.constant}
        for t in tubes.items
    ]
    meta: dict[str, Any] = {
        "format": TUBES_VERSION, "of": dict(of), "size": list(tubes.size), "notes": list(tubes.notes), "tubes": index,
    }  # fmt: skip
    arrays: dict[str, Array] = {}
    if media is not None:
        meta["media"] = {"kind": media.kind, "size": list(media.size), "note": media.note}
        arrays.update({k: v for k, v in (("frames", media.frames), ("curve", media.curve)) if v is not None})
    for i, tube in enumerate(tubes.items):
        arrays[f"values_{i}"] = tube.values
        arrays.update({f"{axis}_{i}": c for axis, c in zip("thw", tube.centres, strict=True)})
    stream = io.BytesIO()
    np.savez_compressed(stream, index=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError, MemoryError, RuntimeError,
    SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and the zip reader raise on files that are damaged or not theirs."""


def read_tubes(path: Path, *, of: Mapping[str, Any] | None = None) -> tuple[Tubes | None, Media | None]:
    """Tubes that `tubes_bytes` wrote.

    Args:
        path: The file.
        of: The `owner`; nothing is returned where the tubes are another's. None takes any.

    Raises:
        UsageError: If the file is not such a file, or is not whole.
    """
    try:
        with (
            path.open("rb") as stream,
            np.load(stream, allow_pickle=False) as found,
        ):  # NumPy leaks what it opens itself
            meta = json.loads(str(found["index"]))
            if meta["format"] != TUBES_VERSION:
                raise UsageError(f"{named(path)} has format {meta['format']}; this version reads {TUBES_VERSION}")
            if of is not None and meta["of"] != dict(of):
                return None, None
            size = _size(meta["size"])
            items = tuple(_tube(i, entry, found) for i, entry in enumerate(meta["tubes"]))
            own = meta.get("media")
            media = None if own is None else _read_media(own, found)
        return Tubes(size, items, tuple(str(n) for n in meta["notes"])), media
    except _UNREADABLE as error:
        raise UsageError(f"{named(path)} holds no whole tubes of this program: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _tube(number: int, entry: Mapping[str, Any], found: Mapping[str, Array]) -> Tube:
    values = found[f"values_{number}"]
    centres = tuple(found[f"{axis}_{number}"] for axis in "thw")
    for name, array in (("values", values), *zip("thw", centres, strict=True)):
        if array.dtype.kind != "f" or not array.size or not np.isfinite(array).all():
            raise ValueError(f"{name}_{number} holds something else than finite numbers")
    shapes = [len(c) if c.ndim == 1 else -1 for c in centres]
    if list(values.shape) != shapes or any((np.diff(c) < 0).any() for c in centres):
        raise ValueError(f"tube {number} has shape {values.shape} and coordinates that do not fit it")
    kind, depth, layer, kernel = (entry[k] for k in ("kind", "depth", "layer", "kernel"))
    whole = type(depth) is int and type(kernel) in {int, type(None)} and type(entry["constant"]) is bool
    if kind not in KINDS or not whole or type(layer) not in {str, type(None)}:
        raise ValueError(f"tube {number} is described as {dict(entry)}")
    return Tube(kind, depth, layer, kernel, values, (centres[0], centres[1], centres[2]), entry["constant"])


def _read_media(own: Mapping[str, Any], found: Mapping[str, Array]) -> Media:
    size = _size(own["size"])
    frames, curve = found.get("frames"), found.get("curve")
    if frames is not None and (frames.shape != (*size, 3) or frames.dtype != np.uint8):
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, which are no pictures of {size}")
    if curve is not None and (curve.ndim != 2 or curve.shape[1] != size[2] or not np.isfinite(curve).all()):
        raise ValueError(f"curve is {curve.dtype} {curve.shape}, which is no signal of {size[2]} samples")
    return Media(str(own["kind"]), size, frames, curve, str(own["note"]))


def _size(values: Sequence[int]) -> Size:
    frames, height, width = (int(v) for v in values)
    if min(frames, height, width) < 1:
        raise ValueError(f"the clip's size is {list(values)}")
    return frames, height, width


# ------------------------------------------------------------------------------------------------ report


def report(
    pyramid: Mapping[str, Any],
    *,
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
) -> str:
    """The page, within `REPORT_BYTES` wherever maps and links can be left out for it.

    Args:
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes.
        media: What is seen of the clip.
        facts: Versions, time of day and times taken.
    """
    budget, links = REPORT_TUBES, REPORT_LINKS
    while True:
        page = render(payload(pyramid, topology, tubes, media, facts, budget=budget, links=links))
        if len(page.encode()) <= REPORT_BYTES or (budget < 2**16 and links < 500):
            return page
        budget, links = budget // 2, links // 2


def payload(
    pyramid: Mapping[str, Any],
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
    *,
    budget: int = REPORT_TUBES,
    links: int = REPORT_LINKS,
) -> dict[str, Any]:
    """What a report is made of, as plain JSON values.

    Args:
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes.
        media: What is seen of the clip.
        facts: Versions, time of day and times taken.
        budget: Bytes of maps.
        links: Most links.
    """
    notes: list[str] = [] if tubes is None else list(tubes.notes)
    edges, dropped = _strongest_links(pyramid["edges"], links, _ranks(pyramid["levels"]))
    if dropped:
        notes.append(f"{dropped} weaker links are left out of this page; pyramid.json holds them")
    maps, scales = _maps(tubes, budget, notes)
    return {
        "format": 1,
        "pyramid": {**pyramid, "edges": edges},
        "topology": topology,
        "colormap": {"name": "inferno", "rgb": _base64(pictures.colormap().tobytes())},
        "media": _media(media),
        "tubes": {"notes": notes, "scales": scales, "maps": maps},
        "facts": dict(facts),
    }


def _ranks(levels: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """Chosen kernels with their place in their layer, 0 for the strongest."""
    seen: dict[str, int] = {}
    ranks = {}
    for level in levels:
        for kernel in level["kernels"]:
            ranks[kernel["layer"], kernel["kernel"]] = seen.setdefault(kernel["layer"], 0)
            seen[kernel["layer"]] += 1
    return ranks


def _strongest_links(
    edges: Sequence[Mapping[str, Any]], limit: int, ranks: Mapping[tuple[str, int], int]
) -> tuple[list[Mapping[str, Any]], int]:
    """Edges with at most so many links in all, an equal share for each kernel.

    Where there are more kernels than links, the strongest kernels of each layer keep one; the class comes first.
    """
    counts = sorted(len(e["channels"]) for e in edges)
    total, most = sum(counts), max(counts, default=0)
    if total <= limit:
        return list(edges), 0
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(c, middle) for c in counts) <= limit else (low, middle - 1)
    order = sorted(range(len(edges)), key=lambda i: ranks.get((edges[i]["layer"], edges[i]["kernel"]), -1))
    kept: list[Mapping[str, Any]] = []
    for i in sorted(order[:limit]):
        ordered = sorted(edges[i]["channels"], key=lambda c: -abs(c["weight"]))[:low]
        kept.append({**edges[i], "channels": ordered})
    return kept, total - sum(len(e["channels"]) for e in kept)


def _maps(tubes: Tubes | None, budget: int, notes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Maps of depths and kernels as bytes on their depth's scale, as many as the budget holds, the class's first."""
    if tubes is None:
        return [], []
    wanted = [*tubes.of("relevance", "depth"), *_by_rank(tubes.of("activation", "kernel"))]
    scales = {key: tubes.scale(*key) for key in dict.fromkeys((t.kind, t.depth) for t in wanted)}
    maps, spent, omitted, averaged = [], 0, 0, 0
    for tube in wanted:
        small = _averaged(tube)
        if spent + small.values.size > budget:
            omitted += 1
            continue
        spent += small.values.size
        averaged += small is not tube
        maps.append(_map(small, tube, scales[tube.kind, tube.depth].high))
    if omitted:
        notes.append(f"{omitted} more tubes did not fit into this page; {TUBES_FILE} holds them")
    if averaged:
        notes.append(f"{averaged} fine maps are averaged over neighbouring elements for this page")
    return maps, [
        {"kind": kind, "depth": depth, "low": s.low, "high": s.high, "unit": s.unit}
        for (kind, depth), s in scales.items()
    ]


def _by_rank(tubes: Sequence[Tube]) -> list[Tube]:
    """First the strongest kernel of each layer, then the second of each, and so on."""
    rank: dict[str | None, int] = {}
    keyed = []
    for tube in tubes:
        rank[tube.layer] = rank.get(tube.layer, 0) + 1
        keyed.append((rank[tube.layer], tube.depth, tube))
    return [t for _, _, t in sorted(keyed, key=lambda x: x[:2])]


def _averaged(tube: Tube) -> Tube:
    """A map of at most `REPORT_MAP` elements: runs of neighbours along height and width are averaged."""
    if tube.values.size <= REPORT_MAP:
        return tube
    counts = list(tube.values.shape)
    while np.prod(counts) > REPORT_MAP and max(counts[1:]) > 1:
        axis = 1 if counts[1] >= counts[2] else 2
        counts[axis] = max(1, counts[axis] // 2)
    values, centres = tube.values.astype(np.float64), list(tube.centres)
    for axis in (1, 2):
        length = values.shape[axis]
        starts = np.arange(counts[axis]) * length // counts[axis]
        runs = np.diff([*starts, length])
        values = np.add.reduceat(values, starts, axis=axis) / runs.reshape([-1 if a == axis else 1 for a in range(3)])
        centres[axis] = np.add.reduceat(np.asarray(centres[axis], np.float64), starts) / runs
    return replace(tube, values=values.astype(np.float32), centres=(centres[0], centres[1], centres[2]))


def _map(small: Tube, tube: Tube, high: float) -> dict[str, Any]:
    level = np.clip(sizes(small.values, tube.kind) / (high or 1.0), 0, 1)
    return {
        "kind": tube.kind, "depth": tube.depth, "layer": tube.layer, "kernel": tube.kernel,
        "shape": list(small.values.shape), "centres": [np.round(c, 3).tolist() for c in small.centres],
        "data": _base64(np.rint(level * 255).astype(np.uint8).tobytes()),
        "min": float(tube.values.min()), "max": float(tube.values.max()), "constant": tube.constant,
    }  # fmt: skip


def _media(media: Media | None) -> dict[str, Any]:
    if media is None:
        return {"kind": "none", "size": [1, 1, 1], "frames": [], "curve": None, "note": ""}
    frames: list[str] = []
    if media.frames is not None:
        frames = [f"data:image/jpeg;base64,{_base64(f)}" for f in _jpegs(media.frames)]
    curve = None if media.curve is None else np.round(_thinned(media.curve), 5).tolist()
    return {"kind": media.kind, "size": list(media.size), "frames": frames, "curve": curve, "note": media.note}


def _thinned(curve: Array) -> Array:
    """A signal of at most `REPORT_SAMPLES` numbers that looks the same: lowest and highest of each stretch in turn."""
    curve = curve.astype(np.float64)
    stretches = max(1, REPORT_SAMPLES // (2 * len(curve)))
    if curve.shape[1] <= 2 * stretches:
        return curve
    starts = np.linspace(0, curve.shape[1], stretches, endpoint=False).astype(int)
    ends = [np.minimum.reduceat(curve, starts, axis=1), np.maximum.reduceat(curve, starts, axis=1)]
    return np.stack(ends, axis=2).reshape(len(curve), -1)


def _jpegs(frames: Array) -> list[bytes]:
    quality = 88
    coded = [pictures.encode_jpeg(f, quality) for f in frames]
    while sum(map(len, coded)) > REPORT_FRAMES and min(frames.shape[1:3]) > 32:
        frames = frames[:, ::2, ::2]
        coded = [pictures.encode_jpeg(np.ascontiguousarray(f), quality) for f in frames]
    return coded


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# ---------------------------------------------------------------------------------------------- pictures


def select(tubes: Tubes, drawing: Drawing, ranked: Mapping[tuple[str, int], float]) -> list[Tube]:
    """The tubes that a drawing asks for, the strongest of each depth first.

    Args:
        tubes: All tubes.
        drawing: What is asked for.
        ranked: Chosen kernels with their share of the strongest of their layer, 0..1.

    Raises:
        UsageError: If the relevance of single kernels was not recorded.
    """
    if drawing.kind == "activation" and drawing.unit != "kernel":
        return _activations(tubes, drawing, ranked)
    found = list(tubes.of(drawing.kind, drawing.unit))
    if not found and drawing.kind == "relevance" and drawing.unit == "kernel" and tubes.items:
        raise UsageError(
            "the relevance of single kernels was not recorded; explain again with kernel_relevance=True "
            "(--tube relevance:kernel)"
        )
    if drawing.unit == "kernel":
        found = [t for t in found if (t.layer, t.kernel) in ranked]
        found.sort(key=lambda t: (t.depth, -ranked[t.layer or "", t.kernel or 0]))
    return _first_of_each_depth(found, drawing.limit)


def _activations(tubes: Tubes, drawing: Drawing, ranked: Mapping[tuple[str, int], float]) -> list[Tube]:
    """Activation of layers or depths: chosen kernels weighted by their share of the strongest."""
    groups: dict[tuple[int, str | None], list[tuple[Tube, float]]] = {}
    for tube in tubes.of("activation", "kernel"):
        weight = ranked.get((tube.layer or "", tube.kernel or 0), 0.0)
        if weight > 0:
            key = (tube.depth, tube.layer if drawing.unit == "layer" else None)
            groups.setdefault(key, []).append((tube, weight))
    made = [weighted(members, layer=layer) for (_, layer), members in sorted(groups.items(), key=lambda g: g[0][0])]
    return _first_of_each_depth(made, drawing.limit)


def _first_of_each_depth(tubes: Iterable[Tube], limit: int) -> list[Tube]:
    seen: dict[int, int] = {}
    kept = []
    for tube in tubes:
        seen[tube.depth] = seen.get(tube.depth, 0) + 1
        if seen[tube.depth] <= limit:
            kept.append(tube)
    return kept


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
        drawn = sizes(volume, tube.kind)
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
    sheet = Sheet(tubes, media, _subject(target), "none")
    for columns in range(6, 0, -1):
        picture = sheet.levels(DEFAULT_DEPTHS, columns)
        if picture is None:
            return None
        data = pictures.encode_png(picture)
        if len(data) <= NOTEBOOK_BYTES:
            break
    return f"data:image/png;base64,{_base64(data)}"


def sizes(values: Array, kind: str) -> Array:
    """What is drawn of a map: activations by their size, so that a kernel that counts by what is negative is seen."""
    return np.abs(values) if kind == "activation" else values


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


# ------------------------------------------------------------------------------------------------ folder


def save(
    folder: Path,
    pyramid: Mapping[str, Any],
    *,
    topology: Mapping[str, Any] | None,
    tubes: Tubes | None,
    media: Media | None,
    facts: Mapping[str, Any],
    drawings: Sequence[Drawing] | None = None,
    animation: str = "mp4",
    progress: Progress | None = None,
) -> list[Path]:
    """Write ``pyramid.json``, ``report.html``, ``tubes.npz`` and the drawings into a folder.

    Args:
        folder: Made where it is missing.
        pyramid: The pyramid's JSON values.
        topology: The topology's JSON values.
        tubes: Its tubes; without them only the page and the JSON are written.
        media: What is seen of the clip.
        facts: Versions, time of day and times taken.
        drawings: Which tubes become pictures; by default those of the class and of the strongest kernel at up to
            `DEFAULT_DEPTHS` depths.
        animation: ``mp4``, ``gif`` or ``none``.
        progress: Told how far the drawing is.

    Returns:
        The files, the report first.

    Raises:
        OutputError: If a file cannot be written; each file is whole or not there.
        UsageError: If the animation is unknown, or tubes are asked for that were not recorded.
    """
    if animation not in ANIMATIONS:
        raise UsageError(f"unknown animation {animation!r}; choose one of {', '.join(ANIMATIONS)}")
    if drawings and (tubes is None or media is None):
        raise UsageError(
            "there are no tubes to draw: the model's input has no space or time, or they were not recorded; "
            "leave the drawings (--tube) out, or explain again with tubes=True"
        )
    wanted = [] if tubes is None else _wanted(tubes, drawings, pyramid)
    page = report(pyramid, topology=topology, tubes=tubes, media=media, facts=facts)
    written = [write_text(folder / "report.html", page), write_json(folder / "pyramid.json", pyramid)]
    if tubes is None or media is None:
        return written
    written.append(write_bytes(folder / TUBES_FILE, tubes_bytes(tubes, media, of=owner(pyramid))))
    sheet = Sheet(tubes, media, _subject(pyramid["target"]), animation)
    overview = sheet.overview(folder / "tubes" / "class.png")
    written.extend([overview] if overview is not None else [])
    for n, tube in enumerate(wanted):
        if progress is not None:
            progress("drawing tubes", n, len(wanted))
        written.extend(sheet.draw(tube, folder / "tubes"))
    return written


def _wanted(tubes: Tubes, drawings: Sequence[Drawing] | None, pyramid: Mapping[str, Any]) -> list[Tube]:
    top = {x["name"]: max(x["relevance"], default=0.0) for x in pyramid["layers"]}
    ranked = {
        (k["layer"], k["kernel"]): k["relevance"] / top[k["layer"]] if top[k["layer"]] > 0 else 0.0
        for level in pyramid["levels"]
        for k in level["kernels"]
    }
    asked = (Drawing("relevance", "depth"), Drawing("activation", "kernel", 1)) if drawings is None else drawings
    found = [t for drawing in asked for t in select(tubes, drawing, ranked)]
    if drawings is None:
        kept = set(spread(sorted({t.depth for t in found}), DEFAULT_DEPTHS))
        found = [t for t in found if t.depth in kept]
    unique: dict[str, Tube] = {}
    for tube in found:
        unique.setdefault(file_stem(tube), tube)
    return list(unique.values())


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of some values, evenly spaced, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]


def _subject(target: Mapping[str, Any]) -> str:
    label = target["label"]
    return f"class {target['index']}" if label is None else f"class {target['index']} “{label}”"


__all__ = [
    "ANIMATIONS", "TUBES_FILE", "Drawing", "Sheet", "file_stem", "overview_address", "owner", "payload",
    "read_tubes", "report", "save", "select", "spread", "title", "tubes_bytes",
]  # fmt: skip
