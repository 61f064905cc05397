"""What a file's name says: its place in natural order, and what kind of file its suffix claims.

A suffix chooses which files of a folder are taken; how a file is read is decided by its first bytes (`sources.choose`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Pictures: the frames of a clip, or clips of their own for a network without time."""

CLIP_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv", ".gif", ".npy",
     ".npz", ".db", ".sqlite", ".sqlite3"}
)  # fmt: skip
"""Videos, arrays and frame databases: one clip a file."""

LIST_SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".lst"})
"""Lists: one clip a line, and its class after a comma, a tab or a space."""


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_clip(path: Path) -> bool:
    """Whether a file's name is that of a video, an array or a frame database."""
    return path.suffix.lower() in CLIP_SUFFIXES


def is_list(path: Path) -> bool:
    """Whether a file's name is that of a list of clips."""
    return path.suffix.lower() in LIST_SUFFIXES


def natural_order(text: str) -> tuple[Any, ...]:
    """Returns a key that sorts frame_8 before frame_10, with or without leading zeros.

    Numbers are compared by their length, then by their digits, so that they may be of any length.
    """
    parts = re.split(r"([0-9]+)", text)
    values = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p for i, p in enumerate(parts)]
    return (values, text)


def natural_path(path: Path) -> tuple[Any, ...]:
    """Returns a key that sorts paths by their names in natural order."""
    return natural_order(path.name)


__all__ = [
    "CLIP_SUFFIXES",
    "LIST_SUFFIXES",
    "PICTURE_SUFFIXES",
    "is_clip",
    "is_list",
    "is_picture",
    "natural_order",
    "natural_path",
]
