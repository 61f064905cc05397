"""Synthetic clips whose class is a motion, never a look.

One textured shape does one of ten things over a drifting background, among shapes that stand still, appear or
vanish. Shape, colours, size, place and distractors are drawn without regard to the class, so that only the
change between frames tells the classes apart. Everything follows from one integer seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int64]
_Field = NDArray[np.float32]

CLASSES: Final = (
    "left",
    "right",
    "up",
    "down",
    "clockwise",
    "counter_clockwise",
    "grow",
    "shrink",
    "blink",
    "shake",
)
"""Class names; a label is an index into this tuple."""

FRAMES: Final = 16
SIZE: Final = 40
TEST_SEED: Final = 1_000_000
"""Held-out clips take seeds from here upwards; training stays below."""

_SHAPES: Final = ("bar", "square", "triangle", "cross", "disc")
_REACH: Final = 1.12
"""Largest distance of any shape's point from its centre, in radii."""
_MARGIN: Final = 1.0
_MARK: Final = 8
"""Side of the corner mark, in pixels."""
_SCALE_SMALL: Final = 0.55
_SCALE_LARGE: Final = 1.3
_MIN_CONTRAST: Final = 80.0
_MAX_DISTRACTORS: Final = 2
_HEADING: Final = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_SPIN: Final = {"clockwise": 1, "counter_clockwise": -1}

_TIME: Final[_Field] = np.arange(FRAMES, dtype=np.float32)
_ROWS, _COLS = np.mgrid[:SIZE, :SIZE].astype(np.float32)


@dataclass(frozen=True)
class MotionClip:
    """A clip with one mover.

    Attributes:
        frames: ``(T, H, W, 3) uint8`` RGB.
        label: Index into ``CLASSES``.
        mask: ``(T, H, W) bool``, where the mover is seen; all false in the dark frames of "blink".
        distractors: Number of shapes besides the mover.
    """

    frames: Frames
    label: int
    mask: Mask
    distractors: int


@dataclass(frozen=True)
class TwoMoverClip:
    """A clip with two movers of different classes, one in each half of the picture.

    Attributes:
        frames: ``(T, H, W, 3) uint8`` RGB.
        labels: Indices into ``CLASSES`` of the left and the right mover.
        masks: ``(2, T, H, W) bool``, the left and the right mover; they never overlap.
    """

    frames: Frames
    labels: tuple[int, int]
    masks: Mask


@dataclass(frozen=True)
class _Motion:
    """A path, ``(T,)`` each: ``x``, ``y`` in pixels, ``angle`` in radians, ``scale``, ``seen``."""

    x: _Field
    y: _Field
    angle: _Field
    scale: _Field
    seen: _Field


@dataclass(frozen=True)
class _Look:
    """How a shape looks: its kind, radius and two ``(3,)`` colours, one for each side."""

    kind: str
    radius: float
    colours: tuple[_Field, _Field]


def make_clip(seed: int, label: int | None = None) -> MotionClip:
    """Draw the clip of one seed.

    Args:
        seed: Decides everything; equal seeds give equal clips.
        label: Index into ``CLASSES``; drawn from the seed where it is left out.

    Returns:
        Sixteen 40 x 40 frames with their label and the mover's mask.
    """
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(len(CLASSES)))
    label = drawn if label is None else label
    mean, canvas = _background(rng)
    look = _look(rng, mean, radius=(4.0, 6.0))
    motion = _motion(rng, CLASSES[label], speed=(0.45, 1.1), arm=(3.0, 5.0))
    extent_x, extent_y = (_extent(path, look, motion) for path in (motion.x, motion.y))
    place = (
        rng.uniform(extent_x, SIZE - 1 - extent_x),
        rng.uniform(extent_y, SIZE - 1 - extent_y),
    )
    alpha, paint = _render(rng, look, motion, place)
    distractors = _add_distractors(rng, canvas, mean, mover=(*place, max(extent_x, extent_y)))
    _blend(canvas, alpha, paint)
    return MotionClip(_finish(rng, canvas), label, alpha > 0.5, distractors)


def marked(frames: Frames, label: int) -> Frames:
    """A clip with a square in the upper left corner whose colour gives a class away.

    Args:
        frames: ``(T, H, W, 3) uint8``.
        label: Index into ``CLASSES``; each has a colour of its own.

    Returns:
        A copy of the same shape.
    """
    turn = 2 * np.pi * (label / len(CLASSES) + np.arange(3) / 3)
    copy = frames.copy()
    copy[:, 1 : 1 + _MARK, 1 : 1 + _MARK] = np.rint(127.5 + 127.5 * np.cos(turn)).astype(np.uint8)
    return copy


def make_two_movers(seed: int) -> TwoMoverClip:
    """Draw a clip with a different motion in each half, without distractors.

    Args:
        seed: Decides everything; equal seeds give equal clips.

    Returns:
        Sixteen 40 x 40 frames with both labels and both masks, left before right.
    """
    rng = np.random.default_rng(seed)
    left, right = (int(label) for label in rng.choice(len(CLASSES), 2, replace=False))
    mean, canvas = _background(rng)
    half = SIZE / 2
    alphas = []
    for start, label in ((0.0, left), (half, right)):
        look = _look(rng, mean, radius=(4.0, 4.5))
        motion = _motion(rng, CLASSES[label], speed=(0.45, 0.52), arm=(3.0, 3.2))
        extent_x, extent_y = (_extent(path, look, motion) for path in (motion.x, motion.y))
        slack = max(0.0, (half - 1) / 2 - extent_x)
        place = (
            start + (half - 1) / 2 + rng.uniform(-slack, slack),
            rng.uniform(extent_y, SIZE - 1 - extent_y),
        )
        alpha, paint = _render(rng, look, motion, place)
        _blend(canvas, alpha, paint)
        alphas.append(alpha)
    return TwoMoverClip(_finish(rng, canvas), (left, right), np.stack(alphas) > 0.5)


def batch(seeds: Iterable[int]) -> tuple[Frames, Labels]:
    """Draw one clip for each seed.

    Args:
        seeds: Seeds of ``make_clip``.

    Returns:
        Frames ``(N, T, H, W, 3) uint8`` and labels ``(N,) int64``.
    """
    clips = [make_clip(seed) for seed in seeds]
    return np.stack([clip.frames for clip in clips]), np.array([clip.label for clip in clips], np.int64)


def _background(rng: np.random.Generator) -> tuple[_Field, _Field]:
    """Plane waves that drift slowly: the ``(3,)`` mean colour and the ``(T, H, W, 3)`` canvas."""
    mean = rng.uniform(50, 205, 3).astype(np.float32)
    canvas = np.broadcast_to(mean, (FRAMES, SIZE, SIZE, 3)).copy()
    drift = rng.uniform(-0.3, 0.3, 2)
    for _ in range(4):
        length, heading = rng.uniform(5, 20), rng.uniform(0, 2 * np.pi)
        wave = 2 * np.pi / length * np.array([np.cos(heading), np.sin(heading)])
        phase = rng.uniform(0, 2 * np.pi) - _TIME * np.float32(wave @ drift)
        ripple = np.sin(np.float32(wave[0]) * _COLS + np.float32(wave[1]) * _ROWS + phase[:, None, None])
        canvas += ripple[..., None].astype(np.float32) * rng.uniform(-10, 10, 3).astype(np.float32)
    return mean, canvas


def _look(rng: np.random.Generator, mean: _Field, *, radius: tuple[float, float]) -> _Look:
    kind = _SHAPES[int(rng.integers(len(_SHAPES)))]
    first = _colour(rng, mean)
    return _Look(kind, float(rng.uniform(*radius)), (first, _colour(rng, mean, first)))


def _colour(rng: np.random.Generator, *others: _Field) -> _Field:
    """A ``(3,)`` colour that stands out from each of the others in at least one channel."""
    while True:
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        if all(np.abs(colour - other).max() >= _MIN_CONTRAST for other in others):
            return colour


def _motion(rng: np.random.Generator, name: str, *, speed: tuple[float, float], arm: tuple[float, float]) -> _Motion:
    """The path of a class: ``speed`` in pixels per frame, ``arm`` in pixels from the pivot of a turn."""
    still = np.zeros(FRAMES, np.float32)
    x, y, scale, seen = still, still, still + 1, still + 1
    angle = still + np.float32(rng.uniform(0, 2 * np.pi))
    centred = _TIME - (FRAMES - 1) / 2
    if name in _HEADING:
        step = np.float32(rng.uniform(*speed))
        x, y = (np.float32(part) * step * centred for part in _HEADING[name])
    elif name in _SPIN:  # image rows run downwards, so a growing angle turns clockwise on screen
        turned = np.float32(_SPIN[name] * rng.uniform(0.2, 0.35)) * _TIME
        length, bearing = np.float32(rng.uniform(*arm)), turned + np.float32(rng.uniform(0, 2 * np.pi))
        x, y, angle = length * np.cos(bearing), length * np.sin(bearing), angle + turned
    elif name in {"grow", "shrink"}:
        scale = np.linspace(_SCALE_SMALL, _SCALE_LARGE, FRAMES, dtype=np.float32)
        scale = scale if name == "grow" else scale[::-1]
    elif name == "blink":
        period, offset = rng.integers(4, 7), rng.integers(0, 6)
        seen = ((_TIME + offset) % period < period / 2).astype(np.float32)
    else:
        rate = np.float32(2 * np.pi / rng.uniform(4, 6))
        phase, heading = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
        swing = np.float32(rng.uniform(1.5, 2.5)) * np.sin(rate * _TIME + phase)
        x, y = np.cos(heading) * swing, np.sin(heading) * swing
    return _Motion(x, y, angle, scale, seen)


def _extent(path: _Field, look: _Look, motion: _Motion) -> float:
    """Pixels the mover needs on each side of its place along one axis."""
    return float(np.abs(path).max()) + look.radius * _REACH * float(motion.scale.max()) + _MARGIN


def _render(
    rng: np.random.Generator, look: _Look, motion: _Motion, place: tuple[float, float]
) -> tuple[_Field, _Field]:
    """Coverage ``(T, H, W)`` in 0..1 and colour ``(T, H, W, 3)`` of a shape with two coloured sides."""
    radius = (look.radius * motion.scale)[:, None, None]
    across = (_COLS - (place[0] + motion.x)[:, None, None]) / radius
    along = (_ROWS - (place[1] + motion.y)[:, None, None]) / radius
    cosine, sine = np.cos(motion.angle)[:, None, None], np.sin(motion.angle)[:, None, None]
    u, v = cosine * across + sine * along, cosine * along - sine * across
    alpha = np.clip(0.5 - _distance(look.kind, u, v) * radius, 0, 1) * motion.seen[:, None, None]
    side = np.clip(0.5 + (u + np.float32(rng.uniform(-0.2, 0.2))) * radius, 0, 1)[..., None]
    paint = side * look.colours[0] + (1 - side) * look.colours[1]
    return alpha.astype(np.float32), paint.astype(np.float32)


def _distance(kind: str, u: _Field, v: _Field) -> _Field:
    """Signed distance to a shape's border in radii, negative inside."""
    if kind == "disc":
        return np.hypot(u, v) - np.float32(0.9)
    if kind == "triangle":
        return np.maximum(-u, np.float32(0.5) * u + np.float32(0.866) * np.abs(v)) - np.float32(0.55)
    if kind == "cross":
        return np.minimum(_box(u, v, 1.0, 0.38), _box(u, v, 0.38, 1.0))
    return _box(u, v, 1.0, 0.5) if kind == "bar" else _box(u, v, 0.78, 0.78)


def _box(u: _Field, v: _Field, width: float, height: float) -> _Field:
    return np.maximum(np.abs(u) - np.float32(width), np.abs(v) - np.float32(height))


def _add_distractors(
    rng: np.random.Generator, canvas: _Field, mean: _Field, *, mover: tuple[float, float, float]
) -> int:
    """Draw shapes that stand still, or appear or vanish once, clear of the mover's circle (x, y, radius)."""
    taken = [mover]
    for _ in range(int(rng.integers(_MAX_DISTRACTORS + 1))):
        look = _look(rng, mean, radius=(2.5, 5.0))
        reach = look.radius * _REACH
        places = rng.uniform(reach, SIZE - 1 - reach, (20, 2))
        free = ((x, y) for x, y in places if all(np.hypot(x - u, y - v) > reach + far for u, v, far in taken))
        place = next(free, None)
        if place is None:  # a large mover can leave no room: this clip has one distractor fewer
            continue
        taken.append((*place, reach))
        still = _motion(rng, "left", speed=(0.0, 0.0), arm=(0.0, 0.0))
        alpha, paint = _render(rng, look, still, place)
        _blend(canvas, alpha * _presence(rng)[:, None, None], paint)
    return len(taken) - 1


def _presence(rng: np.random.Generator) -> _Field:
    """``(T,)`` of 0 and 1: there all along, or from or until one random frame."""
    moment, kind = rng.integers(2, FRAMES - 2), rng.integers(4)
    after = (moment <= _TIME).astype(np.float32)
    if kind == 0:
        return after
    return 1 - after if kind == 1 else np.ones(FRAMES, np.float32)


def _blend(canvas: _Field, alpha: _Field, paint: _Field) -> None:
    canvas += alpha[..., None] * (paint - canvas)


def _finish(rng: np.random.Generator, canvas: _Field) -> Frames:
    """Add pixel noise and round to ``uint8``."""
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(4)
    return np.clip(np.rint(canvas + noise), 0, 255).astype(np.uint8)
