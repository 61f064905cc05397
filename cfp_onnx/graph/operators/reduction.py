"""Mean, sum, maximum and norms over whole axes."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.factors import is_only_a_factor
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node

REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "max"}
"""Kinds of reduction; of a minimum as of a maximum the field goes to the elements that equal it."""


@operator(*REDUCTIONS)
def _reduce(node: Node, view: View) -> fx.Effect | None:
    axes = _reduced_axes(node, view)
    if axes is None:
        return None
    return fx.Reduce(REDUCTIONS[node.op], axes) if axes else fx.Identity()


def _reduced_axes(node: Node, view: View) -> tuple[int, ...] | None:
    """Axes of a reduction, none where it does nothing; None where they depend on the model's input."""
    if view.depends(node, 1):
        return None
    rank = len(view.shape(node.input(0)))
    axes = view.ints(node, "axes", 1)
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(a % rank for a in axes))


@operator("CumSum")
def _running_sum(node: Node, view: View) -> fx.Effect | None:
    """A sum up to each place: a triangle of ones."""
    found = view.constant(node.input(1))
    if found is None:
        return None
    shape = view.shape(node.input(0))
    axis = int(found.reshape(-1)[0]) % len(shape)
    ones = np.tri(shape[axis], k=-1 if node.attributes.get("exclusive", 0) else 0, dtype=np.float32)
    matrix = ones[::-1, ::-1] if node.attributes.get("reverse", 0) else ones
    return fx.Blend((axis,), lambda _: matrix)


STATISTICS = {
    "ReduceProd": "prod", "ReduceL1": "l1", "ReduceL2": "l2", "ReduceSumSquare": "square", "ReduceLogSum": "logsum",
    "ReduceLogSumExp": "logsumexp",
}  # fmt: skip
"""Kinds of reduction that are used to steer."""


@operator(*STATISTICS)
def _norm(node: Node, view: View) -> fx.Effect | None:
    """Held over channels; over positions each channel has a norm of its own, which is handled only as a factor."""
    axes = _reduced_axes(node, view)
    if not axes:
        return None
    if view.steering:
        return fx.Reduce(STATISTICS[node.op], axes)
    merged = view.varies(node.input(0), axes) or not view.carries(node.input(0))
    return fx.Held() if merged or is_only_a_factor(view, node.outputs[0]) else None
