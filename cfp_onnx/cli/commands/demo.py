"""``cfp-onnx demo``: the built-in model on its clip, explained at every depth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cfp_onnx.cli.options import Parser
from cfp_onnx.cli.output import SAVED, check_folder, print_result, shown
from cfp_onnx.cli.progress import progress_bar


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    parser.add_argument("-o", "--out", metavar="DIR", default="cfp_demo", help="folder for the report (cfp_demo)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.demo import run_demo
    from cfp_onnx.pyramid.text import pyramid_tree

    out = Path(options.out)
    check_folder(options.out, *SAVED)
    with progress_bar("the built-in clip", options) as progress:
        pyramid, file = run_demo(out, progress)
    print_result(pyramid_tree(pyramid, notes=() if pyramid.tubes is None else pyramid.tubes.notes))
    sys.stdout.write(f"\n{shown(file)}\n")
    return 0


__all__ = ["add_options", "run"]
