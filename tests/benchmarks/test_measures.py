"""Our measures rank what is worse as worse: tubes that are spoiled in five steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import tubes
from benchmarks.motion import clips

Array = npt.NDArray[Any]

STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of what is told that is chance."""


def shuffled(values: Array, share: float, rng: np.random.Generator) -> Array:
    """A share of the values handed round."""
    out, order = values.copy(), rng.permutation(len(values))
    some = order[: round(share * len(values))]
    out[some] = values[rng.permutation(some)]
    return out


# ------------------------------------------------------------------------------------------------ tubes

CLIPS = 8
MEASURES: Mapping[str, Callable[[Array, Array, Array], float]] = {
    "share": tubes.share,
    "energy": lambda tube, own, _: tubes.energy(tube, own),
}
"""What is said of a tube, (T, H, W), by the masks of the mover that it is for and of the other."""


def smooth(tube: Array, times: int) -> Array:
    """Mean over three neighbours along each axis, so many times."""
    for axis in list(range(tube.ndim)) * times:
        tube = (np.roll(tube, 1, axis) + tube + np.roll(tube, -1, axis)) / 3
    return tube


def noisy(tube: Array, step: int, rng: np.random.Generator) -> Array:
    """Noise in the place of a share of the mass."""
    share = STEPS[step]
    return (1 - share) * tube / tube.mean() + share * rng.exponential(size=tube.shape)


def blurred(tube: Array, step: int, _rng: np.random.Generator) -> Array:
    """Wider and wider."""
    return smooth(tube, 3 * step * step)


def shifted(tube: Array, step: int, _rng: np.random.Generator) -> Array:
    """Further and further beside the mover."""
    return np.roll(tube, 2 * step, axis=2)


def strayed(tube: Array, step: int, rng: np.random.Generator) -> Array:
    """Whole places moved to anywhere."""
    flat = tube.reshape(-1)
    return shuffled(flat, STEPS[step], rng).reshape(tube.shape)


@pytest.mark.parametrize("how", [noisy, blurred, shifted, strayed])
@pytest.mark.parametrize("measure_of", MEASURES)
def test_a_tube_that_is_spoiled_more_has_a_smaller_figure(measure_of: str, how: Callable[..., Array]) -> None:
    found = np.zeros(len(STEPS))
    for seed in range(clips.TEST_SEED, clips.TEST_SEED + CLIPS):
        two = clips.make_two_movers(seed)
        for own, other in (two.masks, two.masks[::-1]):
            tube = smooth(own + 0.05, 1)
            for step in range(len(STEPS)):
                worse = how(tube, step, np.random.default_rng(seed))
                found[step] += MEASURES[measure_of](worse, own, other) / (2 * CLIPS)
    assert all(better > worse for better, worse in itertools.pairwise(found)), found
    assert found[0] > found[-1] + 0.2
