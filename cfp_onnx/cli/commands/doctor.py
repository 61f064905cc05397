"""``cfp-onnx doctor``: what is installed, and the command that mends what is wrong."""

from __future__ import annotations

import argparse
import sys

from cfp_onnx.cli.options import Parser


def add_options(_: Parser) -> None:
    """Tells a parser what the command takes: nothing."""


def run(_: argparse.Namespace) -> int:
    """Runs the command; its exit code."""
    from cfp_onnx.doctor import diagnose, render

    diagnosis = diagnose()
    sys.stdout.write(render(diagnosis) + "\n")
    return 0 if diagnosis.ok else 3


__all__ = ["add_options", "run"]
