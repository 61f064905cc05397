"""Label arithmetic, held against the same operation on arrays that are written out in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfp_onnx.graph.labels import NONE, reshape_labels, to_rank, varies, varying_axes

SHAPES = [
    ((2, 6, 3), (12, 3)), ((2, 6, 3), (2, 2, 3, 3)), ((1, 4, 1, 5), (4, 5)), ((4, 5), (1, 4, 1, 5)), ((6, 4), (4, 6)),
    ((2, 3, 4, 5), (2, 60)), ((2, 60), (2, 3, 4, 5)), ((1, 1), ()), ((), (1, 1)), ((8,), (2, 2, 2)),
    ((2, 1, 9), (6, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SHAPES)
@given(data=st.data())
def test_reshaped_labels_are_those_of_the_whole_tensor(old: tuple[int, ...], new: tuple[int, ...], data: st.DataObject):
    kept = tuple(n if data.draw(st.booleans()) else 1 for n in old)
    labels = np.arange(math.prod(kept)).reshape(kept)
    whole = np.broadcast_to(labels, old).reshape(new)
    found = reshape_labels(labels, old, new)
    assert found.ndim == len(new)
    assert np.array_equal(np.broadcast_to(found, new), whole)


def test_an_axis_that_does_not_vary_stays_short():
    labels = np.arange(6).reshape(1, 6, 1)
    assert reshape_labels(labels, (2, 6, 3), (2, 2, 3, 3)).shape == (1, 2, 3, 1)


def test_an_empty_tensor_has_no_labels():
    assert (reshape_labels(np.arange(4).reshape(4, 1), (4, 0), (0, 2)) == NONE).all()


def test_axes_that_vary():
    labels = np.zeros((1, 4, 1, 2))
    assert varying_axes(labels) == (1, 3)
    assert [varies(labels, a) for a in range(4)] == [False, True, False, True]
    assert to_rank(labels, 6).shape == (1, 1, 1, 4, 1, 2)
