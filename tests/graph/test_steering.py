"""The stretch between two tensors, by a walk over all that is above them."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_nets import NETS as LIVE
from small_nets import Net, engine_of
from walk_nets import NETS

from cfp_onnx.graph.steering import between
from cfp_onnx.model import Program


def above(program: Program, tensor: str) -> set[str]:
    """A tensor and all that it is made of."""
    found: set[str] = set()
    stack = [tensor]
    while stack:
        name = stack.pop()
        if name and name not in found and not program.is_constant(name):
            found.add(name)
            node = program.producers.get(name)
            stack.extend(() if node is None else node.inputs)
    return found


@pytest.mark.parametrize("net", [*NETS, *LIVE], ids=lambda net: net.name)
def test_a_stretch_is_what_only_the_second_tensor_is_made_of(net: Net, tmp_path: Path) -> None:
    program = engine_of(net.model(), net.feeds(), tmp_path).program
    tensors = list(program.producers)
    for value in tensors:
        for other in tensors:
            mine, theirs = above(program, value), above(program, other)
            found = between(program, value, other)
            if not mine & theirs:
                assert found is None
                continue
            own = {program.producers[t].name for t in theirs - mine if t in program.producers}
            assert found is not None
            assert {node.name for node in found} == own, (value, other)
            for name in own:
                assert between(program, value, other, frozenset({name})) is None
