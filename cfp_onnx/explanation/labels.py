"""Class names from a file."""

from __future__ import annotations

import os
from pathlib import Path

from cfp_onnx.errors import UsageError
from cfp_onnx.files.strict_json import parse


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file, one a line, or a JSON list.

    Raises:
        UsageError: If it cannot be read.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read labels from {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read labels from {file}: {error}; save it as text in UTF-8") from error
    if text.lstrip().startswith(("[", "{")):
        try:
            value = parse(text)
        except ValueError as error:
            raise UsageError(f"{file} is not a JSON list of labels: {error}") from error
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            raise UsageError(f"{file} is not a JSON list of strings")
        return tuple(value)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


__all__ = ["read_labels"]
