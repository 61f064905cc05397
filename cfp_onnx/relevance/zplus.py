"""The rule `zplus` (LRP z+): what is handed down is relevance itself, position by position.

    R_x = X+ * ConvTranspose(R_y / (W+ conv X+), W+),  0/0 = 0

Nothing is negative, so nothing cancels, and the maps stay clean; the ranking of kernels is weaker than that of
`positional` (docs/method.md). Bach et al. 2015 (alpha = 1, beta = 0), Montavon et al. 2017 (z+).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
from onnx import helper

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.affine import affine_of
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.model import Node
from cfp_onnx.relevance import movement, pooling
from cfp_onnx.relevance.adjoint import forward, transposed
from cfp_onnx.relevance.field_walk import Field, Handed, Message, Walk, of_kind, total, unbroadcast
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.positional import TINY, Positional
from cfp_onnx.relevance.signs import Signs
from cfp_onnx.values import Array

WEIGHTS = ""
"""Above the classifier effective weights are handed down, as by `positional`."""

FEATURES = "features"
"""The same below the classifier, until relevance starts."""

RELEVANCE = "relevance"
"""From there on, relevance."""


class ZPlus:
    """Hands down effective weights to the features of the classifier, and relevance below them.

    Args:
        walk: The walk that it serves.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._probe = walk.probe
        self._value = walk.value
        self._linear = Positional(walk, hold=HOLDS, folding=False)
        self._signs = Signs(walk)
        self._scales: dict[int, Array] = {}

    def settle(self, tensor: str, arrived: Sequence[Field]) -> Field:
        """The sum of what arrived; effective weights turn into relevance where the places of features are known."""
        kinds = {f.kind for f in arrived}
        if WEIGHTS in kinds or FEATURES not in kinds:
            return Field(self._total(f.name for f in arrived), WEIGHTS if WEIGHTS in kinds else RELEVANCE)
        weights = [f.name for f in arrived if f.kind == FEATURES]
        relevance = [f.name for f in arrived if f.kind == RELEVANCE]
        if not relevance and not self._starts(tensor):
            return Field(self._total(weights), FEATURES)
        return Field(self._total([self._start(tensor, self._total(weights)), *relevance]), RELEVANCE)

    def judge(self, tensor: str, field: Field) -> str:  # noqa: ARG002 - the same at every tensor
        """What arrived is the relevance already."""
        return field.name

    def correction(self, feature: Feature) -> None:
        """Nothing: what is handed down is shared out."""

    def pass_layer(self, layer: KernelLayer, index: int, field: Field) -> Iterator[Handed]:
        """Each input takes its share of what the kernels' positive products add up to."""
        if self._walk.depth_of(layer) == 0:
            yield from of_kind(self._linear.pass_layer(layer, index, field), FEATURES)
            return
        part, shapes = layer.parts[index], self._walk.program.shapes
        pieces = self._pieces(layer, index)
        whole = self._total(forward(self._probe, shapes, p, x, biased=False) for p, x in pieces)
        s = self._shares(field.name, whole)
        if layer.index in self._walk.linked:
            self._walk.messages[layer.index, index] = tuple(Message(p, x, s) for p, x in pieces)
        if self._walk.useful(part.source):
            down = [self._probe.add("Mul", [x, transposed(self._probe, shapes, p, s)]) for p, x in pieces]
            yield Handed(part.source, self._total(down), kind=RELEVANCE)

    def hand_down(self, node: Node, effect: fx.Effect, incoming: Mapping[str, Field]) -> Iterator[Handed]:
        """Effective weights as `positional` does; relevance in shares that add up to what arrived."""
        if isinstance(self._walk.topology.effects[node.name], fx.Held):
            return iter(())
        kinds = {f.kind for f in incoming.values()}
        for kind in (WEIGHTS, FEATURES):
            if kind in kinds:
                return of_kind(self._linear.hand_down(node, effect, incoming), kind)
        return of_kind(self._handed(node, effect, {o: f.name for o, f in incoming.items()}), RELEVANCE)

    def _handed(self, node: Node, effect: fx.Effect, fields: Mapping[str, str]) -> Iterator[Handed]:
        relevance, shape = fields.get(node.outputs[0], ""), self._value.shape(node.outputs[0])
        if isinstance(effect, fx.Move):
            yield from movement.moved(self._walk, node, effect, fields)
            return
        if not relevance:  # only a further output is read, such as the places of a maximum: no channel comes from it
            return
        match effect:
            case (
                fx.Identity(source)
                | fx.Quantise(source)
                | fx.Activation(source=source)
                | fx.Affine(source=source)
                | fx.Normalise(source=source)
                | fx.Gate(value=source)
            ):
                yield Handed(node.inputs[source], relevance, shape)
            case fx.Sum():
                yield from self._added(node, effect, relevance, shape)
            case fx.Select():
                yield from pooling.selected(self._walk, node, effect, relevance)
            case fx.Reduce(kind="max"):
                yield from pooling.reduced(self._walk, node, effect, relevance)
            case fx.Reduce():
                yield from self._averaged(node.inputs[effect.source], effect.axes, relevance)
            case fx.Pool(kind="mean"):
                yield from self._mean_pooled(node, effect, relevance)
            case fx.Pool():
                yield from pooling.pooled(self._walk, node, effect, relevance)
            case fx.Blend():
                yield from self._blended(node, effect, relevance, len(shape))
            case fx.Mix():
                yield from self._mixed(node, effect.value, relevance, shape)
            case fx.Layer() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
                return  # the walk passes layers itself; the other two carry no channel
            case _:
                assert_never(effect)

    # Where relevance starts.

    def _starts(self, tensor: str) -> bool:
        """Whether relevance starts at a tensor: below the classifier, above all that is linear in the features.

        What joins features (Concat, Add) or rescales them is passed only where no places are left to compare.
        """
        node = self._walk.program.producers.get(tensor)
        effect = None if node is None else self._walk.topology.effects.get(node.name)
        match effect:
            case fx.Move(sources=(_,)) if node is not None and len(node.outputs) > 1:
                return True
            case fx.Identity() | fx.Quantise() | fx.Move(sources=(_,)) | fx.Reduce(kind="mean" | "sum"):
                return False
            case fx.Pool(kind="mean"):
                return False
            case fx.Move() | fx.Sum() | fx.Affine():
                return self._has_places(tensor)
            case (
                None | fx.Layer() | fx.Activation() | fx.Select() | fx.Gate() | fx.Pool() | fx.Blend() | fx.Reduce()
                | fx.Normalise() | fx.Mix() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier()
            ):  # fmt: skip
                return True
            case _:
                assert_never(effect)

    def _has_places(self, tensor: str) -> bool:
        """Whether a tensor holds more than one number per kernel."""
        axis, shape = self._value.channel_axis(tensor), self._value.shape(tensor)
        return axis is None or int(np.prod(shape)) > shape[axis]

    def _start(self, tensor: str, g: str) -> str:
        """Relevance of the features: what each place says for the class, shared out by its positive contributions.

        s[p] = sum over f of u_f f[p];  R[f, p] = max(s[p], 0) max(u_f f[p], 0) / sum over f of max(u_f f[p], 0)

        Where no place speaks for the class on balance, R[f, p] = max(u_f f[p], 0): what speaks for it at all.
        """
        probe = self._probe
        product = probe.add("Mul", [g, self._value(tensor)])
        positive = probe.add("Relu", [product])
        axis = self._value.channel_axis(tensor)
        if axis is None:
            return positive
        score = probe.add("Relu", [probe.reduce("ReduceSum", product, [axis], keep=True)])
        whole = probe.reduce("ReduceSum", positive, [axis], keep=True)
        top = probe.reduce("ReduceMax", score, range(len(self._value.shape(tensor))), keep=True)
        some = probe.add("Greater", [top, probe.number(0.0)])
        return probe.add("Mul", [positive, self._shares(probe.where(some, score, whole), whole)])

    # Layers.

    def _pieces(self, layer: KernelLayer, index: int) -> list[tuple[Part, str]]:
        """Weights and inputs whose products are not negative; of a signed input of the model both signs."""
        part = layer.parts[index]
        factors, x = self._factors(layer, index), self._value(part.source)
        positive = self._positive(part.source)
        pieces = [(_signed(part, factors, np.maximum), positive)]
        if self._signs.is_input(part.source):
            negative = self._probe.add("Sub", [x, self._positive(part.source)])
            pieces.append((_signed(part, factors, np.minimum), negative))
        return pieces

    def _factors(self, layer: KernelLayer, index: int) -> Array:
        """Factor per kernel of what follows a part, before its activation."""
        part = layer.parts[index]
        if part.activation is not None:
            return np.ones(part.kernels)
        if layer.index not in self._scales:
            self._scales[layer.index] = affine_of(self._walk.topology, layer, self._walk.target)[0]
        first = sum(p.kernels for p in layer.parts[:index])
        return self._scales[layer.index][first : first + part.kernels]

    # Shares.

    def _total(self, names: Iterator[str] | Sequence[str]) -> str:
        return total(self._probe, list(names))

    def _shares(self, relevance: str, whole: str) -> str:
        """Relevance over the total that it is divided among; 0 where the total is 0."""
        some = self._probe.add("Greater", [whole, self._probe.number(TINY)])
        if self._probe.opset < 9:  # there is no Where, and nothing may be multiplied by infinity
            share = self._probe.add("Div", [relevance, self._probe.where(some, whole, self._probe.number(1.0))])
            return self._probe.mask(some, share)
        return self._probe.add("Div", [relevance, self._probe.where(some, whole, self._probe.number(np.inf))])

    def _positive(self, name: str) -> str:
        value = self._value(name)
        return value if self._signs.nonnegative(name) else self._probe.add("Relu", [value])

    def _added(self, node: Node, effect: fx.Sum, relevance: str, shape: tuple[int, ...]) -> Iterator[Handed]:
        """Addends take relevance in proportion to what is positive of them."""
        names = [node.inputs[i] for i in effect.sources]
        if len(names) == 1:
            yield Handed(names[0], relevance, shape)
            return
        parts = []
        for name, sign in zip(names, effect.signs, strict=True):
            if sign > 0:
                parts.append(self._positive(name))
            else:
                parts.append(self._probe.add("Relu", [self._probe.add("Neg", [self._value(name)])]))
        s = self._shares(relevance, self._total(parts))
        for name, part in zip(names, parts, strict=True):
            if self._walk.useful(name):
                yield Handed(name, self._probe.add("Mul", [part, s]), shape)

    def _averaged(self, name: str, axes: tuple[int, ...], relevance: str) -> Iterator[Handed]:
        if not self._walk.useful(name):
            return
        kept = [1 if a in axes else n for a, n in enumerate(self._value.shape(name))]
        positive = self._positive(name)
        whole = self._probe.reduce("ReduceSum", positive, axes, keep=True)
        shares = self._shares(self._probe.reshape(relevance, kept), whole)
        yield Handed(name, self._probe.add("Mul", [positive, shares]))

    def _mean_pooled(self, node: Node, effect: fx.Pool, relevance: str) -> Iterator[Handed]:
        name = node.inputs[effect.source]
        if not self._walk.useful(name):
            return
        x, positive = self._value(name), self._positive(name)
        pooled = self._value(node.outputs[0])
        if positive != x or node.op != "AveragePool":
            pooled = self._probe.fresh("averagepool")
            attributes = {k: v for k, v in node.attributes.items() if v is not None and k != "channels_last"}
            self._probe.nodes.append(helper.make_node("AveragePool", [positive], [pooled], pooled, **attributes))
        spread = pooling.mean_pooled(self._walk, node, effect, self._shares(relevance, pooled))
        yield Handed(name, self._probe.add("Mul", [positive, spread]))

    def _blended(self, node: Node, effect: fx.Blend, relevance: str, rank: int) -> Iterator[Handed]:
        """Places that are blended take relevance in proportion to what they add with weights above 0."""
        name = node.inputs[effect.source]
        if not self._walk.useful(name):
            return
        positive = self._positive(name)
        whole = pooling.blended(self._probe, positive, rank, effect, back=False, turn=_above_zero)
        shares = self._shares(relevance, whole)
        down = pooling.blended(self._probe, shares, rank, effect, back=True, turn=_above_zero)
        yield Handed(name, self._probe.add("Mul", [positive, down]))

    def _mixed(self, node: Node, value: int, relevance: str, shape: tuple[int, ...]) -> Iterator[Handed]:
        """The values of an attention take relevance in proportion to what they contribute."""
        name, other = node.inputs[value], node.inputs[1 - value]
        if not self._walk.useful(name):
            return
        probe = self._probe
        carried, weights = self._positive(name), self._positive(other)
        pair = [carried, weights] if value == 0 else [weights, carried]
        s = self._shares(relevance, probe.add("MatMul", pair))
        rank = len(self._value.shape(other))
        turned = probe.add("Transpose", [weights], perm=[*range(rank - 2), rank - 1, rank - 2])
        down = probe.add("MatMul", [s, turned] if value == 0 else [turned, s])
        narrow = self._value.shape(name)
        wide = (*np.broadcast_shapes(shape[:-2], self._value.shape(other)[:-2]), *narrow[-2:])
        if wide != narrow:
            down = unbroadcast(probe, down, wide, narrow)
        yield Handed(name, probe.add("Mul", [carried, down]))


def _above_zero(matrix: Array) -> Array:
    return np.maximum(matrix, 0)


def _signed(part: Part, scale: Array, keep: Callable[[Array, Any], Array]) -> Part:
    """The part with the weights of one sign only, the factors behind it folded in."""

    def weights() -> Array:
        w = part.weights()
        if (scale != 1.0).any():
            w = w * scale.astype(np.float32).reshape(-1, *(1,) * (w.ndim - 1))
        return np.asarray(keep(w, np.float32(0.0)))

    return replace(part, weights=weights, plain_weight=False)


__all__ = ["ZPlus"]
