"""A saved pyramid is read back, strictly: every value has its type, and every name is that of a layer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfp_onnx.errors import UsageError
from cfp_onnx.files.strict_json import Reader, read_object
from cfp_onnx.files.whole import named
from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader
from cfp_onnx.pyramid.result import READABLE, SCHEMA, Pyramid
from cfp_onnx.pyramid.tube_file import TUBES_FILE, owner, read_tubes
from cfp_onnx.pyramid.values import PATHS, Alternative, Edge, Kernel, LayerResult, Link, LinkSource
from cfp_onnx.text import either


def load_pyramid(path: str | os.PathLike[str]) -> Pyramid:
    """A pyramid that was saved: its JSON, and its tubes if they are in the same folder.

    Topology and facts are in the report only; a loaded pyramid has none. Tubes of another clip, class or rule are not
    loaded.

    Args:
        path: ``pyramid.json`` or its folder.

    Raises:
        UsageError: If it cannot be read, or is no pyramid of this schema.
    """
    file = Path(path)
    file = file / "pyramid.json" if file.is_dir() else file
    value = read_object(file, "a pyramid", smaller="explain with a smaller depth or top_k")
    version = value.get("schema_version")
    if value.get("schema") != SCHEMA or type(version) is not int or version not in READABLE:
        versions = either([str(v) for v in READABLE])
        raise UsageError(f"{named(file)} is no pyramid ({SCHEMA}, version {versions}) of this program")
    if version == 1:
        value = _of_version_2(value)
    pyramid = _pyramid(Reader(value, named(file)))
    beside = file.with_name(TUBES_FILE)
    tubes, media = read_tubes(beside, of=owner(value)) if beside.is_file() else (None, None)
    return replace(pyramid, tubes=tubes, media=media)


def _of_version_2(value: Mapping[str, Any]) -> dict[str, Any]:
    """A file of version 1, where the relevance of every layer is known, as one of version 2."""
    layers = value.get("layers")
    if not isinstance(layers, list):
        return dict(value)
    return {**value, "layers": [{**x, "paths": "all"} if isinstance(x, dict) else x for x in layers]}


def _pyramid(reader: Reader) -> Pyramid:
    layers = tuple(map(_layer, reader.objects("layers")))
    kernels = {x.name: x.kernels for x in layers}
    if len(kernels) < len(layers):
        raise UsageError(f"{reader.where}: two layers have one name")
    levels, edges = _levels(reader, kernels), _edges(reader, kernels)
    return Pyramid(
        model=ModelHeader.read(reader.inner("model")),
        input=InputHeader.read(reader.inner("input")),
        run=RunHeader.read(reader.inner("run")),
        target=TargetHeader.read(reader.inner("target")),
        coverage=CoverageHeader.read(reader.inner("coverage")),
        layers=layers,
        levels=levels,
        edges=edges,
        rather=tuple(_alternative(a, kernels) for a in reader.optional("rather", reader.objects) or ()),
    )


def _levels(reader: Reader, kernels: Mapping[str, int]) -> dict[int, tuple[Kernel, ...]]:
    return {
        level.whole("depth"): tuple(_chosen(k, kernels) for k in level.objects("kernels"))
        for level in reader.objects("levels")
    }


def _edges(reader: Reader, kernels: Mapping[str, int]) -> tuple[Edge, ...]:
    return tuple(_edge(e, kernels) for e in reader.objects("edges"))


def _alternative(reader: Reader, kernels: Mapping[str, int]) -> Alternative:
    relevance = {row.text("name"): row.numbers_or_nan("relevance") for row in reader.objects("layers")}
    if {name: len(values) for name, values in relevance.items()} != kernels:
        raise UsageError(f"{reader.where} has not the same layers and kernels as the pyramid")
    run = RunHeader.read(reader.inner("run"))
    return Alternative(run, relevance, _levels(reader, kernels), _edges(reader, kernels))


def _layer(reader: Reader) -> LayerResult:
    layer = LayerResult(
        name=reader.text("name"), op=reader.text("op"), weight=reader.text("weight"), nodes=reader.texts("nodes"),
        kernels=reader.whole("kernels"), channels=reader.whole("channels"), groups=reader.whole("groups"),
        kernel_shape=reader.wholes("kernel_shape", 0), family=reader.text("family"), depth=reader.whole("depth"),
        relevance=reader.numbers_or_nan("relevance"), paths=reader.text("paths"),
    )  # fmt: skip
    known = [not math.isnan(r) for r in layer.relevance]
    if layer.paths not in PATHS or not (all(known) if layer.known else not any(known)):
        raise UsageError(f"{reader.where} contradicts itself on whether its relevance is known")
    if len(layer.relevance) != layer.kernels:
        raise UsageError(f"{reader.where} has {layer.kernels} kernels and {len(layer.relevance)} numbers of relevance")
    return layer


def _chosen(reader: Reader, kernels: Mapping[str, int]) -> Kernel:
    return Kernel(*_kernel(reader, kernels), reader.number("relevance"))


def _kernel(reader: Reader, kernels: Mapping[str, int]) -> tuple[str, int]:
    """Name of a layer that was walked, and the number of one of its kernels."""
    layer, kernel = reader.text("layer"), reader.whole("kernel")
    if layer not in kernels:
        raise UsageError(f"{reader.where} names the layer {layer[:60]!r}, which is not among the layers")
    _check_kernel(reader, layer, kernel, kernels[layer])
    return layer, kernel


def _check_kernel(reader: Reader, layer: str, kernel: int, count: int) -> None:
    if kernel >= count:
        raise UsageError(f"{reader.where} names kernel {kernel} of {layer[:60]!r}, which has {count}")


def _edge(reader: Reader, kernels: Mapping[str, int]) -> Edge:
    return Edge(*_kernel(reader, kernels), tuple(_link(c, kernels) for c in reader.objects("channels")))


def _link(reader: Reader, kernels: Mapping[str, int]) -> Link:
    sources = tuple(_source(s, kernels) for s in reader.objects("sources"))
    return Link(reader.whole("channel"), reader.number("weight"), sources)


def _source(reader: Reader, kernels: Mapping[str, int]) -> LinkSource:
    """A source; its layer may lie beyond the depth of the walk, where its kernels are not known."""
    layer, kernel = reader.maybe("layer", reader.text), reader.whole("kernel")
    if layer is not None and layer in kernels:
        _check_kernel(reader, layer, kernel, kernels[layer])
    return LinkSource(layer, kernel, reader.number("share"), reader.text("via"))


__all__ = ["load_pyramid"]
