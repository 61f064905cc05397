"""What `converters/contract.py` asks of a source and writes, and where converters find it; no framework is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from converter_files import contract
from converter_runs import CONVERTERS, quiet
from onnx_text import small


def test_sizes_that_contradict_the_source_are_named() -> None:
    request = contract.Request("m.keras", None, [1, 3, 8, 8], "dynamic", None, 0, None)
    assert request.shapes({"x": (None, 3, None, 8)}) == {"x": [1, 3, 8, 8]}
    with pytest.raises(contract.Refusal, match=r"input 'x' is 1,8,8,3, not 1,3,8,8"):
        request.shapes({"x": (None, 8, 8, 3)})
    with pytest.raises(contract.Refusal, match="has 2 inputs, a, b"):
        request.shapes({"a": None, "b": None})


def test_inputs_stand_in_the_order_of_the_source_whatever_the_callers() -> None:
    named = {"rgb": [1, 8, 8, 3], "flow": [1, 8, 8, 2]}
    request = contract.Request("m.keras", None, named, "dynamic", None, 0, None)
    shapes = request.shapes({"flow": (None, 8, 8, 2), "rgb": (None, 8, 8, 3)})
    assert list(shapes.items()) == [("flow", [1, 8, 8, 2]), ("rgb", [1, 8, 8, 3])]


def request_of(**asked: Any) -> Any:
    plain = {"source": "m.keras", "weights": None, "input_shape": [1, 3, 8, 8], "batch": "dynamic", "opset": None}
    return contract.Request(**{**plain, "seed": 0, "cwd": None, **asked})


def test_a_batch_that_the_source_fixes_is_kept_or_refused() -> None:
    declared = {"x": (2, 3, 8, 8)}
    assert request_of().shapes_and_batch(declared) == ({"x": [2, 3, 8, 8]}, 2)
    assert request_of().shapes_and_batch({"x": (None, 3, 8, 8)}) == ({"x": [1, 3, 8, 8]}, None)
    assert request_of(batch=5).shapes_and_batch({"x": None}) == ({"x": [5, 3, 8, 8]}, 5)
    with pytest.raises(contract.Refusal, match="was written for a batch of 2"):
        request_of(batch=3).shapes_and_batch(declared, verb="written")


def test_networks_that_still_train_show_it() -> None:
    clips = {"x": np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)}
    runs = iter(range(100))
    assert contract.unsteady(lambda clip: [clip["x"] * 2], clips, fixed=False) is None
    assert contract.unsteady(lambda clip: [clip["x"] + next(runs)], clips, fixed=False) == "again"
    assert contract.unsteady(lambda clip: [clip["x"] - clip["x"].mean(0)], clips, fixed=False) == "beside"
    assert contract.unsteady(lambda clip: [clip["x"] - clip["x"].mean(0)], clips, fixed=True) is None


def test_clips_beside_each_other() -> None:
    one, other = ({"x": np.full((1, 2), value, np.float32)} for value in (1, 4))

    def alone(answer: Callable[[Any], Any]) -> bool | None:
        return contract.same_beside(answer, [one, other], [answer(one), answer(other)])

    def single(clip: dict[str, np.ndarray]) -> list[np.ndarray]:
        if len(clip["x"]) > 1:
            raise contract.Refusal("one clip only")
        return [clip["x"]]

    assert alone(lambda clip: [clip["x"] * 2]) is True
    assert alone(lambda clip: [clip["x"] - clip["x"].mean(0)]) is False
    assert alone(single) is None


def test_a_probe_that_was_run_before_the_export_is_written_as_it_is(tmp_path: Path) -> None:
    model = small("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    clip, ports = np.array([[-1.0, 2.0]], np.float32), (("input", "x"), ("output", "y"))
    made = contract.Converted(
        model, None, {"x": [1, 2]}, None, "by hand", "by hand", "graph",
        answered=[({"x": clip + k}, {"y": np.maximum(clip + k, 0)}) for k in range(3)], pinned=True,
    )  # fmt: skip
    contract._write(made, request_of(out=tmp_path))
    with np.load(tmp_path / "probe.npz") as probe:
        assert set(probe.files) == {f"{port}_{k}_{name}" for k in range(3) for port, name in ports}
        np.testing.assert_array_equal(probe["output_2_y"], [[1.0, 4.0]])
    assert onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


# ------------------------------------------------------------------------------- where the shared files are found


STARTED = """
import ast, importlib.util, sys
from pathlib import Path

script = Path(sys.argv[1])
body = ast.parse(script.read_text("utf-8")).body
(end,) = (k for k, line in enumerate(body) if ast.unparse(line) == "sys.path.pop(0)")
before, known = list(sys.path), set(sys.modules)
exec(compile(ast.Module(body[: end + 1], []), str(script), "exec"), {"__file__": str(script), "__name__": "convert"})
assert Path(sys.modules["contract"].__file__).parent == script.parents[1]
assert sys.path == before, "the folders of the frameworks would stand for packages that are not installed"
"""


@pytest.mark.parametrize("script", sorted(CONVERTERS.glob("*/convert.py")), ids=lambda script: script.parent.name)
def test_a_converter_finds_the_contract_and_leaves_no_folder_where_packages_are_looked_for(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", STARTED, script], capture_output=True, text=True, check=False, env=quiet()
    )
    assert done.returncode == 0, done.stderr


def test_the_users_own_modules_are_found_whatever_their_names(tmp_path: Path) -> None:
    """A network's code may well lie in `convert.py`, or import its own `contract`."""
    for folder in ("own", "user"):
        (tmp_path / folder).mkdir()
    (tmp_path / "own" / "convert.py").write_text(
        f"import sys\nsys.path.insert(0, {str(CONVERTERS)!r})\n"
        "from contract import Request, from_code, look_in\nsys.path.pop(0)\nlook_in(sys.argv[1])\n"
        "print(from_code(Request('convert:made', None, None, 'dynamic', None, 0, sys.argv[1]), str))\n"
    )
    (tmp_path / "user" / "contract.py").write_text("word = 'the user'")
    (tmp_path / "user" / "convert.py").write_text("import contract\ndef made():\n    return contract.word")
    command = [sys.executable, "-B", tmp_path / "own" / "convert.py", tmp_path / "user"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=quiet())
    assert done.stdout == "the user\n", done.stderr
