"""The rule `zplus` (LRP z+) by the same walk: what is handed down is relevance itself, position by position.

    R_x = X+ * ConvTranspose(R_y / (W+ conv X+), W+),  0/0 = 0

Nothing is negative, so nothing cancels, and the maps stay clean; the ranking of kernels is weaker than that of
`positional` (docs/method.md). Bach et al. 2015 (alpha = 1, beta = 0), Montavon et al. 2017 (z+).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import helper

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.affine import affine_of
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.model import Node
from cfp_onnx.relevance.adjoint import forward, transposed
from cfp_onnx.relevance.field_walk import TINY, Message, Walk
from cfp_onnx.values import Array

ABSORBED = 0.3
"""Part of a kernel's mean total that is added to every total where relevance may be absorbed."""

_STEERED = (fx.Identity, fx.Move, fx.Affine, fx.Quantise)


class ZPlus(Walk):
    """The backward walk of `zplus`. Above the classifier a field is handed down, below it relevance.

    `absorbing` lets positive biases, and a part of each kernel's mean, keep their share of the relevance, as tubes want
    it: what a bias makes fire everywhere then says less about places.

    Attributes:
        volumes: Layer index to the tensor of its relevance, of the feature's shape.
    """

    def __init__(self, *arguments: Any, absorbing: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._absorbing = absorbing
        self.volumes: dict[int, str] = {}
        # Where a field is handed down instead: above the classifier, and from it to where relevance starts.
        self._linear = {self.target}
        self._features: set[str] = set()
        self._feature_fields: set[str] = set()
        self._regime: set[str] | None = None
        self._signs: dict[str, bool] = {}
        self._affines: dict[int, tuple[Array, Array]] = {}

    # ------------------------------------------------------------------------------------ the walk

    def _note(self, layer: KernelLayer, feature: Feature, g: str) -> None:
        axes = range(len(self.value.shape(feature.tensor)))
        self.volumes[layer.index] = g
        self.maps[layer.index] = self.probe.reduce("ReduceSum", g, [feature.axis], keep=False)
        self.relevance[layer.index] = self.probe.reduce(
            "ReduceSum", g, [a for a in axes if a != feature.axis], keep=False
        )

    def _give(self, tensor: str, g: str, shape: tuple[int, ...] | None = None) -> None:
        super()._give(tensor, g, shape)
        if self._regime is not None and tensor in self._pending:
            self._regime.add(tensor)
            if self._regime is self._features:
                self._feature_fields.add(self._pending[tensor][-1])

    def _layer(self, part: Part, g: str) -> None:
        layer, k = self._parts[part.node.name]
        depth = self.depths.get(layer.index, self.limit + 1)
        if depth == 0:
            self._classifier(layer, k, part, g)
            return
        if depth >= self.limit:
            return
        pieces = self._pieces(part)
        totals = [
            forward(self.probe, self.program.shapes, p, x, biased=self._absorbing and n == 0)
            for n, (p, x) in enumerate(pieces)
        ]
        total = self._total(totals)
        s = self._shares(g, self._with_floor(part, total) if self._absorbing else total)
        if layer.index in self._linked:
            self.messages[layer.index, k] = tuple(Message(p, x, s) for p, x in pieces)
        if part.source in self._useful:
            down = [self.probe.add("Mul", [x, transposed(self.probe, self.program.shapes, p, s)]) for p, x in pieces]
            self._give(part.source, self._total(down))

    def _classifier(self, layer: KernelLayer, k: int, part: Part, g: str) -> None:
        """The field at the features, by the class step; it turns into relevance where their places are known."""
        self._regime = self._features
        if part.activation is not None:
            g = self._fused(part, g)
        if layer.index in self._linked:
            self.messages[layer.index, k] = (Message(part, self.value(part.source), g),)
        if part.source in self._useful:
            self._give(part.source, transposed(self.probe, self.program.shapes, part, g))
        self._regime = None

    def _arrived(self, tensor: str) -> str:
        if tensor not in self._features:
            return super()._arrived(tensor)
        fields = [g for g in self._pending[tensor] if g in self._feature_fields]
        relevance = [g for g in self._pending[tensor] if g not in self._feature_fields]
        if not relevance and not self._starts(tensor):
            return self._total(fields)
        self._features.discard(tensor)
        return self._total([self._start(tensor, self._total(fields)), *relevance])

    def _starts(self, tensor: str) -> bool:
        """Whether relevance starts at a tensor: below the classifier, above all that is linear in the features.

        What joins features (Concat, Add) or rescales them is passed only where no places are left to compare.
        """
        node = self.program.producers.get(tensor)
        effect = None if node is None else self.topology.effects.get(node.name)
        match effect:
            case fx.Move(sources=(_,)) if node is not None and len(node.outputs) > 1:
                return True
            case fx.Identity() | fx.Quantise() | fx.Move(sources=(_,)) | fx.Reduce(kind="mean" | "sum"):
                return False
            case fx.Pool(kind="mean"):
                return False
            case fx.Move() | fx.Sum() | fx.Affine():
                return self._has_places(tensor)
            case _:
                return True

    def _has_places(self, tensor: str) -> bool:
        """Whether a tensor holds more than one number per kernel."""
        axis, shape = self.value.channel_axis(tensor), self.value.shape(tensor)
        return axis is None or int(np.prod(shape)) > shape[axis]

    def _start(self, tensor: str, g: str) -> str:
        """Relevance of the features: what each place says for the class, shared out by its positive contributions.

        s[p] = sum over f of u_f f[p];  R[f, p] = max(s[p], 0) max(u_f f[p], 0) / sum over f of max(u_f f[p], 0)

        Where no place speaks for the class on balance, R[f, p] = max(u_f f[p], 0): what speaks for it at all.
        """
        product = self.probe.add("Mul", [g, self.value(tensor)])
        positive = self.probe.add("Relu", [product])
        axis = self.value.channel_axis(tensor)
        if axis is None:
            return positive
        score = self.probe.add("Relu", [self.probe.reduce("ReduceSum", product, [axis], keep=True)])
        total = self.probe.reduce("ReduceSum", positive, [axis], keep=True)
        top = self.probe.reduce("ReduceMax", score, range(len(self.value.shape(tensor))), keep=True)
        some = self.probe.add("Greater", [top, self.probe.number(0.0)])
        return self.probe.add("Mul", [positive, self._shares(self.probe.where(some, score, total), total)])

    def _pieces(self, part: Part) -> list[tuple[Part, str]]:
        """Weights and inputs whose products are not negative; of a signed input of the model both signs."""
        affine, x = self._affine(part), self.value(part.source)
        pieces = [(_signed(part, *affine, np.maximum), self._positive(part.source, x))]
        if self._is_input(part.source):
            negative = self.probe.add("Sub", [x, self._positive(part.source, x)])
            pieces.append((_signed(part, *affine, np.minimum), negative))
        return pieces

    def _affine(self, part: Part) -> tuple[Array, Array]:
        """Factor and offset per kernel of what follows the part, before its activation."""
        layer, k = self._parts[part.node.name]
        if part.activation is not None:
            return np.ones(part.kernels), np.zeros(part.kernels)
        if layer.index not in self._affines:
            self._affines[layer.index] = affine_of(self.topology, layer, self.target)
        first = sum(p.kernels for p in layer.parts[:k])
        scale, offset = (v[first : first + part.kernels] for v in self._affines[layer.index])
        return scale, offset

    def _total(self, names: list[str]) -> str:
        total = names[0]
        for name in names[1:]:
            total = self.probe.add("Add", [total, name])
        return total

    def _shares(self, relevance: str, total: str) -> str:
        """Relevance over the total that it is divided among; 0 where the total is 0."""
        some = self.probe.add("Greater", [total, self.probe.number(TINY)])
        return self.probe.add("Div", [relevance, self.probe.where(some, total, self.probe.number(np.inf))])

    def _with_floor(self, part: Part, total: str) -> str:
        """A kernel's totals and `ABSORBED` of their mean: where it fires weakly it keeps little (LRP-epsilon)."""
        axes = [a for a in range(len(self.value.shape(part.output))) if a != part.out_axis]
        mean = self.probe.reduce("ReduceMean", total, axes, keep=True)
        return self.probe.add("Add", [total, self.probe.add("Mul", [mean, self.probe.number(ABSORBED)])])

    def _positive(self, name: str, value: str) -> str:
        return value if self._nonnegative(name) else self.probe.add("Relu", [value])

    def _nonnegative(self, name: str) -> bool:
        """Whether a tensor is never below 0, by the operators that made it."""
        if name not in self._signs:
            self._signs[name] = self._seen_nonnegative(name)
        return self._signs[name]

    def _seen_nonnegative(self, name: str) -> bool:
        end = self._parts.get(self._ends.get(name, ""))
        if end is not None:
            return (end[0].parts[end[1]].activation or "").lower() in {"relu", "sigmoid", "hardsigmoid"}
        node = self.program.producers.get(name)
        effect = None if node is None else self.topology.effects.get(node.name)
        match effect:
            case fx.Activation(nonnegative=nonnegative):
                return nonnegative
            case fx.Move(sources):
                kept = node is not None and not self._fills_below_zero(node)
                return kept and node is not None and all(self._nonnegative(node.inputs[i]) for i in sources)
            case fx.Identity(source) | fx.Pool(source=source) | fx.Reduce(source=source):
                return node is not None and self._nonnegative(node.inputs[source])
            case fx.Sum(sources, signs):
                added = node is not None and all(s > 0 for s in signs) and len(sources) == len(node.inputs)
                return added and node is not None and all(self._nonnegative(node.inputs[i]) for i in sources)
            case _:
                return False

    def _fills_below_zero(self, node: Node) -> bool:
        """Whether a Pad writes a negative constant, or one that is not known."""
        if node.op != "Pad":
            return False
        if not node.input(2):
            return float(node.attributes.get("value") or 0.0) < 0
        value = self.program.constant_or_none(node.input(2))
        return value is None or bool((np.asarray(value, np.float64) < 0).any())

    def _is_input(self, name: str) -> bool:
        """Whether a tensor is an input of the model, moved and rescaled at most."""
        inputs = {p.name for p in self.program.model.inputs}
        while name not in inputs:
            node = self.program.producers.get(name)
            effect = None if node is None else self.topology.effects.get(node.name)
            if node is None or not isinstance(effect, _STEERED):
                return False
            name = node.inputs[effect.sources[0] if isinstance(effect, fx.Move) else effect.source]
        return True

    # ----------------------------------------------------------------------------------- operators

    def _hand_down(self, node: Node, effect: fx.Effect, fields: Mapping[str, str]) -> None:
        for regime in (self._linear, self._features):
            if any(o in regime for o in fields):
                self._regime = regime
                super()._hand_down(node, effect, fields)
                self._regime = None
                return
        relevance = fields.get(node.outputs[0], "")
        shape = self.value.shape(node.outputs[0])
        match effect:
            case fx.Gate(value) | fx.Normalise(source=value) if relevance:
                self._give(node.inputs[value], relevance, shape)
            case fx.Sum(sources, signs) if relevance:
                self._added(node, sources, signs, relevance, shape)
            case fx.Mix(value) if relevance:
                self._mixed_shares(node, value, relevance, shape)
            case fx.Reduce(kind, axes, source) if relevance and kind != "max":
                self._averaged(node.inputs[source], axes, relevance)
            case fx.Pool(kind="mean", source=source) if relevance:
                self._mean_shares(node, effect, node.inputs[source], relevance)
            case _:
                super()._hand_down(node, effect, fields)

    def _activated(self, effect: fx.Activation, g: str, x: str, y: str, name: str) -> str:
        return super()._activated(effect, g, x, y, name) if self._regime is not None else g

    def _saturation(self, tensor: str, quantised: tuple[str, str], g: str) -> str:
        return super()._saturation(tensor, quantised, g) if self._regime is not None else g

    def _scale_down(self, name: str, g: str, scale: Array | None, shape: tuple[int, ...]) -> None:
        if self._regime is not None:
            super()._scale_down(name, g, scale, shape)
            return
        self._give(name, g, shape)

    def _added(
        self, node: Node, sources: tuple[int, ...], signs: tuple[int, ...], relevance: str, shape: tuple[int, ...]
    ) -> None:
        """Addends take relevance in proportion to what is positive of them."""
        names = [node.inputs[i] for i in sources]
        if len(names) == 1:
            self._give(names[0], relevance, shape)
            return
        parts = []
        for name, sign in zip(names, signs, strict=True):
            value = self.value(name)
            if sign > 0:
                parts.append(self._positive(name, value))
            else:
                parts.append(self.probe.add("Relu", [self.probe.add("Neg", [value])]))
        s = self._shares(relevance, self._total(parts))
        for name, part in zip(names, parts, strict=True):
            if name in self._useful:
                self._give(name, self.probe.add("Mul", [part, s]), shape)

    def _averaged(self, name: str, axes: tuple[int, ...], relevance: str) -> None:
        if name not in self._useful:
            return
        kept = [1 if a in axes else n for a, n in enumerate(self.value.shape(name))]
        positive = self._positive(name, self.value(name))
        total = self.probe.reduce("ReduceSum", positive, axes, keep=True)
        self._give(name, self.probe.add("Mul", [positive, self._shares(self.probe.reshape(relevance, kept), total)]))

    def _mean_shares(self, node: Node, effect: fx.Pool, name: str, relevance: str) -> None:
        if name not in self._useful:
            return
        x, positive = self.value(name), self._positive(name, self.value(name))
        pooled = self.value(node.outputs[0])
        if positive != x or node.op != "AveragePool":
            pooled = self.probe.fresh("averagepool")
            attributes = {k: v for k, v in node.attributes.items() if v is not None and k != "channels_last"}
            self.probe.nodes.append(helper.make_node("AveragePool", [positive], [pooled], pooled, **attributes))
        spread = self._mean_pooled(node, effect, self._shares(relevance, pooled))
        self._give(name, self.probe.add("Mul", [positive, spread]))

    def _mixed_shares(self, node: Node, value: int, relevance: str, shape: tuple[int, ...]) -> None:
        name, other = node.inputs[value], node.inputs[1 - value]
        if name not in self._useful:
            return
        carried, weights = (self._positive(n, self.value(n)) for n in (name, other))
        pair = [carried, weights] if value == 0 else [weights, carried]
        s = self._shares(relevance, self.probe.add("MatMul", pair))
        rank = len(self.value.shape(other))
        turned = self.probe.add("Transpose", [weights], perm=[*range(rank - 2), rank - 1, rank - 2])
        down = self.probe.add("MatMul", [s, turned] if value == 0 else [turned, s])
        wide = self.value.shape(name)
        lead = np.broadcast_shapes(shape[:-2], self.value.shape(other)[:-2])
        full = (*lead, *wide[-2:])
        if full != wide:
            self._give(name, self.probe.add("Mul", [carried, self._unbroadcast(down, full, wide)]))
        else:
            self._give(name, self.probe.add("Mul", [carried, down]))


def _signed(part: Part, scale: Array, offset: Array, keep: Callable[[Array, Any], Array]) -> Part:
    """The part with the weights of one sign only and the positive part of its bias, an affine map folded in."""

    def weights() -> Array:
        w = part.weights()
        if (scale != 1.0).any():
            w = w * scale.astype(np.float32).reshape(-1, *(1,) * (w.ndim - 1))
        return np.asarray(keep(w, np.float32(0.0)))

    def bias() -> Array:
        return np.asarray(np.maximum(part.bias() * scale + offset, 0.0), np.float32)

    return replace(part, weights=weights, bias=bias, plain_weight=False)


__all__ = ["ZPlus"]
