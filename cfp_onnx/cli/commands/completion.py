"""``cfp-onnx completion``: a script that completes the command line in a shell."""

from __future__ import annotations

import argparse
import sys

from cfp_onnx.cli.completion import SHELLS, described, script
from cfp_onnx.cli.options import Parser


def add_options(parser: Parser) -> None:
    """Tells a parser what the command takes."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def run(options: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.cli.main import COMMANDS, parsers

    program, parts = parsers(COMMANDS)
    commands = [described(name, COMMANDS[name].help, part) for name, part in parts.items()]
    sys.stdout.write(script(options.shell, described("", "", program), commands))
    return 0


__all__ = ["add_options", "run"]
