"""Any framework's file becomes an ONNX file that was run against the framework before it was kept.

A converter is a script under ``converters/FRAMEWORK`` that runs in an environment of its own. It is given a
request as JSON and leaves a model, a report, and a probe: random clips with the outputs that the framework
itself computed for them. This module makes the environment, judges what comes back, and only then lets the
file take its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from cfp_onnx import runtime
from cfp_onnx.conversion.environments import environment, install_command, last_line, silent
from cfp_onnx.conversion.file_kinds import is_code, named, refuse_other, refuse_unsupported, weights_beside
from cfp_onnx.errors import CfpError, DeviceError, LimitError, ModelError, OutputError, UsageError
from cfp_onnx.explanation.call import topology
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.explanation.network import Network
from cfp_onnx.files.whole import write_bytes
from cfp_onnx.model import Model, load
from cfp_onnx.text import first_line, shape_text
from cfp_onnx.values import Array, Progress

if TYPE_CHECKING:
    from cfp_onnx.clips.load import Preprocess

Shape = Sequence[int] | Mapping[str, Sequence[int]]
ProbeClip = tuple[dict[str, Array], dict[str, Array]]
"""Inputs of a random clip and the framework's outputs on it, by name."""

FRAMEWORKS = ("torch", "keras", "tensorflow", "tflite", "jax", "paddle", "mxnet")

TOLERANCE = 1e-4
"""Largest difference to the framework's own outputs, relative to the largest of them where that is above 1."""

SMALL = 1e-2
"""The same where all outputs are small, as probabilities of many classes are: relative to the largest of them."""

CLIPS = 3
"""Random clips that a converter must answer for, at least."""


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
        CfpError: With one sentence; what stood at `out` before is then still there.
    """
    tell = progress or silent
    folder = converter(framework)
    _check_usage(framework, source, input_shape, weights, arch, classes, layout)
    _check_place(Path(out))
    source = named(framework, source)
    weights = weights_beside(framework, source) if weights is None else weights
    refuse_other(framework, source)
    refuse_unsupported(source, allow_pickle=allow_pickle)
    refuse_unsupported(weights, allow_pickle=allow_pickle, only_weights=True)
    for file, held in ((source, "network"), (weights, "weights")):
        if framework == "torch" and file is not None and Path(file).is_dir():
            raise UsageError(f"{file}: a folder, and PyTorch's files are single; give the file that holds the {held}")
    request = {
        "format": 1,
        "source": _absolute(source),
        "weights": _absolute(weights),
        "arch": arch,
        "classes": classes,
        "frames": frames,
        "size": list(size) if isinstance(size, tuple) else size,
        "input_shape": _plain_shape(input_shape),
        "layout": layout,
        "batch": _batch(batch, layout, input_shape),
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
        report = _run_converter(interpreter, folder, request, work)
        tell("the file is run against the framework", 3, 4)
        file, clips = work / "model.onnx", _probe(work)
        engine, difference = _verify(file, clips, input_shape)
        classes_found = int(next(iter(clips[0][1].values())).shape[-1])
        _check_labels(labels, classes_found)
        metadata = _described(engine.file, preprocess or preset_of(arch), layout, frames, size)
        if labels is not None:
            metadata["cfp_onnx.labels"] = list(labels)
        metadata["cfp_onnx.source"] = _source(report, source, weights, arch)
        _keep(file, Path(out), metadata)
    return Conversion(
        path=Path(out),
        framework=str(report["framework"]),
        exporter=str(report["exporter"]),
        kind=str(report["source_kind"]),
        opset=engine.file.opset,
        notes=(*map(str, report.get("notes", ())), *_untraced(engine)),
        clips=len(clips),
        difference=difference,
        layers=len(engine.topology.layers),
        coverage=engine.coverage.channels,
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


def _check_usage(
    framework: str,
    source: object,
    input_shape: object,
    weights: object,
    arch: str | None,
    classes: int | None,
    layout: str | None,
) -> None:
    if arch is not None and framework != "torch":
        raise UsageError(f"--arch names networks of the torch converter; leave it out for {framework}")
    if arch is not None and source is not None:
        raise UsageError("--arch brings its own code; give its weights with --weights and no SOURCE")
    if arch is None and classes is not None:
        raise UsageError("--classes belongs to --arch; any other network has the classes that it has")
    if arch is None and source is None:
        raise UsageError("give a SOURCE (a file, a folder or module:factory), or a built-in network with --arch")
    if arch is None and input_shape is None:
        raise UsageError("give the size of the input, batch first: --input-shape 1,3,16,112,112")
    if framework == "jax" and not is_code(str(source)):
        raise UsageError(
            f"{source}: JAX has no file that holds a network without its code; give the code as module:factory or "
            "file.py:factory, and a file of weights with --weights"
        )
    if framework in {"keras", "tensorflow", "tflite"} and weights is not None:
        raise UsageError(f"{framework}'s files bring their own weights; leave --weights out")
    if framework == "torch" and weights is not None and arch is None and not is_code(str(source)):
        raise UsageError("--weights belongs to --arch or to a module:factory; a file brings its own")
    if layout is not None and sorted(set(layout) & set("NCTHWL")) != sorted(layout):
        raise UsageError(f"layout {layout!r} is unknown; use each of the letters N, C, T, H, W once, such as NCTHW")


def _batch(batch: str | int, layout: str | None, shape: Shape | None) -> str | int:
    """The batch to ask for: where the first axis is none, it has the size that was given.

    Raises:
        UsageError: If another is asked for.
    """
    if layout is None or shape is None or layout.startswith("N"):
        return batch
    first = {sizes[0] for sizes in (shape.values() if isinstance(shape, Mapping) else [shape])}
    if len(first) > 1 or batch not in {"dynamic", *first}:
        raise UsageError(f"layout {layout} has no batch in front; leave --batch out, and give one size of that axis")
    return first.pop()


def _check_place(out: Path) -> None:
    """Refuses a place that cannot be written before minutes are spent.

    Raises:
        OutputError: If it is a folder, or lies in what is none or may not be written.
    """
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder; give a file name")
    folder = next(f for f in out.absolute().parents if f.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        reason = "it may not be written to" if folder.is_dir() else "it is no folder"
        raise OutputError(f"cannot write {out}: {folder}: {reason}; choose another place")


def _absolute(file: str | os.PathLike[str] | None) -> str | None:
    if file is None:
        return None
    return str(file) if is_code(str(file)) else str(Path(file).absolute())


def _plain_shape(shape: Shape | None) -> list[int] | dict[str, list[int]] | None:
    if isinstance(shape, Mapping):
        return {name: list(sizes) for name, sizes in shape.items()}
    return None if shape is None else list(shape)


# ------------------------------------------------------------------------------------------------ the converter


def _run_converter(interpreter: Path, folder: Path, request: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """Runs a converter; its report, once all that it must leave is there."""
    script, order = folder / "convert.py", work / "request.json"
    order.write_text(json.dumps(request), encoding="utf-8")
    command = [str(interpreter), "-B", str(script), str(order), str(work)]
    try:
        done = _run(command, work)
    except OSError as error:
        raise UsageError(f"{interpreter} cannot be run ({error.strerror or error}); see --python") from error
    if done.returncode:
        raise _failure(done, interpreter, folder) from RuntimeError(done.stderr.strip() or "it said nothing")
    try:
        report: dict[str, Any] = json.loads((work / "report.json").read_text(encoding="utf-8"))
        facts = [str(report[key]) for key in ("framework", "exporter", "source_kind")]
        if report["format"] == 1 and all(facts) and (work / "model.onnx").is_file() and (work / "probe.npz").is_file():
            return report
        reason = "a file is missing, or its report is of another format"
    except FileNotFoundError:
        reason = "it ended without a report"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = first_line(error)
    raise ModelError(f"the {folder.name} converter left no usable result: {reason}")


def _run(command: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    """Runs a converter to its end, or to ours: then it ends too, with whatever it has started."""
    own = {"PYTHONWARNINGS": "ignore", "PYTHONIOENCODING": "utf-8", "PYTHONNOUSERSITE": "1"}
    with subprocess.Popen(  # noqa: S603 - our own script
        command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        errors="replace", env={**os.environ, **own}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, complaint = process.communicate()
        except BaseException:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, said, complaint)


def _failure(done: subprocess.CompletedProcess[str], interpreter: Path, folder: Path) -> CfpError:
    said = last_line(done.stderr)
    if done.returncode == 2 and said:
        return ModelError(said)
    if done.returncode < 0:
        return LimitError(f"the {folder.name} converter was ended by signal {-done.returncode}; is memory short?")
    if "MemoryError" in said or "not enough memory" in said:
        return LimitError(f"the {folder.name} converter ran out of memory; give a smaller --input-shape")
    if "No space left on device" in said:
        return OutputError(
            f"no space is left in {tempfile.gettempdir()} for the {folder.name} converter; TMPDIR names another place"
        )
    if missing := re.fullmatch(r"(?:ModuleNotFoundError|ImportError): No module named '([\w.]+)'", said):
        install = install_command(interpreter, folder / "requirements.txt")
        return DeviceError(f"the environment {interpreter} lacks {missing[1]}; type: {install}")
    return ModelError(
        f"the {folder.name} converter failed: {said.rstrip('.') or 'it said nothing'}; --debug shows all it said"
    )


# ------------------------------------------------------------------------------------------------- verification


def _probe(work: Path) -> list[ProbeClip]:
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


def _verify(file: Path, clips: Sequence[ProbeClip], wanted: Shape | None) -> tuple[Network, float]:
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


# ------------------------------------------------------------------------------------------------------ results


def _untraced(network: Network) -> list[str]:
    """A sentence where channels could not be followed all the way."""
    unknown = network.coverage.operators_unknown
    if not unknown:
        return []
    names = ", ".join(unknown)
    told = f"channels cannot be followed through {names}, and what lies before is not explained"
    return [f"{told}; inspect and explain want --allow-barriers"]


def _source(
    report: Mapping[str, Any], source: str | os.PathLike[str] | None, weights: object, arch: str | None
) -> dict[str, Any]:
    """Where the network is from, without a path of this machine."""
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
    """Of a file's bytes; of a folder's relative names and bytes, in their order."""
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
    from cfp_onnx.clips.load import PRESETS

    name = (arch or "").removesuffix("-a")
    return PRESETS.get(name) or (PRESETS["resnet3d"] if name.startswith("resne") else None)


def _check_labels(labels: Sequence[str] | None, classes: int) -> None:
    if labels is not None and len(labels) != classes:
        raise UsageError(f"there are {len(labels)} labels but the network has {classes} classes")


def _described(
    model: Model, base: Preprocess | None, layout: str | None, frames: int | None, size: int | tuple[int, int] | None
) -> dict[str, Any]:
    """Preprocessing as metadata, once it fits the model; none where nothing is known.

    Raises:
        UsageError: If it contradicts the model.
    """
    from cfp_onnx.clips.load import Preprocess, layout_of

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


def _keep(file: Path, out: Path, metadata: Mapping[str, Any]) -> None:
    """Writes the judged file to its place; weights too large for one file go beside it."""
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
        shutil.move(file.parent / locations.pop(), temporary)  # the many bytes first: what may fail, fails here
        write_bytes(out, proto.SerializeToString())
        temporary.replace(data)
    except OSError as error:
        raise OutputError(f"cannot write {data}: {error.strerror or error}; choose another place with -o") from error
    finally:
        temporary.unlink(missing_ok=True)


__all__ = ["FRAMEWORKS", "Conversion", "convert", "converter", "preset_of"]
