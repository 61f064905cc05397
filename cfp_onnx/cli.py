"""The command ``cfp-onnx``: arguments to public calls, results to stdout, everything else to stderr.

Exit codes: 0 fine; 1 a comparison found a difference; 2 wrong usage or unusable input; 3 the device or runtime is
missing; 4 a limit was reached (130 after Ctrl-C, 143 after SIGTERM, 141 where the reader of a pipe went away). A
failure is one line on stderr.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cfp_onnx import __version__
from cfp_onnx.errors import CfpError, LimitError, OutputError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cfp_onnx.checking.policy import Policy
    from cfp_onnx.clips.load import Preprocess
    from cfp_onnx.model import Model
    from cfp_onnx.values import Progress

PROGRAM = "cfp-onnx"
SAVED = ("report.html", "pyramid.json", "tubes.npz")
"""Files that an explanation leaves in its folder, beside the pictures."""
COMPARED = ("comparison.html", "comparison.json")
"""Files that a comparison leaves in its folder."""
WIDTH = 100
"""Columns of a tree that does not go to a terminal."""

INTERRUPTED, READER_GONE = 130, 141
DIFFERENT = 1
"""Exit code of a comparison that found a difference."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no failure
    try:
        options = _parsed(_parser(), arguments)
        with warnings.catch_warnings(), _ending_tidily():
            if not debug:
                warnings.simplefilter("ignore")
            code = int(options.command(options))
        sys.stdout.flush()
    except CfpError as error:
        return _fail(error, error.exit_code, debug=debug)
    except _Ended as end:
        return _fail(f"ended by {end}", end.exit_code, debug=debug)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, debug=debug)
    except BrokenPipeError:
        _drop_stdout()
        return READER_GONE
    except MemoryError as error:
        return _fail(f"out of memory ({error}); use a smaller input or --depth", LimitError.exit_code, debug=debug)
    except OSError as error:
        _drop_stdout()
        return _fail(f"the system refused: {error}", CfpError.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever a file provokes, the user gets one sentence
        what = f"unexpected {type(error).__name__}: {error}"
        return _fail(f"{what}; run again with --debug and report it", CfpError.exit_code, debug=debug)
    return code


class _Ended(BaseException):
    """A signal that asks the program to end: what it has begun is cleared away first."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """Signals that would end the program at once unwind it instead, where nobody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise _Ended(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [n for n in (signal.Signals[name] for name in names) if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _fail(message: object, code: int, *, debug: bool) -> int:
    from cfp_onnx.text import printable

    if debug:
        traceback.print_exc()
    text = printable(" ".join(str(message).split()))
    sys.stderr.write(f"{PROGRAM}: error: {text}\n")
    return code


def _drop_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not fail on it when it ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


# --------------------------------------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Options of a command; clips may also stand behind the options, which argparse alone does not take."""
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "clips") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.clips = [*options.clips, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    common.add_argument("--quiet", "-q", action="store_true", default=argparse.SUPPRESS, help="no status on stderr")
    parser = _Parser(
        prog=PROGRAM, allow_abbrev=False, parents=[common],
        description="Which kernels of an ONNX classifier, at every depth, make a class come out on a clip.",
    )  # fmt: skip
    parser.set_defaults(debug=False, quiet=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="name", parser_class=_Parser)

    def command(name: str, call: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        sub.set_defaults(command=call)
        return sub

    _demo_options(command("demo", _demo, "the built-in model and clip, end to end"))
    _inspect_options(command("inspect", _inspect, "layers, wires, branches, shortcuts, gates, fibers, coverage"))
    _explain_options(command("explain", _explain, "the kernels behind a class on a clip, from the class down"))
    _compare_options(command("compare", _compare, "whether two files are one network, and where they part"))
    _convert_options(command("convert", _convert, "any framework's classifier as an ONNX file that was checked"))
    _baseline_options(command("baseline", _baseline, "what a model decides for on some clips, and by which kernels"))
    _check_options(command("check", _check, "whether a model still decides as its baseline did, for the same reasons"))
    command("doctor", _doctor, "what is installed, and the command that mends what is wrong")
    return parser


def _demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", metavar="DIR", default="cfp_demo", help="folder for the report (cfp_demo)")


def _inspect_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--json", metavar="F", help="write the topology as JSON; - is stdout")
    parser.add_argument("--graphml", metavar="F", help="write the graph of layers as GraphML")
    parser.add_argument(
        "--input-shape", metavar="NAME=1,3,16,112,112", action="append", default=[], type=_named_shape,
        help="size of an input that the file leaves open; repeat for several inputs",
    )  # fmt: skip
    parser.add_argument("--allow-barriers", action="store_true", help="pass over unknown operators, and say so")


def _explain_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("clip", metavar="CLIP", help="video, folder of frames, frame database, image, .npy or .npz")
    add("-o", "--out", metavar="DIR", help="folder for the report, pyramid.json and the tubes")
    add("--json", metavar="F", help="write the pyramid as JSON; - is stdout")
    add("--class", dest="target", metavar="INDEX|LABEL", help="class to explain (the top-1 class)")
    add("--output", metavar="NAME", help="output to explain (the first)")
    add("--rule", default="positional", metavar="RULE", help="positional (default), active, zplus, published or mean")
    add(
        "--class-step",
        metavar="STEP",
        help="weights, contribution or contrast (each rule has its own default)",
    )
    add("--theta", type=_number, default=0.6, metavar="X", help="threshold on v, 0..1 (0.6)")
    add("--top-k", type=_count, metavar="K", help="most kernels per layer")
    add("--depth", default="3", metavar="D|all", help="deepest level (3)")
    _clip_options(parser)
    add(
        "--tube", action="append", default=[], type=_tube, metavar="KIND[:UNIT]",
        help="tubes to draw: activation or relevance of each kernel, layer or depth, such as activation:layer; repeat "
        "for several (the class's relevance and the strongest kernel at up to four depths)",
    )  # fmt: skip
    add("--tube-top", type=_count, default=3, metavar="N", help="most tubes per depth that --tube draws (3)")
    add("--animation", choices=("mp4", "gif", "none"), default="mp4", help="file type of moving tubes (mp4)")
    _run_options(parser)


def _clip_options(parser: argparse.ArgumentParser, *, labels: bool = True) -> None:
    """How a clip becomes what a model takes, and what its classes are called."""
    add = parser.add_argument
    add("--layout", metavar="NCTHW|..", help="axes of the model's input, where they are ambiguous")
    if labels:
        add("--labels", metavar="F", help="class names, one a line or a JSON list")
    add("--frames", type=_count, metavar="N", help="frames to sample")
    add("--stride", type=_count, metavar="S", help="step between sampled frames")
    add("--size", type=_size, metavar="HxW", help="height and width in pixels")
    add("--mean", type=_numbers, metavar="R,G,B", help="subtracted, on the 0..1 scale")
    add("--std", type=_numbers, metavar="R,G,B", help="divided by, on the 0..1 scale")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--preprocess", metavar="FILE", help="preprocessing as JSON")
    base.add_argument("--preset", metavar="NAME", help="preprocessing of a known family: resnet3d, mfnet, i3d ...")


def _run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", default="auto", metavar="auto|cpu|cuda[:N]|tensorrt", type=_device)
    add("--threads", type=_count, metavar="N", help="threads on the CPU")
    add("--allow-barriers", action="store_true", help="pass over unknown operators, and say so")


def _compare_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="A", help="a model")
    add("other", metavar="B", help="the other")
    add("clips", metavar="CLIP", nargs="+", help="video, folder of frames, image, .npy ...; arrays in A's layout")
    add("-o", "--out", metavar="DIR", help="folder for comparison.html and comparison.json")
    add("--json", metavar="F", help="write the comparison as JSON; - is stdout")
    add("--class", dest="target", metavar="INDEX|LABEL", help="class whose relevance is compared (A's top-1 class)")
    add("--output", metavar="NAME", help="output to compare (the first)")
    add(
        "--tolerance", type=_number, metavar="X",
        help="largest difference that counts as the same, as part of a layer's largest output (0.001; 0.02 where a "
        "file keeps numbers in fewer than 32 bits)",
    )  # fmt: skip
    add("--theta", type=_number, default=0.6, metavar="X", help="threshold of chosen kernels, 0..1 (0.6)")
    add("--depth", default="all", metavar="D|all", help="deepest level whose relevance and tubes are compared (all)")
    _clip_options(parser)
    _run_options(parser)


def _baseline_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("clips", metavar="CLIP", nargs="+", help="clips, folders of them, or lists: a clip a line, its class behind it")
    add("-o", "--out", metavar="F", required=True, help="the baseline to write, such as baseline.json")
    add("--class", dest="target", metavar="INDEX|LABEL", help="class to look at (a list's, else each clip's top-1)")
    add("--output", metavar="NAME", help="output that decides (the first)")
    add("--rule", default="positional", metavar="RULE", help="positional (default), active or zplus")
    add("--depth", default="3", metavar="D|all", help="deepest level whose relevance is kept (3)")
    _clip_options(parser)
    _run_options(parser)


def _check_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("clips", metavar="CLIP", nargs="*", help="where the baseline's clips are (where it says)")
    add("--baseline", metavar="F", required=True, help="what `cfp-onnx baseline` wrote")
    limits = parser.add_argument_group("limits", "on the mean of all clips, for each layer; see docs/check.md")
    limit = limits.add_argument
    limit("--max-drift", type=_number, metavar="X", help="part of the relevance that may move to other kernels (0.15)")
    limit("--min-overlap", type=_number, metavar="X", help="part of the strongest tenth that must stay (0.6)")
    limit("--min-rank", type=_number, metavar="X", help="rank correlation of the kernels' relevance (0.85)")
    limit("--max-activity", type=_number, metavar="X", help="change of the kernels' mean activations (0.15)")
    limit("--max-weights", type=_number, metavar="X", help="change of the kernels' weights (0.04)")
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
    _clip_options(parser, labels=False)
    _run_options(parser)


def _convert_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("framework", metavar="FRAMEWORK", help="torch, keras, tensorflow, tflite, jax, paddle or mxnet")
    add("source", metavar="SOURCE", nargs="?", help="a file, a folder, a prefix or module:factory; none with --arch")
    add("-o", "--out", metavar="F", required=True, help="the ONNX file to write")
    add(
        "--input-shape", metavar="[NAME=]1,3,16,112,112", action="append", default=[], type=_named_shape,
        help="size of the input, batch first; repeat with names for several inputs",
    )  # fmt: skip
    add("--weights", metavar="F", help="file of weights for --arch, module:factory or a separate graph")
    add("--arch", metavar="NAME", help="a network that is built in: resnet50-3d, mfnet, i3d ...")
    add("--classes", type=_count, metavar="N", help="classes of --arch (400)")
    add("--batch", type=_batch, default="dynamic", metavar="dynamic|N", help="dynamic (default) where the source can")
    add("--opset", type=_count, metavar="N", help="version of ONNX's operator set")
    add("--python", metavar="ENV", help="the framework's interpreter or environment; one is made and kept without it")
    add("--allow-pickle", action="store_true", help="load pickles, which can run any code")
    add("--layout", metavar="NCTHW|..", help="axes of the input, written into the file")
    add("--labels", metavar="F", help="class names, one a line or a JSON list, written into the file")
    add("--frames", type=_count, metavar="N", help="frames of a clip")
    add("--stride", type=_count, metavar="S", help="step between sampled frames")
    add("--size", type=_side, metavar="S|HxW", help="height and width in pixels")
    add("--mean", type=_numbers, metavar="R,G,B", help="subtracted, on the 0..1 scale")
    add("--std", type=_numbers, metavar="R,G,B", help="divided by, on the 0..1 scale")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--preprocess", metavar="FILE", help="preprocessing as JSON, written into the file")
    base.add_argument("--preset", metavar="NAME", help="preprocessing of a known family: resnet3d, mfnet, i3d ...")


def _tube(text: str) -> tuple[str, str]:
    kind, colon, unit = text.partition(":")
    unit = unit if colon else {"activation": "kernel", "relevance": "depth"}.get(kind, "")
    if kind not in {"activation", "relevance"} or unit not in {"kernel", "layer", "depth"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be activation or relevance, then :kernel, :layer or :depth where that is wanted"
        )
    return kind, unit


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:10]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text[:10])


def _least_0(text: str) -> int:
    if text == "0":
        return 0
    try:
        return _count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _numbers(text: str) -> tuple[float, ...]:
    values = tuple(_number(part) for part in text.split(","))
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} must be one number or three, such as 0.5,0.5,0.5")
    return values


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,6})[xX×]([1-9][0-9]{0,6})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be height x width, such as 112x112")
    return int(found[1]), int(found[2])


def _side(text: str) -> tuple[int, int]:
    return _size(f"{text}x{text}" if text.isascii() and text.isdigit() else text)


def _batch(text: str) -> str | int:
    return text if text == "dynamic" else _count(text)


def _device(text: str) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|tensorrt(:[0-9]+)?", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; choose auto, cpu, cuda, cuda:N or tensorrt")
    return text


def _named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.replace("x", ",").split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p[:10]) < 2**31 for p in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be sizes of at least 1, as 1,3,16,112,112 or NAME=1,3,16,112,112"
        )
    return name, tuple(int(p) for p in parts)


# ---------------------------------------------------------------------------------------------- commands


def _demo(options: argparse.Namespace) -> int:
    from cfp_onnx.demo import run_demo
    from cfp_onnx.pyramid.text import pyramid_tree

    out = Path(options.out)
    _check_folder(options.out, *SAVED)
    with _progress("the built-in clip", options) as progress:
        pyramid, file = run_demo(out, progress)
    _print(pyramid_tree(pyramid))
    sys.stdout.write(f"\n{_shown(file)}\n")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from cfp_onnx.explanation.call import topology
    from cfp_onnx.model import load
    from cfp_onnx.pyramid.text import topology_tree
    from cfp_onnx.pyramid.topology_json import topology_json, write_graphml

    if options.graphml == "-":
        raise UsageError("--graphml needs a file name; only --json can go to stdout")
    json_file = _check_file(options.json, options.model)
    graphml = _check_file(options.graphml, options.model)
    if json_file is not None and json_file == graphml:
        raise UsageError(f"--json and --graphml both name {json_file}; give two files")
    with _progress(f"reading {options.model}", options):
        model = load(options.model)
        engine = topology(model, input_shape=_shapes(model, options.input_shape), barriers=options.allow_barriers)
        value = topology_json(engine)
        if graphml is not None:
            write_graphml(engine, graphml)
    _deliver(value, json_file, options.json)
    if options.json != "-":
        _print(topology_tree(engine))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from cfp_onnx.explanation.call import explain
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.model import load
    from cfp_onnx.pyramid.folder import Drawing
    from cfp_onnx.pyramid.text import pyramid_tree
    from cfp_onnx.relevance.rules import RULES

    if options.rule not in RULES:
        raise UsageError(f"rule {options.rule!r} is unknown; choose one of {', '.join(RULES)}")
    out = None if options.out is None else Path(options.out)
    if out is not None:
        _check_folder(options.out, *SAVED)
    elif options.tube:
        raise UsageError("--tube needs a folder for the pictures; give one with -o")
    drawings = [Drawing(kind, unit, options.tube_top) for kind, unit in options.tube] or None
    json_file = _check_file(options.json, options.model, options.clip, options.labels, options.preprocess)
    labels = None if options.labels is None else read_labels(options.labels)
    with _progress(options.clip, options) as progress:
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
            layout=options.layout,
            labels=labels,
            preprocess=_preprocess(model, options),
            device=options.device,
            threads=options.threads,
            barriers=options.allow_barriers,
            tubes=out is not None,
            kernel_relevance=("relevance", "kernel") in options.tube,
            progress=progress,
        )
        report = None
        if out is not None:
            report = pyramid.save(out, drawings=drawings, animation=options.animation, progress=progress)
    _deliver(pyramid.to_json(), json_file, options.json)
    if options.json != "-":
        _print(pyramid_tree(pyramid))
        if report is not None:
            sys.stdout.write(f"\n{_shown(report)}\n")
    return 0


def _convert(options: argparse.Namespace) -> int:
    from cfp_onnx.conversion.call import convert
    from cfp_onnx.explanation.labels import read_labels

    out = _check_file(options.out, options.source, options.weights, options.labels, options.preprocess)
    if out is None:
        raise UsageError("-o needs the name of a file for the model")
    labels = None if options.labels is None else read_labels(options.labels)
    preprocess = _written_preprocess(options)
    with _progress(f"converting {options.arch or options.source}", options) as progress:
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
    sys.stdout.write("".join(f"{_shown(Path(line))}\n" for line in lines))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from cfp_onnx.comparison.call import compare
    from cfp_onnx.comparison.result import comparison_text
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.model import load

    out = None if options.out is None else Path(options.out)
    if out is not None:
        _check_folder(options.out, *COMPARED)
    inputs = (options.model, options.other, *options.clips, options.labels, options.preprocess)
    json_file = _check_file(options.json, *inputs)
    labels = None if options.labels is None else read_labels(options.labels)
    with _progress(f"{options.model} and {options.other}", options) as progress:
        a, b = load(options.model), load(options.other)
        result = compare(
            a, b, options.clips, target=options.target, output=options.output, tolerance=options.tolerance,
            theta=options.theta, depth=options.depth, layout=options.layout, labels=labels,
            preprocess=_preprocess(a, options),
            preprocess_b=_preprocess(b, options), device=options.device, threads=options.threads,
            barriers=options.allow_barriers, progress=progress,
        )  # fmt: skip
        page = None if out is None else result.save(out)
    _deliver(result.to_json(), json_file, options.json)
    if options.json != "-":
        _print(comparison_text(result))
        if page is not None:
            sys.stdout.write(f"\n{_shown(page)}\n")
    return 0 if result.same else DIFFERENT


def _baseline(options: argparse.Namespace) -> int:
    from cfp_onnx.checking.baseline import baseline
    from cfp_onnx.explanation.labels import read_labels
    from cfp_onnx.files.whole import folder_of
    from cfp_onnx.model import load

    out = _check_file(options.out, options.model, *options.clips, options.labels, options.preprocess)
    if out is None:
        raise UsageError("-o needs the name of a file for the baseline")
    labels = None if options.labels is None else read_labels(options.labels)
    with _progress(options.model, options) as progress:
        model = load(options.model)
        made = baseline(
            model, options.clips, target=options.target, output=options.output, rule=options.rule, depth=options.depth,
            layout=options.layout, labels=labels, preprocess=_preprocess(model, options), device=options.device,
            threads=options.threads, barriers=options.allow_barriers, relative_to=folder_of(options.out),
            progress=progress,
        )  # fmt: skip
        made.save(out)
    noise = max((c.activity for c in made.noise.layers), default=0.0)
    sys.stdout.write(
        f"{_shown(Path(options.out))}\n{len(made.clips)} clips, {len(made.traits)} layers, relevance to depth "
        f"{made.run['depth']}; the machine's own noise: outputs {made.noise.outputs:.1g}, activity {noise:.1g}\n"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
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
    json_file, junit_file = (_check_file(f, *inputs) for f in (options.json, options.junit))
    summary = _check_file(options.markdown, *inputs)
    files = [f for f in (json_file, junit_file, summary) if f is not None]
    if len(set(files)) < len(files):
        raise UsageError("--json, --junit and --markdown cannot go to one file; give each its own")
    if options.html is not None:
        _check_folder(options.html, "check.html", "check.json")
    if options.junit == "-" or [options.json, options.markdown].count("-") > 1:
        raise UsageError("only one of --json and --markdown can go to stdout; give the others a file name")
    policy = _policy(options)
    old = load_baseline(options.baseline)
    if options.update:
        _check_file(options.baseline)
    folder = folder_of(options.baseline)
    with _progress(options.model, options) as progress:
        model = load(options.model)
        how = {
            "layout": options.layout, "preprocess": _preprocess(model, options), "device": options.device,
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
    _deliver(result.to_json(), json_file, options.json)
    if options.markdown == "-":
        sys.stdout.write(markdown(result))
    elif options.json != "-" and not options.quiet:
        _print(checked_text(result))
    elif options.json != "-" and not result.ok:
        lines = [verdict(result), *([first_text(result.first)] if result.first else [])]
        sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    if page is not None and not options.quiet and "-" not in {options.json, options.markdown}:
        sys.stdout.write(f"\n{_shown(page)}\n")
    if options.update and not options.quiet:
        sys.stderr.write(f"{PROGRAM}: {_shown(Path(options.baseline))} is now the baseline of {options.model}\n")
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


def _doctor(_: argparse.Namespace) -> int:
    from cfp_onnx.doctor import diagnose, render

    diagnosis = diagnose()
    sys.stdout.write(render(diagnosis) + "\n")
    return 0 if diagnosis.ok else 3


# ---------------------------------------------------------------------------------------------- readings


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
    from cfp_onnx.clips.load import Preprocess
    from cfp_onnx.conversion.keep import preset_of

    base = _base(options) or preset_of(options.arch)
    sized = options.arch is None and (base is None or not base.yields)
    names = ("stride", "mean", "std", *(("frames", "size") if sized else ()))
    given = {k: getattr(options, k) for k in names if getattr(options, k) is not None}
    return replace(base or Preprocess(), **given) if base or given else None


def _base(options: argparse.Namespace) -> Preprocess | None:
    """The preset or the file of preprocessing that was named.

    Raises:
        UsageError: If the preset is unknown or the file cannot be read.
    """
    from cfp_onnx.clips.load import PRESETS, Preprocess

    if options.preset is not None and options.preset not in PRESETS:
        raise UsageError(f"preset {options.preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    if options.preset is not None:
        return PRESETS[options.preset]
    return None if options.preprocess is None else Preprocess.from_json(_json_file(options.preprocess))


def _preprocess(model: Model, options: argparse.Namespace) -> Preprocess | None:
    """Options over a preset or file over the model's metadata; None leaves it to the model.

    Raises:
        UsageError: If the preset is unknown, the file cannot be read, or an option contradicts the model.
    """
    from cfp_onnx.clips.load import Preprocess

    base = _base(options)
    names = ("frames", "stride", "size", "mean", "std")
    given = {k: getattr(options, k) for k in names if getattr(options, k) is not None}
    if base is None and not given:
        return None
    if base is None:
        base = Preprocess() if model.preprocess is None else Preprocess.from_json(dict(model.preprocess))
    if base.yields and {"frames", "size"} & set(given):
        base = _fitted(base, model, options.layout)
    if "size" in given and base.size is not None and base.short_side is not None:
        sides = (min(given["size"]), min(base.size))
        given["short_side"] = max(sides[0], round(base.short_side * sides[0] / sides[1]))
    return replace(base, **given)


def _fitted(base: Preprocess, model: Model, layout: str | None) -> Preprocess:
    """A preset at the sizes that the model fixes, so that an option which contradicts them is an error."""
    from cfp_onnx.clips.load import layout_of
    from cfp_onnx.explanation.inputs import specs

    spec = specs(model)[0]
    return base.fitted(spec, layout_of(spec, layout or base.layout))


def _json_file(file: str) -> object:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read preprocessing from {file}: {error}") from error


# ----------------------------------------------------------------------------------------------- results


def _check_file(name: str | None, *inputs: str | None) -> Path | None:
    """The file a result goes to, once it can be expected to work; None for none and for stdout.

    Raises:
        OutputError: If the file is one of the inputs, no file, or its folder cannot be written to.
    """
    if name is None or name == "-":
        return None
    if not name:
        raise OutputError("the name of an output file is empty; give one, or - for stdout")
    path = Path(name)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is not a regular file; use - for stdout")
    path = path.resolve()
    for other in inputs:
        if other is not None and path.exists() and Path(other).exists() and path.samefile(other):
            raise OutputError(f"{name} is an input of this command; give another file")
    _check_writable(path.parent)
    return path


def _check_folder(name: str, *files: str) -> None:
    """Refuses a folder that cannot be written to, before a long run; nothing is made yet.

    Raises:
        OutputError: If it cannot be used.
    """
    if not name.strip():
        raise OutputError("the name of the output folder is empty; give one")
    folder = Path(name)
    for file in files:
        if (folder / file).is_dir():
            raise OutputError(f"cannot write {folder / file}: it is a folder; choose another place with -o")
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    here = folder.absolute()
    try:
        while not (here.exists() or here.is_symlink()):
            here = here.parent
        if not here.is_dir():
            raise OutputError(f"cannot write to {folder}: {here} is not a folder; choose another place")
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}; choose another place") from error


def _deliver(value: Mapping[str, Any], file: Path | None, name: str | None) -> None:
    from cfp_onnx.files.whole import write_json

    if name == "-":
        sys.stdout.write(json.dumps(value, allow_nan=False, indent=1) + "\n")
    elif file is not None:
        write_json(file, value)


def _print(result: RenderableType) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:  # rich would end the process itself where the reader has gone
        console.print(result)
    text = captured.get()
    if width is not None:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    sys.stdout.write(text)


def _shown(path: Path) -> str:
    from cfp_onnx.text import printable

    return printable(path)


BAR_AFTER = 2.0
"""Seconds that work may take before a bar is shown."""


@contextmanager
def _progress(text: str, options: argparse.Namespace) -> Iterator[Progress | None]:
    """A bar on a terminal's stderr for work of over `BAR_AFTER` seconds; nothing elsewhere."""
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cfp_onnx.text import printable

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(printable(text), total=None)

    def advance(what: str, done: int, of: int) -> None:
        bars.update(task, description=printable(f"{text}: {what}"), completed=done, total=of)

    timer = threading.Timer(BAR_AFTER, bars.start)
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        bars.stop()


__all__ = ["main"]
