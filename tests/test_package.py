"""What is shipped, what an import costs, and who may import whom."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import cfp_onnx

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cfp_onnx"

#: Imports point to lower floors, or to siblings without a circle.
FLOORS = (
    {"errors", "version", "values", "naming", "text", "opencv", "doctor", "files", "data"},
    {"model", "clips", "report", "sandbox"},
    {"graph", "pictures"},
    {"runtime", "pyramid"},
    {"relevance", "matching"},
    {"explanation"},
    {"comparison", "checking", "conversion", "datasets", "evidence", "compilation"},
    {"cli", "testing", "demo", "", "__main__"},
)
#: Jobs that know nothing of each other: what two of them need stands on a lower floor.
APART = 6

#: Packages of others that only these modules, or the modules of these packages, may import.
OWNERS = {
    "onnxruntime": {"runtime", "doctor"},
    "cv2": {"opencv", "doctor"},
    "subprocess": {"doctor", "conversion", "sandbox"},
    "multiprocessing": {"sandbox", "datasets"},
}
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "flax", "paddle", "mxnet", "converters"}


def dotted(file: Path) -> str:
    """`graph.flow` of cfp_onnx/graph/flow.py; a package's `__init__` has the package's own name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str, module: str, *, is_package: bool, known: set[str]) -> set[str]:
    """Absolute dotted names that a source imports, as far as they are modules; wherever in it they stand."""
    here = ["cfp_onnx", *module.split(".")] if module else ["cfp_onnx"]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = ".".join((here[: len(here) - up] if node.level else []) + ([node.module] if node.module else []))
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.add(name if name.removeprefix("cfp_onnx.") in known and name != base else base)
    return found


def ours(names: set[str]) -> set[str]:
    return {name.removeprefix("cfp_onnx").removeprefix(".") for name in names if name.split(".")[0] == "cfp_onnx"}


def imports_of(module: str) -> set[str]:
    file = FILES[module]
    return imported(file.read_text("utf-8"), module, is_package=file.name == "__init__.py", known=set(FILES))


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import cfp_onnx.graph.flow", "walk", False, {"graph.flow"}),
        ("from cfp_onnx.graph import flow", "walk", False, {"graph.flow"}),
        ("from cfp_onnx.graph.flow import operator", "walk", False, {"graph.flow"}),
        ("from cfp_onnx import errors, __version__", "walk", False, {"errors", ""}),
        ("from . import errors", "walk", False, {"errors"}),
        ("from .errors import CfpError", "walk", False, {"errors"}),
        ("from .. import errors", "graph.flow", False, {"errors"}),
        ("from .effects import Layer", "graph.flow", False, {"graph.effects"}),
        ("from ..model import Model", "graph.flow", False, {"model"}),
        ("from .flow import operator", "graph", True, {"graph.flow"}),
        ("from .errors import CfpError", "", True, {"errors"}),
        ("def f():\n    from cfp_onnx.cli import main", "walk", False, {"cli"}),
        ("import numpy as np", "walk", False, set()),
    ],
)
def test_the_reader_of_imports(source, module, is_package, expected):
    known = {"errors", "model", "walk", "cli", "graph", "graph.flow", "graph.effects"}
    assert ours(imported(source, module, is_package=is_package, known=known)) == expected


def room(module: str) -> str:
    """The package or module of the top level that a module belongs to."""
    return module.split(".", maxsplit=1)[0]


def floor(name: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if name in rooms)


ROOMS = {room(module) for module in FILES}
BELOW = {name: {room(m) for f in FILES if room(f) == name for m in ours(imports_of(f))} - {name} for name in ROOMS}


def test_every_room_has_its_floor():
    assert set().union(*FLOORS) >= ROOMS, "a new package or module: say in FLOORS where it stands"


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down_or_to_siblings(module):
    here = floor(room(module))
    seen = {room(m) for m in ours(imports_of(module))} - {room(module)}
    assert {name: floor(name) for name in seen if floor(name) > here} == {}
    if here == APART:
        assert {name for name in seen if floor(name) == here} == set()


def circle(below: dict[str, set[str]]) -> set[str]:
    """What is left when everything that rests on nothing left is taken away, again and again."""
    left = dict(below)
    while ready := {name for name, names in left.items() if not names & set(left)}:
        left = {name: names for name, names in left.items() if name not in ready}
    return set(left)


def test_rooms_have_no_circle():
    assert circle({name: names - {""} for name, names in BELOW.items() if name not in ("", "__main__")}) == set()


def test_modules_have_no_circle():
    below = {m: ours(imports_of(m)) - {m, ""} for m in FILES if m not in ("", "__main__")}
    packages = {m for m, file in FILES.items() if file.name == "__init__.py"}
    assert circle({m: names for m, names in below.items() if m not in packages}) == set()


def test_the_finder_of_circles():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert circle({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == {"a", "b", "c"}


def test_no_package_is_called_like_a_public_verb():
    verbs = {name for name in cfp_onnx.__all__ if inspect.isfunction(getattr(cfp_onnx, name))}
    assert {"load", "explain", "compare", "baseline", "check", "topology", "convert"} <= verbs
    assert not verbs & ROOMS


@pytest.mark.parametrize("module", sorted(FILES))
def test_outside_packages_have_one_owner(module):
    roots = {name.split(".")[0] for name in imports_of(module)}
    assert not roots & FRAMEWORKS
    assert not {root for root in roots & set(OWNERS) if room(module) not in OWNERS[root]}


@pytest.mark.parametrize("name", cfp_onnx.__all__)
def test_every_public_name_is_there_and_completed(name):
    assert getattr(cfp_onnx, name) is not None
    assert name in dir(cfp_onnx)


def test_the_version_is_stated_alike():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == cfp_onnx.__version__


def test_import_is_light():
    heavy = sorted({"onnxruntime", "cv2"} | FRAMEWORKS)
    code = f"import sys, cfp_onnx; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(REPOSITORY),
    ]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_has_one_package_at_its_top(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cfp_onnx"}
    assert len(tops) == 2


def test_wheel_holds_the_whole_package(wheel_names):
    files = {
        file.relative_to(REPOSITORY).as_posix()
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    shipped = {name for name in wheel_names if name.startswith("cfp_onnx/")}
    assert {name for name in shipped if not name.startswith("cfp_onnx/_converters/")} == files
    assert "cfp_onnx/py.typed" in files


def test_wheel_holds_the_converters_as_data(wheel_names):
    files = {
        f"cfp_onnx/_converters/{file.relative_to(REPOSITORY / 'converters').as_posix()}"
        for file in (REPOSITORY / "converters").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in wheel_names if name.startswith("cfp_onnx/_converters/")} == files
    own = {"contract.py", "torch/convert.py", "torch/requirements.txt"}
    assert {f"cfp_onnx/_converters/{name}" for name in own} <= files


@pytest.mark.parametrize("suffix", [".onnx", ".npz"])
def test_wheel_holds_the_demo_data(wheel_names, suffix):
    assert any(name.startswith("cfp_onnx/data/") and name.endswith(suffix) for name in wheel_names)
