"""What follows a layer, and what lies before one: activations, and factors and offsets per kernel.

A map that follows a layer and nothing else is part of its weights, in whatever spelling. One behind a Concat, an Add or
an activation is nobody's; it is described by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import to_rank
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Place:
    """A tensor and the axis of its kernels or channels."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Stage:
    """A layer's kernels behind some of the affine maps that follow it.

    Attributes:
        place: Where they are.
        scale: Factor of these maps, (kernels,).
        bias: Constant of the layer and these maps, (kernels,).
        epsilon: Of the last batch norm among them.
        variance: Of that batch norm, (kernels,).
    """

    place: Place | None
    scale: Array | None
    bias: Array | None
    epsilon: float | None
    variance: Array | None


@dataclass(frozen=True)
class Way:
    """One path from a layer up to the layers above, or to where several paths meet.

    Attributes:
        form: Its maps and activations, the last first, and what it begins with; only ways of one form can be compared.
        maps: Its maps.
    """

    form: tuple[str, ...] = ()
    maps: tuple[Between, ...] = ()


@dataclass(frozen=True)
class Between:
    """Factors and offsets that no layer above has for itself, up to an activation.

    Attributes:
        scale: (channels,), in the order in which they stand there.
        bias: (channels,).
        epsilon: Of the last batch norm among them.
        variance: Of that batch norm, (channels,).
    """

    scale: Array
    bias: Array
    epsilon: float | None
    variance: Array | None


def read(node: Node, effect: fx.Effect) -> str | None:
    """The input through which a step of a chain carries kernels on."""
    match effect:
        case fx.Gate(value=index) | fx.Identity(source=index) | fx.Quantise(source=index):
            return node.inputs[index]
        case fx.Activation(source=index) | fx.Affine(source=index):
            return node.inputs[index]
        case fx.Move(sources=sources):
            return node.inputs[sources[0]]
    return None


def chain(topology: Topology, layer: KernelLayer, end: str) -> list[tuple[Node, fx.Effect]]:
    """Nodes between a layer's output and where its kernels are judged, in order."""
    steps: list[tuple[Node, fx.Effect]] = []
    tensor = end
    while tensor != layer.output:
        node = topology.program.producers[tensor]
        effect = topology.effects[node.name]
        steps.append((node, effect))
        below = read(node, effect)
        if below is None:
            return []
        tensor = below
    return steps[::-1]


def kernel_axis(topology: Topology, tensor: str, kernels: int) -> int | None:
    """The one axis along which a tensor's kernels lie."""
    axes = topology.states.get(tensor, State()).channel_axes()
    if len(axes) == 1:
        return axes[0]
    shape = topology.program.shapes.get(tensor, ())
    found = [a for a, n in enumerate(shape) if a and n == kernels]
    return found[0] if found and not axes else None


def affine(topology: Topology, layer: KernelLayer, steps: Sequence[tuple[Node, fx.Effect]]) -> list[Stage]:
    """A layer's kernels behind none of the maps before its activation, behind the first, and so on to the last.

    Factor and constant of the last are None where a map is not one number per kernel.
    """
    bias = np.concatenate([np.asarray(p.bias(), np.float64) for p in layer.parts])
    axis = kernel_axis(topology, layer.output, layer.kernels)
    place = None if axis is None else Place(layer.output, axis)
    stages = [Stage(place, np.ones(layer.kernels), bias, None, None)]
    for node, effect in steps:
        if isinstance(effect, fx.Activation | fx.Gate):
            break
        if not isinstance(effect, fx.Affine):
            continue
        last = stages[-1]
        axis = kernel_axis(topology, node.outputs[0], layer.kernels)
        place = None if axis is None else Place(node.outputs[0], axis)
        statistics = _statistics(topology, node) if node.op == "BatchNormalization" else (last.epsilon, last.variance)
        found = map_of(topology, node, effect, layer.kernels)
        if found is None or last.scale is None or last.bias is None:
            return [*stages, Stage(place, None, None, *statistics)]
        stages.append(Stage(place, last.scale * found[0], last.bias * found[0] + found[1], *statistics))
    return stages


def _statistics(topology: Topology, node: Node) -> tuple[float, Array | None]:
    """Epsilon and variance of a batch norm."""
    variance = topology.program.constant_or_none(node.inputs[4])
    return float(node.attributes.get("epsilon", 1e-5)), None if variance is None else np.asarray(variance, np.float64)


def map_of(topology: Topology, node: Node, effect: fx.Affine, kernels: int) -> tuple[Array, Array] | None:
    """Factor and constant of one node, (kernels,) each."""
    program = topology.program
    value = [program.constant_or_none(n) for n in node.inputs]
    axis = kernel_axis(topology, node.outputs[0], kernels)
    rank = len(program.shapes[node.outputs[0]])
    if axis is None:
        return None

    def per_kernel(array: Array | None) -> Array | None:
        if array is None or array.ndim > rank:
            return None
        full = np.moveaxis(to_rank(np.asarray(array, np.float64), rank), axis, 0)
        flat = full.reshape(full.shape[0], -1)
        if flat.shape[1] > 1 and node.op not in {"Add", "Sub"}:
            return None
        return np.broadcast_to(flat.mean(axis=1), (kernels,))  # of an offset per place, what all places have

    other = per_kernel(value[1 - effect.source]) if len(node.inputs) == 2 else None
    one, zero = np.ones(kernels), np.zeros(kernels)
    match node.op:
        case "BatchNormalization":
            gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in value[1:5] if v is not None)
            factor = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
            return factor, beta - mean * factor
        case "Neg":
            return -one, zero
        case "Add" | "Sub" | "Mul" | "Div" if other is None:
            return None
        case "Add":
            return one, np.asarray(other)
        case "Sub":
            return (one, -np.asarray(other)) if effect.source == 0 else (-one, np.asarray(other))
        case "Mul":
            return np.asarray(other), zero
        case "Div" if effect.source == 0:
            return 1.0 / np.asarray(other), zero
    return None


def between(topology: Topology, source: str, ends: frozenset[str]) -> Way:
    """The maps between what layers above make and what another reads, as far up as there is one path.

    Args:
        topology: The network.
        source: What the layer reads.
        ends: Where kernels of layers are judged, with the maps that are theirs.
    """
    form: list[str] = []
    maps: list[Between] = []
    steps: list[tuple[Node, fx.Effect]] = []

    def close(word: str) -> None:
        found = _joined(topology, steps)
        maps.extend(found)
        form.extend(["map"] * len(found) + [word])
        steps.clear()

    tensor = source
    while tensor not in ends and (node := topology.program.producers.get(tensor)) is not None:
        effect = topology.effects.get(node.name)
        below = None if effect is None else _carried(node, effect)
        if effect is None or below is None:
            close(type(effect).__name__)
            return Way(tuple(form), tuple(maps))
        if isinstance(effect, fx.Activation | fx.Gate):
            close("activation")
        elif isinstance(effect, fx.Affine):
            steps.append((node, effect))
        tensor = below
    close("layer" if tensor in ends else "input")
    return Way(tuple(form), tuple(maps))


def _carried(node: Node, effect: fx.Effect) -> str | None:
    if isinstance(effect, fx.Pool | fx.Reduce):
        return node.inputs[effect.source]
    return read(node, effect)


def _joined(topology: Topology, steps: Sequence[tuple[Node, fx.Effect]]) -> list[Between]:
    """Maps from the last to the first as one; none where they do nothing, or are not one number per channel."""
    scale, bias = np.ones(1), np.zeros(1)
    statistics: tuple[float | None, Array | None] = (None, None)
    for node, effect in steps[::-1]:
        shape = topology.program.shapes[node.outputs[0]]
        axis = kernel_axis(topology, node.outputs[0], 0)
        if axis is None or not isinstance(effect, fx.Affine):
            return []
        found = map_of(topology, node, effect, shape[axis])
        if found is None or scale.size not in {1, found[0].size}:
            return []
        if node.op == "BatchNormalization":
            statistics = _statistics(topology, node)
        scale, bias = scale * found[0], bias * found[0] + found[1]
    if (scale == 1).all() and not bias.any():
        return []
    return [Between(scale, bias, *statistics)]


__all__ = ["Between", "Place", "Stage", "Way", "affine", "between", "chain", "kernel_axis", "map_of", "read"]
