"""What the activation behind a dense layer loses when one of the layer's few inputs is taken away, exactly.

The units of a gate, or of a hidden layer of a head, are vectors: one number for each kernel. Taking one of them away
moves what an activation behind the next layer reads by a known amount, so that its share can be told pair by pair:

    drop - slope = sum over k of g_y[k] (y[k] - f(x[k] - W[k, c] t[c])) - g_x[k] W[k, c] t[c]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.model import Node
from cfp_onnx.relevance.adjoint import forward
from cfp_onnx.relevance.field_walk import Walk, total
from cfp_onnx.relevance.shares import again, fused
from cfp_onnx.values import Array

MOST = 1 << 20
"""Most weights of a layer that is followed."""

_ROWS = frozenset({"PRelu"})
"""Activations with a constant for each element, which have no second row."""


@dataclass(frozen=True)
class Passed:
    """An activation that the walk has passed.

    Attributes:
        x: Its input, a float32 tensor.
        y: Its output, the same.
        above: Field of its output.
        share: Share of it that its input got.
        function: Gives its output for another input.
    """

    x: str
    y: str
    above: str
    share: str
    function: Callable[[str], str]


def passed_node(walk: Walk, node: Node, effect: fx.Activation, above: str, share: str) -> Passed | None:
    """An activation that is a node of its own; None where its function is not that of its input alone."""
    if effect.bias is not None or node.op in _ROWS or "QLinear" in node.op:
        return None
    name, values = node.inputs[effect.source], walk.value
    x, y = values(name), values(node.outputs[0])
    return Passed(x, y, above, share, lambda v: again(walk.probe, values, node, {name: v}))


class ExactVectors:
    """Adds to the relevance of vectors what the slope of the activation behind the next layer leaves out.

    Args:
        walk: The walk that it serves.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._value = walk.value
        self._probe = walk.probe
        self._passed: dict[str, Passed] = {}
        self._parts: dict[str, list[Part]] = {}
        for layer in walk.topology.layers:
            for part in (p for p in layer.parts if p.kind != RECURRENT):
                self._parts.setdefault(part.source, []).append(part)

    def note(self, tensor: str, passed: Passed) -> None:
        """Remember an activation that the walk passes.

        Args:
            tensor: What it reads; its output where it is inside a fused operator.
            passed: The activation.
        """
        self._passed[tensor] = passed

    def note_part(self, part: Part, above: str, share: str) -> None:
        """Remember the activation inside a fused operator that makes a vector."""
        if math.prod(self._value.shape(part.output)) == part.kernels:
            x = forward(self._probe, self._walk.program.shapes, part, self._value(part.source))
            y = self._value(part.output)
            self.note(part.output, Passed(x, y, above, share, lambda v: fused(self._probe, part, v)))

    def correction(self, feature: Feature, bends: Mapping[str, str]) -> str | None:
        """What is added to the relevance of the kernels judged at a tensor, (kernels,); None for nothing.

        Args:
            feature: Where they are judged.
            bends: Curvatures that have counted already, by tensor.
        """
        kernels = self._value.shape(feature.tensor)[feature.axis]
        if math.prod(self._value.shape(feature.tensor)) != kernels:
            return None
        names = [
            self._at(feature, part, x, scale, bends)
            for part in self._readers(feature.tensor)
            if part.groups == 1 and part.kernels * part.channels <= MOST
            for x, scale in self._activated(part)
        ]
        return total(self._probe, names) if names else None

    def _readers(self, tensor: str) -> Iterator[Part]:
        """Layers that read a vector as it is."""
        program, size = self._walk.program, math.prod(self._value.shape(tensor))
        pending = [tensor]
        while pending:
            name = pending.pop()
            yield from (p for p in self._parts.get(name, []) if p.channels == size)
            for node in program.consumers.get(name, []):
                same = node.op in {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout"}
                if same and math.prod(self._value.shape(node.outputs[0])) == size:
                    pending.append(node.outputs[0])

    def _activated(self, part: Part) -> Iterator[tuple[str, Array]]:
        """Tensors behind a layer that an activation reads, and what its kernels were multiplied by, (kernels,)."""
        program, topology = self._walk.program, self._walk.topology
        if math.prod(self._value.shape(part.output)) != part.kernels:
            return
        pending = [(part.output, np.ones(part.kernels))]
        while pending:
            name, scale = pending.pop()
            if name in self._passed:
                yield name, scale
            if part.activation is not None:  # what is behind it is no longer a sum over the units
                return
            for node in program.consumers.get(name, []):
                out, effect = node.outputs[0], topology.effects.get(node.name)
                if effect is None or math.prod(self._value.shape(out)) != part.kernels:
                    continue
                match effect:
                    case fx.Affine(scale=factor):
                        more = 1.0 if factor is None else np.asarray(factor(), np.float64).reshape(-1)
                        pending.append((out, scale * more))
                    case fx.Sum(sources, signs, factor):
                        here = [s for i, s in zip(sources, signs, strict=True) if node.inputs[i] == name]
                        pending.append((out, scale * factor * sum(here)))
                    case fx.Identity(mixes=False):
                        pending.append((out, scale))
                    case fx.Move(sources) if len(sources) == 1 and node.op != "Transpose":
                        pending.append((out, scale))

    def _at(self, feature: Feature, part: Part, x: str, scale: Array, bends: Mapping[str, str]) -> str:
        probe, found = self._probe, self._passed[x]
        rows, columns = (part.channels, 1), (1, part.kernels)
        weights = part.weights().reshape(part.kernels, part.channels).T * scale
        taken = probe.reshape(self._value(feature.tensor), rows)
        taken = probe.add("Mul", [taken, probe.constant(weights.astype(np.float32), "weight")])
        before, above = probe.reshape(found.x, columns), probe.reshape(found.above, columns)
        rest = found.function(probe.add("Sub", [before, taken]))
        drop = probe.add("Sub", [probe.reshape(found.y, columns), rest])
        slope = probe.add("Mul", [taken, probe.reshape(found.share, columns)])
        value = probe.add("Mul", [above, probe.add("Sub", [drop, slope])])
        if x in bends:
            counted = probe.add("Mul", [probe.reshape(bends[x], columns), probe.add("Mul", [taken, taken])])
            value = probe.add("Add", [value, counted])
        return probe.reduce("ReduceSum", value, [1], keep=False)


__all__ = ["ExactVectors", "Passed", "passed_node"]
