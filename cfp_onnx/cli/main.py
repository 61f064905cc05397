"""The command ``cfp-onnx``: arguments to public calls, results to stdout, everything else to stderr.

Exit codes: 0 fine; 1 a comparison found a difference; 2 wrong usage or unusable input; 3 the device or runtime is
missing; 4 a limit was reached (130 after Ctrl-C, 143 after SIGTERM, 141 where the reader of a pipe went away). A
failure is one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cfp_onnx.cli.options import PROGRAM, Parser
from cfp_onnx.errors import CfpError, DeviceError, LimitError
from cfp_onnx.version import __version__


class Command(NamedTuple):
    """A command, as it is known before its module is imported.

    Attributes:
        module: Where its ``add_options(parser)`` and ``run(options)`` are.
        help: Its line in the program's help text.
    """

    module: str
    help: str


_HOME = "cfp_onnx.cli.commands"
COMMANDS = {
    "demo": Command(f"{_HOME}.demo", "the built-in model and clip, end to end"),
    "inspect": Command(f"{_HOME}.inspect", "layers, wires, branches, shortcuts, gates, fibers, coverage"),
    "explain": Command(f"{_HOME}.explain", "the kernels behind a class on a clip, from the class down"),
    "compare": Command(f"{_HOME}.compare", "whether two files are one network, and where they part"),
    "convert": Command(f"{_HOME}.convert", "any framework's classifier as an ONNX file that was checked"),
    "baseline": Command(f"{_HOME}.baseline", "what a model decides for on some clips, and by which kernels"),
    "check": Command(f"{_HOME}.check", "whether a model still decides as its baseline did, for the same reasons"),
    "manifest": Command(f"{_HOME}.manifest", "the clips of a data set, as it lies on disk, in one table"),
    "dataset": Command(f"{_HOME}.dataset", "a data set through a network, every kernel's relevance as rows on disk"),
    "class-pyramid": Command(f"{_HOME}.class_pyramid", "what the clips of a class have in common, depth by depth"),
    "doctor": Command(f"{_HOME}.doctor", "what is installed, and the command that mends what is wrong"),
    "completion": Command(f"{_HOME}.completion", "a script that completes this command line in bash, zsh or fish"),
}
"""Every command, in the order of the help text; a module is imported when its command is called."""

INTERRUPTED, READER_GONE = 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no failure
    try:
        options = _parsed(arguments)
        with warnings.catch_warnings(), _ending_tidily():
            if not debug:
                warnings.simplefilter("ignore")
            code = int(_module(options.name).run(options))
        sys.stdout.flush()
    except CfpError as error:
        return _fail(error, error.exit_code, debug=debug)
    except _Ended as end:
        return _fail(f"ended by {end}", end.exit_code, debug=debug)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, debug=debug)
    except ImportError as error:
        from cfp_onnx.doctor import missing_library

        if (sentence := missing_library(error)) is None:
            return _unexpected(error, debug=debug)
        return _fail(sentence, DeviceError.exit_code, debug=debug)
    except BrokenPipeError:
        _drop_stdout()
        return READER_GONE
    except MemoryError as error:
        return _fail(f"out of memory ({error}); use a smaller input or --depth", LimitError.exit_code, debug=debug)
    except OSError as error:
        _drop_stdout()
        return _fail(f"the system refused: {error}", CfpError.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever a file provokes, the user gets one sentence
        return _unexpected(error, debug=debug)
    return code


def _unexpected(error: Exception, *, debug: bool) -> int:
    what = f"unexpected {type(error).__name__}: {error}"
    return _fail(f"{what}; run again with --debug and report it", CfpError.exit_code, debug=debug)


def _open_streams() -> None:
    """Gives a process without stdout or stderr, as services are, streams that go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process


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


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of a command; clips may also stand behind the options, which argparse alone does not take."""
    # The program's own options take no values, so the first word that is no option can only be the command.
    called = next((word for word in arguments if not word.startswith("-")), "")
    parser, _ = parsers({called} & COMMANDS.keys())
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "clips") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.clips = [*options.clips, *rest]
    return options


def parsers(filled: Collection[str]) -> tuple[Parser, dict[str, Parser]]:
    """The program's parser and that of each command.

    Args:
        filled: Names of the commands whose options are added, for which their modules are imported.

    Returns:
        The program's parser, and the commands' by name.
    """
    common = Parser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    common.add_argument("--quiet", "-q", action="store_true", default=argparse.SUPPRESS, help="no status on stderr")
    program = Parser(
        prog=PROGRAM, allow_abbrev=False, parents=[common],
        description="Which kernels of an ONNX classifier, at every depth, make a class come out on a clip.",
    )  # fmt: skip
    program.set_defaults(debug=False, quiet=False)
    program.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    places = program.add_subparsers(metavar="COMMAND", required=True, dest="name", parser_class=Parser)
    commands = {}
    for name, (_, text) in COMMANDS.items():
        commands[name] = places.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        if name in filled:
            _module(name).add_options(commands[name])
    return program, commands


def _module(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(COMMANDS[name].module)


__all__ = ["COMMANDS", "main", "parsers"]
