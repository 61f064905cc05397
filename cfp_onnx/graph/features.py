"""Where a layer's kernels are judged: behind its affine map and activation, before an Add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import to_rank, varying_axes
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import Topology
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Feature:
    """Where a layer's kernels are judged: after affine map and activation, before an Add.

    Attributes:
        tensor: The tensor.
        axis: Its kernel axis.
    """

    tensor: str
    axis: int


def feature_of(topology: Topology, layer: KernelLayer, target: str) -> Feature:
    """Follow a layer's output through its affine map and activation."""
    program = topology.program
    axis = layer.parts[0].out_axis
    if layer.split:
        axis = next(iter(topology.states[layer.output].channel_axes()), axis)
    best = Feature(layer.output, axis)
    name = layer.output
    while name != target and not fused_activation(layer):
        step = _next_step(topology, name)
        if step is None:
            break
        name, effect = step
        state = topology.states[name]
        axes = varying_axes(state.tracks[0].labels) if state.tracks else ()
        if len(axes) > 1 or (layer.kernels > 1 and len(axes) != 1):
            break
        if axes and program.shapes[name][axes[0]] != layer.kernels:
            break
        moved = axes[0] if axes else min(best.axis, max(0, len(program.shapes[name]) - 1))
        if not isinstance(effect, fx.Move):
            best = Feature(name, moved)
        if isinstance(effect, fx.Activation | fx.Gate):
            break
    return best


def fused_activation(layer: KernelLayer) -> bool:
    """Whether an activation is part of the operator itself, as onnxruntime fuses them."""
    return any(p.activation and p.activation.lower() != "identity" for p in layer.parts)


def affine_of(topology: Topology, layer: KernelLayer, target: str) -> tuple[Array, Array]:
    """Factor and offset per kernel of the affine maps between a layer's output and its activation.

    Batch norms in any spelling are such maps; one whose factor differs from place to place ends the chain.

    Returns:
        (kernels,) float64 factor, (kernels,) float64 offset.
    """
    scale, offset, name = np.ones(layer.kernels), np.zeros(layer.kernels), layer.output
    while name != target and not fused_activation(layer) and (step := _next_step(topology, name)) is not None:
        source, (name, effect) = name, step
        if isinstance(effect, fx.Affine):
            found = [_per_kernel(topology, layer, name, f, d) for f, d in ((effect.scale, 1.0), (effect.offset, 0.0))]
            if any(f is None for f in found):
                break
            factor, shift = (np.asarray(f) for f in found)
            scale, offset = scale * factor, offset * factor + shift
        elif not isinstance(effect, fx.Identity | fx.Move) or source == name:
            break
    return scale, offset


def _per_kernel(
    topology: Topology, layer: KernelLayer, name: str, values: Callable[[], Array] | None, default: float
) -> Array | None:
    """A factor or offset as one number per kernel; None where it differs from place to place."""
    if values is None:
        return np.full(layer.kernels, default)
    shape, tracks = topology.program.shapes[name], topology.states[name].tracks
    axes = [a for a in range(len(shape)) if any(t.labels.shape[a] > 1 for t in tracks)] if tracks else []
    found = to_rank(np.asarray(values(), np.float64), len(shape))
    if found.size == 1:
        return np.full(layer.kernels, float(found.reshape(-1)[0]))
    if len(axes) != 1 or shape[axes[0]] != layer.kernels or found.size != layer.kernels:
        return None
    return found.reshape(-1) if found.shape[axes[0]] == layer.kernels else None


def _next_step(topology: Topology, name: str) -> tuple[str, fx.Effect] | None:
    """The one thing that happens to a tensor next, where it stays the feature of the same kernels."""
    program = topology.program
    if any(p.name == name for p in program.model.outputs):
        return None
    users = program.consumers.get(name, [])
    for user in users:
        effect = topology.effects.get(user.name)
        if isinstance(effect, fx.Gate) and effect.own and user.inputs[effect.value] == name and len(users) <= 2:
            return user.outputs[0], effect
    if len(users) != 1:
        return None
    effect = topology.effects.get(users[0].name)
    plain = (
        isinstance(effect, fx.Affine | fx.Identity | fx.Quantise | fx.Activation)
        and users[0].inputs[effect.source] == name
    )
    move = (
        isinstance(effect, fx.Move)
        and len(effect.sources) == 1
        and users[0].op in {"Transpose", "Reshape", "Squeeze", "Unsqueeze"}
    )
    if effect is None or not (plain or move):
        return None
    return users[0].outputs[0], effect
