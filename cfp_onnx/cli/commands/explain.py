"""``cfp-onnx explain``: the kernels behind a class on a clip."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cfp_onnx.cli.options import CLIP, DRAWING, RUN, Parser, add_shared, alternatives, count, holds, named_input, number
from cfp_onnx.cli.output import SAVED, check_file, check_folder, deliver, print_result, shown
from cfp_onnx.cli.preprocessing import preprocess_of
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.rules import CLASS_STEPS, DEFAULT, RULES, rule_named


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("clip", metavar="CLIP", help="video, folder of frames, frame database, image, .npy or .npz")
    add("-o", "--out", metavar="DIR", help="folder for the report, pyramid.json and the tubes")
    add("--json", metavar="F", help="write the pyramid as JSON; - is stdout")
    add(
        "--class",
        dest="target",
        metavar="INDEX|LABEL",
        help="class to explain (the top-1 class); not:0 for what speaks against the one value of a single output",
    )
    add("--output", metavar="NAME", help="output to explain (of several the one with classes)")
    add(
        "--at",
        metavar="PLACE",
        help="place of an output that answers at many: box:17, y,x or t,y,x, strongest or mean (strongest)",
    )
    add(
        "--direction",
        metavar="FILE",
        help="what is explained of an embedding: own (the direction of the clip's own output), or a file of numbers",
    )
    add("--rule", default=DEFAULT, metavar="RULE", help=alternatives(RULES, DEFAULT))
    add(
        "--class-step",
        metavar="STEP",
        help=f"{alternatives(CLASS_STEPS)} (each rule has its own default)",
    )
    add("--theta", type=number, default=0.6, metavar="X", help="threshold on v, 0..1 (0.6)")
    add("--top-k", type=count, metavar="K", help="most kernels per layer")
    add("--depth", default="3", metavar="D|all", help="deepest level (3)")
    add(
        "--hold",
        type=holds,
        metavar="WHAT",
        help=f"what keeps its value when a kernel goes: some of {','.join(HOLDS)}, or all or none (positional: none)",
    )
    add(
        "--order",
        type=count,
        default=1,
        metavar="1|2",
        help="2 also counts what a kernel's removal bends, for about one more pass (1; rule positional)",
    )
    add(
        "--against",
        action="append",
        metavar="CLASS",
        help=f"what the class is set against: {alternatives(AGAINST, 'rivals')}; repeat to switch between several "
        "in the report",
    )
    add(
        "--input",
        dest="inputs",
        type=named_input,
        action="append",
        default=[],
        metavar="NAME=VALUE|FILE",
        help="what an input gets that the clip does not give: a number, numbers with commas, or an .npy file; repeat",
    )
    add_shared(parser, CLIP)
    add_shared(parser, DRAWING)
    add_shared(parser, RUN)
    parser.suggest("rule", tuple(RULES))
    parser.suggest("class_step", CLASS_STEPS)
    parser.suggest("depth", ("all",))
    parser.suggest("hold", (*HOLDS, "all", "none"))
    parser.suggest("order", ("1", "2"))
    parser.suggest("direction", ("own",))
    parser.suggest("at", ("strongest", "mean"))
    parser.suggest("against", AGAINST[:-1])
    width = max(map(len, RULES))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["rules:", *(f"  {name:<{width}}  {rule.sentence}" for name, rule in RULES.items())])


AGAINST = ("mean", "rivals", "best", "another class")
"""What a class may be set against, as the help text lists it."""


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.explanation.call import explain
    from cfp_onnx.explanation.given import read_inputs
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.model import load
    from cfp_onnx.pyramid.drawings import DrawingOptions
    from cfp_onnx.pyramid.text import pyramid_tree

    rule_named(options.rule)
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_folder(options.out, *SAVED)
    elif options.tube:
        raise UsageError("--tube needs a folder for the pictures; give one with -o")
    drawing = DrawingOptions(tuple(options.tube), options.tube_top, options.animation)
    json_file = check_file(options.json, options.model, options.clip, options.labels, options.preprocess)
    labels = None if options.labels is None else read_labels(options.labels)
    with progress_bar(options.clip, options) as progress:
        model = load(options.model)
        pyramid = explain(
            model,
            options.clip,
            target=options.target,
            output=options.output,
            rule=options.rule,
            class_step=options.class_step,
            theta=options.theta,
            top_k=options.top_k,
            depth=options.depth,
            hold=options.hold,
            against=options.against,
            order=options.order,
            at=options.at,
            direction=options.direction,
            inputs=read_inputs(options.inputs),
            layout=options.layout,
            labels=labels,
            preprocess=preprocess_of(model, options),
            device=options.device,
            threads=options.threads,
            barriers=options.allow_barriers,
            tubes=out is not None,
            kernel_relevance=drawing.kernel_relevance,
            layer_evidence=drawing.layer_evidence,
            progress=progress,
        )
        report = None
        if out is not None:
            report = pyramid.save(out, drawings=drawing.drawings, animation=drawing.animation, progress=progress)
    deliver(pyramid.to_json(), json_file, options.json)
    if options.json != "-":
        print_result(pyramid_tree(pyramid, notes=() if pyramid.tubes is None else pyramid.tubes.notes))
        if report is not None:
            sys.stdout.write(f"\n{shown(report)}\n")
    return 0


__all__ = ["add_options", "run"]
