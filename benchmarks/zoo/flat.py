"""Families of pictures and of signals, for the twins of networks that take clips.

A picture is ``(N, 3, H, W)`` with masks ``(N, H, W)``, a signal ``(N, 3, T)`` with masks ``(N, T)``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.zoo.families import LIMIT, Array, Family, Scene, Shape, paint_look

PICTURE: Final = (24, 24)
SIGNAL: Final = (64,)


def _look(rng: np.random.Generator, count: int, shape: Shape, labels: Array) -> tuple[Array, Array]:
    """One frame of the clips' family of the same name."""
    scene = Scene(rng, count, (1, *shape))
    masks = paint_look(scene, labels)
    return scene.finish()[:, :, 0], masks[:, 0]


def _beside(rng: np.random.Generator, count: int, shape: Shape, labels: Array) -> tuple[Array, Array]:
    """A bright and a dark spot; the class is which of them is further to the left."""
    scene = Scene(rng, count, (1, *shape))
    radius = scene.uniform(0.09, 0.13) * scene.side
    gap = scene.uniform(0.35, 0.6) * scene.side
    x, _ = scene.place(radius + gap / 2, radius)
    masks = np.zeros((count, *shape), bool)
    for sign in (1, -1):
        _, y = scene.place(radius, radius)
        to_left = (labels == 0) == (sign == 1)
        dx, dy = scene.offsets(scene.still(x + np.where(to_left, -gap, gap) / 2), scene.still(y))
        alpha = np.clip(0.5 + radius[:, None, None, None] - np.hypot(dx, dy), 0, 1)
        masks |= scene.blend(alpha, scene.mean + sign * scene.uniform(0.8, 1.4, 3))[:, 0]
    return scene.finish()[:, :, 0], masks


def _drift(rng: np.random.Generator, count: int, length: int) -> Array:
    """Slow waves and noise on three channels, ``(N, 3, T)``."""
    time = np.linspace(0, 1, length, dtype=np.float32)
    turns, phase = rng.uniform(0.5, 3, (2, count, 3, 1)) * np.array([1.0, 2.0])[:, None, None, None]
    waves = 0.4 * np.sin(2 * np.pi * turns * time + phase)
    return (waves + 0.15 * rng.standard_normal(waves.shape)).astype(np.float32)


def _bump(length: int, centre: Array, width: Array) -> Array:
    """Bells at centres and of widths given as shares of the length, ``(N, T)``."""
    time = np.linspace(0, 1, length, dtype=np.float32)
    return np.exp(-(((time - centre[:, None]) / width[:, None]) ** 2)).astype(np.float32)


def _tint(rng: np.random.Generator, count: int) -> Array:
    return rng.uniform(0.7, 1.4, (count, 3, 1)).astype(np.float32)


def _sequence(rng: np.random.Generator, count: int, shape: Shape, labels: Array) -> tuple[Array, Array]:
    """A bump and a dip, one after the other."""
    signal, masks = _drift(rng, count, shape[0]), np.zeros((count, *shape), bool)
    first = rng.uniform(0.1, 0.5, count)
    second = first + rng.uniform(0.2, 0.4, count)
    for sign, centre in ((1, np.where(labels == 0, first, second)), (-1, np.where(labels == 0, second, first))):
        bell = _bump(shape[0], centre, rng.uniform(0.03, 0.06, count))
        signal += sign * _tint(rng, count) * bell[:, None]
        masks |= bell > 0.5
    return np.clip(1.4 * signal, -LIMIT, LIMIT), masks


def _chirp(rng: np.random.Generator, count: int, shape: Shape, labels: Array) -> tuple[Array, Array]:
    """A short tone that rises or falls."""
    time = np.linspace(0, 1, shape[0], dtype=np.float32)
    centre, width = rng.uniform(0.25, 0.75, count), rng.uniform(0.12, 0.18, count)
    bell = _bump(shape[0], centre, width)
    since = time - centre[:, None]
    bend = np.where(labels == 0, 1, -1) * rng.uniform(14, 20, count)
    phase = rng.uniform(0, 2 * np.pi, count)[:, None]
    tone = np.sin(2 * np.pi * (rng.uniform(9, 11, count)[:, None] * since + bend[:, None] * since**2) + phase)
    signal = _drift(rng, count, shape[0]) + _tint(rng, count) * (bell * tone).astype(np.float32)[:, None]
    return np.clip(1.4 * signal, -LIMIT, LIMIT).astype(np.float32), bell > 0.2


FLAT: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        Family("look_2d", ("rows", "columns", "checks"), _look, PICTURE),
        Family("beside_2d", ("bright_left", "dark_left"), _beside, PICTURE),
        Family("sequence_1d", ("bump_dip", "dip_bump"), _sequence, SIGNAL),
        Family("chirp_1d", ("rising", "falling"), _chirp, SIGNAL),
    )
}
"""Families by name."""
