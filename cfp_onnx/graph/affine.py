"""Affine maps: the factor and the constant per kernel of what follows a layer.

Which operators are such maps, and with which numbers, is said by their handlers alone (`cfp_onnx.graph.operators`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.activation import fused_activation
from cfp_onnx.graph.features import kernel_axis, next_step
from cfp_onnx.graph.labels import to_rank
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@dataclass(frozen=True)
class AffineMap:
    """y = x * scale + offset, kernel by kernel.

    Attributes:
        scale: (kernels,) float64.
        offset: (kernels,) float64; where it differs from place to place, its mean over the places.
        uniform: Whether the offset is the same at all places.
    """

    scale: Array
    offset: Array
    uniform: bool


def affine_map(topology: Topology, node: Node, effect: fx.Affine, kernels: int) -> AffineMap | None:
    """The map of one node as numbers per kernel.

    Args:
        topology: The network.
        node: The node.
        effect: Its effect.
        kernels: Number of kernels that it maps.

    Returns:
        The map; None where its kernels lie along no single axis, or the factor differs from place to place.
    """
    axis = kernel_axis(topology, node.outputs[0], kernels)
    if axis is None:
        return None
    rank = len(topology.program.shapes[node.outputs[0]])

    def places(values: Array) -> Array:
        """(kernels or 1, places) float64."""
        full = np.moveaxis(to_rank(np.asarray(values, np.float64), rank), axis, 0)
        return full.reshape(full.shape[0], -1)

    scale = places(np.ones(()) if effect.scale is None else effect.scale())
    offset = places(np.zeros(()) if effect.offset is None else effect.offset())
    if scale.shape[1] > 1 or not {len(scale), len(offset)} <= {1, kernels}:
        return None
    factor, shift = (np.broadcast_to(v.mean(axis=1), (kernels,)) for v in (scale, offset))
    return AffineMap(factor, shift, uniform=offset.shape[1] == 1)


def affine_of(topology: Topology, layer: KernelLayer, target: str) -> tuple[Array, Array]:
    """Factor and offset per kernel of the affine maps between a layer's output and its activation.

    Batch norms in any spelling are such maps; one that differs from place to place ends the chain. Numbers are rounded
    to float32 map by map, as the runtime has them.

    Returns:
        (kernels,) float64 factor, (kernels,) float64 offset.
    """
    scale, offset, name = np.ones(layer.kernels), np.zeros(layer.kernels), layer.output
    while name != target and not fused_activation(layer) and (step := next_step(topology, name)) is not None:
        node, effect = step
        match effect:
            case fx.Affine():
                found = affine_map(topology, node, effect, layer.kernels)
                if found is None or not found.uniform:
                    break
                factor = found.scale.astype(np.float32)
                scale, offset = scale * factor, offset * factor + found.offset.astype(np.float32)
            case fx.Identity() | fx.Move():
                pass
            case fx.Activation() | fx.Gate() | fx.Quantise():
                break  # the activation, or integers, in whose range one may have vanished
            case fx.Layer() | fx.Sum() | fx.Select() | fx.Pool() | fx.Blend() | fx.Reduce() | fx.Normalise() | fx.Mix():
                break  # no step of a chain
            case fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
                break  # no step of a chain
            case _:
                assert_never(effect)
        name = node.outputs[0]
    return scale, offset


__all__ = ["AffineMap", "affine_map", "affine_of"]
