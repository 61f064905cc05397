"""What is shipped, what an import costs, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cfp_onnx"

GRAPH = {"graph", "graph.layers", "graph.effects", "graph.flow", "graph.topology", "graph.positions"}
ENGINE = {
    "errors",
    "model",
    *GRAPH,
    "probe",
    "adjoint",
    "fields",
    "zplus",
    "tubes",
    "saliency",
    "messages",
    "statistics",
    "record",
    "rules",
    "results",
    "files",
    "describe",
    "tree",
    "pictures",
    "report",
    "report.page",
    "saving",
    "pyramid",
    "walk",
    "explain",
    "opencv",
    "media",
    "doctor",
}
COMPARE = {"footage", "chains", "align", "agreement", "causes", "comparison", "verdict", "compare", "report.compare"}
GATE = {
    "strict",
    "reasons",
    "measures",
    "cliplist",
    "baselines",
    "limits",
    "matching",
    "checked",
    "gate",
    "checkfiles",
    "onset",
    "testing",
    "report.check",
}
COMMANDS = ("baseline", "check", "compare", "completion", "convert", "demo", "doctor", "explain", "inspect")
CLI = {
    "cli",
    *(f"cli.{name}" for name in ("main", "options", "output", "preprocessing", "progress", "completion", "commands")),
    *(f"cli.commands.{name}" for name in COMMANDS),
}
ALL = {"", *ENGINE, *COMPARE, *GATE, "foreign", "environments", "convert", "demo", *CLI}

#: Module -> the modules of the package that it may import. "" is the package itself.
ALLOWED = {
    "errors": set(),
    "model": {"errors"},
    "graph": {"errors", "model", *GRAPH},
    "graph.layers": {"errors", "model"},
    "graph.effects": {"errors", "model", "graph", "graph.layers"},
    "graph.flow": {"errors", "model", "graph", "graph.layers", "graph.effects"},
    "graph.topology": {"errors", "model", "graph", "graph.layers", "graph.effects", "graph.flow"},
    "graph.positions": {
        "errors",
        "model",
        "graph",
        "graph.layers",
        "graph.effects",
        "graph.flow",
        "graph.topology",
    },
    "probe": {"errors", "model", *GRAPH},
    "adjoint": {"errors", "model", "probe", *GRAPH},
    "fields": {"errors", "model", "probe", "adjoint", *GRAPH},
    "zplus": {"errors", "model", "probe", "adjoint", "fields", *GRAPH},
    "tubes": {"errors"},
    "saliency": {"errors", "model", "fields", "tubes", *GRAPH},
    "record": {"errors", "model", "probe"},
    "messages": {"errors", "model", *GRAPH},
    "statistics": {"errors", "model", "probe", *GRAPH},
    "rules": {"errors"},
    "results": set(),
    "files": {"errors"},
    "describe": {"errors", "model", "files", "graph.topology"},
    "tree": {"errors", "model", "results", "describe", "graph.topology"},
    "pictures": {"errors", "files", "opencv"},
    "saving": {"errors", "files", "results", "tubes", "pictures", "report"},
    "pyramid": {"errors", "files", "results", "tubes", "tree", "saving"},
    "walk": {"errors", "model", "rules", "results", *GRAPH},
    "explain": {*ENGINE, ""},
    "chains": {"model", *GRAPH},
    "align": {"errors", "model", "fields", "chains", *GRAPH},
    "footage": {"errors", "model", "media", "explain"},
    "agreement": {"tubes"},
    "causes": {"align", "chains", "graph.layers"},
    "comparison": {"files", "results", "tree", "report.compare"},
    "verdict": {"rules", "align", "agreement", "causes", "comparison"},
    "compare": {*ENGINE, "footage", "align", "agreement", "causes", "comparison", "verdict"},
    "strict": {"errors"},
    "reasons": {"errors", "model", "record", "probe", "fields", "zplus", "align", "explain", "graph.layers"},
    "measures": {"agreement", "reasons", "strict"},
    "cliplist": {"errors"},
    "baselines": {
        "",
        "errors",
        "model",
        "results",
        "files",
        "media",
        "record",
        "explain",
        "footage",
        "strict",
        "reasons",
        "measures",
        "cliplist",
        "graph.layers",
    },
    "limits": {"errors"},
    "matching": {"agreement", "align", "reasons"},
    "checked": {"tree", "measures", "limits"},
    "gate": {
        "errors",
        "files",
        "model",
        "results",
        "media",
        "record",
        "footage",
        "reasons",
        "measures",
        "cliplist",
        "baselines",
        "limits",
        "matching",
        "checked",
        "onset",
        "causes",
    },
    "onset": {"causes", "reasons", "measures", "baselines", "limits", "matching", "checked"},
    "checkfiles": {"files", "checked", "tree", "report.check"},
    "testing": {"model", "baselines", "checked", "gate", "limits"},
    "report.check": {"report.page"},
    "opencv": set(),
    "media": {"errors", "opencv"},
    "doctor": {"errors"},
    "report": {"errors", "report.page"},
    "report.page": {"errors", "results"},
    "report.compare": {"report.page", "results"},
    "data": set(),
    "foreign": {"errors"},
    "environments": {"errors", "model", "results"},
    "convert": {"errors", "model", "results", "files", "record", "explain", "media", "foreign", "environments"},
    "demo": {"errors", "results", "pyramid", "explain"},
    **dict.fromkeys(CLI, ALL),
    "__main__": ALL,
    "": ALL,
}

#: Packages that only these modules may import.
OWNERS = {"onnxruntime": {"record"}, "cv2": {"opencv"}}
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
        ("def f():\n    from cfp_onnx.cli import main", "walk", False, {"cli.main"}),
        ("import numpy as np", "walk", False, set()),
    ],
)
def test_the_reader_of_imports(source, module, is_package, expected):
    known = {"errors", "model", "walk", *CLI, *GRAPH}
    assert ours(imported(source, module, is_package=is_package, known=known)) == expected


def test_every_module_has_its_place():
    assert set(FILES) <= set(ALLOWED), "a new module: say in ALLOWED what it may import"


def test_the_order_has_no_circle():
    below = {module: names - {module} for module, names in ALLOWED.items() if module not in ("", "__main__", "graph")}
    below = {module: names - {"", "graph"} for module, names in below.items()}
    below |= {module: below[module] - CLI for module in CLI}
    below["explain"] -= {"explain"}
    done: set[str] = set()
    while ready := {m for m, names in below.items() if m not in done and names <= done}:
        done |= ready
    assert done == set(below)


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_one_way(module):
    assert ours(imports_of(module)) - {module} <= ALLOWED.get(module, set())


@pytest.mark.parametrize("module", sorted(FILES))
def test_outside_packages_have_one_owner(module):
    roots = {name.split(".")[0] for name in imports_of(module)}
    assert not roots & FRAMEWORKS
    assert not {root for root in roots & set(OWNERS) if module not in OWNERS[root]}


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
    assert {"cfp_onnx/_converters/torch/convert.py", "cfp_onnx/_converters/torch/requirements.txt"} <= files


@pytest.mark.parametrize("suffix", [".onnx", ".npz"])
def test_wheel_holds_the_demo_data(wheel_names, suffix):
    assert any(name.startswith("cfp_onnx/data/") and name.endswith(suffix) for name in wheel_names)
