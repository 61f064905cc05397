"""The networks that are judged, and the clips they are judged on: entries of the zoo, or one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_model import normalised
from benchmarks.motion.clips import FRAMES, SIZE, TEST_SEED, make_clip
from benchmarks.zoo.catalogue import Entry, draw
from cfp_onnx import model, runtime

Array = NDArray[Any]

PER_CLASS: Final = 4
"""Clips of one class, so that a mean over them exists."""
CLIP_SEED: Final = 7_000_000
"""First seed of the zoo's clips that are judged; training draws from others."""
POOL: Final = 16
"""Clips drawn for each one that is used, so that classes can be picked."""


@dataclass(frozen=True)
class Clip:
    """What a network is fed, and the class that the clip shows; None where it shows none."""

    feeds: dict[str, Array] = field(repr=False)
    label: int | None


@dataclass(frozen=True)
class Subject:
    """A network with its clips.

    Attributes:
        name: As tables and files have it.
        kind: How it is built; networks of one kind share a row.
        seed: Of its training.
        role: ``choose``, ``table``, or nothing for a file.
        path: The ONNX file.
        clips: What it is judged on.
    """

    name: str
    kind: str
    seed: int
    role: str
    path: Path
    clips: tuple[Clip, ...]


def of_zoo(entry: Entry, count: int, folder: Path) -> Subject:
    """An entry of the zoo, written into a folder, with `PER_CLASS` clips of as many classes as `count` allows.

    The classes change with the family, and with the seed of the network, so that all are seen over the zoo.

    Args:
        entry: The entry.
        count: Number of clips.
        folder: Where the file goes.
    """
    groups = max(1, count // PER_CLASS)
    rng = np.random.default_rng([CLIP_SEED, entry.seed, *entry.kind.encode()])
    clips: list[Clip] = []
    for number in range(groups):
        family = entry.families[number % len(entry.families)]
        batch = draw(entry, family, rng, POOL * PER_CLASS)
        labels = np.unique(batch.labels)
        label = labels[(number // len(entry.families) + entry.seed) % len(labels)]
        wanted = min(PER_CLASS, count - len(clips)) if number < groups - 1 else count - len(clips)
        places = np.flatnonzero(batch.labels == label)[:wanted]
        clips.extend(Clip({"clip": batch.clips[place : place + 1]}, int(label)) for place in places)
    return Subject(f"{entry.kind}-{entry.seed}", entry.kind, entry.seed, entry.role, entry.write(folder), tuple(clips))


def of_file(path: Path, count: int, *, first_seed: int = TEST_SEED) -> Subject:
    """One file, with motion clips that training did not see; random arrays where it does not take those.

    Args:
        path: An ONNX file.
        count: Number of clips.
        first_seed: Seed of the first clip.
    """
    found = tuple(_clips(model.load(path), range(first_seed, first_seed + count)))
    return Subject(path.stem, path.stem, 0, "", path, found)


def _clips(loaded: model.Model, seeds: range) -> Iterator[Clip]:
    port = loaded.inputs[0]
    if len(loaded.inputs) == 1 and tuple(port.shape or ())[1:] == (3, FRAMES, SIZE, SIZE):
        for seed in seeds:
            clip = make_clip(seed)
            yield Clip({port.name: normalised(clip.frames)}, clip.label)
        return
    plain = runtime.random_feeds(loaded)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        yield Clip({k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in plain.items()}, None)
