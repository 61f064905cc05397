"""The field at the classifier's output made inside the graph, so that one pass gives scores and relevance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from cfp_onnx.explanation.classes import Classes
from cfp_onnx.runtime.probe import SEED, Probe, Values

MADE = ("mean", "rivals", "best")
"""What a class can be set against without knowing the scores beforehand."""

FAR = -3e38
"""A logit that competes with nothing."""


@dataclass(frozen=True)
class SeedGraph:
    """What the nodes take and give.

    Attributes:
        asked: Graph input, (items,) int64: the class of each item; -1 for the one with the highest score.
        seed: The field, of the target's shape.
        explained: (items,) int64, the class that it explains.
        predicted: (items,) int64, the class with the highest score.
        margin: (items,), what the field makes of the logits: the class's, less those that it is set against.
    """

    asked: str
    seed: str
    explained: str
    predicted: str
    margin: str


def can_be_made(classes: Classes, against: str | int | None, items: int) -> bool:
    """Whether the graph alone can make the field of each item.

    Each item has one vector of logits, and the class is set against nothing, or against what the logits tell.

    Args:
        classes: How the classes lie in the target.
        against: What the class is set against; None for nothing.
        items: Items of the batch, along the first axis.
    """
    one_vector = (
        classes.axis is not None and not classes.dense and not classes.places and classes.among is None
        and classes.count > 1 and int(np.prod(classes.shape)) == items * classes.count
        and (items == 1 or (classes.axis > 0 and classes.shape[0] == items))
    )  # fmt: skip
    return one_vector and not classes.mixed and against in {None, *MADE}


def seed_graph(
    probe: Probe, value: Values, target: str, classes: Classes, *, against: str | None, items: int, head: int = 0
) -> SeedGraph:
    """Append the nodes that make the field at a target; see `can_be_made`.

    Args:
        probe: Where they go.
        value: Tensors of the model as float32.
        target: The logits.
        classes: How the classes lie in them.
        against: ``mean``, ``rivals`` or ``best``; None to set the class against nothing.
        items: Items of the batch.
        head: Number of the target, of several in one graph.
    """
    count, asked = classes.count, f"{SEED}/class/{head}"
    probe.indices[asked] = (items,)
    logits = probe.reshape(value(target), (items, count))
    best = probe.add("ArgMax", [logits], axis=1, keepdims=1)
    column = probe.reshape(asked, (items, 1))
    free = probe.add("Cast", [probe.add("Less", [column, probe.constant(np.array(0, np.int64))])], to=TensorProto.INT64)
    taken = probe.add("Sub", [probe.constant(np.array(1, np.int64)), free])
    index = probe.add("Add", [probe.add("Mul", [free, best]), probe.add("Mul", [taken, column])])
    own = _row(probe, index, count)
    weights = own
    if against is not None:
        weights = probe.add("Sub", [own, _others(probe, logits, own, against, count)])
    product = probe.add("Mul", [logits, weights])
    return SeedGraph(
        asked,
        probe.reshape(weights, classes.shape),
        probe.reshape(index, (items,)),
        probe.reshape(best, (items,)),
        probe.reshape(probe.reduce("ReduceSum", product, [1], keep=False), (items,)),
    )


def _row(probe: Probe, index: str, count: int) -> str:
    """1 at a class's place, else 0: (items, count) from (items, 1)."""
    numbers = probe.constant(np.arange(count, dtype=np.int64).reshape(1, count))
    return probe.add("Cast", [probe.add("Equal", [numbers, index])], to=TensorProto.FLOAT)


def _others(probe: Probe, logits: str, own: str, against: str, count: int) -> str:
    """How much each other class counts, (items, count)."""
    rest = probe.add("Sub", [probe.number(1.0), own])
    if against == "mean":
        return probe.add("Div", [rest, probe.number(float(count - 1))])
    far = probe.add("Mul", [own, probe.number(FAR)])
    apart = probe.add("Add", [probe.add("Mul", [logits, rest]), far])
    if against == "best":
        return _row(probe, probe.add("ArgMax", [apart], axis=1, keepdims=1), count)
    return probe.add("Softmax", [apart], axis=1)


__all__ = ["MADE", "SeedGraph", "can_be_made", "seed_graph"]
