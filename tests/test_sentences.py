"""Errors speak to whoever runs the program: they say what can be done, and nothing of the files of this package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cfp_onnx
from cfp_onnx import errors

PACKAGE = Path(cfp_onnx.__file__).parent
KINDS = {n for n, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.CfpError)}
ADVISING = {"ModelError", "UnsupportedOperatorError", "TargetError", "RunError"}
ADVICE = (";", "give ", "choose ", "Give ", "takes mean")


def text_of(node: ast.expr) -> str:
    """What is written out of an expression that makes a text."""
    return " ".join(
        part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def sentences() -> Iterator[tuple[str, str, str]]:
    """Every error that is made with its sentence on the spot: where, its class, its text."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                text = text_of(node.args[0])
                if text.count(" ") > 2:
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}", node.func.id, text


def test_there_are_sentences() -> None:
    assert len(list(sentences())) > 150


@pytest.mark.parametrize("inside", ["handler", "cfp_onnx/", "<family>", "flow.py"])
def test_no_error_speaks_of_this_package_s_own_files(inside: str) -> None:
    assert [where for where, _, text in sentences() if inside in text] == []


def test_errors_of_models_say_what_can_be_done() -> None:
    """Those of conversions aside, which quote what a framework's own tool said."""
    silent = [
        (where, text)
        for where, kind, text in sentences()
        if kind in ADVISING and not where.startswith("conversion/") and not any(a in text for a in ADVICE)
    ]
    assert silent == []
