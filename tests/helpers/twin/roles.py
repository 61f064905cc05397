"""What steers: the factor of each product, what a rule may hold of it, and which tensors carry channels on.

Roles are read off numbers where they can be. A factor is a norm's where it grows with the tensor's own length: some
step towards it is as large again when the tensor is doubled and the same when its sign is turned. It is an attention's
where the quotient adds up to 1 along an axis. Any other factor is a gate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from .activations import SLOPE_AT_ZERO
from .graph import producers, step_of
from .steps import Array, run_node

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})
PAIRED = frozenset({"MatMul", "Einsum"})
ELEMENT_BY_ELEMENT = frozenset(SLOPE_AT_ZERO) | {
    *("Add", "Sub", "Mul", "Div", "Neg", "Pow", "Max", "Min", "Sum", "Log", "Reciprocal"),
}


@dataclass(frozen=True)
class Roles:
    """What a walk holds, and what carries.

    Attributes:
        held: For a node's first output, whether each of its inputs gets nothing.
        carried: Tensors whose channels reach a layer or the output; others only steer.
    """

    held: Mapping[str, tuple[bool, ...]]
    carried: frozenset[str]


def roles(model: onnx.ModelProto, values: Mapping[str, Array], live: set[str], hold: Collection[str]) -> Roles:
    """Roles of every product of two activations in an inlined model.

    Args:
        model: The model.
        values: Every tensor.
        live: Those that depend on the input.
        hold: Any of ``norms``, ``attention``, ``gates``.
    """
    graph = _Graph(model, values, live)
    carried = graph.carried()
    held = {}
    for node in model.graph.node:
        factor = graph.factor(node)
        if factor is not None:
            held[node.output[0]] = tuple(i == factor and graph.holds(node, i, hold, carried) for i in range(2))
    return Roles(held, carried)


class _Graph:
    def __init__(self, model: onnx.ModelProto, values: Mapping[str, Array], live: set[str]) -> None:
        self.model = model
        self.values = values
        self.live = live
        self.made = producers(model)

    def pair(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a product, or a quotient, of two activations."""
        known = node.op_type in PAIRED or node.op_type in {"Mul", "Div"}
        return known and len(node.input) == 2 and all(i in self.live for i in node.input)

    def factor(self, node: onnx.NodeProto) -> int | None:
        """The operand that scales, or mixes, the other; None where there is none."""
        if not self.pair(node):
            return None
        if node.op_type == "Div":
            return 1
        if node.op_type in PAIRED:
            return self._weights(node)
        step = step_of(self.model, node, self.values, self.live)
        if step.gate[0] != step.gate[1]:
            return 0 if step.gate[0] else 1
        lengths = [self._role(node.output[0], node.input[1 - i], node.input[i]) == "norms" for i in (0, 1)]
        if lengths[0] != lengths[1]:
            return 0 if lengths[0] else 1
        return 0 if step.x.size < step.need(1).size else 1

    def _weights(self, node: onnx.NodeProto) -> int | None:
        """The operand that adds up to 1 along what is summed: the weights of an attention."""
        for index in (0, 1):
            found = self.values[node.input[index]]
            summed = self._summed(node, index)
            if found.min() >= 0 and summed is not None and np.allclose(found.sum(axis=summed), 1, atol=1e-6):
                return index
        return None

    @staticmethod
    def _summed(node: onnx.NodeProto, index: int) -> int | None:
        if node.op_type == "MatMul":
            return -1 if index == 0 else -2
        equation = onnx.helper.get_attribute_value(node.attribute[0]).decode().replace(" ", "")
        terms, out = equation.split("->")
        left, right = terms.split(",")
        common = [x for x in left if x in right and x not in out]
        return (left, right)[index].index(common[0]) if len(common) == 1 else None

    def carried(self) -> frozenset[str]:
        found = {o.name for o in self.model.graph.output}
        for node in reversed(self.model.graph.node):
            if self.pair(node):
                factor = self.factor(node)
                if node.output[0] in found and factor is not None:
                    found.add(node.input[1 - factor])
            elif node.op_type in WEIGHTED or node.op_type in PAIRED or any(o in found for o in node.output):
                found.update(i for i in node.input if i in self.live)
        return frozenset(found)

    def holds(self, node: onnx.NodeProto, factor: int, hold: Collection[str], carried: frozenset[str]) -> bool:
        if node.op_type in PAIRED:
            return "attention" in hold
        value, other = node.input[1 - factor], node.input[factor]
        if self._own(value, other):
            return value != other or node.output[0] in carried
        return self._role(node.output[0], value, other) in hold

    def _own(self, value: str, other: str) -> bool:
        """Whether both are functions of the same elements, so that the product is an activation."""
        same = self.values[value].shape == self.values[other].shape
        return same and self._roots(value) == self._roots(other)

    def _roots(self, tensor: str) -> set[str]:
        node = self.made.get(tensor)
        if node is None or node.op_type not in ELEMENT_BY_ELEMENT:
            return {tensor}
        return {root for name in node.input if name in self.live for root in self._roots(name)}

    def _role(self, product: str, value: str, other: str) -> str:
        region, border = self._between(value, other)
        if not border or not region or any(n.op_type in WEIGHTED | PAIRED for n in region):
            return "gates"
        quotient = self.values[product]
        sums = [quotient.sum(axis=a) for a in range(quotient.ndim)]
        if quotient.min() >= 0 and any(np.allclose(s, 1, atol=1e-6) and s.size < quotient.size for s in sums):
            return "attention"
        return "norms" if self._is_length(region, border, other) else "gates"

    def _between(self, value: str, other: str) -> tuple[list[onnx.NodeProto], set[str]]:
        """Nodes between a tensor and a factor made of it, in order, and where they begin."""
        upstream = self._upstream(value)
        wanted, region = {other}, []
        for node in reversed(self.model.graph.node):
            if any(o in wanted for o in node.output if o not in upstream):
                region.append(node)
                wanted.update(i for i in node.input if i in self.live)
        return region[::-1], wanted & upstream

    def _upstream(self, tensor: str) -> set[str]:
        found = {tensor}
        for node in reversed(self.model.graph.node):
            if any(o in found for o in node.output):
                found.update(i for i in node.input if i in self.live)
        return found

    def _is_length(self, region: Sequence[onnx.NodeProto], border: set[str], other: str) -> bool:
        single, double, turned = (self._scaled(region, border, by) for by in (3.0, 6.0, -3.0))
        degrees = {n: _degree(single[n], double[n]) for n in single}
        lengths = [n for n, d in degrees.items() if d in {1, -1} and np.allclose(turned[n], single[n], rtol=1e-6)]
        return bool(lengths) and degrees[other] is not None

    def _scaled(self, region: Sequence[onnx.NodeProto], border: set[str], by: float) -> dict[str, Array]:
        values = {**self.values, **{n: self.values[n] * by for n in border}}
        made = {}
        for node in region:
            results = run_node(step_of(self.model, node, values), self.model)
            made.update({o: np.asarray(r) for o, r in zip(node.output, results, strict=False) if o})
            values |= made
        return made


def _degree(single: Array, double: Array) -> int | None:
    """By which power of 2 a function grows when what it is made of is doubled."""
    for degree in (-2, -1, 0, 1, 2):
        if single.dtype.kind == "f" and np.allclose(double, single * 2.0**degree, rtol=1e-3, atol=1e-6):
            return degree
    return None
