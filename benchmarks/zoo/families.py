"""Families of synthetic clips that ask different things of a network.

Every clip has a textured background that drifts in a direction of its own, noise, and things that do not matter.
``direction`` asks where a mark moves, ``order`` which of two events comes first, ``small`` which way a little rod turns
while a large disc moves about, ``look`` what a patch looks like while it moves anywhere. Sizes are shares of the
picture's side and speeds shares of it over the whole clip, so that a family means the same at any shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Make = Callable[[np.random.Generator, int, Shape, Array], tuple[Array, Array]]

SHAPE: Final = (8, 16, 16)
"""Frames, height and width where nothing else is said."""
LIMIT: Final = 2.0
"""Values of a clip lie within plus and minus this; as 8-bit frames: mean 0.5, deviation 0.25."""
TRIES: Final = 5000

_NOISE: Final = 0.1
_GAIN: Final = 1.6
_RADIUS: Final = (0.09, 0.12)
_TRAVEL: Final = (0.35, 0.55)
_HEADING: Final = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], np.float32)
"""Columns and rows of one step, for each class of ``direction``."""


@dataclass(frozen=True)
class Batch:
    """Clips with their answers.

    Attributes:
        clips: ``(N, 3, T, H, W) float32``, about mean 0 and deviation 1.
        labels: ``(N,) int64``, indexes into the family's classes.
        masks: ``(N, T, H, W) bool``, where that which makes the class is seen.
    """

    clips: Array
    labels: Array
    masks: Array


class Scene:
    """Clips in the making: drifting texture, onto which things are painted.

    Args:
        rng: Source of every choice.
        count: Number of clips.
        shape: Frames, height and width.

    Attributes:
        canvas: ``(N, 3, T, H, W) float32``.
        mean: ``(N, 3) float32``, the background's mean colour.
        side: The shorter side in pixels.
        time: ``(T,) float32``, from -0.5 to 0.5.
    """

    def __init__(self, rng: np.random.Generator, count: int, shape: Shape) -> None:
        self.rng, self.count, self.shape = rng, count, shape
        frames, height, width = shape
        self.side = min(height, width)
        self.time = np.linspace(-0.5, 0.5, frames, dtype=np.float32)
        self.rows = np.arange(height, dtype=np.float32)[:, None]
        self.columns = np.arange(width, dtype=np.float32)
        self.mean = self.uniform(-0.5, 0.5, 3)
        self.canvas = self._texture(waves=3) + self.mean[..., None, None, None]

    def uniform(self, low: float, high: float, *size: int) -> Array:
        """Numbers for each clip, ``(N, *size) float32``."""
        return self.rng.uniform(low, high, (self.count, *size)).astype(np.float32)

    def colour(self) -> Array:
        """Colours that stand out from the background, ``(N, 3)``."""
        way = self.rng.standard_normal((self.count, 3)).astype(np.float32)
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        return self.mean + way * self.uniform(1.6, 2.4, 1)

    def place(self, reach_x: Array, reach_y: Array) -> tuple[Array, Array]:
        """Column and row, ``(N,)`` each, of centres that stay so far from the borders."""
        _, height, width = self.shape
        x, y = self.uniform(0, 1), self.uniform(0, 1)
        return reach_x + x * (width - 1 - 2 * reach_x), reach_y + y * (height - 1 - 2 * reach_y)

    def offsets(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Every pixel's distance from ``(N, T)`` centres: ``(N, T, 1, W)`` columns and ``(N, T, H, 1)`` rows."""
        return self.columns - x[..., None, None], self.rows - y[..., None, None]

    def still(self, value: Array) -> Array:
        """The same value in each frame, ``(N, T)``."""
        return np.broadcast_to(value[:, None], (self.count, self.shape[0]))

    def blend(self, alpha: Array, colour: Array) -> Array:
        """Paint over the canvas.

        Args:
            alpha: ``(N, T, H, W)``, how much is covered.
            colour: ``(N, 3)`` or ``(N, 3, T, H, W)``.

        Returns:
            ``(N, T, H, W) bool``: what is covered by more than half.
        """
        full = colour[..., None, None, None] if colour.ndim == 2 else colour
        self.canvas += alpha[:, None] * (full - self.canvas)
        return alpha > 0.5

    def finish(self) -> Array:
        """The clips, with noise and within limits."""
        noise = self.rng.standard_normal(self.canvas.shape, np.float32) * np.float32(_NOISE)
        return np.clip(np.float32(_GAIN) * self.canvas + noise, -LIMIT, LIMIT)

    def _texture(self, *, waves: int) -> Array:
        length, turn = self.uniform(0.3, 1, waves) * self.side, self.uniform(0, 2 * np.pi, waves)
        drift = self.uniform(-0.15, 0.15, 2) * self.side
        along_x, along_y = np.cos(turn) * 2 * np.pi / length, np.sin(turn) * 2 * np.pi / length
        phase = self.uniform(0, 2 * np.pi, waves)
        moved = phase[..., None] - (along_x * drift[:, :1] + along_y * drift[:, 1:])[..., None] * self.time
        angle = along_x[..., None, None, None] * self.columns + along_y[..., None, None, None] * self.rows
        ripple = np.sin(angle + moved[..., None, None])
        tint = self.uniform(-0.35, 0.35, 3, waves)
        flat = tint @ ripple.reshape(self.count, waves, -1)
        return flat.reshape(self.count, 3, *self.shape)


def _cover(distance: Array, reach: Array) -> Array:
    """How much of each pixel lies within a reach, ``(N,)`` in pixels, of a shape's distance from its centre."""
    return np.clip(0.5 + reach[:, None, None, None] - distance, 0, 1)


def _mark(scene: Scene, x: Array, y: Array, radius: Array) -> Array:
    """Cover of discs, squares and diamonds, drawn at random, at ``(N, T)`` centres."""
    dx, dy = (np.abs(part) for part in scene.offsets(x, y))
    kind = scene.rng.integers(3, size=scene.count)[:, None, None, None]
    distance = np.where(kind == 0, np.hypot(dx, dy), np.where(kind == 1, np.maximum(dx, dy), (dx + dy) * 0.8))
    return _cover(distance, radius)


def _still_marks(scene: Scene) -> None:
    """A mark that stands still, in half of the clips."""
    radius = scene.uniform(*_RADIUS) * scene.side
    x, y = scene.place(radius, radius)
    seen = (scene.uniform(0, 1) < 0.5).astype(np.float32)
    scene.blend(_mark(scene, scene.still(x), scene.still(y), radius) * seen[:, None, None, None], scene.colour())


def _mover(scene: Scene, labels: Array) -> Array:
    """A mark that crosses about half of the picture; its cover."""
    radius = scene.uniform(*_RADIUS) * scene.side
    travel = _HEADING[labels] * scene.uniform(*_TRAVEL, 1) * scene.side
    reach_x, reach_y = radius + np.abs(travel[:, 0]) / 2, radius + np.abs(travel[:, 1]) / 2
    x, y = scene.place(reach_x, reach_y)
    return _mark(scene, x[:, None] + travel[:, :1] * scene.time, y[:, None] + travel[:, 1:] * scene.time, radius)


def _direction(scene: Scene, labels: Array) -> Array:
    _still_marks(scene)
    return scene.blend(_mover(scene, labels), scene.colour())


def _order(scene: Scene, labels: Array) -> Array:
    """A bright and a dark spot, each for about a quarter of the clip, one after the other, anywhere."""
    _still_marks(scene)
    first = scene.uniform(-0.4, -0.05)
    starts = first, first + scene.uniform(0.3, 0.4)
    masks = np.zeros((scene.count, *scene.shape), bool)
    for sign, start in ((1, np.where(labels == 0, *starts)), (-1, np.where(labels == 0, *reversed(starts)))):
        radius = scene.uniform(0.11, 0.15) * scene.side
        x, y = scene.place(radius, radius)
        seen = np.clip(0.5 + (0.125 - np.abs(scene.time - start[:, None])) * (scene.shape[0] - 1), 0, 1)
        alpha = _mark(scene, scene.still(x), scene.still(y), radius) * seen[..., None, None]
        masks |= scene.blend(alpha, scene.mean + sign * scene.uniform(1.0, 1.8, 3))
    return masks


def _small(scene: Scene, labels: Array) -> Array:
    """A rod with a light and a dark end turns; a large disc passes behind it."""
    large = scene.uniform(0.22, 0.3) * scene.side
    x, y = scene.place(large / 2, large / 2)
    travel = scene.uniform(-0.6, 0.6, 2) * scene.side
    dx, dy = scene.offsets(x[:, None] + travel[:, :1] * scene.time, y[:, None] + travel[:, 1:] * scene.time)
    scene.blend(_cover(np.hypot(dx, dy), large), scene.colour())

    length = scene.uniform(0.14, 0.18) * scene.side
    x, y = scene.place(length, length)
    turn = np.where(labels == 0, 1, -1) * scene.uniform(1.0, 1.6) * np.pi
    angle = scene.uniform(0, 2 * np.pi)[:, None] + turn[:, None] * scene.time
    cos, sin = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    dx, dy = scene.offsets(scene.still(x), scene.still(y))
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    alpha = _cover(np.abs(along), length) * _cover(np.abs(across), length * 0.45)
    light = scene.uniform(0.8, 1.4, 3)[..., None, None, None] * np.clip(along, -1, 1)[:, None]
    return scene.blend(alpha, scene.mean[..., None, None, None] + light)


def paint_look(scene: Scene, labels: Array) -> Array:
    """A round patch of rows, columns or checks moves in a straight line, its pattern with it."""
    _still_marks(scene)
    radius = scene.uniform(0.24, 0.3) * scene.side
    x, y = scene.place(radius, radius)
    travel = scene.uniform(-0.4, 0.4, 2) * scene.side
    dx, dy = scene.offsets(x[:, None] + travel[:, :1] * scene.time, y[:, None] + travel[:, 1:] * scene.time)
    wave = (2 * np.pi / (scene.uniform(0.22, 0.3) * scene.side))[:, None, None, None]
    phase = scene.uniform(0, 2 * np.pi, 2)[..., None, None, None]
    down, across = np.sin(wave * dy + phase[:, 0]), np.sin(wave * dx + phase[:, 1])
    kind = labels[:, None, None, None]
    pattern = np.where(kind == 0, down, np.where(kind == 1, across, 1.4 * down * across))
    contrast = (scene.colour() - scene.mean)[..., None, None, None] * 0.6
    return scene.blend(
        _cover(np.hypot(dx, dy), radius), scene.mean[..., None, None, None] + contrast * pattern[:, None]
    )


def _painted(paint: Callable[[Scene, Array], Array]) -> Make:
    """What makes clips by painting onto a scene; ``paint`` gives the masks."""

    def make(rng: np.random.Generator, count: int, shape: Shape, labels: Array) -> tuple[Array, Array]:
        scene = Scene(rng, count, shape)
        masks = paint(scene, labels)
        return scene.finish(), masks

    return make


@dataclass(frozen=True)
class Family:
    """A question that clips can ask.

    Attributes:
        name: Key in its table.
        classes: Names of its answers.
        make: Makes clips and masks for a generator, a count, a shape and labels.
        shape: Shape where nothing else is said.
    """

    name: str
    classes: tuple[str, ...]
    make: Make
    shape: Shape = SHAPE

    def draw(
        self, rng: np.random.Generator, count: int, shape: Shape | None = None, *, labels: Array | None = None
    ) -> Batch:
        """Draw clips.

        Args:
            rng: Source of every choice.
            count: Number of clips.
            shape: Frames, height and width; the family's own where it is left out.
            labels: ``(N,)`` indexes into the classes; drawn where they are left out.
        """
        labels = rng.integers(len(self.classes), size=count) if labels is None else np.asarray(labels, np.int64)
        clips, masks = self.make(rng, count, shape or self.shape, labels)
        return Batch(clips, labels, masks)

    def draw_one(self, rng: np.random.Generator, label: int, shape: Shape | None = None) -> Batch:
        """Draw one clip of a class; equal generators give equal scenes for every class."""
        return self.draw(rng, 1, shape, labels=np.array([label]))


FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        Family("direction", ("left", "right", "up", "down"), _painted(_direction)),
        Family("order", ("bright_dark", "dark_bright"), _painted(_order)),
        Family("small", ("clockwise", "counter_clockwise"), _painted(_small)),
        Family("look", ("rows", "columns", "checks"), _painted(paint_look)),
    )
}
"""Families by name."""


def two_movers(
    rng: np.random.Generator, first: int, second: int, shape: Shape = SHAPE, *, crossing: bool = False
) -> tuple[Array, Array, Array]:
    """A clip in which two marks move in two directions.

    Args:
        rng: Source of every choice.
        first: Class of one mark, an index into the classes of ``direction``.
        second: Class of the other.
        shape: Frames, height and width.
        crossing: Whether one runs over a place where the other is at another time; else their places are apart.

    Returns:
        The clip ``(1, 3, T, H, W) float32`` and the two masks ``(T, H, W) bool``, which never overlap.

    Raises:
        ValueError: If the classes are the same, or if paths are to cross that run along one line.
    """
    if first == second or (crossing and first // 2 == second // 2):
        raise ValueError(f"classes {first} and {second} give no two {'crossing ' if crossing else ''}movers")
    scene = Scene(rng, 1, shape)
    for _ in range(TRIES):
        one, other = (_mover(scene, np.array([label])) for label in (first, second))
        if ((one > 0) & (other > 0)).any():
            continue
        paths = (one > 0.5).any(axis=1) & (other > 0.5).any(axis=1)
        if bool(paths.any()) == crossing:
            masks = [scene.blend(alpha, scene.colour())[0] for alpha in (one, other)]
            return scene.finish(), masks[0], masks[1]
    raise ValueError(f"no two movers found in {TRIES} tries at {shape}")
