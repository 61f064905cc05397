"""The file of a pyramid's tubes, ``tubes.npz``: written, and read strictly."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.files.strict_json import Reader, parse
from cfp_onnx.files.whole import named
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.resampling import Size
from cfp_onnx.pyramid.tubes import KINDS, Tube, Tubes
from cfp_onnx.values import Array

TUBES_FILE = "tubes.npz"
TUBES_VERSION = 1


def owner(pyramid: Mapping[str, Any]) -> dict[str, Any]:
    """The pyramid that tubes belong to, by what decides its tubes: model, clip, class and settings.

    Args:
        pyramid: The pyramid's JSON values.
    """
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
"""What NumPy and the zip reader raise on files that are damaged or of another program."""


def read_tubes(path: Path, *, of: Mapping[str, Any] | None = None) -> tuple[Tubes | None, Media | None]:
    """Tubes that `tubes_bytes` wrote.

    Args:
        path: The file.
        of: The `owner`; tubes of another one are not returned. None takes any.

    Raises:
        UsageError: If the file is not such a file, or is not whole.
    """
    try:
        # given an open file, for NumPy leaks the one that it opens itself
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            index = Reader(parse(str(found["index"])), f"{named(path)}: its index")
            version = index.whole("format")
            if version != TUBES_VERSION:
                raise UsageError(f"{named(path)} has format {version}; this version reads {TUBES_VERSION}")
            if of is not None and index.take("of") != dict(of):
                return None, None
            items = tuple(_tube(i, entry, found) for i, entry in enumerate(index.objects("tubes")))
            tubes = Tubes(_size(index), items, index.texts("notes"))
            own = index.optional("media", index.inner)
            return tubes, None if own is None else _read_media(own, found)
    except _UNREADABLE as error:
        raise UsageError(f"{named(path)} holds no whole tubes of this program: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _tube(number: int, entry: Reader, found: Mapping[str, Array]) -> Tube:
    values = found[f"values_{number}"]
    centres = (found[f"t_{number}"], found[f"h_{number}"], found[f"w_{number}"])
    for name, array in (("values", values), *zip("thw", centres, strict=True)):
        if array.dtype.kind != "f" or not array.size or not np.isfinite(array).all():
            raise ValueError(f"{name}_{number} holds something else than finite numbers")
    shapes = [len(c) if c.ndim == 1 else -1 for c in centres]
    if list(values.shape) != shapes or any((np.diff(c) < 0).any() for c in centres):
        raise ValueError(f"tube {number} has shape {values.shape} and coordinates that do not fit it")
    kind = entry.text("kind")
    if kind not in KINDS:
        raise entry.wrong("kind", kind, " or ".join(KINDS))
    return Tube(
        kind, entry.whole("depth"), entry.maybe("layer", entry.text), entry.maybe("kernel", entry.whole), values,
        centres, entry.flag("constant"),
    )  # fmt: skip


def _read_media(own: Reader, found: Mapping[str, Array]) -> Media:
    size = _size(own)
    frames, curve = found.get("frames"), found.get("curve")
    if frames is not None and (frames.shape != (*size, 3) or frames.dtype != np.uint8):
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, which are no pictures of {size}")
    if curve is not None and (curve.ndim != 2 or curve.shape[1] != size[2] or not np.isfinite(curve).all()):
        raise ValueError(f"curve is {curve.dtype} {curve.shape}, which is no signal of {size[2]} samples")
    return Media(own.text("kind"), size, frames, curve, own.text("note"))


def _size(reader: Reader) -> Size:
    values = reader.wholes("size")
    if len(values) != 3:
        raise reader.wrong("size", list(values), "frames, height and width")
    return values[0], values[1], values[2]


__all__ = ["TUBES_FILE", "TUBES_VERSION", "owner", "read_tubes", "tubes_bytes"]
