"""What is judged: rules, and the forms in which they can be asked, one row each."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.ablation import Feeds
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.pooled_run import read_statistics
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import shared_states
from cfp_onnx.relevance import pooled_walk
from cfp_onnx.relevance.rules import HOLDS, RULES, rule_named
from cfp_onnx.relevance.values import Settings

Array = NDArray[Any]
Layers = Sequence[tuple[KernelLayer, Feature]]


@dataclass(frozen=True)
class Variant:
    """A row of the tables.

    Attributes:
        name: As the tables have it.
        rule: ``random``, ``pooled`` (the mean of a kernel's own map), or a rule of the product.
        options: Keyword arguments of `Engine.relevance`; only those that differ from what it does by itself.
    """

    name: str
    rule: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def passes(self, engine: Engine) -> bool:
        """Whether its rule passes all layers of a network; recurrent ones not every rule does."""
        rule = RULES.get(self.rule)
        return rule is None or rule.recurrent or not any(layer.recurs for layer in engine.topology.layers)


VARIANTS: Final = (
    Variant("random", "random"),
    Variant("pooled activation", "pooled"),
    Variant("published", "published"),
    Variant("mean", "mean"),
    Variant("active", "active"),
    Variant("zplus", "zplus"),
    Variant("positional", "positional"),
    Variant("positional, hold all", "positional", {"hold": HOLDS}),
    Variant("positional, against best", "positional", {"against": "best"}),
    Variant("positional, against rivals", "positional", {"against": "rivals"}),
    Variant("positional, order 2", "positional", {"order": 2}),
    Variant("positional, order 2, hold all", "positional", {"order": 2, "hold": HOLDS}),
)
"""All that can be judged; `available` leaves out what `Engine.relevance` does not take."""

POOLED: Final = frozenset({"published", "mean"})


def available(variants: Sequence[Variant] = VARIANTS) -> tuple[Variant, ...]:
    """Those whose keyword arguments exist."""
    known = set(inspect.signature(Engine.relevance).parameters)
    return tuple(v for v in variants if set(v.options) <= known)


def named(names: Collection[str]) -> tuple[Variant, ...]:
    """The variants of these names, in their own order.

    Raises:
        ValueError: If there is no such variant.
    """
    found = {v.name: v for v in available()}
    if unknown := [name for name in names if name not in found]:
        raise ValueError(f"no rule {unknown[0]!r}; there are: {'; '.join(found)}")
    return tuple(v for v in found.values() if v.name in names)


@dataclass(frozen=True)
class Asked:
    """One clip of a network, and the class that is explained.

    Attributes:
        engine: The network.
        layers: The layers judged and where their kernels are.
        feeds: Arrays for all inputs.
        recorded: Values of the layers' features.
        index: The class.
        rng: For the random order.
    """

    engine: Engine
    layers: Layers
    feeds: Feeds
    recorded: Feeds
    index: int
    rng: np.random.Generator


def relevance(variant: Variant, asked: Asked) -> list[Array]:
    """Relevance of every layer's kernels by a variant; zeros, which say nothing, where its walk does not come."""
    found = _found(variant, asked)
    return [np.asarray(found.get(layer.index, np.zeros(layer.kernels))) for layer, _ in asked.layers]


def _found(variant: Variant, asked: Asked) -> Mapping[int, Array]:
    if variant.rule == "random":
        return {layer.index: asked.rng.random(layer.kernels) for layer, _ in asked.layers}
    if variant.rule == "pooled":
        return {layer.index: _own_mean(asked.recorded[f.tensor], f.axis) for layer, f in asked.layers}
    if variant.rule in POOLED:
        return _pooled_relevance(asked.engine, asked.feeds, asked.index, variant.rule)
    return asked.engine.relevance(asked.feeds, asked.index, rule=variant.rule, **variant.options)


def _own_mean(value: Array, axis: int) -> Array:
    return np.asarray(value.mean(axis=tuple(a for a in range(value.ndim) if a != axis), dtype=np.float64))


def _pooled_relevance(engine: Engine, feeds: Feeds, index: int, rule: str) -> Mapping[int, Array]:
    """Relevance of every kernel by a rule in NumPy, all kernels expanded."""
    settings = Settings(0.0, None, None, rule_named(rule).default_step, index)
    statistics, results = read_statistics(engine.sessions, feeds, rule_named(rule), None)
    if rule == "published":

        def means(layer: KernelLayer) -> Array:
            return np.concatenate([statistics.channel_means(p, results) for p in layer.parts])

        weights = engine.sessions.mean_weights
        return pooled_walk.published(engine.topology, engine.depths, means, settings, weights).relevance

    def taps(layer: KernelLayer) -> list[Array]:
        return [statistics.tap_means(p, results) for p in layer.parts]

    added = {t: results[o] for t, o in statistics.addends.items()}
    states = shared_states(engine.topology, added.get) if added else engine.topology.states
    return pooled_walk.mean_rule(engine.topology, engine.depths, taps, settings, states).relevance
