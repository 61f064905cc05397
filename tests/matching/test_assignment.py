"""One-to-one maps: paired, completed, assigned."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cfp_onnx.matching import assignment


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_equal_labels_are_paired_in_order(labels: list[int], random: Any) -> None:
    other = list(labels)
    random.shuffle(other)
    left, right = assignment.pair_up(np.array(labels), np.array(other))
    assert sorted(left.tolist()) == sorted(right.tolist()) == list(range(len(labels)))
    assert [labels[i] for i in left] == [other[j] for j in right]
    for value in set(labels):
        own = [(i, j) for i, j in zip(left.tolist(), right.tolist(), strict=True) if labels[i] == value]
        assert sorted(own) == sorted(own, key=lambda p: p[1])


@given(st.integers(1, 12), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_permutation_is_assigned_back(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    value = rng.uniform(0, 0.5, (n, n))
    value[np.arange(n), order] += 1.0
    assert np.array_equal(assignment.assign(value), order)
    ties = assignment.assign(np.zeros((n, n)))
    assert sorted(ties.tolist()) == list(range(n))


@given(st.lists(st.integers(-1, 7), min_size=8, max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_partial_map_is_made_whole(given_map: list[int]) -> None:
    partial = np.full(8, -1)
    for place, value in enumerate(given_map):
        if value >= 0 and value not in partial:
            partial[place] = value
    whole = assignment.fill(partial)
    assert sorted(whole.tolist()) == list(range(8))
    assert (whole[partial >= 0] == partial[partial >= 0]).all()
