"""The table of operators in the documentation is that of the registry, and its states are true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import engine_of, network

from benchmarks.operator_table import FILE, newest, text
from cfp_onnx.errors import UnsupportedOperatorError
from cfp_onnx.graph.operators.table import state_of


def test_the_documentation_has_the_table_of_the_registry() -> None:
    assert FILE.read_text("utf-8") == text(), "type: python -m benchmarks.operator_table"


def test_every_operator_has_one_of_four_states_and_a_reason_where_it_is_not_traced() -> None:
    for op in newest():
        state, why = state_of(op)
        assert state in {"traced", "held", "barrier", "refused"}
        assert state == "traced" or why


BODIES = {
    "Det": "u = Reshape (a, square)\nd = Det (u)\ne = Reshape (d, ones)\nb = Mul (a, e)",
    "LpPool": "b = LpPool <kernel_shape=[1,1]> (a)",
    "Acosh": "b = Acosh (a)",
}


@pytest.mark.parametrize("op", BODIES)
def test_a_barrier_is_refused_by_name_and_passed_over_on_request(op: str, tmp_path: Path) -> None:
    assert state_of(op)[0] == "barrier"
    body = f"a = Conv (x, w)\n{BODIES[op]}\nc = Conv (b, v)\ng = GlobalAveragePool (c)\ny = Flatten (g)"
    weights = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1), "square": np.array([1, 4, 6, 6]), "ones": np.array([1, 4, 1, 1])}
    model = network(body, weights)
    with pytest.raises(UnsupportedOperatorError) as caught:
        engine_of(model, tmp_path)
    assert caught.value.operator == op
    assert engine_of(model, tmp_path, barriers=True).coverage.operators_unknown == (op,)
