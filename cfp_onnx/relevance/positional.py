"""The rules `positional` and `active`: every tensor gets an effective weight towards the target (docs/method.md).

A tensor t on the walked paths gets a *field* g of its own shape; the relevance of channel c is the sum over positions
of g[c, p] * t[c, p]. A field is handed down by the transposed operator with the layer's own weights and the recorded
activations. `active` also pools each activated map before it hands down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np
from onnx import TensorProto

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.graph.states import State
from cfp_onnx.graph.written_norms import written_norm
from cfp_onnx.model import Node
from cfp_onnx.relevance import movement, norms, pooling, products, recurrent, slopes
from cfp_onnx.relevance.adjoint import forward, transposed
from cfp_onnx.relevance.exact_channels import ExactChannels
from cfp_onnx.relevance.exact_norms import SUMS, ExactNorms
from cfp_onnx.relevance.exact_vectors import ExactVectors, passed_node
from cfp_onnx.relevance.field_walk import Field, Handed, Message, Walk, of_kind, total
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.shares import Shares, fused_parameters
from cfp_onnx.values import Array

TINY = 1e-12
SMOOTH = 1e-4
HALF = 0.5 + 1e-3
"""How far beyond an end of the integers a number may lie that is rounded to it; a little more, for float32."""

POOL_FLOOR = 1e-6
"""Mean activation below which a pooled map hands nothing down (method, rule `active`)."""


class Positional:
    """Hands down effective weights.

    Args:
        walk: The walk that it serves.
        pooled: Whether activated maps are pooled first (rule `active`).
        hold: What keeps its recorded value: ``norms`` (the deviation), ``attention`` (its weights), ``gates``, and
            for the places of a class ``means`` (those that norms take off).
        sums: How many sums of a trunk may lie between a kernel and a live norm that is taken exactly; None for the
            slope of every norm.
        whole: Whether smooth activations count by f(x) / x; otherwise by what one channel's part of x makes of it.
        folding: Whether the scale of an affine map behind a convolution goes into the transposed weights.
    """

    def __init__(
        self,
        walk: Walk,
        *,
        pooled: bool = False,
        hold: Collection[str] = (),
        folding: bool = True,
        sums: int | None = SUMS,
        whole: bool = True,
    ) -> None:
        self._walk = walk
        self._hold = frozenset(hold)
        self._probe = walk.probe
        self._value = walk.value
        self._pooled = pooled
        self._folding = folding
        self._scaled: dict[str, Array] = {}
        self._parts = None if whole else Shares(walk)
        self._shares: dict[str, str] = {}
        self._made_of: dict[str, str] = {}
        self._bends: dict[str, str] = {}
        self._vectors = None if whole else ExactVectors(walk)
        self._channels = None if whole else ExactChannels(walk)
        self._statistics: dict[str, norms.Statistics] = {}
        self._exact = None if sums is None or self._hold & {"norms", "means"} else ExactNorms(walk, sums)

    def settle(self, tensor: str, arrived: Sequence[Field]) -> Field:  # noqa: ARG002 - the same at every tensor
        """The sum of what all readers handed down."""
        return Field(total(self._probe, [f.name for f in arrived]), arrived[0].kind)

    def judge(self, tensor: str, field: Field) -> str:
        """Effective weight times value, element by element."""
        return self._probe.add("Mul", [field.name, self._value(tensor)])

    def correction(self, feature: Feature) -> str | None:
        """What the slopes of norms leave out, where nothing of a norm is held, and those of some activations."""
        found = [
            None if self._exact is None else self._exact.correction(feature),
            None if self._vectors is None else self._vectors.correction(feature, self._bends),
            None if self._channels is None else self._channels.correction(feature),
        ]
        names = [name for name in found if name is not None]
        return total(self._probe, names) if names else None

    def pass_layer(self, layer: KernelLayer, index: int, field: Field) -> Iterator[Handed]:
        """The transposed operator with the layer's own weights."""
        part, g, shapes = layer.parts[index], field.name, self._walk.program.shapes
        if part.kind == RECURRENT:  # the walk goes on inside
            yield Handed(part.node.inputs[0], g, kind=field.kind)
            return
        if part.activation is not None:
            g = self._fused(part, g)
        quantised = self._walk.topology.states.get(part.output, State()).quantised
        if quantised is not None:
            g = self._saturation(part.output, quantised, g, self._before_rounding(part))
        scale = self._scaled.get(part.output)
        if layer.index in self._walk.linked:
            message = g if scale is None else self._times(g, scale)
            self._walk.link(layer, index, Message(part, self._value(part.source), message))
        if self._walk.useful(part.source):
            yield Handed(part.source, transposed(self._probe, shapes, part, g, scale), kind=field.kind)

    def hand_down(self, node: Node, effect: fx.Effect, incoming: Mapping[str, Field]) -> Iterator[Handed]:
        """Transposed operators; what is held keeps its recorded value."""
        kind = next(iter(incoming.values())).kind
        return of_kind(self._handed(node, effect, {o: f.name for o, f in incoming.items()}), kind)

    def _handed(self, node: Node, effect: fx.Effect, fields: Mapping[str, str]) -> Iterator[Handed]:
        g, shape = fields.get(node.outputs[0], ""), self._value.shape(node.outputs[0])
        if isinstance(effect, fx.Move):
            yield from movement.moved(self._walk, node, effect, fields)
            return
        if not g:  # only a further output is read, such as the places of a maximum: no channel comes from it
            return
        match effect:
            case fx.Identity(source):
                yield Handed(node.inputs[source], g, shape)
            case fx.Quantise(source):
                if self._walk.useful(node.inputs[source]):
                    name, quantised = node.inputs[source], (node.input(1), node.input(2))
                    yield Handed(name, self._saturation(node.outputs[0], quantised, g, self._value(name)), shape)
            case fx.Activation():
                yield from self._before_activation(node, effect, g, shape)
            case fx.Affine(scale, source):
                if self._walk.useful(node.inputs[source]):
                    factors = None if scale is None else np.asarray(scale(), np.float32)
                    yield self._before_affine(node.inputs[source], g, factors, shape)
            case fx.Sum():
                yield from self._to_addends(node, effect, g, shape)
            case fx.Select():
                yield from pooling.selected(self._walk, node, effect, g)
            case fx.Gate():
                yield from self._through_gate(node, effect, g)
            case fx.Reduce(kind="mean" | "sum" | "max"):
                yield from pooling.reduced(self._walk, node, effect, g)
            case fx.Reduce():
                if self._walk.useful(node.inputs[effect.source]):
                    yield Handed(node.inputs[effect.source], norms.statistic_field(self._value, node, effect, g))
            case fx.Pool():
                yield from pooling.pooled(self._walk, node, effect, g)
            case fx.Blend(source=source):
                if self._walk.useful(node.inputs[source]):
                    down = pooling.blended(self._probe, g, len(shape), effect, back=True)
                    yield Handed(node.inputs[source], down)
            case fx.Normalise():
                yield from self._before_norm(node, effect, g, shape)
            case fx.Mix():
                yield from products.mixed(self._walk, node, effect, g, live="attention" not in self._hold)
            case fx.Product():
                yield from products.multiplied(self._walk, node, effect, g)
            case fx.Linear():
                yield from recurrent.before_linear(self._walk, node, effect, g, shape)
            case fx.Layer() | fx.Held() | fx.Barrier():
                return  # the walk passes layers itself; the other two pass nothing
            case _:
                assert_never(effect)

    # Affine maps, sums and rounding.

    def _before_affine(self, name: str, g: str, scale: Array | None, shape: tuple[int, ...]) -> Handed:
        """Field before an affine map; the scale of one behind a convolution goes into its transposed weights."""
        if scale is None:
            return Handed(name, g, shape)
        if not self._folds(name, scale, shape):
            return Handed(name, self._times(g, scale), shape)
        self._scaled[name] = scale
        return Handed(name, g, shape)

    def _folds(self, name: str, scale: Array, shape: tuple[int, ...]) -> bool:
        """Whether only this map reads a convolution's output, which is judged nowhere else, one factor per kernel."""
        walk = self._walk
        layer, k = walk.made_by(name) or (None, 0)
        if not self._folding or layer is None or layer.parts[k].kind != "conv" or layer.parts[k].activation is not None:
            return False
        per_kernel = scale.shape == tuple(n if a == 1 else 1 for a, n in enumerate(shape))
        alone = len(walk.program.consumers.get(name, [])) == 1 and not walk.judged(name) and name != walk.target
        return per_kernel and alone and walk.topology.states[name].quantised is None

    def _to_addends(self, node: Node, effect: fx.Sum, g: str, shape: tuple[int, ...]) -> Iterator[Handed]:
        rounded = self._walk.topology.states.get(node.outputs[0], State()).quantised
        if rounded is not None:  # a Relu behind the sum may have vanished into the integers' range
            g = self._saturation(node.outputs[0], rounded, g, self._added(node, effect))
        g = self._times(g, np.asarray(effect.scale))
        for index, sign in zip(effect.sources, effect.signs, strict=True):
            if self._walk.useful(node.inputs[index]) and not self._held_mean(node, effect, index):
                yield Handed(node.inputs[index], g if sign > 0 else self._probe.add("Neg", [g]), shape)

    def _held_mean(self, node: Node, effect: fx.Sum, index: int) -> bool:
        """Whether an addend is the mean that a norm takes off, and means are held."""
        steps = self._walk.topology.steps
        if "means" not in self._hold or len(effect.sources) != 2 or node.name in steps:
            return False
        place = effect.sources.index(index)
        name, other = node.inputs[index], node.inputs[effect.sources[1 - place]]
        topology = self._walk.topology
        own_channels = bool(topology.states.get(name, State()).tracks)
        if own_channels and effect.signs[place] > 0:  # a pooled shortcut
            return False
        return topology.is_mean(other, name)

    def _times(self, g: str, scale: Array) -> str:
        if scale.size == 1 and float(scale.reshape(-1)[0]) == 1.0:
            return g
        return self._probe.add("Mul", [g, self._probe.constant(scale.astype(np.float32), "scale")])

    def _before_rounding(self, part: Part) -> str:
        """What a layer on integers rounds, as float32."""
        name = f"{part.output}/real"
        if name not in self._shares:
            self._shares[name] = forward(self._probe, self._walk.program.shapes, part, self._value(part.source))
        return self._shares[name]

    def _added(self, node: Node, effect: fx.Sum) -> str:
        """What a sum on integers rounds, as float32."""
        names = [self._value(node.inputs[i]) for i in effect.sources]
        signed = zip(names, effect.signs, strict=True)
        return total(self._probe, [n if sign > 0 else self._probe.add("Neg", [n]) for n, sign in signed])

    def _saturation(self, tensor: str, quantised: tuple[str, str], g: str, real: str) -> str:
        """The field where a number was not cut off at an end of the integers; a class's score is never masked.

        What is rounded to an end of the range lies inside it. Where the integers begin at 0 a Relu may have vanished
        into them, so what is not above 0 is cut off.

        Args:
            tensor: The integers.
            quantised: Names of their scale and zero point.
            g: The field.
            real: What was rounded, as float32.
        """
        if self._walk.score(tensor):
            return g
        program, probe = self._walk.program, self._probe
        info = np.iinfo(program.dtypes.get(tensor, "uint8"))
        scale, zero = quantised
        point = program.constant_or_none(zero) if zero else np.zeros(1)
        steps = probe.add("Div", [real, probe.add("Cast", [scale], to=TensorProto.FLOAT)])
        shifted = probe.add("Add", [steps, probe.add("Cast", [zero], to=TensorProto.FLOAT)]) if zero else steps
        rectified = point is not None and point.size == 1 and int(point.reshape(-1)[0]) == info.min
        lowest = probe.number(float(info.min) - (0.0 if rectified else HALF))
        inside = probe.add(
            "And",
            [
                probe.add("Greater", [shifted, lowest]),
                probe.add("Less", [shifted, probe.number(float(info.max) + HALF)]),
            ],
        )
        if self._pooled and rectified:
            g = self._pool_field(g, self._value(tensor), tensor)
        return probe.mask(inside, g)

    # Activations.

    def _before_activation(self, node: Node, effect: fx.Activation, g: str, shape: tuple[int, ...]) -> Iterator[Handed]:
        name = node.inputs[effect.source]
        if not self._walk.useful(name):
            return
        if effect.arithmetic and node.outputs[0] not in self._walk.topology.carrying:
            yield Handed(name, slopes.steered(self._value, node, effect, g), shape)
            return
        x = "" if effect.rectifier else self._value(name)
        if x and effect.bias is not None:
            x = self._probe.add("Add", [x, self._value(node.inputs[effect.bias])])
        share = None if effect.rectifier or self._parts is None else self._parts.of_node(node, effect, x)
        field = self._activated(effect, g, x, node.outputs[0], share)
        self._note_passed(node, effect, g)
        yield Handed(name, field, shape)

    def _note_passed(self, node: Node, effect: fx.Activation, g: str) -> None:
        """Remember an activation, for what a removal takes exactly."""
        if self._vectors is None or self._channels is None:
            return
        found = passed_node(self._walk, node, effect, g, self._shares[node.outputs[0]])
        if found is not None:
            name = node.inputs[effect.source]
            self._vectors.note(name, found)
            if not effect.rectifier:
                self._channels.note(name, found)

    def _fused(self, part: Part, g: str) -> str:
        """Field before the activation inside a fused operator."""
        effect = fused_activation(part, str(self._walk.program.model.path))
        if effect is None:
            return g
        x, share = "", None
        if not effect.rectifier:
            x = forward(self._probe, self._walk.program.shapes, part, self._value(part.source))
            share = None if self._parts is None else self._parts.of_part(part, effect, x)
        field = self._activated(effect, g, x, part.output, share)
        if self._vectors is not None:
            self._vectors.note_part(part, g, self._shares[part.output])
        return field

    def _activated(self, effect: fx.Activation, g: str, x: str, name: str, share: str | None) -> str:
        """Field before an activation: g times its share; under `active` the map is pooled first."""
        y = self._value(name)
        if self._pooled and effect.nonnegative:
            g = self._pool_field(g, y, name)
        self._shares[name] = share or self._whole_share(effect, x, y)
        return self._probe.add("Mul", [g, self._shares[name]])

    def _whole_share(self, effect: fx.Activation, x: str, y: str) -> str:
        """(f(x) - f(0)) / x; of a rectifier 1 where it fires."""
        probe = self._probe
        if effect.rectifier:
            return probe.add("Cast", [probe.add("Greater", [y, probe.number(0.0)])], to=TensorProto.FLOAT)
        if effect.zero == 0.0 and probe.opset >= 11:  # before, Equal takes no float
            at_zero = probe.add("Equal", [x, probe.number(0.0)])
            return probe.where(at_zero, probe.number(effect.slope), probe.add("Div", [y, x]))
        near = SMOOTH if effect.zero != 0.0 else TINY
        size = probe.add("Abs", [x])
        far = probe.add("Greater", [size, probe.number(near)])
        safe = probe.where(far, x, probe.number(1.0))
        top = y if effect.zero == 0.0 else probe.add("Sub", [y, probe.number(effect.zero)])
        return probe.where(far, probe.add("Div", [top, safe]), probe.number(effect.slope))

    def _pool_field(self, g: str, y: str, name: str) -> str:
        """R_c / sum_p y[c, p] at every position; 0 where the mean of y is below `POOL_FLOOR`."""
        axis = self._value.channel_axis(name)
        if axis is None:
            return g
        probe, shape = self._probe, self._value.shape(name)
        axes = [a for a in range(len(shape)) if a != axis]
        relevance = probe.reduce("ReduceSum", probe.add("Mul", [g, y]), axes, keep=True)
        mass = probe.reduce("ReduceSum", y, axes, keep=True)
        positions = int(np.prod([shape[a] for a in axes], dtype=np.int64))
        alive = probe.add("Greater", [mass, probe.number(POOL_FLOOR * positions)])
        ratio = probe.add("Div", [relevance, probe.where(alive, mass, probe.number(1.0))])
        return probe.add("Expand", [probe.mask(alive, ratio), probe.constant(np.array(shape, np.int64))])

    # Norms, gates and attention.

    def _before_norm(self, node: Node, effect: fx.Normalise, g: str, shape: tuple[int, ...]) -> Iterator[Handed]:
        name = node.inputs[effect.source]
        if not self._walk.useful(name):
            return
        probe, x, y = self._probe, self._value(name), self._value(node.outputs[0])
        softmax = effect.kind in {"softmax", "logsoftmax"}
        if effect.kind == "hardmax":
            return
        if softmax and "attention" not in self._hold:
            yield Handed(name, norms.softmax_field(probe, effect, y, g), shape)
        elif effect.kind == "norm":
            yield Handed(name, self._normed(node, effect, g, shape), shape)
        elif effect.kind in {"l1", "l2"} and "norms" not in self._hold:
            yield Handed(name, norms.length_field(probe, effect, x, y, g), shape)
        elif effect.kind == "local" and "norms" not in self._hold:
            yield Handed(name, norms.local_field(probe, node, x, y, g, shape), shape)
        elif effect.kind == "softmax" and node.outputs[0] not in self._walk.topology.carrying:
            yield Handed(name, probe.add("Mul", [g, y]), shape)  # exp(x) over a sum that is held
        else:
            far = probe.add("Greater", [probe.add("Abs", [x]), probe.number(TINY)])
            ratio = probe.add("Div", [y, probe.where(far, x, probe.number(1.0))])
            yield Handed(name, probe.mask(far, probe.add("Mul", [g, ratio])), shape)

    def _normed(self, node: Node, effect: fx.Normalise, g: str, shape: tuple[int, ...]) -> str:
        """Field of the input of a norm over values of the clip."""
        probe, name = self._probe, node.inputs[effect.source]
        if effect.scale is not None:
            g = self._times(g, np.asarray(effect.scale()))
        found = self._statistics[node.outputs[0]] = norms.statistics(probe, node, effect, self._value(name), shape)
        g = g if found.view == shape else probe.reshape(g, found.view)
        centred = effect.centred and "means" not in self._hold
        if "norms" in self._hold:
            field = norms.held_field(probe, found, g, centred=centred)
        else:
            parts = norms.slope(probe, found, g, centred=centred)
            field = norms.live_field(probe, parts)
            if self._exact is not None:
                self._exact.note(name, lambda: parts)
        return field if found.view == shape else probe.reshape(field, shape)

    def _through_gate(self, node: Node, effect: fx.Gate, g: str) -> Iterator[Handed]:
        """A gate is live unless its role is held; what is made of the same elements is an activation."""
        value, gate = node.inputs[effect.value], node.inputs[effect.gate]
        if effect.own:
            live = value == gate and node.outputs[0] not in self._walk.topology.carrying  # a square that only steers
            found = None if live or self._parts is None else self._parts.of_product(node)
            if found is not None and self._walk.useful(found[0]):
                out = node.outputs[0]
                self._made_of[out], self._shares[out] = found
                if self._channels is not None:
                    self._channels.note_product(node, found[0], g, found[1])
                yield Handed(found[0], self._probe.add("Mul", [g, found[1]]), self._value.shape(out))
                return
        else:
            role = effect.role or self._walk.topology.role(value, gate)
            live = role not in self._hold
            if role == "norms" and self._exact is not None:
                self._note_written(self._exact, node, effect, g)
        yield from products.gated(self._walk, node, effect, g, live=live)

    def _note_written(self, exact: ExactNorms, node: Node, effect: fx.Gate, g: str) -> None:
        """Remember a norm that the file writes out, where this product is its last step."""
        found = written_norm(self._walk.topology, node, effect)
        if found is None:
            return
        probe, factor = self._probe, self._value(node.inputs[effect.gate])

        def slope() -> norms.Slope:
            deviation = factor if effect.reciprocal else probe.add("Reciprocal", [factor])
            normed = node.outputs[0]
            recorded = norms.Statistics(self._value.shape(normed), found.axes, self._value(normed), deviation)
            return norms.slope(probe, recorded, g, centred=found.centred)

        exact.note(found.source, slope)


def active(walk: Walk) -> Positional:
    """The rule `active`: `positional` with all held and every activated map pooled before it hands down."""
    return Positional(walk, pooled=True, hold=HOLDS)


def fused_activation(part: Part, file: str) -> fx.Activation | None:
    """The activation inside a fused operator, with its own parameters; None where there is none.

    Raises:
        ModelError: If its name is unknown.
    """
    name = (part.activation or "").lower()
    if name in {"", "identity"}:
        return None
    if name == "relu":
        return fx.Activation(nonnegative=True, slope=0.0, rectifier=True)
    given = fused_parameters(part)
    match name:
        case "clip":
            low, high = given if len(given) == 2 else (-np.inf, np.inf)
            return fx.Activation(low >= 0, zero=float(min(max(0.0, low), high)), slope=float(low < 0 < high))
        case "hardsigmoid":
            alpha, beta = given if len(given) == 2 else (0.2, 0.5)
            return fx.Activation(nonnegative=True, zero=min(max(beta, 0.0), 1.0), slope=alpha)
        case "sigmoid":
            return fx.Activation(nonnegative=True, zero=0.5, slope=0.25)
        case "leakyrelu" | "tanh":
            return fx.Activation(slope=1.0)
    raise ModelError(
        f"{file}: node {part.node.name!r} has the unknown fused activation {part.activation!r}; "
        "give the file from before it was optimised"
    )


__all__ = ["POOL_FLOOR", "SMOOTH", "TINY", "Positional", "active", "fused_activation"]
