"""``cfp-onnx dataset``: a data set through a network, the relevance of every kernel as rows on disk."""

from __future__ import annotations

import argparse

from cfp_onnx.cli.options import CLIP, RUN, Parser, add_shared, alternatives, count, holds, number, whole
from cfp_onnx.cli.output import check_folder, print_result
from cfp_onnx.cli.preprocessing import preprocess_of
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError
from cfp_onnx.relevance.rules import DEFAULT, field_rules

TARGETS = ("label", "predicted", "both")
ENGINES = ("local", "ray")


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("manifest", metavar="FILE", help="manifest of a data set, from cfp-onnx manifest")
    add("-o", "--out", metavar="DIR", required=True, help="folder of the run; one that was cut off goes on")
    add("--classes", metavar="NAME", action="append", help="class whose clips are taken; repeat for several (all)")
    add("--clips-per-class", type=count, metavar="N", help="most clips of each class, drawn by --seed (all)")
    add("--seed", type=whole, default=0, metavar="N", help="which clips are drawn (0)")
    add("--target", choices=TARGETS, default="label", help="class of a clip that is explained (label)")
    add("--output", metavar="NAME", action="append", default=[], help="output to explain; repeat for several heads")
    add("--rule", default=DEFAULT, metavar="RULE", help=alternatives(field_rules(), DEFAULT))
    add("--against", metavar="NAME", help="what the class is set against: rivals (default), mean, best or a class")
    add("--hold", type=holds, metavar="NAME", help="what keeps its value: norms,attention,gates, or all, or none")
    add("--order", type=int, choices=(1, 2), default=1, help="2 counts what a removal bends too (1)")
    add("--depth", default="all", metavar="D|all", help="deepest level (all)")
    add("--engine", choices=ENGINES, default="local", help="ray: Ray Data, on one machine or many (local)")
    add("--gpus", type=number, default=0.0, metavar="X", help="GPUs of each actor on Ray, or a part of one (0)")
    add(
        "--workers",
        type=whole,
        metavar="N",
        help="processes that decode ahead, on Ray the actors (half the cores)",
    )
    add("--batch", type=count, default=8, metavar="N", help="most clips of one pass, where the graph allows (8)")
    add("--retry-failed", action="store_true", help="try clips again that failed before")
    add_shared(parser, CLIP)
    add_shared(parser, RUN)
    parser.suggest("rule", field_rules())
    parser.suggest("against", ("rivals", "mean", "best"))
    parser.suggest("hold", ("norms", "attention", "gates", "all", "none"))
    parser.suggest("depth", ("all",))


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.datasets.call import dataset
    from cfp_onnx.datasets.text import ran_text
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.model import load

    check_folder(options.out)
    labels = None if options.labels is None else read_labels(options.labels)
    with progress_bar(f"{options.model}", options) as progress:
        model = load(options.model)
        found = dataset(
            model, options.manifest, options.out, classes=options.classes, clips_per_class=options.clips_per_class,
            seed=options.seed, target=options.target, outputs=options.output, rule=options.rule,
            against=options.against, hold=options.hold, order=options.order, depth=options.depth,
            layout=options.layout, labels=labels,
            preprocess=preprocess_of(model, options), engine=options.engine, workers=options.workers,
            gpus=options.gpus, batch=options.batch,
            retry_failed=options.retry_failed, device=options.device, threads=options.threads,
            barriers=options.allow_barriers, progress=progress,
        )  # fmt: skip
    print_result(ran_text(found))
    if not found.run.keys:
        raise UsageError(f"no clip could be explained; {options.out}/failures says why of each")
    return 0


__all__ = ["add_options", "run"]
