"""Whether two files are the same, and where they differ first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cfp_onnx.comparison.differences import Names, above, explain_activation, explain_missing, explain_path
from cfp_onnx.comparison.values import ComparedLayer, Divergence
from cfp_onnx.comparison.weight_differences import (
    BIASES,
    WEIGHTS,
    WeightDifference,
    explain_maps,
    explain_order,
    explain_weights,
)
from cfp_onnx.matching.agreement import Agreement
from cfp_onnx.matching.pairs import Alignment, Pair
from cfp_onnx.matching.units import PRECISIONS, NetworkUnits, Unit
from cfp_onnx.matching.wording import NAMED, Finding, explain_window, few, some
from cfp_onnx.relevance import scores as rules
from cfp_onnx.values import Array

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "int8": 2e-2}
"""Largest difference of a layer's output, as part of its largest value, that counts as the same."""


RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
"""Layers of which only the weights of what they read are compared one by one."""


@dataclass
class Seen:
    """What all clips showed of one pair of layers.

    Attributes:
        output: How far the outputs agree, the worst of all clips.
        input: The same of the inputs.
        ranks: Rank correlation of the kernels' relevance on each clip that has one.
        overlaps: Overlap of the strongest kernels, likewise.
        tubes: Cosine of the tubes, likewise.
        relevance: (kernels,) of both files on the first clip that has one.
    """

    output: Agreement
    input: Agreement
    ranks: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    tubes: list[float] = field(default_factory=list)
    relevance: tuple[Array, Array] | None = None


def worse(old: Agreement, new: Agreement) -> Agreement:
    """The worse of two clips' agreements, kernel by kernel."""
    return Agreement(
        min(old.cosine, new.cosine), max(old.difference, new.difference), max(old.max_abs, new.max_abs),
        np.maximum(old.rows, new.rows), old.resized or new.resized,
    )  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """What decides whether two things are the same.

    Attributes:
        outputs: Largest difference of outputs.
        weights: Largest difference of weights; None where only outputs count.
        biases: Largest difference of biases.
        precision: The coarsest numbers that one of the files keeps.
        exact: Whether a batch norm's other epsilon counts by itself, as it does where no tolerance is given.
    """

    outputs: float
    weights: float | None
    biases: float | None
    precision: str
    exact: bool = False

    @classmethod
    def of(cls, a: NetworkUnits, b: NetworkUnits, tolerance: float | None) -> Judge:
        """Tolerances for two files: as asked for, else by the coarsest numbers that one of them keeps."""
        precision = min((a.precision, b.precision), key=PRECISIONS.index)
        if precision == "float32" and a.rounded != b.rounded:
            precision = "float16"
        outputs = TOLERANCE[precision] if tolerance is None else tolerance
        if precision != "float32":
            return cls(outputs, None, None, precision)
        return cls(outputs, tolerance or WEIGHTS, tolerance or BIASES, precision, tolerance is None)

    def agrees(self, value: Agreement) -> bool:
        """Whether two tensors are the same."""
        return value.difference <= self.outputs and not value.resized

    def findings(self, pair: Pair, weighed: WeightDifference | None) -> list[Finding]:
        """What differs in weights and biases by more than is allowed."""
        if weighed is None or self.weights is None or self.biases is None:
            return []
        return explain_weights(pair, weighed, limit_bias=self.biases, exact=self.exact)

    def between(self, pair: Pair) -> list[Finding]:
        """What differs by more than is allowed in factors and offsets that no layer above has for itself."""
        if self.weights is None or self.biases is None:
            return []
        return explain_maps(pair, self.weights, limit_bias=self.biases, exact=self.exact)


@dataclass(frozen=True)
class Case:
    """All that is known when the first difference is looked for.

    Attributes:
        a: The first file.
        b: The second.
        alignment: Which layer is which.
        seen: What the clips showed, by index of the first file's layer.
        weighed: How far weights agree, likewise.
        judge: What counts as the same.
    """

    a: NetworkUnits
    b: NetworkUnits
    alignment: Alignment
    seen: Mapping[int, Seen]
    weighed: Mapping[int, WeightDifference]
    judge: Judge

    @property
    def names(self) -> tuple[Names, Names]:
        """What layers are called."""
        a, b = ({u.index: u.name for u in n.units} for n in (self.a, self.b))
        return Names(a, self.a.count), Names(b, self.b.count)

    def first(self) -> Divergence | None:
        """The first difference, in the first file's order."""
        lone_a = {u.index: u for u in self.alignment.only_a}
        lone_b = {u.index: u for u in self.alignment.only_b}
        pairs = {p.a.index: p for p in self.alignment.pairs}
        for index in sorted([*pairs, *lone_a]):
            if index in lone_a:
                return Divergence("only_a", lone_a[index].name, None, (), None, "this layer is only in A")
            pair = pairs[index]
            if new := sorted(above(pair.b) & set(lone_b)):
                return _only_b(lone_b[new[0]], pair.a.name)
            if (found := self._at(pair)) is not None:
                return found
        return _only_b(next(iter(lone_b.values())), None) if lone_b else None

    def _at(self, pair: Pair) -> Divergence | None:
        seen = self.seen[pair.a.index]
        read, made = self.judge.agrees(seen.input), self.judge.agrees(seen.output)
        sources = [o for o in above(pair.a) if o in self.seen]
        if (not read or self.judge.between(pair)) and all(self.judge.agrees(self.seen[o].output) for o in sources):
            return self._between(pair, self._concerned(pair, seen.input, sources))
        if (read and not made) or self.judge.findings(pair, self.weighed.get(pair.a.index)):
            return self._here(pair, seen)
        return None

    def _concerned(self, pair: Pair, read: Agreement, sources: Sequence[int]) -> list[int]:
        """Layers above whose channels differ where this layer reads them."""
        bad = read.rows > self.judge.outputs
        if read.resized or not bad.any():
            return list(sources)
        found = {int(o) for x in pair.a.arrivals for o in np.unique(x.owner[bad])}
        return [o for o in sources if o in found] or list(sources)

    def _between(self, pair: Pair, sources: Sequence[int]) -> Divergence:
        pairs = {p.a.index: p for p in self.alignment.pairs}
        found = explain_missing(pair, self.alignment.owners, self.names)
        for index in [] if found else sources:
            if silent := explain_activation(pairs[index].a, pairs[index].b):
                return Divergence("layer", pairs[index].a.name, pairs[index].b.name, (), None, silent[0].text)
        found = found or self.judge.between(pair) or explain_path(pair, self.names)
        found = found or explain_window(pair.a.geometry, pair.b.geometry)
        if not found and (steering := self._unread(pair, sources)) is not None:
            order = explain_order(steering)
            return Divergence("layer", steering.a.name, steering.b.name, order.kernels, None, order.text)
        cause = "; ".join(f.text for f in found) or "what it reads differs, and nothing that can be seen explains it"
        if not sources:
            return Divergence("input", pair.a.name, pair.b.name, (), pair.a.name, cause)
        main = {int(o) for x in pair.a.arrivals if not x.shortcut for o in np.unique(x.owner)}
        last = pairs[max([o for o in sources if o in main] or sources)]
        return Divergence("between", last.a.name, last.b.name, (), pair.a.name, cause)

    def _unread(self, pair: Pair, sources: Sequence[int]) -> Pair | None:
        """A layer whose kernels have another order and which no layer reads, such as queries and keys."""
        pairs = {p.a.index: p for p in self.alignment.pairs}
        read = {o for p in self.alignment.pairs for o in p.a.incoming} | self.a.heads
        beside = {pairs[o].a.input.tensor for o in sources}
        found = (p for p in self.alignment.pairs if p.a.index < pair.a.index and p.a.index not in read)
        moved = (p for p in found if not np.array_equal(p.kernels, np.arange(p.a.kernels)))
        return next((p for p in moved if p.a.input.tensor in beside), None)

    def _here(self, pair: Pair, seen: Seen) -> Divergence:
        found = self.findings(pair)
        if not found:
            bad = np.flatnonzero(seen.output.rows > self.judge.outputs)
            drift = {"int8": "numbers are rounded to 8 bits", "float16": "numbers are rounded to 16 bits"}
            unseen = "nothing that can be seen in the file explains it"
            if pair.a.op in RECURRENT:
                unseen = "its recurrent weights, biases, states or activations are not compared one by one"
            why = drift.get(self.judge.precision, unseen)
            text = f"outputs differ in {some(bad, pair.a.kernels)} by up to {seen.output.difference:.2g}; {why}"
            found = [Finding(text, few(bad))]
        kernels = next((f.kernels for f in found if f.kernels), ())
        return Divergence("layer", pair.a.name, pair.b.name, kernels, None, "; ".join(f.text for f in found))

    def findings(self, pair: Pair) -> list[Finding]:
        """What differs in a layer itself."""
        weights = self.judge.findings(pair, self.weighed.get(pair.a.index))
        return [*weights, *explain_window(pair.a.geometry, pair.b.geometry), *explain_activation(pair.a, pair.b)]


def _only_b(unit: Unit, reader: str | None) -> Divergence:
    more = f"; {reader} reads it" if reader else ""
    return Divergence("only_b", unit.name, unit.name, (), reader, f"this layer is only in B{more}")


def results(case: Case, theta: float) -> tuple[ComparedLayer, ...]:
    """All pairs as they are reported; kernels are chosen by the threshold `theta`."""
    out = []
    for pair in case.alignment.pairs:
        seen, weighed = case.seen[pair.a.index], case.weighed.get(pair.a.index)
        bad = np.flatnonzero(seen.output.rows > case.judge.outputs)
        worst = bad[np.argsort(-seen.output.rows[bad], kind="stable")][:NAMED]
        texts = [f.text for f in case.findings(pair)]
        if seen.output.resized:
            texts.append("the outputs have different sizes; means over positions are compared")
        out.append(
            ComparedLayer(
                a=pair.a.name, b=pair.b.name, weight=(pair.a.weight, pair.b.weight), op=(pair.a.op, pair.b.op),
                evidence=pair.evidence,
                depth=(pair.a.depth, pair.b.depth), kernels=tuple(int(k) for k in pair.kernels),
                cosine=seen.output.cosine, difference=seen.output.difference, max_abs=seen.output.max_abs,
                input_difference=seen.input.difference,
                weight_difference=None if weighed is None else float(weighed.weights.max()),
                bias_difference=None if weighed is None else float(weighed.bias.max()),
                rank_correlation=_mean(seen.ranks), overlap=_mean(seen.overlaps), tube_cosine=_mean(seen.tubes),
                chosen=_chosen(seen.relevance, theta),
                relevance=((), ()) if seen.relevance is None else _both(seen.relevance),
                agrees=case.judge.agrees(seen.output) and not case.judge.findings(pair, weighed),
                worst=tuple(int(k) for k in worst), findings=tuple(texts),
            )
        )  # fmt: skip
    return tuple(out)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _both(pair: tuple[Array, Array]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(x) for x in pair[0]), tuple(float(x) for x in pair[1])


def _chosen(
    relevance: tuple[Array, Array] | None, theta: float
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernels chosen in both, only in the first, only in the second; the strongest first."""
    if relevance is None:
        return (), (), ()
    one, two = (rules.choose(r, theta=theta, top_k=None).tolist() for r in relevance)
    return (
        tuple(k for k in one if k in set(two)),
        tuple(k for k in one if k not in set(two)),
        tuple(k for k in two if k not in set(one)),
    )


__all__ = ["TOLERANCE", "Case", "Judge", "Seen", "results", "worse"]
