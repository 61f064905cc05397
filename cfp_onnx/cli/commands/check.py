"""``cfp-onnx check``: whether a model still decides as its baseline did, for the same reasons."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cfp_onnx.cli.options import CLIP, PROGRAM, RUN, Parser, add_shared, count, number
from cfp_onnx.cli.output import DIFFERENT, check_file, check_folder, deliver, print_result, shown
from cfp_onnx.cli.preprocessing import preprocess_of
from cfp_onnx.cli.progress import progress_bar
from cfp_onnx.errors import UsageError

if TYPE_CHECKING:
    from cfp_onnx.checking.policy import Policy


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("clips", metavar="CLIP", nargs="*", help="where the baseline's clips are (where it says)")
    add("--baseline", metavar="F", required=True, help="what `cfp-onnx baseline` wrote")
    limits = parser.add_argument_group("limits", "on the mean of all clips, for each layer; see docs/check.md")
    limit = limits.add_argument
    limit("--max-drift", type=number, metavar="X", help="part of the relevance that may move to other kernels (0.15)")
    limit("--min-overlap", type=number, metavar="X", help="part of the strongest tenth that must stay (0.6)")
    limit("--min-rank", type=number, metavar="X", help="rank correlation of the kernels' relevance (0.85)")
    limit("--max-activity", type=number, metavar="X", help="change of the kernels' mean activations (0.15)")
    limit("--max-weights", type=number, metavar="X", help="change of the kernels' weights (0.04)")
    limit("--max-flips", type=_least_0, metavar="N", help="clips whose strongest class may change (0)")
    limit(
        "--config", metavar="F",
        help="limits as TOML, also per layer and class (the table tool.cfp_onnx of pyproject.toml here)",
    )  # fmt: skip
    add("--json", metavar="F", help="write the result as JSON; - is stdout")
    add("--junit", metavar="F", help="write the result as JUnit XML")
    add("--markdown", metavar="F", help="append the result as Markdown, as a job summary wants it; - is stdout")
    add("--html", metavar="DIR", help="folder for check.html and check.json")
    add("--update", action="store_true", help="then write a new baseline of MODEL in place of the old")
    add_shared(parser, CLIP, without={"labels"})
    add_shared(parser, RUN)


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.checking.baseline_file import load_baseline
    from cfp_onnx.checking.call import check
    from cfp_onnx.checking.ci_files import junit, markdown, save_page
    from cfp_onnx.checking.renew import renewed
    from cfp_onnx.checking.result import checked_text, verdict
    from cfp_onnx.checking.text import first_text
    from cfp_onnx.files.whole import append_text, folder_of, write_text
    from cfp_onnx.model import load
    from cfp_onnx.text import printable

    inputs = (options.model, options.baseline, *options.clips, options.config, options.preprocess)
    json_file, junit_file = (check_file(f, *inputs) for f in (options.json, options.junit))
    summary = check_file(options.markdown, *inputs)
    files = [f for f in (json_file, junit_file, summary) if f is not None]
    if len(set(files)) < len(files):
        raise UsageError("--json, --junit and --markdown cannot go to one file; give each its own")
    if options.html is not None:
        check_folder(options.html, "check.html", "check.json")
    if options.junit == "-" or [options.json, options.markdown].count("-") > 1:
        raise UsageError("only one of --json and --markdown can go to stdout; give the others a file name")
    policy = _policy(options)
    old = load_baseline(options.baseline)
    if options.update:
        check_file(options.baseline)
    folder = folder_of(options.baseline)
    with progress_bar(options.model, options) as progress:
        model = load(options.model)
        how = {
            "layout": options.layout, "preprocess": preprocess_of(model, options), "device": options.device,
            "threads": options.threads, "barriers": options.allow_barriers, "folder": folder, "progress": progress,
        }  # fmt: skip
        result = check(model, old, options.clips or None, policy=policy, name=Path(options.baseline).name, **how)
        if junit_file is not None:
            write_text(junit_file, junit(result))
        if summary is not None:
            append_text(summary, markdown(result))
        page = None if options.html is None else save_page(result, options.html)
        if options.update:
            renewed(model, old, options.clips or None, **how).save(options.baseline)
    deliver(result.to_json(), json_file, options.json)
    if options.markdown == "-":
        sys.stdout.write(markdown(result))
    elif options.json != "-" and not options.quiet:
        print_result(checked_text(result))
    elif options.json != "-" and not result.ok:
        lines = [verdict(result), *([first_text(result.first)] if result.first else [])]
        sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    if page is not None and not options.quiet and "-" not in {options.json, options.markdown}:
        sys.stdout.write(f"\n{shown(page)}\n")
    if options.update and not options.quiet:
        sys.stderr.write(f"{PROGRAM}: {shown(Path(options.baseline))} is now the baseline of {options.model}\n")
    return 0 if result.ok or options.update else DIFFERENT


def _policy(options: argparse.Namespace) -> Policy:
    """Limits of the command line over those of a file.

    Raises:
        UsageError: If the file cannot be read or a limit is out of range.
    """
    from cfp_onnx.checking.policy import NAMES, Policy, read_policy

    here = Path("pyproject.toml")
    base = Policy()
    if options.config is not None:
        base = read_policy(Path(options.config))
    elif here.is_file():
        base = read_policy(here)
    return base.given(max_flips=options.max_flips, **{name: getattr(options, name) for name in NAMES})


def _least_0(text: str) -> int:
    if text == "0":
        return 0
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0") from None


__all__ = ["add_options", "run"]
