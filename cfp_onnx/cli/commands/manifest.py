"""``cfp-onnx manifest``: the clips of a data set, as it lies on disk, in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from cfp_onnx.cli.options import CLIP, Parser, add_shared
from cfp_onnx.cli.output import print_result
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.datasets.layouts import LAYOUTS, TASKS
from cfp_onnx.errors import UsageError


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    parser.add_argument(
        "dataset", metavar="DATASET", choices=list(LAYOUTS),
        help="; ".join(f"{name}: {layout.sentence}" for name, layout in LAYOUTS.items()),
    )  # fmt: skip
    parser.add_argument("root", metavar="ROOT", help="folder of the data set; of list and csv also the file itself")
    parser.add_argument("-o", "--output", metavar="F", required=True, help="Parquet file to write")
    parser.add_argument("--split", metavar="F", help="a list of the data set's, or the name or number of a part")
    add_shared(parser, CLIP, without={row.destination for row in CLIP} - {"labels"})
    parser.add_argument("--task", choices=TASKS, help="which classes count, where a data set has several")
    parser.add_argument("--verify", action="store_true", help="read a frame of each clip; else it only has to be there")


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.datasets.manifests import manifest, manifest_text

    if Path(options.output).suffix.lower() != ".parquet":
        raise UsageError(f"-o {options.output} should end in .parquet, which is what a manifest is")
    with progress_bar(f"reading {options.root}", options) as progress:
        found = manifest(
            options.dataset, options.root, split=options.split, labels=options.labels, task=options.task,
            verify=options.verify, output=options.output, progress=progress,
        )  # fmt: skip
    print_result(manifest_text(found))
    if not found.usable:
        raise UsageError(f"no clip of {options.root} can be used; {options.output} says why of each")
    return 0


__all__ = ["add_options", "run"]
