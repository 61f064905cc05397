"""Batch norm, which is an affine map, and norms whose statistics are taken from the input."""

from __future__ import annotations

import numpy as np

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@operator("Softmax", "LogSoftmax", "Hardmax", "com.microsoft::QLinearSoftmax")
def _softmax(node: Node, view: View) -> fx.Effect:
    quantised = node.op.endswith("QLinearSoftmax")
    since = int(node.attributes["opset"]) if quantised else view.program.model.opset
    axis = int(node.attributes.get("axis", 1 if since < 13 and not quantised else -1))
    rank = len(view.shape(node.input(0)))
    axes = (axis % rank,) if since >= 13 else tuple(range(axis % rank, rank))
    kind = node.op.rpartition("::")[2].removeprefix("QLinear").lower()
    return fx.Normalise(axes=axes, centred=False, kind=kind)


@operator("BatchNormalization")
def _batch_norm(node: Node, view: View) -> fx.Effect | None:
    values = [view.constant(node.input(i)) for i in range(1, 5)]
    if node.attributes.get("training_mode", 0):
        raise ModelError(
            f"{view.program.model.path}: node {node.name!r} is a BatchNormalization in training mode, its output "
            "depends on the batch; export the model in evaluation mode"
        )
    if any(v is None for v in values) or not node.attributes.get("spatial", 1):
        return None
    along_channels = (1, -1, *(1,) * (len(view.shape(node.input(0))) - 2))
    gamma, beta, mean, variance = (np.asarray(v, np.float64).reshape(along_channels) for v in values)
    epsilon = float(node.attributes.get("epsilon", 1e-5))

    def scale() -> Array:
        return np.asarray(gamma / np.sqrt(variance + epsilon))

    return fx.Affine(
        scale=scale,
        offset=lambda: beta - mean * scale(),
        statistics=fx.BatchStatistics(epsilon, variance.reshape(-1)),
    )


@operator("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Node, view: View) -> fx.Effect | None:
    rank = len(view.shape(node.input(0)))
    axis = int(node.attributes.get("axis", -1)) % rank
    if view.depends(node, 1, 2):
        return None
    gamma = view.constant(node.input(1))
    return fx.Normalise(
        axes=tuple(range(axis, rank)),
        scale=None if gamma is None else (lambda: np.asarray(gamma, np.float32)),
        centred="RMS" not in node.op and "Simplified" not in node.op,
    )


@operator("InstanceNormalization", "GroupNormalization")
def _group_norm(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    if view.depends(node, 1, 2):
        return None
    groups = int(node.attributes.get("num_groups", shape[1]))
    gamma = view.constant(node.input(1))

    def scale() -> Array:
        values = np.asarray(gamma, np.float32).reshape(-1)
        values = np.repeat(values, shape[1] // values.size)
        return values.reshape(1, -1, *(1,) * (len(shape) - 2))

    return fx.Normalise(
        axes=tuple(range(2, len(shape))),
        groups=groups,
        scale=None if gamma is None else scale,
        mixes=groups < shape[1],
    )


@operator("LRN")
def _local_response(_node: Node, _view: View) -> fx.Effect:
    return fx.Normalise(axes=None, centred=False, kind="local")


@operator("LpNormalization", "MeanVarianceNormalization")
def _lp_norm(node: Node, view: View) -> fx.Effect:
    rank = len(view.shape(node.input(0)))
    if node.op == "LpNormalization":
        axis = int(node.attributes.get("axis", -1)) % rank
        return fx.Normalise(axes=(axis,), centred=False, kind=f"l{int(node.attributes.get('p', 2))}")
    axes = tuple(int(a) % rank for a in node.attributes.get("axes") or (0, 2, 3))
    return fx.Normalise(axes=axes, mixes=1 in axes)
