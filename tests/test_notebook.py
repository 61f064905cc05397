"""The example notebook runs from top to bottom, and shows what it promises."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "example.ipynb"

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


@pytest.fixture(scope="module")
def source():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(source, tmp_path_factory):
    """The notebook after a run by a kernel of this very interpreter, with no user's settings."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))
        client = nbclient.NotebookClient(
            nbformat.from_dict(source),
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        found = client.execute()
    assert {f.name for f in folder.iterdir() if not f.name.isupper()} == set(), "it leaves nothing behind"
    return found


def outputs(notebook, text):
    """Outputs of the one cell that holds a text."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and text in c.source]
    return cell.outputs


def streams(cell_outputs, name="stdout"):
    return "".join(o.text for o in cell_outputs if o.output_type == "stream" and o.name == name)


def result(cell_outputs):
    (found,) = [o for o in cell_outputs if o.output_type == "execute_result"]
    return found.data


def test_it_is_stored_without_outputs(source):
    nbformat.validate(source)
    code = [c for c in source.cells if c.cell_type == "code"]
    assert len(code) >= 8
    assert not any(c.outputs or c.execution_count for c in code)
    assert not re.search(r"/home/|/root/|/tmp/|C:\\\\", NOTEBOOK.read_text(encoding="utf-8"))


def test_no_cell_fails_or_warns(executed):
    for cell in executed.cells:
        if cell.cell_type == "code":
            assert not [o for o in cell.outputs if o.output_type == "error"]
            assert not streams(cell.outputs, "stderr")


def test_explaining_shows_a_pyramid_and_prints_nothing(executed):
    found = outputs(executed, 'cfp.explain(model, clip, depth="all"')
    assert not streams(found)
    data = result(found)
    assert data["text/plain"].startswith("<Pyramid of class 1 'right'")
    assert "data:image/png;base64," in data["text/html"]
    assert len(data["text/html"]) < 700_000


def test_the_tree_is_text_in_the_cell_that_prints_it(executed):
    found = outputs(executed, "str(pyramid)")
    assert [o.output_type for o in found] == ["stream"], "rich shows nothing of its own"
    assert "├── depth 1" in streams(found)
    assert "\x1b" not in streams(found)


@pytest.mark.parametrize("text", ["pictures.stack", "pictures.strip"])
def test_tubes_are_pictures(executed, text):
    data = base64.b64decode(result(outputs(executed, text))["image/png"])
    assert min(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]) > 200


def test_numbers_are_told(executed):
    assert "Coverage(channels=1.0, layers=1.0" in result(outputs(executed, "cfp.topology(model)"))["text/plain"]
    assert "100% of the strongest" in streams(outputs(executed, "pyramid.kernels(depth)"))
    rhos = [float(x) for x in re.findall(r"rho ([+-]\d\.\d\d)", streams(outputs(executed, 'rule="published"')))]
    assert len(rhos) >= 5
    assert all(-1 <= r <= 1 for r in rhos)
    assert "acyclic: True" in streams(outputs(executed, "to_networkx"))
    assert result(outputs(executed, "load_pyramid"))["text/plain"] == "True"
    assert "pyramid.json" in streams(outputs(executed, "load_pyramid"))


def test_the_table_is_one_where_pandas_is(executed):
    pytest.importorskip("pandas")
    assert "<table" in result(outputs(executed, "to_frame"))["text/html"]
