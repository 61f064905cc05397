"""What a command writes: checks before a long run, JSON, text for people."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfp_onnx.errors import OutputError

if TYPE_CHECKING:
    from rich.console import RenderableType

DIFFERENT = 1
"""Exit code of a comparison that found a difference."""

SAVED = ("report.html", "pyramid.json", "tubes.npz")
"""Files that an explanation leaves in its folder, beside the pictures."""

WIDTH = 100
"""Columns of a tree that does not go to a terminal."""


def check_file(name: str | None, *inputs: str | None) -> Path | None:
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


def check_folder(name: str, *files: str) -> None:
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


def deliver(value: Mapping[str, Any], file: Path | None, name: str | None) -> None:
    """Writes a result as JSON to the file that `check_file` gave, or to stdout where the name is ``-``."""
    from cfp_onnx.files.whole import json_text, write_json

    if name == "-":
        sys.stdout.write(json_text(value))
    elif file is not None:
        write_json(file, value)


def print_result(result: RenderableType) -> None:
    """Prints a tree or table, as wide as the terminal; elsewhere `WIDTH` columns and no blanks at a line's end."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:  # rich would end the process itself where the reader has gone
        console.print(result)
    text = captured.get()
    if width is not None:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    sys.stdout.write(text)


def shown(path: Path) -> str:
    """A path as a terminal may safely show it."""
    from cfp_onnx.text import printable

    return printable(path)


__all__ = ["DIFFERENT", "SAVED", "check_file", "check_folder", "deliver", "print_result", "shown"]
