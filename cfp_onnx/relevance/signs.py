"""Which tensors are never below 0, by the operators that made them, and which are an input of the model."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.model import Node
from cfp_onnx.relevance.field_walk import Walk

_NONNEGATIVE = frozenset({"relu", "sigmoid", "hardsigmoid"})
"""Activations inside fused operators whose outputs are never below 0."""


class Signs:
    """What one network's operators say of the signs of its tensors; each tensor is looked at once."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._program = walk.program
        self._effects = walk.topology.effects
        self._inputs = {p.name for p in walk.program.model.inputs}
        self._known: dict[str, bool] = {}

    def nonnegative(self, name: str) -> bool:
        """Whether a tensor is never below 0."""
        if name not in self._known:
            self._known[name] = self._look(name)
        return self._known[name]

    def _look(self, name: str) -> bool:
        made = self._walk.made_by(name)
        if made is not None:
            layer, k = made
            return (layer.parts[k].activation or "").lower() in _NONNEGATIVE
        node = self._program.producers.get(name)
        effect = None if node is None else self._effects.get(node.name)
        if node is None or effect is None:
            return False
        match effect:
            case fx.Activation(nonnegative=nonnegative):
                return nonnegative
            case fx.Move(sources):
                return not self._fills_below_zero(node) and all(self.nonnegative(node.inputs[i]) for i in sources)
            case fx.Identity(source) | fx.Pool(source=source) | fx.Reduce(source=source):
                return self.nonnegative(node.inputs[source])
            case fx.Blend(axes=axes, source=source):
                weighted = all((effect.matrix(a) >= 0).all() for a in axes)
                return weighted and self.nonnegative(node.inputs[source])
            case fx.Sum(sources, signs):
                added = all(s > 0 for s in signs) and len(sources) == len(node.inputs)
                return added and all(self.nonnegative(node.inputs[i]) for i in sources)
            case (
                fx.Layer() | fx.Quantise() | fx.Affine() | fx.Select() | fx.Gate() | fx.Normalise() | fx.Mix()
                | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier()
            ):  # fmt: skip
                return False  # these may turn a sign, or nothing is known of it
            case _:
                assert_never(effect)

    def _fills_below_zero(self, node: Node) -> bool:
        """Whether a Pad writes a negative constant, or one that is not known."""
        if node.op != "Pad":
            return False
        if not node.input(2):
            return float(node.attributes.get("value") or 0.0) < 0
        value = self._program.constant_or_none(node.input(2))
        return value is None or bool((np.asarray(value, np.float64) < 0).any())

    def is_input(self, name: str) -> bool:
        """Whether a tensor is an input of the model, moved and rescaled at most."""
        while name not in self._inputs:
            node = self._program.producers.get(name)
            effect = None if node is None else self._effects.get(node.name)
            if node is None or not isinstance(effect, fx.Identity | fx.Move | fx.Affine | fx.Quantise):
                return False
            name = node.inputs[effect.sources[0] if isinstance(effect, fx.Move) else effect.source]
        return True


__all__ = ["Signs"]
