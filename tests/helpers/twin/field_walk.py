"""The field of a class, carried backwards from the output (rules `positional` and `active`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from .activations import never_negative
from .graph import before_final, evaluate, inlined, live_tensors, step_of
from .movement import MOVES, moved_back
from .roles import roles
from .steps import ADJOINTS, Array, Fields, Step, per_channel

POOLED_FLOOR = 1e-6

HOLDS = ("norms", "attention", "gates")


@dataclass(frozen=True)
class TwinResult:
    """Values and fields of one item.

    Attributes:
        values: Every tensor of the (inlined) graph, float64, batch 1.
        fields: ``g`` of every tensor on the walked paths; the target's seed included.
    """

    values: dict[str, Array]
    fields: dict[str, Array]

    def relevance(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum of ``g * t`` over all axes but ``axis``: shape (channels,)."""
        return per_channel(self.fields[tensor] * self.values[tensor], axis)


def fields(
    model: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    output: str | None = None,
    target: int,
    rule: str = "positional",
    class_step: str = "contrast",
    others: Array | None = None,
    channel_axes: Mapping[str, int | None] | None = None,
    hold: Collection[str] = HOLDS,
) -> TwinResult:
    """Walk ``model`` backwards from class ``target`` of ``output`` (the first one unless named).

    Args:
        model: Any ONNX model of the operators in ``ADJOINTS``; local functions are inlined first.
        feeds: Graph inputs, batch 1.
        output: Graph output or any other tensor; a final Softmax, LogSoftmax or Sigmoid is stripped.
        target: Class index along the flattened class axis.
        rule: ``positional`` or ``active``.
        class_step: ``contrast`` or ``contribution``.
        others: (classes,) how much each other class counts under ``contrast``; all alike by default.
        channel_axes: Under ``active``, the channel axis of an activation's output where it is not 1; None where its
            channels have merged and nothing is pooled.
        hold: What keeps its recorded value: deviations of norms, weights of attentions, gates; ``means`` of norms.

    Raises:
        NotImplementedError: A field reaches an operator that has no adjoint.
    """
    if rule not in {"positional", "active"}:
        raise ValueError(f"rule {rule!r}: expected 'positional' or 'active'")
    model = inlined(model)
    values = evaluate(model, feeds)
    live = live_tensors(model, feeds)
    steering = roles(model, values, live, hold)
    start = before_final(model, output or model.graph.output[0].name)
    found: dict[str, Array] = {start: rival_seed(values[start], target, class_step, others)}
    for node in reversed(model.graph.node):
        if not any(name in found for name in node.output) or not any(name in live for name in node.input):
            continue
        step = replace(
            step_of(model, node, values, live), hold=frozenset(hold), carries=node.output[0] in steering.carried,
            held=steering.held.get(node.output[0], (False, False)),
        )  # fmt: skip
        if rule == "active" and node.output[0] in found and never_negative(step):
            axis = (channel_axes or {}).get(node.output[0], 1)
            if axis is not None:
                found[node.output[0]] = pooled(found[node.output[0]], step.y, axis)
        for name, g in zip(node.input, field_back(step, [found.get(name) for name in node.output]), strict=False):
            if g is not None and name in live:
                found[name] = found[name] + g if name in found else g
    numbers = {name: value.astype(np.float64) for name, value in values.items() if value.dtype.kind in "biuf"}
    return TwinResult(numbers, found)


def seed(scores: Array, target: int, class_step: str) -> Array:
    """``e_k`` or ``e_k - mean of the other e_j`` on the axis of the classes, at every other position."""
    wide = [axis for axis, size in enumerate(scores.shape) if size > 1]
    axis = wide[0] if len(wide) == 1 else min(1, scores.ndim - 1)
    count = scores.shape[axis]
    if not 0 <= target < count:
        raise ValueError(f"target {target}: the output has {count} classes")
    if class_step not in {"contrast", "contribution"}:
        raise ValueError(f"class_step {class_step!r}: expected 'contrast' or 'contribution'")
    others = -1.0 / (count - 1) if class_step == "contrast" and count > 1 else 0.0
    vector = np.full(count, others)
    vector[target] = 1.0
    shape = [count if i == axis else 1 for i in range(scores.ndim)]
    return np.broadcast_to(vector.reshape(shape), scores.shape).copy()


def rival_seed(scores: Array, target: int, class_step: str, others: Array | None) -> Array:
    """`seed`, the other classes weighted as given."""
    if others is None or class_step != "contrast":
        return seed(scores, target, class_step)
    alone = seed(scores, target, "contribution")
    for j, weight in enumerate(others):
        if j != target:
            alone -= weight * seed(scores, j, "contribution")
    return alone


def pooled(g: Array, y: Array, axis: int) -> Array:
    """``R_c / sum_p y[c,p]`` at every position of c; 0 where the mean of y is below 1e-6 (``active``)."""
    relevance, total = per_channel(g * y, axis), per_channel(y, axis)
    alive = total / (y.size / y.shape[axis]) >= POOLED_FLOOR
    share = np.divide(relevance, total, out=np.zeros_like(total), where=alive)
    shape = [-1 if i == axis else 1 for i in range(y.ndim)]
    return np.broadcast_to(share.reshape(shape), y.shape).copy()


def field_back(step: Step, gs: Sequence[Array | None]) -> Fields:
    if step.op in MOVES:
        return moved_back(step, gs)
    if step.op not in ADJOINTS:
        raise NotImplementedError(f"no adjoint for {step.op} (node {step.name!r}); add one to tests/helpers/twin")
    g = gs[0]
    if g is None:
        return ()
    return ADJOINTS[step.op](step, g)
