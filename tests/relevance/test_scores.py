"""Which kernels are chosen, and contributions of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from cfp_onnx.relevance import scores as rules

Array = npt.NDArray[Any]

RELEVANCE = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40).map(np.array)


@given(RELEVANCE, st.floats(0, 1), st.floats(0, 1), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_raising_theta_only_removes_kernels(relevance: Array, a: float, b: float, top_k: int) -> None:
    low, high = sorted((a, b))
    few = rules.choose(relevance, theta=high, top_k=None)
    many = rules.choose(relevance, theta=low, top_k=None)
    assert set(few) <= set(many)
    np.testing.assert_array_equal(rules.choose(relevance, theta=low, top_k=top_k), many[:top_k])
    assert (relevance[many] > 0).all()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_contributions_are_the_terms_of_the_convolution(
    seed: int, groups: int, per: int, width: int, taps: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((groups * per, width, taps))
    reads = rng.standard_normal((groups * width, taps))
    z = rules.contributions(weights, reads, groups)
    for o in range(groups * per):
        own = reads[o // per * width : (o // per + 1) * width]
        np.testing.assert_allclose(z[o], (weights[o] * own).sum(axis=1))
