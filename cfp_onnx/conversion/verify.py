"""The converter's file against the framework: valid, the same outputs on random clips, and traceable."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cfp_onnx import runtime
from cfp_onnx.conversion.usage import Shape
from cfp_onnx.errors import CfpError, ModelError
from cfp_onnx.explanation.call import topology
from cfp_onnx.explanation.network import Network
from cfp_onnx.model import Model, load
from cfp_onnx.text import first_line, shape_text
from cfp_onnx.values import Array

ProbeClip = tuple[dict[str, Array], dict[str, Array]]
"""Inputs of a random clip and the framework's outputs on it, by name."""


TOLERANCE = 1e-4
"""Largest difference to the framework's outputs: relative to the largest where that is above 1, else absolute."""


SMALL = 1e-2
"""The same for small outputs, such as probabilities of many classes: always relative to the largest of them."""


CLIPS = 3
"""Least number of random clips in a probe."""


def read_probe(work: Path) -> list[ProbeClip]:
    """The random clips that a converter left, with the framework's outputs on them.

    Raises:
        ModelError: If the file cannot be read, or holds fewer than `CLIPS` whole clips.
    """
    clips: dict[int, tuple[dict[str, Array], dict[str, Array]]] = {}
    try:
        with np.load(work / "probe.npz", allow_pickle=False) as archive:
            for key in archive.files:
                found = re.fullmatch(r"(input|output)_(\d+)_(.+)", key)
                if found is not None:
                    clips.setdefault(int(found[2]), ({}, {}))[found[1] == "output"][found[3]] = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"the converter's probe cannot be read: {first_line(error)}") from error
    if len(clips) < CLIPS or not all(inputs and outputs for inputs, outputs in clips.values()):
        raise ModelError(f"the converter's probe has {len(clips)} clips with inputs and outputs; it must have {CLIPS}")
    return [clips[k] for k in sorted(clips)]


def verified(file: Path, clips: Sequence[ProbeClip], wanted: Shape | None) -> tuple[Network, float]:
    """Checks the file, runs every clip of the probe, and traces the channels as far as they can be followed.

    Returns:
        The network, and the largest difference to the framework's outputs.

    Raises:
        ModelError: If it is invalid, takes another input, cannot be analysed, or its outputs differ.
    """
    try:
        onnx.checker.check_model(str(file))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise ModelError(f"the conversion is not a valid ONNX model: {first_line(error)}") from error
    try:
        model = load(file)
        _check_shapes(model, clips, wanted)
        session = runtime.plain_session(model, runtime.Device("cpu"))
        free = any(port.shape is not None and port.shape[:1] == (None,) for port in model.inputs)
        largest = max(_difference(session, k, *clip, free=free) for k, clip in enumerate(clips))
        del session
    except CfpError as error:
        if "bfloat16" in str(error):
            raise ModelError(
                "the conversion computes in bfloat16, for which onnxruntime lacks operators; take autocast and casts "
                "out of the network, or save it in float32"
            ) from error
        raise ModelError(str(error).replace(str(file), "the conversion")) from error
    try:
        shapes = {name: tuple(array.shape) for name, array in clips[0][0].items()}
        return topology(model, input_shape=shapes, barriers=True), largest
    except CfpError as error:
        said = str(error).replace(f"{file}: ", "").replace(str(file), "it")
        raise ModelError(f"the conversion agrees with the framework, but it cannot be analysed: {said}") from error


def _check_shapes(model: Model, clips: Sequence[ProbeClip], wanted: Shape | None) -> None:
    for inputs, outputs in clips:
        lost = ({p.name for p in model.inputs} ^ set(inputs)) | (set(outputs) - {p.name for p in model.outputs})
        if lost:
            raise ModelError(f"the conversion and the framework do not agree on the inputs and outputs {sorted(lost)}")
    for port in model.inputs:
        want: Sequence[int] | None = wanted.get(port.name) if isinstance(wanted, Mapping) else wanted
        probed = clips[0][0][port.name].shape
        if want is not None and (len(want) != len(probed) or tuple(want[1:]) != probed[1:]):
            raise ModelError(
                f"the conversion's input {port.name!r} is {shape_text(probed)}, not the {shape_text(want)} asked for"
            )
        if port.shape is not None and port.shape[:1] == (None,) and len({c[0][port.name].shape[:1] for c in clips}) < 2:
            raise ModelError("the conversion's batch is dynamic but its probe has clips of one batch size only")


def _difference(
    session: Any, number: int, inputs: Mapping[str, Array], outputs: Mapping[str, Array], *, free: bool
) -> float:
    names = list(outputs)
    hint = "--batch 1 may do, for one clip at a time" if free else "nothing was written"
    got = runtime.run(session, names, inputs)
    largest = 0.0
    for name, ours in zip(names, got, strict=True):
        theirs = outputs[name]
        where = f"output {name!r} on random clip {number} (batch {len(next(iter(inputs.values())))})"
        if ours.shape != theirs.shape:
            both = f"{shape_text(ours.shape)}, the framework's {shape_text(theirs.shape)}"
            raise ModelError(f"the conversion's {where} is {both}; {hint}")
        if not np.isfinite(theirs).all():
            raise ModelError(f"the framework's own {where} is not finite; give weights that work on random clips")
        top = float(np.abs(theirs).max(initial=0.0))
        limit = min(TOLERANCE * max(1.0, top), SMALL * top)
        distance = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0))
        if not distance <= limit:
            raise ModelError(
                f"the conversion is not the same network: {where} differs from the framework's by {distance:.3g}, "
                f"more than {limit:.3g}; {hint}"
            )
        largest = max(largest, distance)
    return largest


__all__ = ["CLIPS", "SMALL", "TOLERANCE", "ProbeClip", "read_probe", "verified"]
