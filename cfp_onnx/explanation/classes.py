"""The classes of a network's output: how they lie in it, their scores, their rivals, and the one that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.errors import TargetError
from cfp_onnx.explanation.labels import find_label
from cfp_onnx.graph.target import behind_target, class_axis, logits_of
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Program
from cfp_onnx.pyramid.headers import TopClass
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Classes:
    """How the classes lie in a target tensor.

    Attributes:
        count: How many there are.
        axis: Their axis; None where the whole flattened target is classes.
        shape: Shape of the target.
    """

    count: int
    axis: int | None
    shape: tuple[int, ...]

    @classmethod
    def of(cls, topology: Topology, target: str) -> Classes:
        """The classes of a target: the axis along which its kernels vary."""
        return cls(*class_axis(topology, target), topology.program.shapes[target])

    def scores(self, value: Array) -> Array:
        """Class scores of the first item of a target or output, (classes,); positions are averaged."""
        value = np.asarray(value, np.float64)
        axis = self.axis
        if axis is not None and value.ndim > axis and value.shape[axis] == self.count:
            item = value[:1] if axis != 0 else value
            return np.asarray(item.mean(axis=tuple(a for a in range(value.ndim) if a != axis)))
        flat = value[:1].reshape(-1) if value.ndim else value.reshape(-1)
        if flat.size == self.count or flat.size % self.count:
            return np.asarray(flat)
        return np.asarray(flat.reshape(self.count, -1).mean(axis=1))

    def seed(self, index: int, step: str, rivals: Array | None = None) -> Array:
        """Field at the target, of its shape: the class, less the others under ``contrast``.

        Args:
            index: The class.
            step: ``contrast`` or ``contribution``.
            rivals: (classes,) weights of the other classes; all alike by default.
        """
        shape, count, axis = self.shape, self.count, self.axis
        weights = np.zeros(count, np.float32)
        if step == "contrast" and count > 1:
            weights -= np.float32(1.0 / (count - 1)) if rivals is None else rivals
        weights[index] = 1.0
        if axis is None:
            batch = shape[0] if shape else 1
            if int(np.prod(shape)) // (batch * count) > 1:
                return np.full(shape, 1.0 / np.prod(shape), np.float32)
            return np.broadcast_to(weights.reshape(1, -1), (batch, count)).reshape(shape) / np.float32(batch)
        view = [1] * len(shape)
        view[axis] = count
        total = int(np.prod(shape)) // count
        return np.ascontiguousarray(np.broadcast_to(weights.reshape(view), shape) / np.float32(total))


def rivals(program: Program, output: str, target: str, scores: Array, index: int) -> Array:
    """How much each other class competes with one on this clip: the softmax of their logits.

    Args:
        program: The network.
        output: The output to explain.
        target: What it is made of, before a final Softmax or Sigmoid.
        scores: (classes,) scores of the output.
        index: The class.

    Returns:
        (classes,) float32, 0 for the class itself.
    """
    logits = logits_of(scores, behind_target(program, output, target))
    others = np.delete(logits, index)
    if not others.size:
        return np.zeros(len(logits), np.float32)
    weights = np.exp(others - others.max())
    return np.insert(weights / weights.sum(), index, 0.0).astype(np.float32)


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
        found = int(np.argmax(np.where(np.arange(classes.count) == index, -np.inf, scores)))
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
        return int(np.argmax(scores))
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


def strongest(scores: Array, labels: Sequence[str] | None, most: int) -> tuple[TopClass, ...]:
    """The classes with the highest scores."""
    order = np.argsort(-scores, kind="stable")[:most]
    return tuple(TopClass(int(i), label_of(labels, int(i)), float(scores[i])) for i in order)


__all__ = ["Classes", "label_of", "others", "pick_class", "rivals", "strongest"]
