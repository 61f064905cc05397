"""Input shapes: what the file declares, and what a caller may give."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfp_onnx.errors import UsageError
from cfp_onnx.model import Model, Port, input_shape

MODEL = Model(
    Path("net.onnx"), "", "", 21, (Port("x", (None, 3, None, 8), "float32"), Port("z", None, "float32")), (), {},
    None,  # type: ignore[arg-type]
)  # fmt: skip


def test_given_sizes_take_the_place_of_open_ones() -> None:
    found = input_shape(MODEL, {"x": (2, 3, 4, 8), "z": (5,)})
    assert found == {"x": (2, 3, 4, 8), "z": (5,)}
    assert input_shape(MODEL, {"z": (5,)})["x"] == (None, 3, None, 8)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"q": (1,)}, "no input 'q'; its inputs are: x, z"),
        ({"x": (2, 4, 4, 8), "z": (5,)}, r"has shape \(\?, 3, \?, 8\), not \(2, 4, 4, 8\)"),
        ({"x": (2, 3, 4), "z": (5,)}, "not"),
        ({}, "'z' declares no shape; give --input-shape z="),
    ],
)
def test_sizes_that_contradict_the_file_are_refused(given: dict[str, tuple[int, ...]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        input_shape(MODEL, given)
