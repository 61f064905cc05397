"""PyTorch to ONNX, from an exported program, TorchScript, code, a pickle or a built-in network.

A module or an exported program goes through the exporter that traces with ``torch.export``; a TorchScript file,
which that one refuses, through the older one. The probe holds what PyTorch itself computed, before any export.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Converted, Refusal, Request, look_in, main

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

import onnx
import torch
from clips import Clips
from exporting import Order, Unexported
from sources import Source, arch_shape, open_source

FLOATS = {getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")}


def convert(request: Request) -> Converted:
    """The graph that PyTorch's exporters write of a network.

    Raises:
        Refusal: If the source cannot become an ONNX file that is the same network.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.manual_seed(request.seed)
    if request.arch is None:
        look_in(request.cwd)  # where a pickle's classes are looked for too
    else:
        request = replace(request, input_shape=arch_shape(request))
    shapes = request.shapes_of_code()
    source = open_source(request, shapes)
    clips = Clips(request, shapes, source)
    model = export(source, clips, request)
    logits_first(model)
    refuse_training(model.graph)
    return Converted(
        model=model,
        run=None,
        answered=clips.answered(),
        shapes=shapes,
        fixed=clips.fixed,
        pinned=True,
        framework=f"torch {torch.__version__}",
        exporter=source.exporter,
        kind=source.kind,
        notes=source.notes,
    )


def export(source: Source, clips: Clips, request: Request) -> onnx.ModelProto:
    """The model for any batch where that can be, else for one clip.

    Raises:
        Refusal: If it cannot be exported for one clip either; for the first reason.
    """
    free = clips.fixed is None
    try:
        return write(source, clips, request)
    except Unexported as reason:
        if not free:
            raise
        clips.fix_at_one("the exporter does not get through the network where it may vary")
        with contextlib.suppress(Refusal):
            return write(source, clips, request)
        raise reason from reason.__cause__


def write(source: Source, clips: Clips, request: Request) -> onnx.ModelProto:
    """The model for the batch of the clips; weights too large for one file stay in theirs.

    Raises:
        Refusal: If it cannot be exported.
    """
    order = Order(clips.examples(), list(clips.shapes), clips.output_names, clips.fixed, request)
    source.export(order)
    model = onnx.load(order.file, load_external_data=False)
    if clips.fixed is None and any(p.type.tensor_type.shape.dim[0].HasField("dim_value") for p in model.graph.input):
        raise Unexported(f"the network cannot be exported for more batches than one of {len(order.clips[0])}")
    return model


def logits_first(model: onnx.ModelProto) -> None:
    """Puts outputs of floats before the others: the first is the one to explain, and no place of a class."""
    outputs = sorted(model.graph.output, key=lambda port: port.type.tensor_type.elem_type not in FLOATS)
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def refuse_training(graph: onnx.GraphProto) -> None:
    """Refuses batch norm whose statistics are those of the clip: by its flag, or computed in front of it.

    Raises:
        Refusal: If there is one.
    """
    moving = {port.name for port in graph.input} - {t.name for t in graph.initializer}
    for node in graph.node:
        if any(name in moving for name in node.input):
            moving.update(node.output)
        if node.op_type == "BatchNormalization" and (
            any(a.name == "training_mode" and a.i for a in node.attribute) or node.input[3] in moving
        ):
            raise Refusal(
                f"batch norm {node.name!r} takes the clip's own statistics, by training mode or since it keeps none "
                "(track_running_stats=False); call model.eval(), or give it running statistics"
            )


if __name__ == "__main__":
    sys.exit(main(convert))
