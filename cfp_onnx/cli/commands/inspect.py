"""``cfp-onnx inspect``: what a network is made of, as a tree, JSON or GraphML."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cfp_onnx.cli.options import RUN, Parser, add_shared, named_shape
from cfp_onnx.cli.output import check_file, deliver, print_result
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError

if TYPE_CHECKING:
    from cfp_onnx.model import Model


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--json", metavar="F", help="write the topology as JSON; - is stdout")
    parser.add_argument("--graphml", metavar="F", help="write the graph of layers as GraphML")
    parser.add_argument(
        "--input-shape", metavar="NAME=1,3,16,112,112", action="append", default=[], type=named_shape,
        help="size of an input that the file leaves open; repeat for several inputs",
    )  # fmt: skip
    add_shared(parser, RUN, without={"device", "threads"})


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.explanation.call import topology
    from cfp_onnx.model import load
    from cfp_onnx.pyramid.topology_json import topology_json, write_graphml
    from cfp_onnx.pyramid.topology_text import topology_tree

    if options.graphml == "-":
        raise UsageError("--graphml needs a file name; only --json can go to stdout")
    json_file = check_file(options.json, options.model)
    graphml = check_file(options.graphml, options.model)
    if json_file is not None and json_file == graphml:
        raise UsageError(f"--json and --graphml both name {json_file}; give two files")
    with progress_bar(f"reading {options.model}", options):
        model = load(options.model)
        engine = topology(model, input_shape=_shapes(model, options.input_shape), barriers=options.allow_barriers)
        value = topology_json(engine)
        if graphml is not None:
            write_graphml(engine, graphml)
    deliver(value, json_file, options.json)
    if options.json != "-":
        print_result(topology_tree(engine))
    return 0


def _shapes(model: Model, given: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """Sizes by input name; a nameless one belongs to the only input.

    Raises:
        UsageError: If there are several inputs, or one is given twice.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    names = [p.name for p in model.inputs]
    for name, shape in given:
        if not name and len(names) != 1:
            raise UsageError(f"--input-shape needs a name, NAME=...; the inputs are: {', '.join(names)}")
        key = name or names[0]
        if key in shapes:
            raise UsageError(f"--input-shape gives {key!r} twice")
        shapes[key] = shape
    return shapes


__all__ = ["add_options", "run"]
