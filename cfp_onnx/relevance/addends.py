"""What of a tensor was made by single kernels: their maps, followed through what is linear in them.

A kernel's map reaches a later tensor as an addend of it: through sums, movements, means and factors. The addend of
every kernel of a layer is one tensor, in which each element belongs to one kernel.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature
from cfp_onnx.model import Node
from cfp_onnx.relevance import factors
from cfp_onnx.relevance.factors import Axes
from cfp_onnx.relevance.field_walk import Walk, total


class Addends:
    """Addends of the kernels that are judged at one tensor.

    Args:
        walk: The walk; nodes go into its probe.
        feature: Where the kernels are judged.
        sums: How many sums an addend is followed through.

    Attributes:
        axes: Every tensor that they have an addend in, and which of its axes, or factors of axes, number the kernels.
    """

    def __init__(self, walk: Walk, feature: Feature, sums: int) -> None:
        self._walk = walk
        self._start = feature.tensor
        self._passed: dict[str, int] = {feature.tensor: 0}
        self.axes: dict[str, Axes] = {
            feature.tensor: factors.plain(walk.value.shape(feature.tensor), feature.axis),
        }
        self._names = {feature.tensor: walk.value(feature.tensor)}
        self._follow(sums)

    def name(self, tensor: str) -> str:
        """The kernels' addend in one of the tensors of `axes`, a float32 tensor of its shape."""
        if tensor not in self._names:
            node = self._walk.program.producers[tensor]
            self._names[tensor] = self._made(node, self._walk.topology.effects[node.name])
        return self._names[tensor]

    def _follow(self, sums: int) -> None:
        """Find the tensors that the kernels have an addend in."""
        program = self._walk.program
        pending = [self._start]
        while pending:
            name = pending.pop(0)
            for node in program.consumers.get(name, []):
                out = node.outputs[0]
                effect = self._walk.topology.effects.get(node.name)
                passed = self._passed[name] + isinstance(effect, fx.Sum)
                if effect is None or passed > sums or out in self._passed:
                    continue
                axes = self._axes_after(node, effect, name)
                if axes is not None:
                    self._passed[out], self.axes[out] = passed, axes
                    pending.append(out)

    def _axes_after(self, node: Node, effect: fx.Effect, name: str) -> Axes | None:
        """Axes of a node's output that number the kernels; None where the output is not linear in them."""
        before, shape = self.axes[name], self._walk.value.shape(node.outputs[0])
        same = shape == self._walk.value.shape(name)
        match effect:
            case fx.Sum() if node.op == "Sub" and any(
                self._walk.topology.is_mean(a, b) for a, b in permutations(node.inputs)
            ):
                return None  # what takes a mean off is part of a norm
            case fx.Sum() | fx.Identity(source=0, mixes=False) | fx.Affine():
                return before if same else None
            case fx.Move(sources):
                return _moved(node, before, shape) if name in {node.inputs[i] for i in sources} else None
        return None

    def _made(self, node: Node, effect: fx.Effect) -> str:
        probe = self._walk.probe
        match effect:
            case fx.Sum(sources, signs, scale):
                parts = [
                    self.name(node.inputs[i]) if sign > 0 else probe.add("Neg", [self.name(node.inputs[i])])
                    for i, sign in zip(sources, signs, strict=True)
                    if node.inputs[i] in self.axes
                ]
                summed = total(probe, parts)
                return summed if scale == 1.0 else probe.add("Mul", [summed, probe.number(scale)])
            case fx.Affine(scale=scale, source=source):
                name = self.name(node.inputs[source])
                if scale is None:
                    return name
                return probe.add("Mul", [name, probe.constant(np.asarray(scale(), np.float32), "scale")])
            case fx.Move():
                return self._replayed(node)
        return self.name(node.inputs[0])

    def _replayed(self, node: Node) -> str:
        """A movement of the addend instead of the tensor; what else it moves counts as 0."""
        probe, shape = self._walk.probe, self._walk.value.shape
        if node.op == "Transpose":
            perm = node.attributes.get("perm") or list(range(len(shape(node.inputs[0]))))[::-1]
            return probe.add("Transpose", [self.name(node.inputs[0])], perm=[int(i) for i in perm])
        if node.op == "Concat":
            parts = [self.name(i) if i in self.axes else probe.zeros(shape(i)) for i in node.inputs]
            return probe.add("Concat", parts, axis=int(node.attributes["axis"]))
        return probe.reshape(self.name(node.inputs[0]), shape(node.outputs[0]))


def _moved(node: Node, axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """Axes behind a movement; None where it is not followed."""
    if node.op == "Transpose":
        perm = node.attributes.get("perm") or list(range(len(axes)))[::-1]
        return tuple(axes[int(i)] for i in perm)
    if node.op in {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}:
        return factors.reshaped(axes, shape)
    return factors.resized(axes, shape) if node.op == "Concat" else None


__all__ = ["Addends"]
