"""What a file's name says: its place in natural order, and what kind of file it claims to be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def natural_order(text: str) -> list[Any]:
    """Sorts frame_8 before frame_10, whatever the padding; digits compare by length, then by text."""
    parts = re.split(r"([0-9]+)", text)
    values = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p for i, p in enumerate(parts)]
    return [values, text]


def natural_path(path: Path) -> list[Any]:
    """Returns the key that sorts paths by their names in natural order."""
    return natural_order(path.name)
