"""``cfp-onnx compare``: whether two files are one network, and where they part."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cfp_onnx.cli.options import CLIP, RUN, Parser, add_shared, number
from cfp_onnx.cli.output import DIFFERENT, check_file, check_folder, deliver, print_result, shown
from cfp_onnx.cli.preprocessing import preprocess_of
from cfp_onnx.cli.progress import progress_bar

COMPARED = ("comparison.html", "comparison.json")
"""Files that a comparison leaves in its folder."""


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("model", metavar="A", help="a model")
    add("other", metavar="B", help="the other")
    add("clips", metavar="CLIP", nargs="+", help="video, frames, image, manifest, .npy ...; arrays in A's layout")
    add("-o", "--out", metavar="DIR", help="folder for comparison.html and comparison.json")
    add("--json", metavar="F", help="write the comparison as JSON; - is stdout")
    add("--class", dest="target", metavar="INDEX|LABEL", help="class whose relevance is compared (A's top-1 class)")
    add("--output", metavar="NAME", help="output to compare (of several the one with classes)")
    add(
        "--tolerance", type=number, metavar="X",
        help="largest difference that counts as the same, as part of a layer's largest output (0.001; 0.02 where a "
        "file keeps numbers in fewer than 32 bits)",
    )  # fmt: skip
    add("--theta", type=number, default=0.6, metavar="X", help="threshold of chosen kernels, 0..1 (0.6)")
    add("--depth", default="all", metavar="D|all", help="deepest level whose relevance and tubes are compared (all)")
    add_shared(parser, CLIP)
    add_shared(parser, RUN)
    parser.suggest("depth", ("all",))


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.comparison.call import compare
    from cfp_onnx.comparison.result import comparison_text
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.model import load

    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_folder(options.out, *COMPARED)
    inputs = (options.model, options.other, *options.clips, options.labels, options.preprocess)
    json_file = check_file(options.json, *inputs)
    labels = None if options.labels is None else read_labels(options.labels)
    with progress_bar(f"{options.model} and {options.other}", options) as progress:
        a, b = load(options.model), load(options.other)
        result = compare(
            a, b, options.clips, target=options.target, output=options.output, tolerance=options.tolerance,
            theta=options.theta, depth=options.depth, layout=options.layout, labels=labels,
            preprocess=preprocess_of(a, options),
            preprocess_b=preprocess_of(b, options), device=options.device, threads=options.threads,
            barriers=options.allow_barriers, progress=progress,
        )  # fmt: skip
        page = None if out is None else result.save(out)
    deliver(result.to_json(), json_file, options.json)
    if options.json != "-":
        print_result(comparison_text(result))
        if page is not None:
            sys.stdout.write(f"\n{shown(page)}\n")
    return 0 if result.same else DIFFERENT


__all__ = ["add_options", "run"]
