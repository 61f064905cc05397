"""Our measures rank what is worse as worse: relevance and tubes that are spoiled in five steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.motion import clips
from benchmarks.truth import subjects, tables
from benchmarks.truth.measuring import Measured, measure
from benchmarks.truth.variants import named
from benchmarks.tubes import measures
from benchmarks.zoo import catalogue

Array = npt.NDArray[Any]

STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of what is told that is chance."""
REPEATS = 2
ASKED = {"live, best other": "positional, against best", "live, rivals": "positional, against rivals"}
"""Figures of a margin that the rule must be asked for by name."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A residual network of the zoo, four clips of each of two classes."""
    entry = next(e for e in catalogue.entries() if e.kind == "resnet")
    subject = subjects.of_zoo(entry, 8, tmp_path_factory.mktemp("zoo"))
    return measure(subject, named({"positional", *ASKED.values()}))


def mixed(values: Array, share: float, rng: np.random.Generator) -> Array:
    """Noise of the values' own size in the place of a share of them."""
    return (1 - share) * values / values.std() + share * rng.standard_normal(values.shape)


def shuffled(values: Array, share: float, rng: np.random.Generator) -> Array:
    """A share of the values handed round; with a larger share the same ones and more."""
    out, order = values.copy(), rng.permutation(len(values))
    some = order[: round(share * len(values))]
    out[some] = values[rng.permutation(some)]
    return out


def spoiled(measured: Measured, variant: str, how: Callable[..., Array], seed: int) -> Measured:
    """A rule told ever worse: variants named after the share that is chance."""
    told = {}
    for share in STEPS:
        rng = np.random.default_rng(seed)
        layers = measured.relevance[variant]
        told[str(share)] = [np.stack([how(clip, share, rng) for clip in layer]) for layer in layers]
    return replace(measured, relevance=told)


@pytest.mark.parametrize("how", [mixed, shuffled])
@pytest.mark.parametrize("figure", tables.FIGURES)
def test_a_rule_told_worse_has_a_smaller_figure(figure: str, how: Callable[..., Array], measured: Measured) -> None:
    variant = ASKED.get(figure, "positional")
    table = tables.Table([spoiled(measured, variant, how, seed) for seed in range(REPEATS)])
    found = [table.estimate(str(share), figure).mean for share in STEPS]
    assert all(better > worse for better, worse in itertools.pairwise(found)), found
    assert found[0] > 0.5
    assert found[-1] < 0.3


# ------------------------------------------------------------------------------------------------ tubes

CLIPS = 8
MEASURES: Mapping[str, Callable[[Array, Array, Array], float]] = {
    "share": measures.share,
    "energy": lambda tube, own, _: measures.energy(tube, own),
}
"""What is said of a tube, (T, H, W), by the masks of the mover that it is for and of the other."""


def smooth(tube: Array, reach: int) -> Array:
    """Mean over three places along each axis, so far from each other."""
    for axis in range(tube.ndim):
        tube = (np.roll(tube, reach, axis) + tube + np.roll(tube, -reach, axis)) / 3
    return tube


def noisy(tube: Array, step: int, rng: np.random.Generator) -> Array:
    """Noise in the place of a share of the mass."""
    share = STEPS[step]
    return (1 - share) * tube / tube.mean() + share * rng.exponential(size=tube.shape)


def blurred(tube: Array, step: int, _rng: np.random.Generator) -> Array:
    """Wider and wider."""
    for reach in range(1, 2 * step + 1):
        tube = smooth(tube, reach)
    return tube


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
