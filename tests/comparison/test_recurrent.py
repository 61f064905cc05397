"""Files whose recurrent layers differ: found at the layer, whatever of it was changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from recurrent_nets import recurrent

import cfp_onnx as cfp
from cfp_onnx.comparison.text import divergence_text

SAYS = {
    "w": "weights",
    "r": "its recurrent weights, biases, states or activations are not compared one by one",
    "b": "its recurrent weights, biases, states or activations are not compared one by one",
}


@pytest.mark.parametrize("changed", [None, *SAYS])
def test_where_two_recurrent_files_part(changed: str | None, tmp_path: Path) -> None:
    net = recurrent("compared", "LSTM")
    files = [net.model(), net.model()]
    for tensor in files[1].graph.initializer:
        if tensor.name == changed:
            other = numpy_helper.to_array(tensor) * np.float32(1.3)
            tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    for name, model in zip("ab", files, strict=True):
        onnx.save(model, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "clip.npz", **net.feeds())
    found = cfp.compare(tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "clip.npz")
    assert found.same == (changed is None)
    if changed is not None:
        assert found.first is not None
        assert found.first.layer == "u"
        assert SAYS[changed] in divergence_text(found.first)
