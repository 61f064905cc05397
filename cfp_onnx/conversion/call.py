"""Any framework's file becomes an ONNX file that was run against the framework before it was kept.

A converter is a script under ``converters/FRAMEWORK`` that runs in an environment of its own. It gets a request as
JSON and leaves a model, a report, and a probe: random clips with the framework's own outputs on them. `convert` makes
the environment, runs the converter, verifies the file against the probe, and only then moves it to its place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfp_onnx.conversion.environments import environment
from cfp_onnx.conversion.file_kinds import accepted
from cfp_onnx.conversion.keep import described_preprocess, keep_file, preset_of, source_of
from cfp_onnx.conversion.process import run_converter
from cfp_onnx.conversion.usage import Shape, absolute, batch_of, check_place, check_usage, plain_shape
from cfp_onnx.conversion.verify import read_probe, verified
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.labels import fitted_labels
from cfp_onnx.explanation.network import Network
from cfp_onnx.values import Progress, silent

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess

FRAMEWORKS = ("torch", "keras", "tensorflow", "tflite", "jax", "paddle", "mxnet")


@dataclass(frozen=True)
class Conversion:
    """A file that was kept.

    Attributes:
        path: The ONNX file.
        framework: Name and version of the framework that the source belongs to.
        exporter: What wrote the graph.
        kind: What the source was found to be.
        opset: Version of ONNX's operator set.
        notes: What was repaired, fixed or left open; one sentence each.
        clips: Random clips that were run.
        difference: Largest absolute difference to the framework's outputs on them.
        layers: Layers upstream of the first output.
        coverage: Fraction of their channels that could be traced.
    """

    path: Path
    framework: str
    exporter: str
    kind: str
    opset: int
    notes: tuple[str, ...]
    clips: int
    difference: float
    layers: int
    coverage: float


def convert(
    framework: str,
    source: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    input_shape: Shape | None = None,
    weights: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    classes: int | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    batch: str | int = "dynamic",
    opset: int | None = None,
    allow_pickle: bool = False,
    seed: int = 0,
    python: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Turn a framework's file into an ONNX file that gives the same outputs.

    Args:
        framework: One of `FRAMEWORKS`.
        source: A file, a folder, ``module:factory``, or the prefix of a pair of files; None where `arch` names a
            built-in network.
        out: The ONNX file to write.
        input_shape: Sizes of the input, batch first, or of each input by name; `arch` has its own default.
        weights: A file of weights, for `arch`, ``module:factory`` and graphs that have theirs in another place.
        arch: A network that the converter has the code of.
        classes: Classes of `arch`.
        frames: Frames that `arch` takes.
        size: Height and width that `arch` takes.
        layout: Letters of the input's axes, written into the file.
        labels: Class names, written into the file.
        preprocess: How footage becomes an input, written into the file; that of `arch` by default.
        batch: ``"dynamic"``, as far as the source allows it, or a fixed number.
        opset: Version of ONNX's operator set; the converter's default where None.
        allow_pickle: Whether a pickle may be loaded, which can run any code.
        seed: Of the random clips, and of random weights.
        python: Interpreter or environment folder to use instead of one that is made.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence; an old file at `out` is then left as it was.
    """
    tell = progress or silent
    folder = converter(framework)
    check_usage(framework, source, input_shape, weights, arch, classes, layout)
    check_place(Path(out))
    source, weights = accepted(framework, source, weights, allow_pickle=allow_pickle)
    request = {
        "format": 1,
        "source": absolute(source),
        "weights": absolute(weights),
        "arch": arch,
        "classes": classes,
        "frames": frames,
        "size": list(size) if isinstance(size, tuple) else size,
        "input_shape": plain_shape(input_shape),
        "layout": layout,
        "batch": batch_of(batch, layout, input_shape),
        "opset": opset,
        "allow_pickle": allow_pickle,
        "labels": None if labels is None else list(labels),
        "preprocess": None if preprocess is None else preprocess.to_json(),
        "seed": seed,
        "cwd": str(Path.cwd()),
    }
    interpreter = environment(framework, folder, python=python, progress=tell)
    with tempfile.TemporaryDirectory(prefix="cfp-convert-") as name:
        work = Path(name)
        tell(f"{framework} writes the graph", 2, 4)
        report = run_converter(interpreter, folder, request, work)
        tell("the file is run against the framework", 3, 4)
        file, clips = work / "model.onnx", read_probe(work)
        network, difference = verified(file, clips, input_shape)
        classes_found = int(next(iter(clips[0][1].values())).shape[-1])
        names, _ = fitted_labels(labels, classes_found, source)
        metadata = described_preprocess(network.file, preprocess or preset_of(arch), layout, frames, size)
        if names is not None:
            metadata["cfp_onnx.labels"] = list(names)
        metadata["cfp_onnx.source"] = source_of(report, source, weights, arch)
        keep_file(file, Path(out), metadata)
    return Conversion(
        path=Path(out),
        framework=str(report["framework"]),
        exporter=str(report["exporter"]),
        kind=str(report["source_kind"]),
        opset=network.file.opset,
        notes=(*map(str, report.get("notes", ())), *_untraced(network)),
        clips=len(clips),
        difference=difference,
        layers=len(network.topology.layers),
        coverage=network.coverage.channels,
    )


def converter(framework: str) -> Path:
    """Folder of a framework's converter: inside the installed package, or beside it in a source checkout.

    Raises:
        UsageError: If there is none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_converters", package.parent / "converters"):
        if framework in FRAMEWORKS and (folder / framework / "convert.py").is_file():
            return folder / framework
    raise UsageError(f"there is no converter for framework {framework!r}; choose one of {', '.join(FRAMEWORKS)}")


def _untraced(network: Network) -> list[str]:
    """A sentence where channels could not be followed all the way."""
    unknown = network.coverage.operators_unknown
    if not unknown:
        return []
    names = ", ".join(unknown)
    told = f"channels cannot be followed through {names}, and what lies before is not explained"
    return [f"{told}; inspect and explain want --allow-barriers"]


__all__ = ["FRAMEWORKS", "Conversion", "convert", "converter"]
