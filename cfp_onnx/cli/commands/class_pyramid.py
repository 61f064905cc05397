"""``cfp-onnx class-pyramid``: what the clips of a class have in common, depth by depth."""

from __future__ import annotations

import argparse

from cfp_onnx.cli.options import Parser
from cfp_onnx.cli.output import check_file, deliver, print_result


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("runs", metavar="DIR", nargs="+", help="folder of a run of cfp-onnx dataset, or of several parts of one")
    add("--class", dest="target", metavar="INDEX|LABEL", required=True, help="the class")
    add("--against", metavar="INDEX|LABEL", help="another class that it is held against")
    add("--output", metavar="NAME", help="output, where the run has several (the first)")
    add("--answered", choices=("all", "correct", "wrong"), default="all", help="which of the class's clips (all)")
    add("--json", metavar="F", help="write the pyramid as JSON; - is stdout")


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.datasets.call import load_run
    from cfp_onnx.datasets.text import class_tree

    json_file = check_file(options.json)
    found = load_run(*options.runs).class_pyramid(
        options.target, against=options.against, output=options.output, clips=options.answered
    )
    deliver(found.to_json(), json_file, options.json)
    if options.json != "-":
        print_result(class_tree(found))
    return 0


__all__ = ["add_options", "run"]
