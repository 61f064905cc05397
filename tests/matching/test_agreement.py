"""How far two tensors or rankings agree, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfp_onnx.matching.agreement import agreement, cosine, overlap, spearman


def test_spearman_by_hand() -> None:
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 90.0])) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert spearman(np.array([0.0, 1.0, 1.0, 2.0]), np.arange(4.0)) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert spearman(np.ones(4), np.arange(4.0)) is None


def test_overlap_by_hand() -> None:
    a, b = np.arange(20.0), np.arange(20.0)
    assert overlap(a, b) == 1.0
    b[0] = 99.0  # the strongest two of b are now 0 and 19
    assert overlap(a, b) == 0.5
    assert overlap(a, -b) is None


def test_agreement_by_hand() -> None:
    a, b = np.array([[1.0, -4.0], [2.0, 0.0]]), np.array([[1.0, -4.0], [2.5, 0.0]])
    found = agreement(a, b)
    assert (found.difference, found.max_abs, found.resized) == (0.125, 0.5, False)
    assert found.rows.tolist() == [0.0, 0.125]
    assert found.cosine == pytest.approx((17 + 5) / np.sqrt(21 * 23.25))
    assert agreement(a, b[:, :1]).resized
    assert agreement(a * 0, a * 0).cosine == 1.0
    assert cosine(a, a * 0) == 0.0
