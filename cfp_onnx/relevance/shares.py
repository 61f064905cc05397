"""Which share of a smooth activation's field reaches its input.

An activation y = f(x) hands down g * (y - f(x - a)) / a. A kernel that is removed takes a part of x away: all of it
where x is made of one channel, and about x / sqrt(n) where it is made of n. So a = x / sqrt(n): f(x) / x where it is
all, nearly the slope where it is little. Behind a depth-wise convolution only the kernels that it reads take all; for
them that is added exactly (`exact_channels`), and a fixed part counts for all others further up. Where x only steers,
or f(0) is not 0, the least part counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import helper

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.model import Node, Program
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.runtime.probe import Probe, Values

LEAST = 0.1
"""Least part of an input that is taken away."""

ALONE = 0.2
"""Part of an input behind a depth-wise layer that kernels further up take away; of a SiLU written out, next to none."""

STEERING = 0.01
"""Part of an input that is taken away where it only steers, or f(0) is not 0: little, for a gate may saturate."""

NEAR = 1e-6
"""Size of an input below which its slope at 0 is taken."""

NEAR_OFFSET = 1e-2
"""The same where f(0) is not 0, so that little is left of a difference in float32."""

_STEPS = frozenset({"Sign", "Floor", "Ceil", "Round"})
"""Functions without a slope."""

_REACH = 16
"""Most nodes that an activation may be written with."""


class Shares:
    """Shares of activations, as nodes of a walk's probe.

    Args:
        walk: The walk.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._value = walk.value
        self._probe = walk.probe

    def of_node(self, node: Node, effect: fx.Activation, x: str) -> str | None:
        """Share of an activation of its own; None where all of the input counts.

        Args:
            node: The activation.
            effect: Its effect.
            x: Its float32 input, with a bias inside the operator added.
        """
        name = node.inputs[effect.source]
        if node.op in _STEPS or "QLinear" in node.op:
            return None
        part = self._part(name, offset=effect.zero != 0.0 or node.outputs[0] not in self._walk.topology.carrying)
        if part == 1.0:
            return None
        rest = self._rest(x, part)
        if effect.bias is not None:
            rest = self._probe.add("Sub", [rest, self._value(node.inputs[effect.bias])])
        rest = again(self._probe, self._value, node, {name: rest})
        return self._share(x, self._value(node.outputs[0]), rest, part, effect)

    def of_part(self, part: Part, effect: fx.Activation, x: str) -> str | None:
        """Share of the activation inside a fused operator; None where all of the input counts."""
        steers = effect.zero != 0.0 or part.output not in self._walk.topology.carrying
        taken = STEERING if steers else taken_by(part)
        if taken == 1.0:
            return None
        rest = fused(self._probe, part, self._rest(x, taken))
        return self._share(x, self._value(part.output), rest, taken, effect)

    def of_product(self, node: Node) -> tuple[str, str] | None:
        """Tensor that a product makes its elements of, and the share that reaches it.

        Args:
            node: A product of two functions of the same elements, such as x * sigmoid(x).

        Returns:
            None where all of the input counts, or the product is written in a way that is not followed.
        """
        found = written(self._walk.program, node)
        if found is None:
            return None
        root, nodes = found
        part = self._part(root, offset=node.outputs[0] not in self._walk.topology.carrying)
        same = self._value.shape(root) == self._value.shape(node.outputs[0])
        if part == 1.0 or not same or any(self._walk.judged(n.outputs[0]) for n in nodes[:-1]):
            return None
        if part == ALONE and (slope := self._silu_slope(node, nodes, root)) is not None:
            return root, slope
        x, made = self._value(root), {root: self._rest(self._value(root), part)}
        for one in nodes:
            made[one.outputs[0]] = again(self._probe, self._value, one, made)
        y = self._value(node.outputs[0])
        return root, self._share(x, y, made[node.outputs[0]], part, fx.Activation(slope=0.5))

    def _silu_slope(self, node: Node, nodes: Sequence[Node], root: str) -> str | None:
        """Slope s + y (1 - s) of y = x s, s = sigmoid(x), which needs nothing again; None for another product."""
        if len(nodes) != 2 or nodes[0].op != "Sigmoid" or set(node.inputs) != {root, nodes[0].outputs[0]}:
            return None
        probe, s, y = self._probe, self._value(nodes[0].outputs[0]), self._value(node.outputs[0])
        rest = probe.add("Mul", [y, probe.add("Sub", [probe.number(1.0), s])])
        return probe.add("Add", [s, rest])

    def _part(self, name: str, *, offset: bool) -> float:
        if offset:
            return STEERING
        made = channels_in(self._walk, name)
        return ALONE if made == 1 and made_alone(self._walk, name) else max(LEAST, 1.0 / math.sqrt(made))

    def _rest(self, x: str, part: float) -> str:
        return self._probe.add("Mul", [x, self._probe.number(1.0 - part)])

    def _share(self, x: str, y: str, rest: str, part: float, effect: fx.Activation) -> str:
        """(y - f(x - part * x)) / (part * x), the slope at 0 next to it."""
        probe = self._probe
        near = NEAR_OFFSET if effect.zero != 0.0 else NEAR
        far = probe.add("Greater", [probe.add("Abs", [x]), probe.number(near)])
        safe = x if probe.opset >= 9 else probe.where(far, x, probe.number(1.0))  # Where does not look at 0 / 0
        taken = probe.add("Mul", [safe, probe.number(part)])
        return probe.where(far, probe.add("Div", [probe.add("Sub", [y, rest]), taken]), probe.number(effect.slope))


def again(probe: Probe, values: Values, node: Node, inputs: Mapping[str, str]) -> str:
    """The output of a node for other inputs.

    Args:
        probe: Where the node goes.
        values: Tensors of the model as float32.
        node: The node.
        inputs: Tensors that stand for inputs of the node, by name.
    """
    if node.op == "Cast":
        return inputs[node.inputs[0]]
    domain, _, op = node.op.rpartition("::")
    names = [inputs.get(i) or (values(i) if i else "") for i in node.inputs]
    attributes = {k: v for k, v in node.attributes.items() if v is not None and k != "opset"}
    name = probe.fresh(op.lower())
    probe.nodes.append(helper.make_node(op, names, [name], name, domain=domain, **attributes))
    return name


def fused_parameters(part: Part) -> list[float]:
    """Parameters of the activation inside a fused operator, as far as the file gives them."""
    a = part.node.attributes
    listed = a.get("activation_params") or [a[k] for k in ("activation_alpha", "activation_beta") if k in a]
    return [float(v) for v in listed]


def fused(probe: Probe, part: Part, x: str) -> str:
    """The activation inside a fused operator, of another input."""
    name = (part.activation or "").lower()
    given = fused_parameters(part)
    match name:
        case "clip":
            low, high = given if len(given) == 2 else (-np.inf, np.inf)
            return probe.add("Min", [probe.add("Max", [x, probe.number(low)]), probe.number(high)])
        case "hardsigmoid":
            alpha, beta = given if len(given) == 2 else (0.2, 0.5)
            return probe.add("HardSigmoid", [x], alpha=alpha, beta=beta)
        case "leakyrelu":
            return probe.add("LeakyRelu", [x], alpha=given[0] if given else 0.01)
    return probe.add({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[name], [x])


def taken_by(part: Part) -> float:
    """Part of a layer's output that one of its channels makes, about."""
    return max(LEAST, 1.0 / math.sqrt(max(1, part.channels // part.groups)))


def channels_in(walk: Walk, tensor: str) -> int:
    """How many channels of a layer's input, or addends of a sum, the elements of a tensor are made of.

    A large number where that is not known: then a part is the least.
    """
    program, topology = walk.program, walk.topology
    inner = {n: layer for layer in topology.layers for p in layer.parts for n in p.nodes}
    while (node := program.producers.get(tensor)) is not None:
        if node.name in inner:
            return _channels_of(inner[node.name], node)
        effect = topology.effects.get(node.name)
        match effect:
            case fx.Sum(sources):
                return len(sources)
            case (
                fx.Identity(source=source) | fx.Quantise(source=source) | fx.Affine(source=source)
                | fx.Normalise(source=source, kind="norm") | fx.Pool(source=source) | fx.Reduce(source=source)
                | fx.Gate(value=source)
            ):  # fmt: skip
                tensor = node.inputs[source]
            case fx.Move(sources):
                tensor = node.inputs[sources[0]]
            case _:
                break
    return 1 << 20


def made_alone(walk: Walk, tensor: str) -> bool:
    """Whether a depth-wise layer makes a tensor, and what kernels before it take away is followed exactly."""
    program, topology = walk.program, walk.topology
    inner = {n: p for layer in topology.layers for p in layer.parts for n in p.nodes}
    passed: Part | None = None
    while (node := program.producers.get(tensor)) is not None:
        if node.name in inner:
            if passed is not None or not depthwise(inner[node.name]):
                return passed is not None
            passed = inner[node.name]
            tensor = passed.source
            continue
        match topology.effects.get(node.name):
            case fx.Affine(source=source) if passed is None:
                tensor = node.inputs[source]
            case fx.Identity(source=source) | fx.Gate(value=source, own=False, reciprocal=False):
                tensor = node.inputs[source]
            case fx.Pool(source=source) | fx.Blend(source=source) if passed is not None:
                tensor = node.inputs[source]
            case fx.Move() if passed is not None and pads_zeros(program, node):
                tensor = node.inputs[0]
            case fx.Move():
                return False
            case _:
                return passed is not None
    return passed is not None


def depthwise(part: Part) -> bool:
    """Whether each kernel of a convolution reads one channel, and each channel has one kernel."""
    alone = part.groups == part.channels == part.kernels
    return alone and part.node.op == "Conv" and part.activation is None


def pads_zeros(program: Program, node: Node) -> bool:
    """Whether a node adds zeros at the borders and nothing else."""
    if node.op != "Pad" or str(node.attributes.get("mode", "constant")) != "constant":
        return False
    value = program.constant_or_none(node.input(2)) if node.input(2) else np.asarray(node.attributes.get("value", 0.0))
    return value is not None and not np.any(value)


def _channels_of(layer: KernelLayer, node: Node) -> int:
    part = next(p for p in layer.parts if node.name in p.nodes)
    return max(1, part.channels // part.groups)


def written(program: Program, last: Node) -> tuple[str, list[Node]] | None:
    """The one tensor that a node makes its elements of, and the nodes on the way, in order.

    Args:
        program: The network.
        last: The node.

    Returns:
        The nearest such tensor; None where there is none within reach, or integers lie between.
    """
    places = {n.name: i for i, n in enumerate(program.nodes)}
    behind: dict[int, Node] = {places[last.name]: last}
    pending = [last]
    while pending and len(behind) < _REACH:
        for name in pending.pop(0).inputs:
            node = program.producers.get(name)
            if node is not None and not program.is_constant(name) and places[node.name] not in behind:
                behind[places[node.name]] = node
                pending.append(node)
    for place in sorted(behind, reverse=True)[1:]:
        root = behind[place].outputs[0]
        nodes = _between(program, root, last)
        if nodes is not None:
            ordered = sorted(nodes, key=lambda n: places[n.name])
            whole = any("Quantize" in n.op or "QLinear" in n.op or len(n.outputs) != 1 for n in ordered)
            return None if whole else (root, ordered)
    return None


def _between(program: Program, root: str, last: Node) -> list[Node] | None:
    """Nodes that make a node's output of one tensor and constants; None where something else has a part in it."""
    found, pending = {last.name: last}, [last]
    while pending:
        for name in pending.pop().inputs:
            if not name or name == root or program.is_constant(name):
                continue
            node = program.producers.get(name)
            if node is None or len(found) > _REACH:
                return None
            if node.name not in found:
                found[node.name] = node
                pending.append(node)
    return list(found.values())


__all__ = [
    "ALONE", "LEAST", "Shares", "again", "channels_in", "depthwise", "fused", "fused_parameters", "made_alone",
    "pads_zeros", "taken_by", "written",
]  # fmt: skip
