"""What a smooth activation loses when the one channel that makes its input is taken away, exactly.

Behind a depth-wise layer or a gate each channel of an activation's input is made of one channel alone. A kernel that is
removed there takes all of it away, which no kernel further up does: the field goes on by nearly the slope, and what
that leaves out for the kernel itself is added. With c what is left of x without it (biases, offsets),

    drop - slope = sum over positions of g_y (y - f(c)) - g_x (x - c)

Rectifiers are left out: with them the rule is gradient times activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature
from cfp_onnx.model import Node
from cfp_onnx.relevance.exact_vectors import Passed
from cfp_onnx.relevance.field_walk import Walk, total
from cfp_onnx.relevance.shares import again, depthwise, pads_zeros, written


class ExactChannels:
    """Adds to the relevance of kernels what the shares of activations leave out that they feed alone.

    Args:
        walk: The walk that it serves.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._value = walk.value
        self._probe = walk.probe
        self._passed: dict[str, list[Passed]] = {}
        self._sums: dict[str, tuple[str, str, str]] = {}
        self._parts = {n: part for layer in walk.topology.layers for part in layer.parts for n in part.nodes}

    def note(self, tensor: str, passed: Passed) -> None:
        """Remember a smooth activation that the walk passes, by the tensor that it reads."""
        self._passed.setdefault(tensor, []).append(passed)

    def note_product(self, node: Node, root: str, above: str, share: str) -> None:
        """Remember a product of two functions of the same elements, such as x * sigmoid(x).

        Args:
            node: The product.
            root: The tensor that it makes its elements of.
            above: Field of its output.
            share: Share that the root gets.
        """

        def function(x: str) -> str:
            found = written(self._walk.program, node)
            made = {root: x}
            for one in found[1] if found else ():
                made[one.outputs[0]] = again(self._probe, self._value, one, made)
            return made[node.outputs[0]]

        self.note(root, Passed(self._value(root), self._value(node.outputs[0]), above, share, function))

    def correction(self, feature: Feature) -> str | None:
        """What is added to the relevance of the kernels judged at a tensor, (kernels,); None for nothing."""
        shape = self._value.shape(feature.tensor)
        if not self._passed or feature.axis != 1:
            return None
        names = [self._at(one, left) for x, left in self._fed(feature.tensor, shape) for one in self._passed[x]]
        return total(self._probe, names) if names else None

    def _fed(self, tensor: str, shape: tuple[int, ...]) -> Iterator[tuple[str, _Left]]:
        """Inputs of activations that a tensor's channels make one by one, and what is left of each without them."""
        pending = [(tensor, _Left("", (1, shape[1], *[1] * (len(shape) - 2))))]
        while pending:
            name, left = pending.pop()
            if name in self._passed and name != tensor:
                yield name, left
            for node in self._walk.program.consumers.get(name, []):
                pending.extend(self._through(node, name, left))

    def _through(self, node: Node, name: str, left: _Left) -> Iterator[tuple[str, _Left]]:
        """What is left of a node's output, where it keeps the channels apart."""
        part, out, channels = self._parts.get(node.name), node.outputs[0], left.shape[1]
        if part is not None:
            if part.source == name and part.channels == channels and depthwise(part) and not left.rest:
                bias = np.asarray(part.bias(), np.float32).reshape(left.shape)
                yield part.output, replace(left, rest=self._probe.constant(bias, "bias")) if bias.any() else left
            return
        shape = self._value.shape(out)
        if len(shape) != len(left.shape) or shape[1] != channels:
            return
        match self._walk.topology.effects.get(node.name):
            case fx.Identity(mixes=False):
                yield out, left
            case fx.Affine():
                yield out, self._again(node, name, left)
            case fx.Gate(own=False, reciprocal=False) as gate if self._is_gate(node, gate):
                yield out, self._again(node, name, left) if left.rest else left
            case fx.Pool() | fx.Blend() if not left.rest:
                yield out, left
            case fx.Move() if not left.rest and pads_zeros(self._walk.program, node):
                yield out, left

    def _is_gate(self, node: Node, effect: fx.Gate) -> bool:
        value, gate = node.inputs[effect.value], node.inputs[effect.gate]
        return value != gate and (effect.role or self._walk.topology.role(value, gate)) == "gates"

    def _again(self, node: Node, name: str, left: _Left) -> _Left:
        sizes = {math.prod(self._value.shape(i)) for i in node.inputs if i and i != name}
        even = left.even and sizes <= {1, left.shape[1]}
        return replace(left, rest=again(self._probe, self._value, node, {name: self._rest(left)}), even=even)

    def _rest(self, left: _Left) -> str:
        return left.rest or self._probe.constant(np.zeros(left.shape, np.float32), "nothing")

    def _at(self, found: Passed, left: _Left) -> str:
        """Drop less slope of one activation, summed over all but the kernels.

        Where c is one number for each kernel, the sums over places serve all the layers that feed the activation.
        """
        probe, rest, rank = self._probe, self._rest(left), len(left.shape)
        if not left.even:
            drop = probe.add("Sub", [found.y, found.function(rest)])
            slope = probe.add("Mul", [probe.add("Sub", [found.x, rest]), found.share])
            return self._summed(probe.add("Mul", [found.above, probe.add("Sub", [drop, slope])]), rank)
        if found.y not in self._sums:
            slope = probe.add("Mul", [found.x, found.share])
            bent = self._summed(probe.add("Mul", [found.above, probe.add("Sub", [found.y, slope])]), rank)
            below = self._summed(probe.add("Mul", [found.above, found.share]), rank)
            self._sums[found.y] = bent, self._summed(found.above, rank), below
        bent, above, below = self._sums[found.y]
        kept = probe.add("Mul", [above, probe.reshape(found.function(rest), (-1,))])
        passed = probe.add("Mul", [below, probe.reshape(rest, (-1,))])
        return probe.add("Add", [probe.add("Sub", [bent, kept]), passed])

    def _summed(self, tensor: str, rank: int) -> str:
        return self._probe.reduce("ReduceSum", tensor, [a for a in range(rank) if a != 1], keep=False)


@dataclass(frozen=True)
class _Left:
    """What is left of a tensor without the kernels' part.

    Attributes:
        rest: A float32 tensor that broadcasts over it; no name for nothing at all.
        shape: Of one number for each kernel.
        even: Whether it is that, and not another number at each place.
    """

    rest: str
    shape: tuple[int, ...]
    even: bool = True


__all__ = ["ExactChannels"]
