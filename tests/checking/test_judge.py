"""Measures of change, and the limits that they may break."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfp_onnx.checking import change as measures
from cfp_onnx.checking import judge
from cfp_onnx.checking.policy import Limits


def test_measures_of_nothing_and_of_everything(rng: np.random.Generator) -> None:
    r, a = rng.standard_normal(30), rng.standard_normal(30)
    same = measures.change((a, a), (r, r))
    assert (same.drift, same.overlap, same.rank, same.activity) == (0.0, 1.0, pytest.approx(1.0), 0.0)
    scaled = measures.change((a, a), (r, 7 * r))
    assert scaled.drift == pytest.approx(0.0)
    turned = measures.change((a, -a), (r, -r))
    assert turned.drift == pytest.approx(1.0)
    assert turned.rank == pytest.approx(-1.0)
    assert turned.activity == pytest.approx(2.0)
    none = measures.change((a, 0 * a), (r, 0 * r))
    assert (none.drift, none.overlap, none.rank, none.activity) == (1.0, 0.0, 0.0, 1.0)
    both = measures.change((0 * a, 0 * a), (0 * r, 0 * r))
    assert (both.drift, both.overlap, both.rank, both.activity) == (0.0, 1.0, 1.0, 0.0)
    assert measures.drift(np.array([3.0, 1.0]), np.array([1.0, 3.0])) == pytest.approx(0.5)


def test_nan_breaks_every_limit() -> None:
    nan = math.nan
    found = judge.breaches_of(measures.Change(nan, nan, nan, nan), nan, Limits())
    assert [b.measure for b in found] == ["drift", "overlap", "rank", "activity", "weights"]
    assert judge.breaches_of(measures.Change(0.0, 1.0, 1.0, 0.0), 0.0, Limits()) == []


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 2))
def test_limits_only_ever_loosen_for_noise(drift: float, overlap: float, rank: float, activity: float) -> None:
    noise = measures.Change(drift, overlap, rank, activity)
    limits = judge.above_noise(Limits(), noise)
    assert limits.max_drift >= max(Limits().max_drift, min(1, drift))
    assert limits.min_overlap <= min(Limits().min_overlap, overlap)
    assert limits.min_rank <= min(Limits().min_rank, rank)
    assert limits.max_activity >= max(Limits().max_activity, activity)
    assert limits.max_weights == Limits().max_weights
