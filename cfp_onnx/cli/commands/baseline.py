"""``cfp-onnx baseline``: what a model decides for on some clips, and by which kernels, kept in a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cfp_onnx.cli.options import CLIP, RUN, Parser, add_shared, alternatives
from cfp_onnx.cli.output import check_file, shown
from cfp_onnx.cli.preprocessing import preprocess_of
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError
from cfp_onnx.relevance.rules import DEFAULT, field_rules


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("model", metavar="MODEL")
    add(
        "clips",
        metavar="CLIP",
        nargs="+",
        help="clips, folders of them, lists (a clip a line, its class behind it), manifests",
    )
    add("-o", "--out", metavar="F", required=True, help="the baseline to write, such as baseline.json")
    add("--class", dest="target", metavar="INDEX|LABEL", help="class to look at (a list's, else each clip's top-1)")
    add("--output", metavar="NAME", help="output that decides (of several the one with classes)")
    add("--rule", default=DEFAULT, metavar="RULE", help=alternatives(field_rules(), DEFAULT))
    add("--depth", default="3", metavar="D|all", help="deepest level whose relevance is kept (3)")
    add_shared(parser, CLIP)
    add_shared(parser, RUN)
    parser.suggest("rule", field_rules())
    parser.suggest("depth", ("all",))


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.checking.baseline import baseline
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.files.whole import folder_of
    from cfp_onnx.model import load

    out = check_file(options.out, options.model, *options.clips, options.labels, options.preprocess)
    if out is None:
        raise UsageError("-o needs the name of a file for the baseline")
    labels = None if options.labels is None else read_labels(options.labels)
    with progress_bar(options.model, options) as progress:
        model = load(options.model)
        made = baseline(
            model, options.clips, target=options.target, output=options.output, rule=options.rule, depth=options.depth,
            layout=options.layout, labels=labels, preprocess=preprocess_of(model, options), device=options.device,
            threads=options.threads, barriers=options.allow_barriers, relative_to=folder_of(options.out),
            progress=progress,
        )  # fmt: skip
        made.save(out)
    noise = max((c.activity for c in made.noise.layers), default=0.0)
    sys.stdout.write(
        f"{shown(Path(options.out))}\n{len(made.clips)} clips, {len(made.traits)} layers, relevance to depth "
        f"{made.run['depth']}; the machine's own noise: outputs {made.noise.outputs:.1g}, activity {noise:.1g}\n"
    )
    return 0


__all__ = ["add_options", "run"]
