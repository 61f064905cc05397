"""Where a layer's kernels are judged: behind its affine map and activation, before an Add."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.activation import fused_activation, is_activation
from cfp_onnx.graph.labels import varying_axes
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node


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
        step = next_step(topology, name)
        if step is None:
            break
        node, effect = step
        name = node.outputs[0]
        state = topology.states[name]
        axes = varying_axes(state.tracks[0].labels) if state.tracks else ()
        if _is_step(effect) and not state.tracks:
            axes = (best.axis,)  # it only steers: it has no labels, but each element is still made from one
        if len(axes) > 1 or (layer.kernels > 1 and len(axes) != 1):
            break
        if axes and program.shapes[name][axes[0]] != layer.kernels:
            break
        moved = axes[0] if axes else min(best.axis, max(0, len(program.shapes[name]) - 1))
        if not isinstance(effect, fx.Move):
            best = Feature(name, moved)
        if is_activation(effect) and not _is_step(effect):
            break
    return best


def features_of(topology: Topology, layer: KernelLayer, target: str) -> tuple[Feature, ...]:
    """Where a layer's kernels are judged: at one place, or at one for each trip of a loop."""
    if not layer.tied:
        return (feature_of(topology, layer, target),)
    return tuple(feature_of(topology, replace(layer, output=p.output, parts=(p,)), target) for p in layer.parts)


def _is_step(effect: fx.Effect) -> bool:
    """Whether an activation may be one step of another that is written out, as of 1 / (1 + exp(-x))."""
    return isinstance(effect, fx.Activation) and effect.arithmetic


def next_step(topology: Topology, name: str) -> tuple[Node, fx.Effect] | None:
    """The one thing that happens to a tensor next, where it stays the feature of the same kernels."""
    program = topology.program
    if any(p.name == name for p in program.model.outputs):
        return None
    users = program.consumers.get(name, [])
    for user in users:
        effect = topology.effects.get(user.name)
        if isinstance(effect, fx.Gate) and effect.own and user.inputs[effect.value] == name and len(users) <= 2:
            return user, effect
    if len(users) != 1:
        return None
    effect = topology.effects.get(users[0].name)
    if isinstance(effect, fx.Held) and _is_step(topology.passing(users[0])):
        effect = topology.passing(users[0])
    return None if effect is None or not _keeps_kernels(users[0], effect, name) else (users[0], effect)


def _keeps_kernels(node: Node, effect: fx.Effect, name: str) -> bool:
    """Whether what a node makes of a tensor is still one map per kernel, with every element in it once."""
    match effect:
        case (
            fx.Affine(source=source)
            | fx.Identity(source=source)
            | fx.Quantise(source=source)
            | fx.Activation(source=source)
        ):
            return node.inputs[source] == name
        case fx.Move(sources):
            return len(sources) == 1 and node.op in {"Transpose", "Reshape", "Squeeze", "Unsqueeze"}
        case fx.Pool() | fx.Blend() | fx.Reduce():
            return False  # other elements
        case fx.Normalise() | fx.Mix() | fx.Gate() | fx.Sum() | fx.Select():
            return False  # other things have a share in it; a gate made of the kernels themselves is told before
        case fx.Layer() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return False
        case _:
            assert_never(effect)


def kernel_axis(topology: Topology, tensor: str, kernels: int) -> int | None:
    """The one axis along which a tensor's kernels lie."""
    axes = topology.states.get(tensor, State()).channel_axes()
    if len(axes) == 1:
        return axes[0]
    shape = topology.program.shapes.get(tensor, ())
    found = [a for a, n in enumerate(shape) if a and n == kernels]
    return found[0] if found and not axes else None
