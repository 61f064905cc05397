"""Numbers as short text: what comes back, and what is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cfp_onnx.errors import UsageError
from cfp_onnx.files.packed_numbers import packed, rounded, unpacked


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (2, 3)])
def test_numbers_come_back_to_half_precision_of_the_largest(rng, shape):
    values = rng.standard_normal(shape) * 1e6
    back = unpacked(packed(values), shape, "it")
    assert back.shape == shape
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, values, rtol=2e-3, atol=1e-7 * np.abs(values).max(initial=0.0))
    np.testing.assert_array_equal(rounded(values), back)


def test_the_text_is_a_float32_and_a_float16_for_each_number():
    data = base64.b64decode(packed(np.array([4.0, -1.0])))
    assert np.frombuffer(data[:4], "<f4").tolist() == [4.0]
    assert np.frombuffer(data[4:], "<f2").tolist() == [1.0, -0.25]


def text(scale: float, *parts: float) -> str:
    return base64.b64encode(np.array([scale], "<f4").tobytes() + np.array(parts, "<f2").tobytes()).decode()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "must be numbers in base64, not int '3'"),
        (None, "must be numbers in base64, not null"),
        ("!", "is no base64"),
        ("", "holds 0 numbers, it must hold 2"),
        (text(1.0, 1.0), "holds 1 numbers, it must hold 2"),
        (text(np.nan, 1.0, 1.0), "holds NaN, infinity or a negative scale"),
        (text(-1.0, 1.0, 1.0), "holds NaN, infinity or a negative scale"),
        (text(1.0, np.inf, 1.0), "holds NaN, infinity or a negative scale"),
    ],
)
def test_other_texts_are_refused_with_their_place(value, said):
    with pytest.raises(UsageError, match=f"^f: 'a' {said}"):
        unpacked(value, (2,), "f: 'a'")


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e30, 1e30).map(lambda v: v if abs(v) > 1e-30 else 0.0))
)
@settings(max_examples=100, deadline=None)
def test_rounding_again_changes_nothing(values):
    back = rounded(values)
    top = np.abs(values).max(initial=0.0)
    np.testing.assert_allclose(back, values, rtol=2e-3, atol=1e-7 * top)
    np.testing.assert_array_equal(rounded(back), back)
