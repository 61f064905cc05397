"""The port of the authors' back-step against the recorded calls of their own function, errors included."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from published_port import SizeError, backstep

pytestmark = pytest.mark.shared

CALLS = 24


def _call(folder: pathlib.Path, number: int) -> tuple[dict[str, Any], list[Any], Any]:
    calls = json.loads((folder / "unit.json").read_text(encoding="utf-8"))["calls"]
    assert len(calls) == CALLS
    call = next(c for c in calls if c["id"] == number)
    with np.load(folder / "unit.npz") as arrays:
        kernels = [arrays[f"c{number}_k{branch}"] for branch in range(call["n_kernels"])]
        return call, kernels, arrays[f"c{number}_a"]


@pytest.mark.parametrize("number", range(CALLS))
def test_recorded_call(shared_dir: pathlib.Path, number: int) -> None:
    call, kernels, activation = _call(shared_dir / "oracle" / "goldens", number)

    def run() -> dict[str, list[int]]:
        return {str(i): backstep(kernels, activation, i, call["theta"], topn=call["topn"]) for i in call["indices"]}

    if "error" not in call:
        assert run() == call["result"]
        return
    expected = {"RuntimeError": SizeError, "TypeError": TypeError}[call["error"]]
    with pytest.raises(expected) as caught:
        run()
    assert str(caught.value) == call["message"]
