"""The rule `positional` to second order: what a removal bends besides what it takes.

Beside its field g each tensor t carries a curvature H of its own shape, half the second derivative of the target along
each element; the relevance of channel c is the sum over positions of g t - H t^2. At the target H is 0. It arises at
rectifiers, whose corner counts as a bend as wide as a removal moves their input, and is handed down by the squares of
what hands the field down: weights, factors, divisors. Cross terms between elements are left out (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.graph.states import State
from cfp_onnx.model import Node
from cfp_onnx.relevance import movement, pooling, products
from cfp_onnx.relevance.adjoint import forward, transposed
from cfp_onnx.relevance.field_walk import Field, Handed, Walk, of_kind, total
from cfp_onnx.relevance.positional import Positional, fused_activation
from cfp_onnx.relevance.shares import channels_in

CURVATURE = "curvature"
"""Kind of what is handed down beside the field."""

WIDTH = 2.0
"""Width of a rectifier's corner, of its input's root mean square over the root of the channels that make it."""

SMALL = 1e-6
"""Least width."""


class Curved(Positional):
    """Hands down fields and curvatures.

    Args:
        walk: The walk that it serves.
        hold: What keeps its recorded value.
    """

    def __init__(self, walk: Walk, *, hold: Collection[str] = ()) -> None:
        super().__init__(walk, hold=hold, whole=False)

    def settle(self, tensor: str, arrived: Sequence[Field]) -> Field:
        """The sum of the fields; that of the curvatures is kept aside."""
        bends = [f.name for f in arrived if f.kind == CURVATURE]
        if bends:
            self._bends[tensor] = total(self._probe, bends)
        return super().settle(tensor, [f for f in arrived if f.kind != CURVATURE])

    def judge(self, tensor: str, field: Field) -> str:
        """Field times value less curvature times its square, element by element."""
        if tensor not in self._bends:
            return super().judge(tensor, field)
        t = self._value(tensor)
        bent = self._probe.add("Mul", [self._bends[tensor], t])
        return self._probe.add("Mul", [self._probe.add("Sub", [field.name, bent]), t])

    def pass_layer(self, layer: KernelLayer, index: int, field: Field) -> Iterator[Handed]:
        """The transposed operator, and the same with squared weights."""
        yield from super().pass_layer(layer, index, field)
        part = layer.parts[index]
        if part.kind == RECURRENT:  # the second order ends here
            return
        bend = self._before_fused(part, field.name, self._bends.get(part.output))
        if bend is None or not self._walk.useful(part.source):
            return
        quantised = self._walk.topology.states.get(part.output, State()).quantised
        if quantised is not None:
            bend = self._saturation(part.output, quantised, bend, self._before_rounding(part))
        scale = self._scaled.get(part.output)
        squared = replace(part, weights=lambda: np.square(part.weights()), plain_weight=False)
        shapes = self._walk.program.shapes
        down = transposed(self._probe, shapes, squared, bend, None if scale is None else np.square(scale))
        yield Handed(part.source, down, kind=CURVATURE)

    def hand_down(self, node: Node, effect: fx.Effect, incoming: Mapping[str, Field]) -> Iterator[Handed]:
        """Transposed operators, and the same squared."""
        handed = list(super().hand_down(node, effect, incoming))
        yield from handed
        reached = {one.tensor for one in handed}
        bends = {o: self._bends[o] for o in incoming if o in self._bends}
        for one in of_kind(self._bent(node, effect, {o: f.name for o, f in incoming.items()}, bends), CURVATURE):
            if one.tensor in reached:
                yield one

    def _bent(
        self, node: Node, effect: fx.Effect, fields: Mapping[str, str], bends: Mapping[str, str]
    ) -> Iterator[Handed]:
        """Curvatures of the inputs of a node."""
        out = node.outputs[0]
        if isinstance(effect, fx.Activation) and out in fields:
            yield from self._before_bend(node, effect, fields[out], bends.get(out))
        elif isinstance(effect, fx.Move) and bends:
            yield from movement.moved(self._walk, node, effect, bends)
        elif out in bends:
            yield from self._squared(node, effect, bends[out])

    def _squared(self, node: Node, effect: fx.Effect, bend: str) -> Iterator[Handed]:
        """Curvatures before what is no activation and no movement."""
        probe, shape = self._probe, self._value.shape(node.outputs[0])
        match effect:
            case fx.Identity(source):
                yield Handed(node.inputs[source], bend, shape)
            case fx.Quantise(source):
                name, quantised = node.inputs[source], (node.input(1), node.input(2))
                yield Handed(name, self._saturation(node.outputs[0], quantised, bend, self._value(name)), shape)
            case fx.Affine(scale, source):
                name = node.inputs[source]
                if scale is not None and name not in self._scaled:
                    bend = self._times(bend, np.square(np.asarray(scale(), np.float32)))
                yield Handed(name, bend, shape)
            case fx.Sum():
                bend = self._times(bend, np.square(np.asarray(effect.scale)))
                yield from (Handed(node.inputs[i], bend, shape) for i in effect.sources)
            case fx.Select():
                yield from pooling.selected(self._walk, node, effect, bend)
            case fx.Gate():
                yield self._before_product(node, effect, bend, shape)
            case fx.Reduce(kind="mean" | "sum" | "max"):
                if effect.kind == "mean":
                    whole = self._value.shape(node.inputs[effect.source])
                    bend = probe.add("Mul", [bend, probe.number(1.0 / math.prod(whole[a] for a in effect.axes))])
                yield from pooling.reduced(self._walk, node, effect, bend)
            case fx.Pool():
                yield from pooling.pooled(self._walk, node, effect, bend, squared=True)
            case fx.Blend(source=source):
                down = pooling.blended(probe, bend, len(shape), effect, back=True, turn=np.square)
                yield Handed(node.inputs[source], down)
            case fx.Normalise(kind="norm"):
                yield self._before_deviation(node, effect, bend, shape)
            case fx.Mix():
                yield from products.mixed(self._walk, node, effect, bend, live=False, squared=True)

    # Where curvatures arise.

    def _before_bend(self, node: Node, effect: fx.Activation, g: str, bend: str | None) -> Iterator[Handed]:
        """Curvature before an activation: that behind it, by the square of its share, and that of a rectifier."""
        out, name = node.outputs[0], node.inputs[effect.source]
        if out not in self._shares or not self._walk.useful(name):  # a step of a formula that only steers
            return
        found = self._by_share(out, bend, rectifier=effect.rectifier)
        if effect.rectifier:
            found = self._with_corner(found, g, self._value(name), name)
        if found is not None:
            yield Handed(name, found, self._value.shape(out))

    def _before_fused(self, part: Part, g: str, bend: str | None) -> str | None:
        """Curvature before the activation inside a fused operator."""
        if part.output not in self._shares:
            return bend
        effect = fused_activation(part, str(self._walk.program.model.path))
        rectifier = effect is not None and effect.rectifier
        found = self._by_share(part.output, bend, rectifier=rectifier)
        if not rectifier or not self._walk.useful(part.source):
            return found
        x = forward(self._probe, self._walk.program.shapes, part, self._value(part.source))
        return self._with_corner(found, g, x, part.output)

    def _by_share(self, out: str, bend: str | None, *, rectifier: bool = False) -> str | None:
        """A curvature times the square of an activation's share, which of a rectifier is 0 or 1."""
        if bend is None:
            return None
        share = self._shares[out]
        return self._probe.add("Mul", [bend, share if rectifier else self._probe.add("Mul", [share, share])])

    def _with_corner(self, bend: str | None, g: str, x: str, name: str) -> str | None:
        """Plus half the second derivative of a rectifier, g * max(2 s - |x|, 0) / (8 s^2) for its width s.

        Args:
            bend: What arrived; None for nothing.
            g: Field behind the rectifier.
            x: float32 tensor before it.
            name: That tensor in the model; of a fused operator its output.
        """
        made = channels_in(self._walk, name)
        if made == 1:  # a removal takes all of it: no corner is passed half
            return bend
        probe = self._probe
        s = self._width(x, name, min(1.0, WIDTH / math.sqrt(made)))
        near = probe.add("Relu", [probe.add("Sub", [probe.add("Add", [s, s]), probe.add("Abs", [x])])])
        eighth = probe.add("Div", [probe.number(0.125), probe.add("Mul", [s, s])])
        own = probe.add("Mul", [g, probe.add("Mul", [near, eighth])])
        return own if bend is None else probe.add("Add", [bend, own])

    def _width(self, x: str, name: str, part: float) -> str:
        """A part of the root mean square of each channel of a tensor."""
        probe, axis = self._probe, self._value.channel_axis(name)
        axes = [a for a in range(len(self._value.shape(name))) if a != axis]
        mean = probe.reduce("ReduceMean", probe.add("Mul", [x, x]), axes, keep=True)
        size = probe.add("Mul", [probe.add("Sqrt", [mean]), probe.number(part)])
        return probe.add("Max", [size, probe.number(SMALL)])

    # Factors and divisors.

    def _before_product(self, node: Node, effect: fx.Gate, bend: str, shape: tuple[int, ...]) -> Handed:
        """Curvature of what is scaled; of a product of the same elements, by its share."""
        out = node.outputs[0]
        if out in self._made_of:
            return Handed(self._made_of[out], self._by_share(out, bend) or bend, shape)
        factor = self._value(node.inputs[effect.gate])
        square = self._probe.add("Mul", [factor, factor])
        found = self._probe.add("Div" if effect.reciprocal else "Mul", [bend, square])
        return Handed(node.inputs[effect.value], found, shape)

    def _before_deviation(self, node: Node, effect: fx.Normalise, bend: str, shape: tuple[int, ...]) -> Handed:
        """Curvature of a norm's input: by the square of the weight over the deviation."""
        probe, found = self._probe, self._statistics[node.outputs[0]]
        if effect.scale is not None:
            bend = self._times(bend, np.square(np.asarray(effect.scale())))
        bend = bend if found.view == shape else probe.reshape(bend, found.view)
        bend = probe.add("Div", [bend, probe.add("Mul", [found.deviation, found.deviation])])
        return Handed(node.inputs[effect.source], bend if found.view == shape else probe.reshape(bend, shape), shape)


__all__ = ["CURVATURE", "WIDTH", "Curved"]
