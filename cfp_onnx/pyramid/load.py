"""A pyramid that was saved is read back, strictly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfp_onnx.errors import UsageError
from cfp_onnx.files.whole import named
from cfp_onnx.pyramid.result import SCHEMA, SCHEMA_VERSION, Pyramid
from cfp_onnx.pyramid.values import Edge, Kernel, LayerResult, Link, LinkSource


def load_pyramid(path: str | os.PathLike[str]) -> Pyramid:
    """A pyramid that was saved: its JSON, and its tubes where they lie beside it.

    Topology and facts are in the report only; a pyramid that was loaded has none. Tubes beside the file that belong
    to another clip, class or rule are left alone.

    Args:
        path: ``pyramid.json`` or its folder.

    Raises:
        UsageError: If it cannot be read, or is no pyramid of this schema.
    """
    from cfp_onnx.pyramid.tube_file import TUBES_FILE, owner, read_tubes

    file = Path(path)
    file = file / "pyramid.json" if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read a pyramid from {named(file)}: {reason}") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or value.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{named(file)} is no pyramid ({SCHEMA}, version {SCHEMA_VERSION}) of this program")
    try:
        pyramid = _from_json(value)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{named(file)} is not a whole pyramid: {error}") from error
    beside = file.with_name(TUBES_FILE)
    tubes, media = read_tubes(beside, of=owner(value)) if beside.is_file() else (None, None)
    return replace(pyramid, tubes=tubes, media=media)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


_TEXT, _WHOLE, _NUMBER, _LIST, _NULL = (str,), (int,), (int, float), (list,), (type(None),)


_SECTIONS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "model": {"file": _TEXT, "sha256": _TEXT, "producer": (*_TEXT, *_NULL), "opset": _WHOLE},
    "input": {"file": (*_TEXT, *_NULL), "sha256": (*_TEXT, *_NULL), "shape": _LIST, "layout": (*_TEXT, *_NULL)},
    "run": {
        "rule": _TEXT, "class_step": (*_TEXT, *_NULL), "theta": _NUMBER, "top_k": (*_WHOLE, *_NULL),
        "depth": (*_WHOLE, *_TEXT), "provider": _TEXT, "output_difference": _NUMBER, "undefined": _WHOLE,
    },
    "target": {"output": _TEXT, "index": _WHOLE, "label": (*_TEXT, *_NULL), "score": _NUMBER, "top": _LIST},
    "coverage": {"channels": _NUMBER, "layers": _NUMBER, "operators_unknown": _LIST},
}  # fmt: skip
"""What is read of a pyramid's sections, and what it may be."""


class _Reader:
    """One JSON object; what it lacks or holds wrongly is a ValueError that names the place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {_short(value)}, not an object")  # noqa: TRY004 - the file is wrong
        self.value, self.where = value, where

    def take(self, key: str, kinds: tuple[type, ...]) -> Any:
        if key not in self.value:
            raise ValueError(f"{self.where} lacks {key!r}")
        found = self.value[key]
        if not isinstance(found, kinds) or isinstance(found, bool):
            raise ValueError(f"{self.where} holds {_short(found)} under {key!r}")  # noqa: TRY004 - the file is wrong
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._all(key, _TEXT))

    def wholes(self, key: str) -> tuple[int, ...]:
        return tuple(self._all(key, _WHOLE))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(float(x) for x in self._all(key, _NUMBER))

    def number(self, key: str) -> float:
        return float(self.take(key, _NUMBER))

    def objects(self, key: str) -> list[_Reader]:
        return [_Reader(x, f"{self.where}: {key} {i}") for i, x in enumerate(self.take(key, _LIST))]

    def _all(self, key: str, kinds: tuple[type, ...]) -> list[Any]:
        found: list[Any] = self.take(key, _LIST)
        if bad := [x for x in found if not isinstance(x, kinds) or isinstance(x, bool)]:
            raise ValueError(f"{self.where} holds {_short(bad[0])} among {key!r}")
        return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def _from_json(value: Mapping[str, Any]) -> Pyramid:
    """A pyramid of its JSON values.

    Raises:
        ValueError: With the place and what is wrong there.
    """
    whole = _Reader(value, "it")
    parts: dict[str, Any] = {}
    for name, keys in _SECTIONS.items():
        section = _Reader(whole.take(name, (dict,)), name)
        for key, kinds in keys.items():
            section.take(key, kinds)
        parts[name] = section.value
    _check_top(parts["target"]["top"])
    _Reader(parts["input"], "input").wholes("shape")
    _Reader(parts["coverage"], "coverage").texts("operators_unknown")
    layers = tuple(_layer(x) for x in whole.objects("layers"))
    kernels = {x.name: x.kernels for x in layers}
    if len(kernels) < len(layers):
        raise ValueError("two layers have one name")
    levels = {
        level.take("depth", _WHOLE): tuple(_chosen(k, kernels) for k in level.objects("kernels"))
        for level in whole.objects("levels")
    }
    return Pyramid(
        **parts, layers=layers, levels=levels, edges=tuple(_edge(e, kernels) for e in whole.objects("edges"))
    )


def _check_top(top: Sequence[Any]) -> None:
    for row in top:
        kinds = (_WHOLE, (*_TEXT, *_NULL), _NUMBER)
        if not isinstance(row, list) or len(row) != 3 or not all(map(isinstance, row, kinds)):
            raise ValueError(f"target holds {_short(row)} among 'top', not [index, label, score]")


def _layer(x: _Reader) -> LayerResult:
    layer = LayerResult(
        name=x.take("name", _TEXT), op=x.take("op", _TEXT), weight=x.take("weight", _TEXT), nodes=x.texts("nodes"),
        kernels=x.take("kernels", _WHOLE), channels=x.take("channels", _WHOLE), groups=x.take("groups", _WHOLE),
        kernel_shape=x.wholes("kernel_shape"), family=x.take("family", _TEXT), depth=x.take("depth", _WHOLE),
        relevance=x.numbers("relevance"),
    )  # fmt: skip
    if len(layer.relevance) != layer.kernels:
        raise ValueError(f"{x.where} has {layer.kernels} kernels and {len(layer.relevance)} numbers of relevance")
    return layer


def _chosen(x: _Reader, kernels: Mapping[str, int]) -> Kernel:
    return Kernel(*_place(x, kernels), x.number("relevance"))


def _place(x: _Reader, kernels: Mapping[str, int]) -> tuple[str, int]:
    """Layer and kernel, which must be one of the layer's where that was walked."""
    layer, kernel = x.take("layer", _TEXT), x.take("kernel", _WHOLE)
    if layer not in kernels:
        raise ValueError(f"{x.where} names a layer {_short(layer)} that is not among the layers")
    if not 0 <= kernel < kernels[layer]:
        raise ValueError(f"{x.where} names kernel {kernel} of {_short(layer)}, which has {kernels[layer]}")
    return layer, kernel


def _edge(x: _Reader, kernels: Mapping[str, int]) -> Edge:
    links = tuple(
        Link(c.take("channel", _WHOLE), c.number("weight"), tuple(_source(s, kernels) for s in c.objects("sources")))
        for c in x.objects("channels")
    )
    return Edge(*_place(x, kernels), links)


def _source(x: _Reader, kernels: Mapping[str, int]) -> LinkSource:
    layer = x.take("layer", (*_TEXT, *_NULL))
    if layer in kernels:
        _place(x, kernels)
    return LinkSource(layer, x.take("kernel", _WHOLE), x.number("share"), x.take("via", _TEXT))


__all__ = ["load_pyramid"]
