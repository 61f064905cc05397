"""Recurrent layers: hidden units as kernels, and what the steps inside do to values (docs/method.md).

What lies inside carries no channels of its own: a layer reads the features of a step and emits one label for
each hidden unit. Values do pass, so that what is above a layer reaches what is below it through all steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

RECURRENT = "recurrent"
"""Kind and family of such a layer."""


def recurrent(program: Program, node: Node) -> Part:
    """A recurrent layer as a part: its hidden units over all steps, (batch, steps, kernels)."""
    found = program.model.recurrent[node.name]

    def weights() -> Array:
        """(kernels, channels, gates)."""
        apart = program.constant(found.matrix).reshape(found.gates, found.kernels, found.channels)
        return np.ascontiguousarray(np.moveaxis(apart, 0, 2), np.float32)

    return Part(
        node=node, nodes=(node.name,), kind=RECURRENT, source=found.source, output=node.outputs[0], in_axis=2,
        out_axis=2, groups=1, kernels=found.kernels, channels=found.channels, geometry=Geometry(),
        weight=found.weight, weights=weights, bias=lambda: np.zeros(found.kernels, np.float32),
    )  # fmt: skip


def gate_parts(part: Part) -> tuple[Part, ...]:
    """The dense operations on what a recurrent layer reads, one for each gate; each has all kernels as its rows."""

    def of_gate(gate: int) -> Callable[[], Array]:
        return lambda: np.ascontiguousarray(part.weights()[:, :, gate])

    return tuple(
        Part(
            node=part.node, nodes=part.nodes, kind="dense", source=part.source, output=part.output, in_axis=2,
            out_axis=1, groups=1, kernels=part.kernels, channels=part.channels, geometry=Geometry(),
            weight=part.weight, weights=of_gate(gate), bias=part.bias,
        )
        for gate in range(part.weights().shape[2])
    )  # fmt: skip


def inner_effect(program: Program, node: Node, general: Callable[[Node], fx.Effect | None]) -> fx.Effect:
    """How values pass a node inside of a recurrent layer.

    Args:
        program: The network.
        node: The node.
        general: What its operator does outside.
    """
    if node.op == "Gemm":
        return fx.Linear(added=not program.is_constant(node.input(2)))
    if node.op == "Mul":
        return fx.Gate(0, 1, role="gates")
    found = general(node)
    if isinstance(found, fx.Activation):
        return fx.Activation(found.nonnegative, found.zero, found.slope, arithmetic=True)
    return fx.Held() if found is None else found


__all__ = ["RECURRENT", "gate_parts", "inner_effect", "recurrent"]
