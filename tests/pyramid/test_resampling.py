"""Maps over the coordinates of a clip, against sums and interpolations done one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tubes import tube

from cfp_onnx.pyramid import resampling

Array = npt.NDArray[Any]


def at_one(values: Array, centres: list[Array], place: tuple[float, ...]) -> float:
    """Linear between neighbours, axis by axis, the outermost value beyond: the definition, one number at a time."""
    corners = []
    for known, x in zip(centres, place, strict=True):
        below = [i for i, c in enumerate(known) if c <= x]
        if not below:
            corners.append([(0, 1.0)])
        elif below[-1] == len(known) - 1:
            corners.append([(len(known) - 1, 1.0)])
        else:
            i = below[-1]
            share = (x - known[i]) / (known[i + 1] - known[i])
            corners.append([(i, 1 - share), (i + 1, share)])
    total = 0.0
    for corner in itertools.product(*corners):
        index, weights = zip(*corner, strict=True)
        total += float(values[index]) * float(np.prod(weights))
    return total


def random_centres(rng: np.random.Generator, n: int) -> Array:
    return np.cumsum(rng.uniform(0.2, 3, n)) - 2


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 4)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_tube_is_linear_between_centres_and_constant_beyond(
    seed: int, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape).astype(np.float32)
    centres = [random_centres(rng, n) for n in shape]
    places = [rng.uniform(-5, 12, n) for n in wanted]
    found = resampling.resample(values, centres, places)
    assert found.shape == wanted
    assert found.dtype == np.float32
    for index in np.ndindex(*wanted):
        expected = at_one(values, centres, tuple(float(p[i]) for p, i in zip(places, index, strict=True)))
        assert found[index] == pytest.approx(expected, abs=1e-5)


def grid(strides: tuple[int, ...], counts: tuple[int, ...], shifts: tuple[float, ...]) -> tuple[Array, Array, Array]:
    a, b, c = (s * np.arange(n) + d for s, n, d in zip(strides, counts, shifts, strict=True))
    return a, b, c


def inner(rng: np.random.Generator, counts: tuple[int, ...]) -> Array:
    """Sums with nothing at the outer places."""
    values = np.zeros(counts, np.float32)
    values[1:-1, 1:-1, 1:-1] = rng.uniform(0, 1, [n - 2 for n in counts])
    return values


THREE = st.tuples(*[st.integers(1, 4)] * 3)


COUNTS = st.tuples(*[st.integers(3, 5)] * 3)


SHIFTS = st.tuples(*[st.floats(0, 1.5)] * 3)


@given(st.integers(0, 2**32 - 1), THREE, COUNTS, SHIFTS)
@settings(max_examples=60, deadline=None)
def test_a_density_over_the_clip_holds_the_mass_of_its_elements(
    seed: int, strides: tuple[int, ...], counts: tuple[int, ...], shifts: tuple[float, ...]
) -> None:
    """Where the outer places hold none: hats of a whole stride sum to the stride over the pixels."""
    rng = np.random.default_rng(seed)
    total, centres = inner(rng, counts), grid(strides, counts, shifts)
    size = tuple(s * n + 2 for s, n in zip(strides, counts, strict=True))
    drawn = tube(resampling.density(total, centres, size), centres).at((size[0], size[1], size[2]))
    assert drawn.sum(dtype=np.float64) == pytest.approx(float(total.sum()), rel=1e-4)


def test_an_axis_that_a_layer_does_not_tell_apart_spreads_over_the_whole_clip() -> None:
    centres = (np.array([3.5]), np.arange(4.0), np.arange(5.0))
    total = np.ones((1, 4, 5), np.float32)
    found = resampling.density(total, centres, (8, 4, 5))
    np.testing.assert_allclose(found, 1 / 8)
    assert tube(found, centres).at((8, 4, 5)).sum() == pytest.approx(20)


@given(st.integers(0, 2**32 - 1), SHIFTS)
@settings(max_examples=30, deadline=None)
def test_maps_of_one_depth_add_up_whatever_their_grids(seed: int, shifts: tuple[float, ...]) -> None:
    """Fine in time and coarse in space, and the other way round: the sum is fine in both and loses nothing."""
    rng = np.random.default_rng(seed)
    size = (16, 16, 16)
    one, other = grid((1, 4, 4), (16, 4, 4), (0, *shifts[1:])), grid((4, 1, 2), (4, 16, 8), (shifts[0], 0, 0))
    sums = [inner(rng, (16, 4, 4)), inner(rng, (4, 16, 8))]
    maps = [(resampling.density(total, c, size), c) for total, c in zip(sums, (one, other), strict=True)]
    values, centres = resampling.add_maps(maps)
    assert [len(c) for c in centres] == [16, 16, 8]
    drawn = tube(values, centres).at(size).sum(dtype=np.float64)
    assert drawn == pytest.approx(sum(float(s.sum()) for s in sums), rel=0.05)


def test_maps_on_one_grid_are_added_element_by_element(rng: np.random.Generator) -> None:
    centres = grid((2, 2, 2), (3, 4, 5), (0.5, 0.5, 0.5))
    a, b = (rng.standard_normal((3, 4, 5)).astype(np.float32) for _ in range(2))
    values, found = resampling.add_maps([(a, centres), (b, tuple(c + 1e-12 for c in centres))])  # type: ignore[list-item]
    np.testing.assert_allclose(values, a + b, rtol=1e-6)
    assert all(np.allclose(x, y) for x, y in zip(found, centres, strict=True))
