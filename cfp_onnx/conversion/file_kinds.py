"""Files that no converter takes, recognised by their bytes and names: one sentence of advice each."""

from __future__ import annotations

import contextlib
import os
import pickletools
import re
import zipfile
from pathlib import Path

from cfp_onnx.errors import ModelError, UsageError

File = str | os.PathLike[str]


def accepted(
    framework: str, source: File | None, weights: File | None, *, allow_pickle: bool
) -> tuple[File | None, File | None]:
    """The source and the weights to convert, found by a prefix or beside each other where only one is named.

    Args:
        framework: The framework whose converter shall take them.
        source: A file, a folder, a prefix of a pair of files, or code.
        weights: A file of weights.
        allow_pickle: Whether a pickle may be loaded.

    Raises:
        ModelError: If no converter, or only another one, takes them; with one sentence of advice.
        UsageError: If PyTorch is given a folder.
    """
    source = named(framework, source)
    weights = weights_beside(framework, source) if weights is None else weights
    refuse_other(framework, source)
    refuse_unsupported(source, allow_pickle=allow_pickle)
    refuse_unsupported(weights, allow_pickle=allow_pickle, only_weights=True)
    for file, held in ((source, "network"), (weights, "weights")):
        if framework == "torch" and file is not None and Path(file).is_dir():
            raise UsageError(f"{file}: a folder, and PyTorch's files are single; give the file that holds the {held}")
    return source, weights


def is_code(source: str) -> bool:
    """Whether a source names Python code, ``module:factory`` or ``file.py:factory``."""
    return re.fullmatch(r".*[^:]:[A-Za-z_][\w.]*", source) is not None and not Path(source).exists()


def named(framework: str, source: File | None) -> File | None:
    """The file that a source names, which may be a prefix for frameworks that keep graph and weights in two files.

    Raises:
        ModelError: If several graphs have that prefix.
    """
    if source is None or Path(source).exists():
        return source
    found = [file for end in _PAIRS.get(framework, ()) if (file := Path(f"{source}{end}")).is_file()]
    if len(found) > 1:
        raise ModelError(f"{source}: there are {' and '.join(file.name for file in found)}; name one of them")
    return found[0] if found else source


def weights_beside(framework: str, source: File | None) -> Path | None:
    """The file of weights that belongs to a graph by its name, where there is exactly one."""
    if source is None or not Path(source).is_file() or framework not in _PAIRS:
        return None
    graph = Path(source)
    if framework == "paddle":
        found = [graph.with_suffix(".pdiparams")]
    else:
        prefix = graph.name.removesuffix(".json").removesuffix("-symbol")
        pattern = re.compile(rf"{re.escape(prefix)}(-\d{{4}})?\.params")
        found = [file for file in graph.parent.iterdir() if pattern.fullmatch(file.name)]
    return found[0] if len(found) == 1 and found[0].is_file() else None


def refuse_other(framework: str, source: File | None) -> None:
    """Refuses a file that another framework's converter takes.

    Raises:
        ModelError: With the command for it.
    """
    if source is None or not Path(source).exists():
        return
    try:
        owner = _owner(Path(source))
    except OSError as error:
        raise ModelError(f"{source}: cannot be read ({error.strerror or error})") from error
    if owner not in {"", framework}:
        raise ModelError(f"{source}: this is a file of {_NAMES[owner]}; type: cfp-onnx convert {owner} {source} ..")


def refuse_unsupported(source: File | None, *, allow_pickle: bool = False, only_weights: bool = False) -> None:
    """Refuses files that no converter takes, before an environment is made for nothing.

    Args:
        source: What is to be converted; code passes.
        allow_pickle: Whether a pickle may pass.
        only_weights: Whether the file gives weights to a network whose code is given.

    Raises:
        ModelError: With one sentence of advice.
    """
    if source is None or is_code(str(source)):
        return
    path = Path(source)
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    try:
        advice = _advice(path)
        content = "" if advice else _pickled(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if advice:
        raise ModelError(f"{path}: {advice}")
    if content == "state_dict" and not only_weights:
        raise ModelError(
            f"{path}: a bare state_dict holds weights and no network; give the network's code as module:factory, or "
            "a built-in network with --arch, and this file with --weights"
        )
    if content == "pickle" and not allow_pickle:
        raise ModelError(
            f"{path}: a pickle can run any code when it is loaded; add --allow-pickle if you trust where it is from, "
            "or save the network with torch.export.save"
        )


def _owner(path: Path) -> str:
    """The framework whose files these surely are; empty where that is open."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "tensorflow"
        return "paddle" if any(path.glob("*.pdmodel")) or any(path.glob("*.pdiparams")) else ""
    if path.suffix in {".pdmodel", ".pdiparams"}:
        return "paddle"
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if re.match(rb'\s*\{\s*"base_code"\s*:\s*\{[^}]*"pir"', head):
        return "paddle"
    if path.suffix == ".params" and head.startswith(_MXNET_ARRAYS):
        return "mxnet"
    if re.match(rb'\s*\{\s*"nodes"\s*:\s*\[\s*\{\s*"op"', head):
        return "mxnet"
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if {"config.json", "metadata.json"} <= set(archive.namelist()):
            return "keras"
    return ""


def _advice(path: Path) -> str:
    """Advice on a file of a kind that has no converter; empty where there may be one."""
    suffix = path.suffix.lower()
    if path.is_dir():
        bundle = (path / "Manifest.json").is_file() and (path / "Data" / "com.apple.CoreML").is_dir()
        return _COREML if suffix == ".mlpackage" or bundle else ""
    if not path.is_file():
        return "not a regular file; give the model file itself"
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "only a pointer of Git LFS stands in the file; fetch the file itself with git lfs pull"
    if head.lstrip()[:9].lower() in {b"<!doctype", b"<html>"} or head.lstrip()[:6].lower() == b"<html ":
        return "this is a web page, no model; the download went wrong"
    if suffix == ".py":
        return f"this is code; name what makes the network, as in {path}:factory, or give a file that was saved from it"
    if head[4:8] == b"ORTM" or suffix == ".ort":
        return "onnxruntime's own format (.ort) cannot be read back; give the .onnx file that it was made from"
    if suffix == ".onnx":
        return "this is an ONNX file already; use it as it is: cfp-onnx explain MODEL CLIP"
    if suffix in {".mlmodel", ".mlmodelc"}:
        return _COREML
    if (suffix == ".xml" and b"<net" in head) or (suffix == ".bin" and path.with_suffix(".xml").is_file()):
        return "OpenVINO's IR has no way back to ONNX; convert the model that it was made from"
    if suffix in {".prototxt", ".caffemodel"}:
        return "Caffe's models have no converter that is kept up; rebuild the network in PyTorch and load these weights"
    if (suffix == ".cfg" and re.search(rb"^\s*\[(net|network|convolutional)\]", head, re.MULTILINE)) or (
        suffix == ".weights"
    ):
        return "Darknet's models have no converter here; load them in a PyTorch port of Darknet and convert that"
    if suffix in {".dnn", ".cntk"}:
        return "CNTK's models have no converter that is kept up; save this one as ONNX from CNTK itself"
    return ""


_PAIRS = {"paddle": (".json", ".pdmodel"), "mxnet": ("-symbol.json",)}
"""Ends of the graph's file, for frameworks whose sources may be a prefix."""

_NAMES = {
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "tflite": "TensorFlow Lite",
    "paddle": "Paddle",
    "mxnet": "MXNet",
}
_MXNET_ARRAYS = (0x112).to_bytes(8, "little")
"""The number with which MXNet's lists of arrays begin."""

_COREML = "Core ML models have no way back to ONNX; convert the model that this one was made from"
_TENSORS_ONLY = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)|torch( \w+Storage|\.storage \w+| \w+)"
    r"|numpy\S* (_reconstruct|ndarray|dtype|scalar)|_codecs encode"
    r"|(__builtin__|builtins) (set|list|dict|tuple|int|long|float|complex|bytearray)"
)
_OLD_TORCH = 0x1950A86A20F9469CFC6C
"""The number with which torch's files from before the zip format begin."""


def _pickled(path: Path) -> str:
    """``state_dict`` for a pickle that names nothing but tensors, ``pickle`` for any other, else empty.

    The opcodes are looked at; nothing is loaded.
    """
    if path.is_dir():
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names and all(n.endswith(".npy") for n in names):
                return "state_dict"
            pickles = [n for n in names if n.endswith("data.pkl") and n.count("/") <= 1]
            if not pickles or any(n.endswith("constants.pkl") or "/code/" in n for n in names):
                return ""
            return _names_only_tensors(archive.read(pickles[0]))
    except (zipfile.BadZipFile, RuntimeError, EOFError):
        pass
    with path.open("rb") as stream:
        head = stream.read(9)
        if head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
            return "state_dict"  # safetensors, whose length of a header may begin as a pickle does
        stream.seek(0)
        head = stream.read(2)
        if head[:1] != b"\x80" or not 2 <= head[-1] <= 5:
            return ""
        stream.seek(0)
        data = stream.read(1 << 26)
    if _OLD_TORCH.to_bytes(10, "little") not in data[:32]:
        return "pickle"
    for _ in range(3):  # a number, a protocol and the sizes of the machine stand before the value
        data = data[_end_of_pickle(data) :]
    return _names_only_tensors(data)


def _end_of_pickle(data: bytes) -> int:
    last = 0
    with contextlib.suppress(ValueError):
        for _, _, position in pickletools.genops(data):
            last = position or 0
    return last + 1


def _names_only_tensors(data: bytes) -> str:
    strings: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name == "STACK_GLOBAL":
                name = " ".join(strings[-2:])
            elif code.name in {"GLOBAL", "INST"}:
                name = str(argument)
            else:
                if isinstance(argument, str):
                    strings.append(argument)
                continue
            if _TENSORS_ONLY.fullmatch(name) is None:
                return "pickle"
    except (ValueError, EOFError, IndexError):
        return "pickle"
    return "state_dict"


__all__ = ["accepted", "is_code", "named", "refuse_other", "refuse_unsupported", "weights_beside"]
