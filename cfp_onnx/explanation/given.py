"""What inputs get that the clip does not give, as it is typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.values import Array


def read_inputs(given: Sequence[tuple[str, str]]) -> dict[str, Array]:
    """Arrays by input name, of numbers or of files.

    Args:
        given: Names, and for each a number, numbers with commas between, or the path of an .npy file.

    Raises:
        UsageError: If a value is neither, a file cannot be read, or an input is given twice.
    """
    found: dict[str, Array] = {}
    for name, text in given:
        if name in found:
            raise UsageError(f"--input gives {name!r} twice")
        found[name] = _numbers(text) if _is_numbers(text) else _file(name, text)
    return found


def _is_numbers(text: str) -> bool:
    try:
        [float(part) for part in text.split(",")]
    except ValueError:
        return False
    return True


def _numbers(text: str) -> Array:
    parts = text.split(",")
    whole = all(part.strip().lstrip("+-").isdigit() for part in parts)
    values = np.array([int(part) if whole else float(part) for part in parts])
    return values[0] if len(parts) == 1 else values


def _file(name: str, text: str) -> Array:
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--input {name}={text}: {text!r} is no number and no file; give a number, or an .npy file")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(
            f"--input {name}: {path} is no NumPy array that can be read ({error}); save it anew"
        ) from error
    if not isinstance(found, np.ndarray):
        raise UsageError(f"--input {name}: {path} holds several arrays; give an .npy file with one")
    return found


__all__ = ["read_inputs"]
