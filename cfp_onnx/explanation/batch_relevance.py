"""Scores and the relevance of every kernel of several clips, in one forward pass for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import CfpError, RunError, TargetError
from cfp_onnx.explanation import classes as class_rules
from cfp_onnx.explanation.assemble import largest_difference
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.heads import head_of
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.options import resolved
from cfp_onnx.explanation.seed_graph import SeedGraph, can_be_made, seed_graph
from cfp_onnx.graph.features import Feature
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.rules import DEFAULT, rule_named
from cfp_onnx.runtime.probe import SEED, Probe, Values
from cfp_onnx.values import Array

SAME = 1e-4
"""Largest difference, as a share of a layer's largest relevance, of one clip alone and in a batch."""

SEED_SINCE = 9
"""First operator set in which the graph can make a field by itself."""


@dataclass(frozen=True)
class ClipRelevance:
    """What one pass found of one clip at one output.

    Attributes:
        scores: (classes,) float64, as the model gives them.
        predicted: The class with the highest score.
        explained: The class that was explained.
        margin: The logit of the explained class less those that it was set against.
        relevance: Layer index to (kernels,) float32.
        activation: Layer index to the mean over all positions of what each kernel gives, (kernels,) float32; empty
            where it was not asked for.
    """

    scores: Array
    predicted: int
    explained: int
    margin: float
    relevance: Mapping[int, Array]
    activation: Mapping[int, Array]


@dataclass(frozen=True)
class _Head:
    """One output in the graph of all of them.

    Attributes:
        network: The network, seen from it.
        classes: How its classes lie in its target.
        seed: What makes its field; None where the field is fed.
        fed: Name of the graph input for that field.
        scored: float32 tensor that holds the scores.
        logits: float32 form of the target.
        relevance: Layer index to the tensor with the relevance, (kernels,); (items, kernels) of several.
        activation: The same with the mean activation.
        features: Layer index to where its kernels are judged.
    """

    network: Network
    classes: Classes
    seed: SeedGraph | None
    fed: str
    scored: str
    logits: str
    relevance: Mapping[int, str]
    activation: Mapping[int, str]
    features: Mapping[int, Feature]


class BatchRelevance:
    """The relevance of every kernel for the classes of many clips, by a field rule.

    One pass gives scores and relevance where the classes of each clip are one vector of logits: the class, and what it
    is set against, are then found inside the graph. Elsewhere (boxes, pixels, a class against another one) a plain pass
    comes first. Several clips go through together where the first axis of every input is a free batch, where no norm
    corrects relevance over all of them, and where the first two clips give in a batch what they give alone.

    Args:
        engine: The network on one clip.
        outputs: Outputs to explain; the engine's own by default.
        rule: Name of a field rule.
        class_step: ``contrast`` or ``contribution``; the rule's own by default.
        against: ``mean``, ``rivals``, ``best`` or a class; ``rivals`` by default.
        hold: What is held at its recorded value; what the rule holds by itself by default.
        order: 1 or 2.
        depth: Deepest level; None for all.
        activations: Whether mean activations are wanted too.
        batch: Most clips of one pass.

    Attributes:
        engine: The network on one clip.
        outputs: The outputs that are explained.

    Raises:
        UsageError: If the rule cannot do what is asked for.
        TargetError: If there is no such output, or no layer made it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        outputs: Sequence[str] = (),
        rule: str = DEFAULT,
        class_step: str | None = None,
        against: str | int | None = None,
        hold: Sequence[str] | None = None,
        order: int = 1,
        depth: int | None = None,
        activations: bool = True,
        batch: int = 1,
    ) -> None:
        self.engine = engine
        self._rule = rule_named(rule)
        self._step = self._rule.step(class_step)
        self._against = resolved(against, self._step)
        self._hold = self._rule.held(hold)
        self._order = self._rule.ordered(order)
        self._make = self._rule.field().of_order(self._order)
        self._depth, self._activations = depth, activations
        self._rule.field()
        engine.sessions.refuse_recurrent(self._rule, depth)
        self._networks = [_seen_from(engine.network, name) for name in outputs] or [engine.network]
        self.outputs = tuple(network.output for network in self._networks)
        self._single = self._built(engine, self._networks, 1)
        self._wide = self._widened(batch)
        self._checked = False

    @property
    def layers(self) -> tuple[tuple[int, ...], ...]:
        """For each output the indices of the layers with relevance, in execution order."""
        return tuple(tuple(sorted(head.relevance)) for head in self._single.heads)

    @property
    def depths(self) -> tuple[Mapping[int, int], ...]:
        """For each output the depth of every layer, by its index."""
        return tuple(network.depths for network in self._networks)

    @property
    def counts(self) -> tuple[int, ...]:
        """For each output how many classes it has."""
        return tuple(network.classes()[0] for network in self._networks)

    @property
    def batch(self) -> int:
        """How many clips go through together."""
        return 1 if self._wide is None else self._wide.items

    @property
    def one_pass(self) -> bool:
        """Whether no plain pass comes first."""
        return all(head.seed is not None for head in self._single.heads)

    def run(
        self, feeds: Sequence[Mapping[str, Array]], targets: Sequence[int | None], head: int = 0
    ) -> list[ClipRelevance]:
        """Explain one output; see `run_heads`."""
        wanted = [[t if k == head else None for k in range(len(self.outputs))] for t in targets]
        return [found[head] for found in self.run_heads(feeds, wanted)]

    def run_heads(
        self, feeds: Sequence[Mapping[str, Array]], targets: Sequence[Sequence[int | None]]
    ) -> list[tuple[ClipRelevance, ...]]:
        """Explain every output on some clips.

        Args:
            feeds: For each clip the arrays of all inputs, as one clip is fed.
            targets: For each clip the class of each output; None for the one with the highest score.

        Returns:
            For each clip what was found at each output.

        Raises:
            RunError: If the runtime fails on these clips.
            TargetError: If a class does not exist.
        """
        for wanted in targets:
            for head, target in zip(self._single.heads, wanted, strict=True):
                if target is not None and not 0 <= target < head.classes.count:
                    raise TargetError(
                        f"class {target} is out of range; output {head.network.output!r} has {head.classes.count} "
                        f"classes, 0 to {head.classes.count - 1}"
                    )
        found: list[tuple[ClipRelevance, ...]] = []
        start = 0
        while start < len(feeds):
            end = min(start + self.batch, len(feeds))
            if self._wide is None:
                found.append(self._alone(feeds[start], targets[start]))
            else:
                found += self._together(self._wide, feeds[start:end], targets[start:end])
            start = end
        return found

    def difference(self, feeds: Mapping[str, Array]) -> float:
        """Largest absolute difference of the outputs with and without what was added to the graph, on one clip."""
        names = [p.name for p in self.engine.file.outputs]
        probed = dict(zip(names, self._single.fetch(names, [feeds], [[None] * len(self.outputs)]), strict=True))
        return largest_difference(self.engine.plain(feeds), probed)

    # One clip.

    def _alone(self, feeds: Mapping[str, Array], targets: Sequence[int | None]) -> tuple[ClipRelevance, ...]:
        if self.one_pass:
            return self._single.run([feeds], [targets])[0]
        plain = self.engine.plain(feeds)
        seeds, rows = {}, []
        for head, target in zip(self._single.heads, targets, strict=True):
            value = plain[head.network.scored] if head.network.scored in plain else self._scored(head, feeds)
            seed, index, margin = self._fed(head, value, target)
            rows.append((index, margin))
            if head.seed is None:
                seeds[head.fed] = seed
        return self._single.run([feeds], [[index for index, _ in rows]], seeds, [m for _, m in rows])[0]

    def _scored(self, head: _Head, feeds: Mapping[str, Array]) -> Array:
        blank = {h.fed: np.zeros(h.classes.shape, np.float32) for h in self._single.heads if h.seed is None}
        return self._single.fetch([head.scored], [feeds], [[None] * len(self.outputs)], blank)[0]

    def _fed(self, head: _Head, value: Array, target: int | None) -> tuple[Array, int, float]:
        """The field of one class, the class, and the margin that it names."""
        network = head.network
        found = head.classes.told_apart(value)
        scores = found.peaks(value) if found.dense else found.scores(value)
        index = class_rules.strongest(scores, None, 1, found.among)[0].class_index if target is None else target
        if found.dense:
            found = found.at(found.strongest_place(value, index))
        scores = found.scores(value)
        others = None
        if self._against is not None and found.count > 1:
            rivals = class_rules.rivals(network.program, network.scored, network.target, found, scores, index)
            others = class_rules.others(
                found, scores, rivals, index, self._against, self.engine.file.labels, file=self.engine.file.path
            )
        weights = found.weights(index, self._step, others)
        return found.seed(index, self._step, others), index, float(np.sum(weights * scores))

    # Several clips.

    def _widened(self, most: int) -> _Built | None:
        """The graph for several clips; None where they cannot go through together."""
        model = self.engine.file
        free = all(p.shape and p.shape[0] is None for p in model.inputs)
        if most < 2 or not free or not self.one_pass or self._single.corrected or self._rule.name != DEFAULT:
            return None
        if self._order > 1 or self.engine.network.program.model.by_clip:
            return None
        shapes = {name: (most, *shape[1:]) for name, shape in self.engine.shapes.items()}
        try:
            wide = Engine(
                model, runtime.random_feeds(model, shapes), device=self.engine.device, output=self.engine.output,
                barriers=self.engine.barriers,
            )  # fmt: skip
            built = self._built(wide, [_seen_from(wide.network, name) for name in self.outputs], most)
        except CfpError:  # it does not run at this size: one clip at a time then
            return None
        return built if built.apart() else None

    def _together(
        self, wide: _Built, feeds: Sequence[Mapping[str, Array]], targets: Sequence[Sequence[int | None]]
    ) -> list[tuple[ClipRelevance, ...]]:
        filled = [*feeds, *[feeds[-1]] * (self.batch - len(feeds))]
        wanted = [*targets, *[targets[-1]] * (self.batch - len(targets))]
        found = wide.run(filled, wanted)[: len(feeds)]
        if not self._checked:
            alone = [self._alone(f, t) for f, t in zip(feeds[:2], targets[:2], strict=True)]
            pairs = [p for one, other in zip(alone, found, strict=False) for p in zip(one, other, strict=True)]
            if not all(_agree(one, other) for one, other in pairs):
                self._wide = None
                return [*alone, *(self._alone(f, t) for f, t in zip(feeds[2:], targets[2:], strict=True))]
            self._checked = len(feeds) > 1
        return found

    # The graph.

    def _built(self, engine: Engine, networks: Sequence[Network], items: int) -> _Built:
        probe = Probe(engine.network.model.opset)
        value = Values(engine.topology, probe)
        heads, corrected = [], False
        for number, network in enumerate(networks):
            classes = network.target_classes()
            inside = probe.opset >= SEED_SINCE and can_be_made(classes, self._against, items)
            made = None
            if inside:
                against = None if self._against is None else str(self._against)
                made = seed_graph(probe, value, network.target, classes, against=against, items=items, head=number)
            fed = f"{SEED}/{number}"
            walk = Walk(
                engine.topology, network.target, depths=network.depths, depth=self._depth,
                rule=lambda w: self._make(w, self._hold), probe=probe, value=value,
                seed=fed if made is None else made.seed, items=items > 1,
            )  # fmt: skip
            walk.run()
            corrected = corrected or walk.corrected
            activation = {}
            if self._activations:
                activation = {i: _means(probe, value, walk.features[i], items) for i in walk.relevance}
            heads.append(
                _Head(
                    network,
                    classes,
                    made,
                    fed,
                    value(network.scored),
                    value(network.target),
                    walk.relevance,
                    activation,
                    walk.features,
                )
            )
        return _Built(engine, probe, heads, items, corrected=corrected)


class _Built:
    """A session with the walks of every output, for a number of clips."""

    def __init__(self, engine: Engine, probe: Probe, heads: Sequence[_Head], items: int, *, corrected: bool) -> None:
        self.engine, self.heads, self.items, self.corrected = engine, heads, items, corrected
        self._probe = probe
        constant = engine.program.is_constant
        names = [n for head in heads for n in (*self._names(head),) if not constant(n)]
        inputs = {p.name for p in engine.network.model.inputs}
        probe.outputs = [n for n in dict.fromkeys(names) if n not in inputs]

    @cached_property
    def _session(self) -> Any:
        return self.engine.graph.with_probe(self._probe).session(self.engine.device)

    @staticmethod
    def _names(head: _Head) -> list[str]:
        made = [] if head.seed is None else [head.seed.explained, head.seed.predicted, head.seed.margin]
        return [head.scored, *made, *head.relevance.values(), *head.activation.values()]

    def apart(self) -> bool:
        """Whether the first axis of everything that is judged is the batch."""
        shapes = self.engine.program.shapes
        return all(
            feature.axis > 0 and shapes[feature.tensor][0] == self.items
            for head in self.heads
            for feature in head.features.values()
        )

    def fetch(
        self,
        names: Sequence[str],
        feeds: Sequence[Mapping[str, Array]],
        targets: Sequence[Sequence[int | None]],
        seeds: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """Tensors of one pass."""
        stacked = {k: np.concatenate([f[k] for f in feeds]) if len(feeds) > 1 else feeds[0][k] for k in feeds[0]}
        given = {head.fed: np.zeros(head.classes.shape, np.float32) for head in self.heads if head.seed is None} | dict(
            seeds or {}
        )
        asked = {
            head.seed.asked: np.array([-1 if t[k] is None else t[k] for t in targets], np.int64)
            for k, head in enumerate(self.heads)
            if head.seed is not None
        }
        wanted = list(dict.fromkeys(names))
        found = dict(zip(wanted, runtime.run(self._session, wanted, {**stacked, **given, **asked}), strict=True))
        return [found[name] for name in names]

    def run(
        self,
        feeds: Sequence[Mapping[str, Array]],
        targets: Sequence[Sequence[int | None]],
        seeds: Mapping[str, Array] | None = None,
        margins: Sequence[float] = (),
    ) -> list[tuple[ClipRelevance, ...]]:
        """What one pass finds of each clip at each output."""
        names = [self._names(head) for head in self.heads]
        flat = self.fetch([n for group in names for n in group], feeds, targets, seeds)
        values = dict(zip([n for group in names for n in group], flat, strict=True))
        self._refuse_infinite(values)
        return [
            tuple(self._of(head, k, item, values, targets, margins) for k, head in enumerate(self.heads))
            for item in range(len(feeds))
        ]

    def _refuse_infinite(self, values: Mapping[str, Array]) -> None:
        for head in self.heads:
            for name in (head.scored, *head.relevance.values()):
                if not np.isfinite(values[name]).all():
                    what = f"output {head.network.output!r}" if name == head.scored else "the relevance"
                    raise RunError(
                        f"{what} of {self.engine.file.path} holds NaN or infinity for this clip; "
                        "check the clip and its preprocessing"
                    )

    def _of(
        self,
        head: _Head,
        number: int,
        item: int,
        values: Mapping[str, Array],
        targets: Sequence[Sequence[int | None]],
        margins: Sequence[float],
    ) -> ClipRelevance:
        value = values[head.scored]
        own = value[item : item + 1] if self.items > 1 else value
        classes = head.classes if self.items == 1 else _of_one_item(head.classes)
        scores = np.asarray(classes.peaks(own) if classes.dense else classes.scores(own), np.float64)
        if head.seed is not None:
            predicted, explained = int(values[head.seed.predicted][item]), int(values[head.seed.explained][item])
            margin = float(values[head.seed.margin][item])
        else:
            among = classes.told_apart(own).among
            predicted = class_rules.strongest(scores, None, 1, among)[0].class_index
            explained, margin = int(targets[item][number] or 0), margins[number]
        return ClipRelevance(
            scores, predicted, explained, margin,
            {i: _row_of(values[n], item) for i, n in head.relevance.items()},
            {i: _row_of(values[n], item) for i, n in head.activation.items()},
        )  # fmt: skip


def _row_of(value: Array, item: int) -> Array:
    return np.asarray(value if value.ndim < 2 else value[item], np.float32)


def _of_one_item(classes: Classes) -> Classes:
    return replace(classes, shape=(1, *classes.shape[1:]))


def _means(probe: Probe, value: Values, feature: Feature, items: int) -> str:
    """Mean activation of each kernel, (kernels,); (items, kernels) of several."""
    kept = {0, feature.axis} if items > 1 else {feature.axis}
    axes = [a for a in range(len(value.shape(feature.tensor))) if a not in kept]
    return probe.reduce("ReduceMean", value(feature.tensor), axes, keep=False)


def _agree(one: ClipRelevance, other: ClipRelevance) -> bool:
    """Whether a clip alone and in a batch gave the same."""
    pairs = [(one.relevance[i], other.relevance[i]) for i in one.relevance]
    return one.explained == other.explained and all(
        float(np.abs(a - b).max(initial=0.0)) <= SAME * float(np.abs(a).max(initial=0.0)) for a, b in pairs
    )


def _seen_from(network: Network, output: str) -> Network:
    """The same network seen from another output."""
    if output == network.output:
        return network
    answer, _ = head_of(network.topology, network.file, output)
    return Network(
        network.file, network.program, network.axes, network.topology, answer.output, answer.scored, answer.tensor,
        network.topology.depths(answer.tensor), network.topology.coverage(answer.tensor),
    )  # fmt: skip


__all__ = ["BatchRelevance", "ClipRelevance"]
