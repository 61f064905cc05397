"""Help costs next to nothing: it imports no heavy package, and no command but the one that is asked about."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from benchmarks.demo_model import DEMO
from cfp_onnx.cli.main import COMMANDS

HEAVY = ("numpy", "onnx", "onnx_ir", "rich", "networkx", "onnxruntime", "cv2")

LOADED = """
import sys
from cfp_onnx.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(code, *sorted(sys.modules), file=sys.stderr)
"""


def loaded_by(*argv: str) -> set[str]:
    """Modules that a call in a fresh process has loaded."""
    done = subprocess.run([sys.executable, "-c", LOADED, *argv], capture_output=True, text=True, check=True)
    code, *modules = done.stderr.split()
    assert (code, done.stdout != "") == ("0", True)
    return set(modules)


def commands_in(modules: set[str]) -> set[str]:
    return {name for name, command in COMMANDS.items() if command.module in modules}


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_of_the_program_imports_no_command(word):
    modules = loaded_by(word)
    assert not modules & {*HEAVY}
    assert commands_in(modules) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_that_one(command):
    modules = loaded_by(command, "--help")
    assert not modules & {*HEAVY}
    assert commands_in(modules) == {command}


def test_completion_imports_every_command_and_nothing_heavy():
    modules = loaded_by("completion", "bash")
    assert not modules & {*HEAVY}
    assert commands_in(modules) == set(COMMANDS)


def test_the_counting_sees_a_heavy_module():
    assert {"numpy", "onnx"} <= loaded_by("doctor") | loaded_by("inspect", str(DEMO))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_one_face(command):
    module = importlib.import_module(COMMANDS[command].module)
    assert module.__all__ == ["add_options", "run"]
    assert module.__name__ == f"cfp_onnx.cli.commands.{command.replace('-', '_')}"
