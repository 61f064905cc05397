"""Rule `zplus`: a field down to the first features, relevance itself below, place by place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from .field_walk import field_back, rival_seed
from .graph import before_final, evaluate, inlined, live_tensors, step_of
from .movement import MOVES
from .steps import Array, Fields, Step, per_channel, run_node
from .zplus_shares import (
    ADDITIONS,
    COPIES,
    MEANS,
    is_layer,
    is_model_input,
    kernel_affine,
    layer_end,
    layer_shares,
    positive_pieces,
    ratio,
    shared_back,
)


@dataclass(frozen=True)
class TwinRelevance:
    """Relevance by rule ``zplus`` of one item.

    Attributes:
        values: Every tensor of the (inlined) graph, float64, batch 1.
        found: Relevance of every tensor from where it starts downwards, of the tensor's shape.
        totals: For the output of each layer below, the positive products that share its relevance.
        starts: Names of the tensors where a field was turned into relevance.
    """

    values: dict[str, Array]
    found: dict[str, Array]
    totals: dict[str, Array]
    starts: tuple[str, ...]

    def kernels(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum over all axes but ``axis``: shape (channels,)."""
        return per_channel(self.found[tensor], axis)

    def places(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum over the kernels: the tensor's shape without ``axis``."""
        return np.asarray(self.found[tensor].sum(axis=axis))


def zplus(
    model: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    output: str | None = None,
    target: int,
    class_step: str = "contrast",
    others: Array | None = None,
    channel_axes: Mapping[str, int | None] | None = None,
) -> TwinRelevance:
    """Relevance of every tensor: a field down to the features of the first layers met, relevance below.

    Args:
        model: Any ONNX model of the operators that the twin knows.
        feeds: Graph inputs, batch 1.
        output: As in `fields`.
        target: Class index along the flattened class axis.
        class_step: ``contrast`` or ``contribution``.
        others: Under ``contrast``, weights of the classes to take off; all alike by default.
        channel_axes: Channel axis where it is not 1; None where several kernels' elements share no axis.
    """
    model = inlined(model)
    values, live = evaluate(model, feeds), live_tensors(model, feeds)
    start = before_final(model, output or model.graph.output[0].name)
    scores: dict[str, Array] = {start: rival_seed(values[start], target, class_step, others)}
    features: dict[str, Array] = {}
    found: dict[str, Array] = {}
    totals: dict[str, Array] = {}
    starts: list[str] = []
    for node in reversed(model.graph.node):
        if not any(name in live for name in node.input):
            continue
        step = step_of(model, node, values, live)
        if any(name in scores for name in node.output):
            back = field_back(step, [scores.get(name) for name in node.output])
            _collect(node, back, live, features if is_layer(step) else scores)
        waiting = [name for name in node.output if name in features]
        axes = {name: (channel_axes or {}).get(name, 1) for name in waiting}
        mixed = any(name in found for name in node.output)
        if waiting and not mixed and linear_in_features(step, axes[waiting[0]]):
            _collect(node, field_back(step, [features.get(name) for name in node.output]), live, features)
            continue
        for name in waiting:
            first = started(features[name], values[name], axes[name])
            found[name] = found[name] + first if name in found else first
            starts.append(name)
        if any(name in found for name in node.output):
            if is_layer(step):
                end = layer_end(model, step, node.output[0])
                last = step.y.ndim - (1 if step.live[0] else 2)
                axis = 1 if node.op_type.startswith("Conv") else last
                scale, _ = kernel_affine(model, values, live, end, axis)
                signed = any(is_model_input(model, live, feeds, name) for name in node.input if name in live)
                pieces = positive_pieces(step, scale, signed=signed)
                totals[node.output[0]] = np.sum([run_node(piece)[0] for piece in pieces], axis=0)
                back = layer_shares(step, found[node.output[0]], pieces)
            else:
                back = shared_back(step, [found.get(name) for name in node.output])
            _collect(node, back, live, found)
    numbers = {name: value.astype(np.float64) for name, value in values.items() if value.dtype.kind in "biuf"}
    return TwinRelevance(numbers, found, totals, tuple(starts))


def _collect(node: onnx.NodeProto, back: Fields, live: set[str], into: dict[str, Array]) -> None:
    for name, g in zip(node.input, back, strict=False):
        if g is not None and name in live:
            into[name] = into[name] + g if name in into else g


def linear_in_features(step: Step, axis: int | None) -> bool:
    """Whether a field goes on below: always through means and copies, through the rest where no places are left."""
    moves = step.op in MOVES and step.op not in {"Concat", "Where", "Split"}
    if moves or step.op in MEANS | COPIES:
        return True
    if axis is None or step.y.size > step.y.shape[axis]:
        return False
    affine = step.op in {"BatchNormalization", "Neg"} or (step.op in {"Mul", "Div"} and step.live.count(True) == 1)
    return affine or step.op == "Concat" or step.op in ADDITIONS


def started(u: Array, f: Array, axis: int | None) -> Array:
    """``max(s[p], 0) * max(u_f f[p], 0) / sum over f of max(u_f f[p], 0)``, s[p] the sum over f of u_f f[p]."""
    product = u * f
    positive = np.maximum(product, 0)
    if axis is None:
        return positive
    s = np.maximum(product.sum(axis=axis, keepdims=True), 0)
    if not s.any():
        return positive
    return positive * ratio(s, positive.sum(axis=axis, keepdims=True))
