"""The nodes between layers: activations, and affine maps with a factor and an offset per kernel.

An affine map that follows one layer only is folded into its weights, however it is written. One behind a Concat, an Add
or an activation belongs to no single layer; it is described by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.activation import is_activation
from cfp_onnx.graph.affine import affine_map
from cfp_onnx.graph.features import kernel_axis
from cfp_onnx.graph.layers import KernelLayer
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
    """The path from a layer's input back to the earlier layer that feeds it, or to where several paths meet.

    Attributes:
        form: Kinds of its maps and activations, the last first, and where it begins; only ways of the same form can be
            compared.
        maps: Its maps.
    """

    form: tuple[str, ...] = ()
    maps: tuple[FreeMap, ...] = ()


@dataclass(frozen=True)
class FreeMap:
    """An affine map per channel that belongs to no single layer.

    Attributes:
        scale: Factors, (channels,).
        bias: Offsets, (channels,).
        epsilon: Of the last batch norm among them.
        variance: Of that batch norm, (channels,).
    """

    scale: Array
    bias: Array
    epsilon: float | None
    variance: Array | None


def carried_input(node: Node, effect: fx.Effect) -> str | None:
    """The input whose kernels a node passes on one by one; None where it mixes them, or reads several tensors."""
    match effect:
        case fx.Gate(value=index) | fx.Identity(source=index) | fx.Quantise(source=index):
            return node.inputs[index]
        case fx.Activation(source=index) | fx.Affine(source=index):
            return node.inputs[index]
        case fx.Move(sources=sources):
            return node.inputs[sources[0]]
        case fx.Pool() | fx.Blend() | fx.Reduce() | fx.Normalise() | fx.Mix() | fx.Sum() | fx.Select():
            return None  # other elements, or several tensors: the chain ends
        case fx.Layer() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return None
        case _:
            assert_never(effect)


def steps_behind(topology: Topology, layer: KernelLayer, end: str) -> list[tuple[Node, fx.Effect]]:
    """Nodes between a layer's output and the place where its kernels are compared, in order."""
    steps: list[tuple[Node, fx.Effect]] = []
    tensor = end
    while tensor != layer.output:
        node = topology.program.producers[tensor]
        effect = topology.effects[node.name]
        steps.append((node, effect))
        below = carried_input(node, effect)
        if below is None:
            return []
        tensor = below
    return steps[::-1]


def stages_of(topology: Topology, layer: KernelLayer, steps: Sequence[tuple[Node, fx.Effect]]) -> list[Stage]:
    """A layer's kernels behind none of the maps before its activation, behind the first, and so on to the last.

    Factor and constant of the last are None where a map is not one number per kernel.
    """
    parts = layer.parts[:1] if layer.tied else layer.parts
    bias = np.concatenate([np.asarray(p.bias(), np.float64) for p in parts])
    axis = kernel_axis(topology, layer.output, layer.kernels)
    place = None if axis is None else Place(layer.output, axis)
    stages = [Stage(place, np.ones(layer.kernels), bias, None, None)]
    for node, effect in steps:
        if is_activation(effect):
            break
        if not isinstance(effect, fx.Affine):
            continue
        last = stages[-1]
        axis = kernel_axis(topology, node.outputs[0], layer.kernels)
        place = None if axis is None else Place(node.outputs[0], axis)
        norm = effect.statistics
        statistics = (last.epsilon, last.variance) if norm is None else (norm.epsilon, norm.variance)
        found = affine_map(topology, node, effect, layer.kernels)
        if found is None or last.scale is None or last.bias is None:
            return [*stages, Stage(place, None, None, *statistics)]
        stages.append(Stage(place, last.scale * found.scale, last.bias * found.scale + found.offset, *statistics))
    return stages


def way_to(topology: Topology, source: str, ends: frozenset[str]) -> Way:
    """The affine maps between the layers above and another layer's input, as far up as there is one path.

    Args:
        topology: The network.
        source: What the layer reads.
        ends: Tensors in which kernels of layers are compared, their own maps folded in.
    """
    form: list[str] = []
    maps: list[FreeMap] = []
    steps: list[tuple[Node, fx.Effect]] = []

    def close(word: str) -> None:
        found = _as_one_map(topology, steps)
        maps.extend(found)
        form.extend(["map"] * len(found) + [word])
        steps.clear()

    tensor = source
    while tensor not in ends and (node := topology.program.producers.get(tensor)) is not None:
        effect = topology.effects.get(node.name)
        below = None if effect is None else _one_input(node, effect)
        if effect is None or below is None:
            close(type(effect).__name__)
            return Way(tuple(form), tuple(maps))
        if is_activation(effect):
            close("activation")
        elif isinstance(effect, fx.Affine):
            steps.append((node, effect))
        tensor = below
    close("layer" if tensor in ends else "input")
    return Way(tuple(form), tuple(maps))


def _one_input(node: Node, effect: fx.Effect) -> str | None:
    if isinstance(effect, fx.Pool | fx.Reduce):
        return node.inputs[effect.source]
    return carried_input(node, effect)


def _as_one_map(topology: Topology, steps: Sequence[tuple[Node, fx.Effect]]) -> list[FreeMap]:
    """Several affine maps as one; none where it changes nothing, or a map is not one number per channel.

    Args:
        topology: The network.
        steps: Nodes and their effects, the last first.
    """
    scale, bias = np.ones(1), np.zeros(1)
    statistics: tuple[float | None, Array | None] = (None, None)
    for node, effect in steps[::-1]:
        shape = topology.program.shapes[node.outputs[0]]
        axis = kernel_axis(topology, node.outputs[0], 0)
        if axis is None or not isinstance(effect, fx.Affine):
            return []
        found = affine_map(topology, node, effect, shape[axis])
        if found is None or scale.size not in {1, found.scale.size}:
            return []
        if effect.statistics is not None:
            statistics = effect.statistics.epsilon, effect.statistics.variance
        scale, bias = scale * found.scale, bias * found.scale + found.offset
    if (scale == 1).all() and not bias.any():
        return []
    return [FreeMap(scale, bias, *statistics)]


__all__ = ["FreeMap", "Place", "Stage", "Way", "carried_input", "stages_of", "steps_behind", "way_to"]
