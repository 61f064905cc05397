"""Writes docs/operators.md: what becomes of every operator of ONNX's newest set."""

from __future__ import annotations

from pathlib import Path

import onnx

from cfp_onnx.graph.operators.table import operator_table

FILE = Path(__file__).parents[1] / "docs" / "operators.md"


def newest() -> list[str]:
    """Names of ONNX's own operators that are not deprecated."""
    return sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated})


def text() -> str:
    """The whole file."""
    return operator_table(newest())


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
