"""The only reader of ``.onnx`` files: whatever an exporter wrote, the rest of the package sees one form."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from cfp_onnx.errors import ModelError
from cfp_onnx.model.canonical import call_paths, name_nodes, tidy
from cfp_onnx.model.dtypes import dtype_name
from cfp_onnx.model.spelling import respell
from cfp_onnx.model.values import Model, Port
from cfp_onnx.text import first_line

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"})
"""Domains a local function may not live in: a runtime and an inliner would disagree about such a function."""


def load(path: str | os.PathLike[str]) -> Model:
    """Read an ONNX file into its canonical form.

    Args:
        path: A ``.onnx`` file; external data are looked for in its folder only.

    Returns:
        The model; no session is created and nothing is run.

    Raises:
        ModelError: If the file is missing, is not ONNX, or cannot be analysed as it stands; the message says why.
    """
    file = Path(path)
    digest = _sniff(file)
    try:
        proto = onnx.load(file, load_external_data=False)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f"{file}: not an ONNX file, or a damaged one ({first_line(error)}); copy or export it again"
        ) from error
    _check_proto(proto, file)
    maps = respell(proto)
    paths = call_paths(proto, file)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, file.parent)
        passes.InlinePass()(model)
        name_nodes(model.graph, paths)
        model = tidy(model)
    except (ValueError, TypeError, KeyError, RuntimeError, ir.passes.PassError) as error:
        raise ModelError(f"{file}: the graph is not well-formed: {first_line(error)}; export it again") from error
    _check_external(model, file)
    return _describe(model, file, digest, maps)


def _sniff(file: Path) -> str:
    """Hash of the file, once it looks like something that may be ONNX."""
    if not file.exists():
        raise ModelError(f"{file}: no such file; give the path of an .onnx file")
    if not file.is_file():
        raise ModelError(f"{file}: not a regular file; give the .onnx file itself")
    with file.open("rb") as stream:
        head = stream.read(16)
        if not head:
            raise ModelError(f"{file}: the file is empty; copy or export it again")
        if head[4:8] == b"ORTM":
            raise ModelError(f"{file}: this is onnxruntime's own format (.ort); give the .onnx file it was made from")
        digest = hashlib.sha256(head)
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


REPACKED = "com.microsoft.nchwc"


def _check_proto(proto: onnx.ModelProto, file: Path) -> None:
    if not proto.ir_version or not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError(f"{file}: not an ONNX model (it holds no graph); export it anew")
    if not proto.opset_import and proto.ir_version >= 3:
        raise ModelError(f"{file}: not a valid ONNX model (it imports no operator set); export it anew")
    if any(node.domain == REPACKED for node in proto.graph.node):
        raise ModelError(
            f"{file}: its weights were repacked by onnxruntime for one machine ({REPACKED}) and cannot be read back; "
            "give the file from before that optimisation, or optimise at the EXTENDED level"
        )
    for function in proto.functions:
        if function.domain in STANDARD_DOMAINS:
            raise ModelError(
                f"{file}: local function {function.name!r} overrides an operator of a standard domain; "
                "a runtime and an analysis would disagree about it, export the model without it"
            )


def _check_external(model: ir.Model, file: Path) -> None:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        location = Path(tensor.location)
        data = file.parent / location
        if location.is_absolute() or ".." in location.parts:
            raise ModelError(
                f"{file}: weight {value.name!r} points outside the model's folder ({location}); save the model again "
                "with its data beside it"
            )
        if not data.is_file():
            raise ModelError(f"{file}: external data file {str(location)!r} is missing beside the model; copy it there")
        need = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
        if data.stat().st_size < need:
            raise ModelError(
                f"{file}: external data file {str(location)!r} is too short for weight {value.name!r}; copy it again"
            )


def _describe(model: ir.Model, file: Path, digest: str, maps: Mapping[str, tuple[str | int, ...]]) -> Model:
    opset = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 1))
    return Model(
        path=file,
        sha256=digest,
        producer=" ".join(x for x in (model.producer_name, model.producer_version) if x),
        opset=opset,
        inputs=tuple(_port(v) for v in model.graph.inputs),
        outputs=tuple(_port(v) for v in model.graph.outputs),
        metadata=dict(model.metadata_props),
        graph=model,
        maps=maps,
    )


def _port(value: ir.Value) -> Port:
    shape = None
    if value.shape is not None:
        shape = tuple(_dimension(d) for d in value.shape)
    return Port(value.name or "", shape, dtype_name(value.dtype))


def _dimension(dim: int | ir.SymbolicDim) -> int | None:
    """A fixed size, or None; some exporters write a number into the symbolic name, others 0 for unknown."""
    if isinstance(dim, int):
        return dim if dim > 0 else None
    text = str(dim.value or "")
    return int(text) if text.isdigit() and int(text) > 0 else None
