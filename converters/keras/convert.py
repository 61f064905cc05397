"""Keras files without their source: .keras and .h5 with built-in layers, through Keras on torch.

No TensorFlow is needed, and grouped convolutions come out right, which they do not on TensorFlow's way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Array, Converted, Refusal, Request, first_cause, first_line, main

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import torch


class Inference(torch.nn.Module):
    """A Keras model as a function of tensors that never trains."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model
        alone = model.inputs[0] if len(model.inputs) == 1 else model.inputs
        self.form = getattr(model, "input", alone)  # a Sequential has none

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All outputs, flat."""
        given = keras.tree.pack_sequence_as(self.form, list(tensors))
        return tuple(keras.tree.flatten(self.model(given, training=False)))


def convert(request: Request) -> Converted:
    """The graph that torch's exporter writes of a Keras file.

    Raises:
        Refusal: If the file cannot be read, needs code, or cannot be exported.
    """
    opset = request.opset_between(18, 23, default=20)
    model = load(Path(request.source))
    ports = model.inputs
    for port in ports:
        if port.dtype != "float32":
            raise Refusal(f"{request.source}: input {port.name!r} is {port.dtype}; save the model with float32 inputs")
    shapes, fixed = request.shapes_and_batch({port.name: tuple(port.shape) for port in ports})
    names = output_names(model, shapes)
    network = Inference(model).eval()
    examples = tuple(torch.zeros(fixed or 2, *shape[1:]) for shape in shapes.values())
    batch = None if fixed else ({0: torch.export.Dim("batch")},) * len(examples)
    try:
        program = torch.onnx.export(
            network, examples, dynamo=True, external_data=False, verbose=False, opset_version=opset,
            input_names=list(shapes), output_names=names, dynamic_shapes=None if batch is None else (batch,),
        )  # fmt: skip
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        cause = first_cause(error)
        said = f"{type(cause).__name__}: {first_line(cause)}"
        raise Refusal(
            f"{request.source}: torch's exporter cannot write this model ({said}); "
            "try a fixed batch with --batch 1, or save it as a SavedModel and convert that"
        ) from error

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            results = network(*(torch.from_numpy(np.asarray(clip[name])) for name in shapes))
        plain = (r.float() if r.is_floating_point() else r for r in results)
        return dict(zip(names, (r.numpy() for r in plain), strict=True))

    return Converted(
        model=program.model_proto,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"keras {keras.__version__} on torch {torch.__version__.partition('+')[0]}",
        exporter=f"torch.onnx {torch.__version__.partition('+')[0]}",
        kind="keras h5" if is_hdf5(Path(request.source)) else "keras",
    )


def load(path: Path) -> keras.Model:
    """The model in a .keras or .h5 file; nothing in it is run but layers that Keras itself has.

    Raises:
        Refusal: If it is neither, or needs code.
    """
    if path.is_dir():
        raise Refusal(f"{path} is a folder; a SavedModel is converted with: cfp-onnx convert tensorflow")
    if not (is_hdf5(path) or path.read_bytes()[:2] == b"PK"):
        raise Refusal(f"{path} is neither a .keras nor an .h5 file; save the model with model.save('model.keras')")
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything, from KeyError to its own
        if "lambda" in str(error).lower():
            reason = "it holds a Lambda layer, which is code; replace it with built-in layers"
        elif "No model config" in str(error):
            reason = "it holds weights only; save the whole model with model.save('model.keras')"
        else:
            reason = f"{first_line(error)}; only models of built-in layers can be read without their code"
        raise Refusal(f"{path} cannot be loaded by Keras {keras.__version__}: {reason}") from error
    if not getattr(model, "inputs", None):
        raise Refusal(f"{path} does not say what its inputs are; call the model once on a clip and save it again")
    return model


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    with path.open("rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


def output_names(model: keras.Model, inputs: Mapping[str, Any]) -> list[str]:
    """A name for each output: the layer's that makes it."""
    flat = keras.tree.flatten(model.outputs)
    names = list(getattr(model, "output_names", ()))
    if len(names) != len(flat):
        names = [f"output_{k}" for k in range(len(flat))]
    return [f"{n}_{k}" if n in inputs or n in names[:k] else n for k, n in enumerate(names)]


if __name__ == "__main__":
    sys.exit(main(convert))
