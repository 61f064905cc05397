"""The classes of a network's output: how they lie in it, their scores, their rivals, and the one that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cfp_onnx.errors import TargetError
from cfp_onnx.explanation.labels import find_label
from cfp_onnx.graph.target import (
    behind_target,
    class_axis,
    layout_behind,
    logits_of,
    probabilities,
    squashed_behind_layers,
)
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Program
from cfp_onnx.pyramid.headers import TopClass
from cfp_onnx.values import Array

VIDEO_RANK = 5
"""Axes of an input that has three axes of places."""


@dataclass(frozen=True)
class Classes:
    """How the classes lie in a target tensor.

    Attributes:
        count: How many there are.
        axis: Their axis; None where the whole flattened target is classes, or there is one.
        shape: Shape of the target.
        places: Axes along which its places lie, such as boxes, rows and columns.
        dense: Whether each place has an answer of its own; else what the places say is averaged.
        among: The classes that compete, where others stand beside them, such as the sizes of a box; None for all.
        mixed: Whether scores may stand beside other numbers and the graph does not tell which they are.
        layout: What takes a value of the output to the target's layout; see `cfp_onnx.graph.target.layout_behind`.
        place: The one place that is asked about, along `places`; None for the mean over all.
        turned: Whether it is asked what speaks against the class, in place of for it.
        direction: (classes,) how much each number counts, where a direction among them is asked about and no class.
    """

    count: int
    axis: int | None
    shape: tuple[int, ...]
    places: tuple[int, ...] = ()
    dense: bool = False
    among: tuple[int, ...] | None = None
    mixed: bool = False
    layout: tuple[tuple[str, tuple[int, ...]], ...] = ()
    place: tuple[int, ...] | None = None
    turned: bool = False
    direction: Array | None = field(default=None, compare=False)

    @classmethod
    def of(cls, topology: Topology, target: str, scored: str | None = None) -> Classes:
        """The classes of a target: the axis along which its kernels vary, and its places.

        The places of a map are averaged only where a network that reads video (three axes of places) has one axis of
        them left, as one that pools over height and width has. Any other output of several places is dense.

        Args:
            topology: The network.
            target: The tensor.
            scored: What the scores are read from; the target by default.
        """
        program = topology.program
        (count, axis), shape = class_axis(topology, target), program.shapes[target]
        inputs = [program.shapes[p.name] for p in program.model.inputs]
        batched = axis != 0 and bool(shape) and (shape[0] == 1 or any(i and i[0] == shape[0] for i in inputs))
        places = tuple(a for a, n in enumerate(shape) if n > 1 and a != axis and not (batched and a == 0))
        pooled = len(places) == 1 and max(map(len, inputs)) >= VIDEO_RANK
        alone = len(topology.states[target].channel_axes()) <= 1
        dense = bool(places) and not (pooled and alone)
        among = None
        if dense and axis is not None:
            likely = np.flatnonzero(probabilities(program, scored or target, axis)) if scored == target else ()
            among = tuple(int(i) for i in likely) if 0 < len(likely) < count else None
        mixed = among is None and dense and scored == target and squashed_behind_layers(topology, target)
        layout = () if scored is None else layout_behind(program, scored, target)
        return cls(count, axis, shape, places, dense, among, mixed, layout)

    def told_apart(self, value: Array) -> Classes:
        """The same where scores are told from other numbers by what they are on a clip, if the graph does not tell.

        Of a `mixed` output scores are the numbers that stay from 0 to 1 at every place, if others do not.

        Args:
            value: What the output holds.
        """
        if not self.mixed or self.axis is None:
            return self
        found = self.by_place(value).reshape(-1, self.count)
        likely = np.flatnonzero((found >= 0).all(axis=0) & (found <= 1).all(axis=0))
        return replace(self, among=tuple(int(i) for i in likely) if 0 < len(likely) < self.count else None, mixed=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many places there are along each of their axes."""
        return tuple(self.shape[a] for a in self.places)

    def _laid(self, value: Array) -> Array:
        """A value of the output in the target's layout."""
        for kind, how in self.layout:
            if kind == "transpose" and value.ndim == len(how):
                value = value.transpose(how)
            elif kind == "reshape" and value.size == int(np.prod(how)):
                value = value.reshape(how)
        return value

    def by_place(self, value: Array) -> Array:
        """The first item of a target or output as (places.., classes) float64."""
        value = self._laid(np.asarray(value, np.float64)).reshape(self.shape)
        kept = [*self.places, *(() if self.axis is None else (self.axis,))]
        others = [a for a in range(value.ndim) if a not in kept]
        first = value.transpose([*others, *kept]).reshape(-1, *self.sizes, self.count)
        return np.asarray(first[0])

    def scores(self, value: Array) -> Array:
        """Class scores of the first item of a target or output, (classes,): at the place, else means over all."""
        if self.place is not None:
            return np.asarray(self.by_place(value)[self.place])
        value = self._laid(np.asarray(value, np.float64))
        axis = self.axis
        if axis is not None and value.ndim > axis and value.shape[axis] == self.count:
            item = value[:1] if axis != 0 else value
            return np.asarray(item.mean(axis=tuple(a for a in range(value.ndim) if a != axis)))
        flat = value[:1].reshape(-1) if value.ndim else value.reshape(-1)
        if self.dense and self.count == 1:
            return np.asarray(flat.mean(keepdims=True))
        if flat.size == self.count or flat.size % self.count:
            return np.asarray(flat)
        return np.asarray(flat.reshape(self.count, -1).mean(axis=1))

    def peaks(self, value: Array) -> Array:
        """The highest score of each class at any place, (classes,)."""
        return np.asarray(self.by_place(value).reshape(-1, self.count).max(axis=0))

    def strongest_place(self, value: Array, index: int) -> tuple[int, ...]:
        """Where a class has its highest score; its lowest where `turned`."""
        found = self.by_place(value)[..., index]
        flat = found.argmin() if self.turned else found.argmax()
        return tuple(int(i) for i in np.unravel_index(int(flat), found.shape))

    def at(self, place: tuple[int, ...] | None) -> Classes:
        """The same, asked about one place."""
        return replace(self, place=place)

    def element(self, index: int) -> tuple[int, ...]:
        """Where a class's score lies in the target, at its place; at the first where places are averaged."""
        found = [0] * len(self.shape)
        for axis, where in zip(self.places, self.place or (), strict=False):
            found[axis] = where
        if self.axis is not None:
            found[self.axis] = index
        return tuple(found)

    def weights(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """How much the score of each class counts, (classes,) float32: the class, less the others under ``contrast``.

        Args:
            index: The class.
            step: ``contrast`` or ``contribution``.
            rivals: (classes,) weights of the other classes; all alike by default.
        """
        if self.direction is not None:
            return self.direction
        weights = np.zeros(self.count, np.float32)
        if step == "contrast" and self.count > 1:
            if rivals is None:
                rivals = np.zeros(self.count, np.float32)
                others = [i for i in self.among or range(self.count) if i != index]
                rivals[others] = np.float32(1.0 / max(1, len(others)))
            weights -= rivals
        weights[index] = 1.0
        return -weights if self.turned else weights

    def seed(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """Field at the target, of its shape; see `weights`. At one place of the first item, or as a mean over all."""
        shape, count, axis = self.shape, self.count, self.axis
        weights = self.weights(index, step, rivals)
        if self.place is not None:
            found = np.zeros(shape, np.float32)
            where: list[int | slice] = list(self.element(index))
            if axis is not None:
                where[axis] = slice(None)
            found[tuple(where)] = weights if axis is not None else weights[0]
            return found
        if axis is None:
            batch = shape[0] if shape else 1
            if int(np.prod(shape)) // (batch * count) > 1:
                return np.full(shape, weights[0] / np.prod(shape), np.float32)
            return np.broadcast_to(weights.reshape(1, -1), (batch, count)).reshape(shape) / np.float32(batch)
        view = [1] * len(shape)
        view[axis] = count
        total = int(np.prod(shape)) // count
        found = np.array(np.broadcast_to(weights.reshape(view), shape) / np.float32(total))
        if axis != 0 and shape[0] > 1:  # the score is the first item's
            found[0] *= shape[0]
            found[1:] = 0
        return found


def rivals(program: Program, scored: str, target: str, classes: Classes, scores: Array, index: int) -> Array:
    """How much each other class competes with one on this clip: the softmax of their logits.

    Args:
        program: The network.
        scored: What the scores are read from.
        target: What it is made of, before a final Softmax or Sigmoid.
        classes: How the classes lie in it.
        scores: (classes,) scores.
        index: The class.

    Returns:
        (classes,) float32, 0 for the class itself and for what does not compete.
    """
    logits = logits_of(scores, behind_target(program, scored, target))
    weights = np.zeros(len(logits))
    others = [i for i in classes.among or range(len(logits)) if i != index]
    if others:
        found = np.exp(logits[others] - logits[others].max())
        weights[others] = found / found.sum()
    return weights.astype(np.float32)


def others(
    classes: Classes,
    scores: Array,
    rivals: Array,
    index: int,
    against: str | int | None,
    labels: Sequence[str] | None,
    *,
    file: object,
) -> Array | None:
    """How much each other class counts when one is set against them.

    Args:
        classes: The classes of the output.
        scores: (classes,) their scores on this clip.
        rivals: (classes,) how much each other class competes with it, see `rivals`.
        index: The class.
        against: ``mean`` (all others alike), ``rivals`` (as they compete), ``best`` (the strongest other) or a class.
        labels: Class names.
        file: The model's file, for sentences.

    Returns:
        (classes,) float32 that adds up to 1, 0 for the class itself; None for all alike.

    Raises:
        TargetError: If there is no such class, or it is the class itself.
    """
    if against in {None, "mean"}:
        return None
    if classes.count < 2:
        raise TargetError(f"{file} has one class, so there is none to set it against; leave against out")
    if against == "rivals":
        return rivals
    if against == "best":
        rest = np.full(classes.count, -np.inf)
        kept = [i for i in classes.among or range(classes.count) if i != index]
        rest[kept] = scores[kept]
        found = int(np.argmax(rest))
    else:
        try:
            found = pick_class(classes, scores, against, labels, file=file)
        except TargetError as error:
            raise TargetError(f"against takes mean, rivals, best or a class: {error}") from error
        if found == index:
            raise TargetError(f"class {index} cannot be set against itself; name another")
    return np.asarray(np.eye(classes.count, dtype=np.float32)[found])


def label_of(labels: Sequence[str] | None, index: int) -> str | None:
    """A class's name; None if it has none."""
    return (labels[index] or None) if labels is not None and index < len(labels) else None


def pick_class(
    classes: Classes, scores: Array, target: int | str | None, labels: Sequence[str] | None, *, file: object
) -> int:
    """The class index for an index, a label, or None (the class with the highest score).

    Args:
        classes: The classes of the output.
        scores: (classes,) their scores.
        target: What was asked for.
        labels: Class names.
        file: The model's file, for sentences.

    Raises:
        TargetError: If there is no such class.
    """
    if target is None:
        return strongest(scores, None, 1, classes.among)[0].class_index
    text = str(target).strip()
    named = None if labels is None or isinstance(target, int) else find_label(labels, text)
    if named is not None:
        index = named
    elif text.lstrip("-").isdigit():
        index = int(text)
    else:
        known = (
            "the model has no labels, give --labels or an index" if labels is None else "see --labels, or give an index"
        )
        raise TargetError(f"label {text!r} is unknown; {known}")
    if not 0 <= index < classes.count:
        last = classes.count - 1
        raise TargetError(f"class {index} is out of range; {file} has {classes.count} classes, 0 to {last}")
    return index


NOT = "not:"
"""What stands before the class of a single output whose other side is asked about."""


def other_side(target: int | str | None) -> tuple[int | str | None, bool]:
    """The class that was asked for without `NOT`, and whether it stood there."""
    text = str(target).strip()
    return (text.removeprefix(NOT), True) if text.startswith(NOT) else (target, False)


def low_side(target: int | str | None, labels: Sequence[str] | None, count: int) -> int | str | None:
    """A class that is the first of two names for one output as the other side of the second; else the class itself."""
    names = [name for name in labels or () if name]
    return f"{NOT}{names[1]}" if count == 1 and len(names) == 2 and target == names[0] else target


def strongest(
    scores: Array, labels: Sequence[str] | None, most: int, among: Sequence[int] | None = None
) -> tuple[TopClass, ...]:
    """The classes with the highest scores, of those that compete."""
    order = np.argsort(-scores, kind="stable")
    order = (order if among is None else order[np.isin(order, among)])[:most]
    return tuple(TopClass(int(i), label_of(labels, int(i)), float(scores[i])) for i in order)


__all__ = ["Classes", "label_of", "low_side", "other_side", "others", "pick_class", "rivals", "strongest"]
