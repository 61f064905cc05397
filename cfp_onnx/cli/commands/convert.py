"""``cfp-onnx convert``: any framework's classifier as an ONNX file that was checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfp_onnx.cli.options import CLIP, Parser, add_shared, count, named_shape, size
from cfp_onnx.cli.output import check_file, shown
from cfp_onnx.cli.preprocessing import named_preprocess
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess


def _batch(text: str) -> str | int:
    return text if text == "dynamic" else count(text)


def _side(text: str) -> tuple[int, int]:
    return size(f"{text}x{text}" if text.isascii() and text.isdigit() else text)


_KEPT = ", written into the file"
CHANGES: dict[str, dict[str, Any]] = {
    "layout": {"help": f"axes of the input{_KEPT}"},
    "labels": {"help": f"class names, as text, CSV, YAML or JSON{_KEPT}"},
    "frames": {"help": "frames of a clip"},
    "size": {"type": _side, "metavar": "S|HxW"},
    "preprocess": {"help": f"preprocessing as JSON{_KEPT}"},
}
"""What the options of a clip mean here where that differs: it becomes a part of the file."""

ARCHS = (
    "resnet10-3d", "resnet18-3d", "resnet34-3d", "resnet50-3d", "resnet101-3d", "resnet152-3d",
    "resnet10-3d-a", "resnet18-3d-a", "resnet34-3d-a", "resnet50-3d-a", "resnet101-3d-a", "resnet152-3d-a",
    "resnext101-3d", "mfnet", "i3d",
)  # fmt: skip
"""What is suggested for ``--arch``: the networks of converters/torch/archs.py, which no other environment imports."""


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("framework", metavar="FRAMEWORK", help="torch, keras, tensorflow, tflite, jax, paddle or mxnet")
    add("source", metavar="SOURCE", nargs="?", help="a file, a folder, a prefix or module:factory; none with --arch")
    add("-o", "--out", metavar="F", required=True, help="the ONNX file to write")
    add(
        "--input-shape", metavar="[NAME=]1,3,16,112,112", action="append", default=[], type=named_shape,
        help="size of the input, batch first; repeat with names for several inputs",
    )  # fmt: skip
    add("--weights", metavar="F", help="file of weights for --arch, module:factory or a separate graph")
    add("--arch", metavar="NAME", help="a network that is built in: resnet50-3d, mfnet, i3d ...")
    add("--classes", type=count, metavar="N", help="classes of --arch (400)")
    add("--batch", type=_batch, default="dynamic", metavar="dynamic|N", help="dynamic (default) where the source can")
    add("--opset", type=count, metavar="N", help="version of ONNX's operator set")
    add("--python", metavar="ENV", help="the framework's interpreter or environment; one is made and kept without it")
    add("--allow-pickle", action="store_true", help="load pickles, which can run any code")
    add_shared(parser, CLIP, changes=CHANGES)
    parser.suggest("framework", ("torch", "keras", "tensorflow", "tflite", "jax", "paddle", "mxnet"))
    parser.suggest("arch", ARCHS)
    parser.suggest("batch", ("dynamic",))


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.conversion.call import convert
    from cfp_onnx.explanation.labels import read_labels

    out = check_file(options.out, options.source, options.weights, options.labels, options.preprocess)
    if out is None:
        raise UsageError("-o needs the name of a file for the model")
    labels = None if options.labels is None else read_labels(options.labels)
    preprocess = _written_preprocess(options)
    with progress_bar(f"converting {options.arch or options.source}", options) as progress:
        done = convert(
            options.framework,
            options.source,
            out,
            input_shape=_input_sizes(options.input_shape),
            weights=options.weights,
            arch=options.arch,
            classes=options.classes,
            frames=options.frames,
            size=options.size,
            layout=options.layout,
            labels=labels,
            preprocess=preprocess,
            batch=options.batch,
            opset=options.opset,
            allow_pickle=options.allow_pickle,
            python=options.python,
            progress=progress,
        )
    judged = f"outputs of {done.clips} random clips differ from the framework's by {done.difference:.2g} at most"
    lines = [
        options.out,
        f"{done.framework}, {done.kind}, written by {done.exporter}, opset {done.opset}",
        f"{done.layers} layers, {done.coverage:.0%} of their channels traced; {judged}",
        *(f"note: {note}" for note in done.notes),
    ]
    sys.stdout.write("".join(f"{shown(Path(line))}\n" for line in lines))
    return 0


def _input_sizes(given: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[int, ...] | dict[str, tuple[int, ...]] | None:
    """Sizes of the only input, or by name.

    Raises:
        UsageError: If one of several has no name, or a name is given twice.
    """
    if len(given) == 1 and not given[0][0]:
        return given[0][1]
    if not all(name for name, _ in given) or len(dict(given)) < len(given):
        raise UsageError(
            "--input-shape of several inputs needs a name for each, once: --input-shape NAME=1,3,16,112,112"
        )
    return dict(given) or None


def _written_preprocess(options: argparse.Namespace) -> Preprocess | None:
    """What a converted file shall say about preprocessing; None where nothing is known.

    Raises:
        UsageError: If the preset is unknown or the file cannot be read.
    """
    from cfp_onnx.clips.preprocess import Preprocess
    from cfp_onnx.conversion.keep import preset_of

    base = named_preprocess(options) or preset_of(options.arch)
    sized = options.arch is None and (base is None or not base.yields)
    names = ("stride", "mean", "std", *(("frames", "size") if sized else ()))
    given = {k: getattr(options, k) for k in names if getattr(options, k) is not None}
    return replace(base or Preprocess(), **given) if base or given else None


__all__ = ["add_options", "run"]
