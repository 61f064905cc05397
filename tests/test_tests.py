"""Where tests and their helpers are: folders of the packages' names, helpers apart, no test imported by another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
HELPERS = TESTS / "helpers"
FILES = {file.relative_to(TESTS).as_posix(): file for file in sorted(TESTS.rglob("*.py"))}

#: Folders of tests that are no package of cfp_onnx.
OTHERS = {"converters", "benchmarks", "helpers"}


def imported(source: str) -> set[str]:
    """Dotted names that a source imports, wherever in it; of `from a import b` both `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found |= {base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)} - {""}
    return found


def of_tests(names: set[str]) -> set[str]:
    """Those that name a file of tests, or fixtures; a helper is imported by its own name."""
    return {
        name
        for name in names
        if name.split(".")[0] == "tests" or any(p.startswith("test_") or p == "conftest" for p in name.split(".")[:1])
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from tests.graph.test_a import net", {"tests.graph.test_a", "tests.graph.test_a.net"}),
        ("from tests.graph import test_topology", {"tests.graph", "tests.graph.test_topology"}),
        ("def f():\n    import tests.graph.test_topology", {"tests.graph.test_topology"}),
        ("from .test_topology import network", {"test_topology", "test_topology.network"}),
        ("from . import test_topology", {"test_topology"}),
        ("import conftest", {"conftest"}),
        ("from cfp_onnx.testing import assert_same_reasons\nfrom small_nets import test_data", set()),
    ],
)  # fmt: skip
def test_the_finder_of_imported_tests(source, expected):
    assert of_tests(imported(source)) == expected


def test_no_test_is_imported():
    found = {name: of_tests(imported(file.read_text("utf-8"))) for name, file in FILES.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_files_of_tests_are_called_so_and_helpers_hold_none():
    for name, file in FILES.items():
        tree = ast.parse(file.read_text("utf-8"))
        held = {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}
        if HELPERS in file.parents:
            assert not file.name.startswith("test_"), name
            assert not held, f"{name}: these are never collected"
            assert ast.get_docstring(tree), name
        else:
            assert file.name.startswith("test_") or file.name == "conftest.py", name
            assert bool(held) == (file.name != "conftest.py"), name


def test_every_folder_is_one_of_a_package():
    folders = {file.parent.relative_to(TESTS) for file in FILES.values()} - {Path()}
    mirrored = {f for f in folders if f.parts[0] not in OTHERS}
    assert {f.as_posix() for f in mirrored if not (REPOSITORY / "cfp_onnx" / f / "__init__.py").is_file()} == set()
    assert all((REPOSITORY / name).is_dir() for name in OTHERS - {"helpers"})
