"""What activation follows a layer, in whatever spelling: inside the operator, behind it, or in an integer's range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node

OWN_GATE = "a gate of its own"
"""Name of an activation that is written as a product of the kernels with something made of them."""


def fused_activation(layer: KernelLayer) -> bool:
    """Whether an activation is part of the operator itself, as onnxruntime fuses them."""
    return any(p.activation and p.activation.lower() != "identity" for p in layer.parts)


def is_activation(effect: fx.Effect) -> bool:
    """Whether a step of a chain is an activation, written as one operator or as a product with something held."""
    return isinstance(effect, fx.Activation | fx.Gate)


def spelled(name: str) -> str:
    """Name of a fused activation as ONNX spells the operator."""
    return {"relu": "Relu"}.get(name.lower(), name)


def activation_of(
    topology: Topology, layer: KernelLayer, steps: Sequence[tuple[Node, fx.Effect]]
) -> tuple[str | None, str | None]:
    """The activation behind a layer.

    Args:
        topology: The network.
        layer: The layer.
        steps: Nodes between its output and where its kernels are judged, with their effects.

    Returns:
        Its name, None where there is none; and the tensor before it, None where the file has no such tensor.
    """
    fused = layer.parts[0].activation
    if fused and fused.lower() != "identity":
        return spelled(fused), None
    for node, effect in steps:
        if isinstance(effect, fx.Gate):
            return OWN_GATE, node.inputs[effect.value]
        if isinstance(effect, fx.Activation):
            name = "Relu" if effect.rectifier else node.op.rpartition("::")[2]
            return name, node.inputs[effect.source]
    ends = [layer.output, *(n.outputs[0] for n, e in steps if isinstance(e, fx.Quantise))]
    return ("Relu" if any(_saturates(topology, tensor) for tensor in ends) else None), None


def _saturates(topology: Topology, tensor: str) -> bool:
    """Whether an integer tensor holds no number below zero, so that a Relu has vanished into its range."""
    quantised = topology.states.get(tensor, State()).quantised
    if quantised is None:
        return False
    kind = topology.program.dtypes.get(tensor, "uint8")
    zero = topology.program.constant_or_none(quantised[1]) if quantised[1] else np.zeros(1)
    if zero is None or not np.issubdtype(np.dtype(kind), np.integer):
        return False
    return bool((np.asarray(zero) == np.iinfo(kind).min).all())


__all__ = ["OWN_GATE", "activation_of", "fused_activation", "is_activation", "spelled"]
