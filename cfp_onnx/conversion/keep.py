"""The verified file takes its place, with metadata of its labels, its preprocessing and its source."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from cfp_onnx.conversion.file_kinds import is_code
from cfp_onnx.errors import ModelError, OutputError, UsageError
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.files.whole import write_bytes
from cfp_onnx.model import Model
from cfp_onnx.text import shape_text

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess


def source_of(
    report: Mapping[str, Any], source: str | os.PathLike[str] | None, weights: object, arch: str | None
) -> dict[str, Any]:
    """Where the network comes from, without a path of this machine."""
    value: dict[str, Any] = {
        "sha256": None if source is None or is_code(str(source)) else _digest(Path(source)),
        "framework": report["framework"],
        "exporter": report["exporter"],
        "kind": report["source_kind"],
    }
    if arch is not None:
        value["arch"] = arch
    if weights is not None:
        value["weights_sha256"] = _digest(Path(str(weights)))
    return value


def _digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's relative file names and bytes in sorted order."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def preset_of(arch: str | None) -> Preprocess | None:
    """Preprocessing that the published weights of a built-in network were trained with."""
    from cfp_onnx.clips.presets import PRESETS

    name = (arch or "").removesuffix("-a")
    return PRESETS.get(name) or (PRESETS["resnet3d"] if name.startswith("resne") else None)


def described_preprocess(
    model: Model, base: Preprocess | None, layout: str | None, frames: int | None, size: int | tuple[int, int] | None
) -> dict[str, Any]:
    """Preprocessing as metadata, checked against the model; empty where nothing is known.

    Raises:
        UsageError: If it contradicts the model.
    """
    from cfp_onnx.clips.layout import layout_of
    from cfp_onnx.clips.preprocess import Preprocess

    if base is None and layout is None and frames is None and size is None:
        return {}
    spec = specs(model)[0]
    written = replace(base or Preprocess(), layout=layout or (base.layout if base else None))
    letters = layout_of(spec, written.layout)
    axes = dict(zip(letters, spec.shape, strict=True))
    square = (size, size) if isinstance(size, int) else size
    asked = [(frames, square)] if written.yields else [(frames, square), (written.frames, written.size)]
    for count, pixels in asked:
        if count is not None and axes.get("T") not in {None, count}:
            raise UsageError(f"{count} frames contradict the network, which takes {axes['T']}")
        if pixels is not None and any(axes.get(k) not in {None, p} for k, p in zip("HW", pixels, strict=True)):
            raise UsageError(
                f"{pixels[0]}x{pixels[1]} pixels contradict the network, which takes {shape_text(spec.shape)}"
            )
    if base is None and layout is None:
        return {}
    return {"cfp_onnx.preprocess": (written.fitted(spec, letters) if written.yields else written).to_json()}


def keep_file(file: Path, out: Path, metadata: Mapping[str, Any]) -> None:
    """Write the verified file to its place; weights that are too large for one file go beside it."""
    proto = onnx.load(file, load_external_data=False)
    del proto.metadata_props[:]
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    entries = [e for t in proto.graph.initializer for e in t.external_data if e.key == "location"]
    locations = {e.value for e in entries}
    if len(locations) > 1:
        raise ModelError("the converter spread the weights over several files; it must use one")
    if not locations:
        write_bytes(out, proto.SerializeToString())
        return
    data = out.with_name(f"{out.name}.data")
    for entry in entries:
        entry.value = data.name
    temporary = out.with_name(f".cfp-{os.getpid()}-{data.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file.parent / locations.pop(), temporary)  # the large file first: this is what may fail
        write_bytes(out, proto.SerializeToString())
        temporary.replace(data)
    except OSError as error:
        raise OutputError(f"cannot write {data}: {error.strerror or error}; choose another place with -o") from error
    finally:
        temporary.unlink(missing_ok=True)


__all__ = ["described_preprocess", "keep_file", "preset_of", "source_of"]
