"""Clips whose answer is known: one thing that makes the class, or two movers of different classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.motion import clips
from benchmarks.zoo.catalogue import Entry, draw
from benchmarks.zoo.families import FAMILIES, two_movers

Array = NDArray[Any]

SCENE_SEED: Final = 8_000_000
"""First seed of the scenes; training draws from others."""
APART, CROSSING, SINGLE = "apart", "crossing", "single"


@dataclass(frozen=True)
class Scene:
    """One question.

    Attributes:
        what: `APART` or `CROSSING` paths of two movers, or a `SINGLE` thing.
        clip: What the network is fed.
        label: The class that is explained.
        mask: Where that class is made, (T, H, W) bool.
        other: The other mover's mask, of two.
    """

    what: str
    clip: Array = field(repr=False)
    label: int
    mask: Array = field(repr=False)
    other: Array | None = field(default=None, repr=False)

    @property
    def frames(self) -> Array:
        """The clip with colours last, (T, H, W, C)."""
        if self.clip.dtype == np.uint8:
            return self.clip
        last = np.moveaxis(self.clip[0], 0, -1)
        return np.asarray(last.reshape(*self.mask.shape, -1))


def of_zoo(entry: Entry, pairs: int) -> Iterator[Scene]:
    """Scenes for a network of the zoo: of two movers each is explained.

    Args:
        entry: The network.
        pairs: Clips with two movers apart, where the network knows directions; half as many with crossing paths, and
            as many with one thing, of the network's families in turn.
    """
    rng = np.random.default_rng([SCENE_SEED, entry.seed, *entry.kind.encode()])
    if "direction" in entry.families:
        first = entry.classes.index(FAMILIES["direction"].classes[0])
        for number in range(pairs + pairs // 2):
            crossing = number >= pairs
            one, two = _classes(rng, crossing=crossing)
            clip, *masks = two_movers(rng, one, two, entry.shape, crossing=crossing)
            for side, label in enumerate((one, two)):
                yield Scene(CROSSING if crossing else APART, clip, first + label, masks[side], masks[1 - side])
    for number in range(pairs):
        batch = draw(entry, entry.families[number % len(entry.families)], rng, 1)
        mask = batch.masks[0]
        yield Scene(SINGLE, batch.clips, int(batch.labels[0]), mask.reshape((1,) * (3 - mask.ndim) + mask.shape))


def _classes(rng: np.random.Generator, *, crossing: bool) -> tuple[int, int]:
    """Two different directions; those that cross are not along one line."""
    while True:
        one, two = map(int, rng.choice(len(FAMILIES["direction"].classes), 2, replace=False))
        if not crossing or one // 2 != two // 2:
            return one, two


def of_motion(pairs: int, first_seed: int = clips.TEST_SEED) -> Iterator[Scene]:
    """Scenes for the demonstration network and others of its ten motions.

    Args:
        pairs: Clips with two movers, and as many with one.
        first_seed: Seed of the first.
    """
    for seed in range(first_seed, first_seed + pairs):
        two = clips.make_two_movers(seed)
        for side, label in enumerate(two.labels):
            yield Scene(APART, two.frames, int(label), two.masks[side], two.masks[1 - side])
        one = clips.make_clip(seed)
        yield Scene(SINGLE, one.frames, int(one.label), one.mask)
