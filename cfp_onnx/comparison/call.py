"""Two files of one network: do they compute the same, and if not, where do they part?

Numbers decide: what each layer reads and what it makes of it, on the same clips, kernel by kernel under the alignment.
Weights, windows and wires explain, and tell what these clips happen not to show.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.comparison.differences import weigh
from cfp_onnx.comparison.judge import TOLERANCE, Case, Judge, Seen, results, worse
from cfp_onnx.comparison.result import Comparison, Outputs, Parting
from cfp_onnx.errors import RunError, UsageError
from cfp_onnx.explanation.call import Engine, Wanted, deepest, pick_class
from cfp_onnx.explanation.inputs import Source, Taker, partners, read_both
from cfp_onnx.matching.agreement import Agreement, agreement, overlap, rows_of, spearman, tube_cosine
from cfp_onnx.matching.align import Alignment, Network, Pair, Place, align, network, places
from cfp_onnx.matching.wording import by_sizes
from cfp_onnx.model import Model, load
from cfp_onnx.pyramid.tube_collector import Collector, clip_size
from cfp_onnx.pyramid.tubes import Tube
from cfp_onnx.runtime.probe import SEED, Probe, Values
from cfp_onnx.values import Array, Progress

if TYPE_CHECKING:
    from cfp_onnx.clips.load import Clip, Preprocess


TAP_BUDGET = 2**30
"""Bytes of activations of both files that are held at a time."""


# -------------------------------------------------------------------------------------------- running


@dataclass
class _Side:
    """One of the two files, with what was made of it once."""

    model: Model
    engine: Engine
    network: Network
    taps: dict[tuple[str, ...], tuple[Any, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: Model, clip: Clip, device: runtime.Device, output: str | None, *, barriers: bool, keep: bool
    ) -> _Side:
        engine = Engine(model, clip.feeds, device=device, output=output, barriers=barriers, keep=keep)
        return cls(model, engine, network(engine.topology, engine.output, engine.target, engine.depths))

    @property
    def main(self) -> str:
        """The input that is the clip: the first with most axes."""
        shapes = self.engine.program.shapes
        return max((p.name for p in self.model.inputs), key=lambda name: len(shapes[name]))

    def bytes(self, place: Place) -> int:
        return 4 * int(np.prod(self.engine.program.shapes[place.tensor], dtype=np.int64))

    def fetch(self, tensors: Iterable[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors of one forward pass, as float32."""
        made = self.made(tensors, feeds)
        session, names = self.taps.get(made) or self._tap(made)
        if self.engine.keep:
            self.taps[made] = session, names
        wanted = list(dict.fromkeys(names.values()))
        found = dict(zip(wanted, runtime.run(session, wanted, feeds), strict=True))
        return self.named(tensors, names, found, feeds)

    def _tap(self, tensors: Iterable[str]) -> tuple[Any, dict[str, str]]:
        probe = Probe(self.engine.model.opset)
        value = Values(self.engine.topology, probe)
        names = {t: value(t) for t in tensors}
        return self._session(probe, names.values()), names

    def means(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        """Mean output of every kernel, by layer index."""
        probe = Probe(self.engine.model.opset)
        value = Values(self.engine.topology, probe)
        names = {}
        for unit in self.network.units:
            tensor, axis = unit.output.tensor, unit.output.axis
            others = [a for a in range(len(value.shape(tensor))) if a != axis]
            names[unit.index] = probe.reduce("ReduceMean", value(tensor), others, keep=False)
        wanted = list(dict.fromkeys(names.values()))
        found = dict(zip(wanted, runtime.run(self._session(probe, wanted), wanted, feeds), strict=True))
        return {i: np.asarray(found[n], np.float32).reshape(-1) for i, n in names.items()}

    def relevance(
        self, feeds: Mapping[str, Array], index: int, depth: int | None, tensors: Iterable[str], *, tubes: bool
    ) -> Looked:
        """Relevance of every kernel and of every place, and some tensors of the same pass."""
        engine = self.engine
        probe = engine.field_probe("positional", depth, Wanted(places=tubes, taps=self.made(tensors, feeds)))
        names = list(dict.fromkeys([*probe.relevance.values(), *probe.maps.values(), *probe.taps.values()]))
        fed = {**feeds, SEED: engine.seed(index, "contrast")}
        found = dict(zip(names, runtime.run(probe.session, names, fed), strict=True))
        scored = {i: np.asarray(found[n], np.float64).reshape(-1) for i, n in probe.relevance.items()}
        taken = self.named(tensors, probe.taps, found, feeds)
        collector = Collector.of(engine.topology, engine.depths, self.main, engine.axes[self.main]) if tubes else None
        if collector is None:
            return Looked(scored, {}, taken)
        for i, name in probe.maps.items():
            collector.add_relevance(engine.topology.layers[i], probe.features[i], found[name])
        maps = collector.finish().of("relevance", "layer")
        return Looked(scored, {t.layer: t for t in maps if t.layer is not None}, taken)

    def made(self, tensors: Iterable[str], feeds: Mapping[str, Array]) -> tuple[str, ...]:
        """Those tensors that a pass makes, once each: not what is fed, and no constants."""
        fixed = self.engine.program.is_constant
        return tuple(dict.fromkeys(t for t in tensors if t not in feeds and not fixed(t)))

    def named(
        self, tensors: Iterable[str], names: Mapping[str, str], found: Mapping[str, Array], feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Tensors by their own names, as float32, after a pass that returned some under other names."""
        constant = self.engine.program.constant
        return {
            t: np.asarray(found[names[t]] if t in names else feeds[t] if t in feeds else constant(t), np.float32)
            for t in tensors
        }

    def _session(self, probe: Probe, outputs: Iterable[str]) -> Any:
        probe.outputs = list(dict.fromkeys(outputs))
        return self.engine.graph.with_probe(probe, keep_outputs=False).session(self.engine.device)


@dataclass(frozen=True)
class Looked:
    """What one pass of one file returned.

    Attributes:
        relevance: (kernels,) by layer index.
        tubes: Where that relevance lies, by layer name.
        tensors: What was tapped, as float32.
    """

    relevance: Mapping[int, Array]
    tubes: Mapping[str, Tube]
    tensors: Mapping[str, Array]


def _chunks(a: _Side, b: _Side, pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Pairs whose tensors together stay within `TAP_BUDGET`."""
    chunks: list[list[Pair]] = [[]]
    held: set[tuple[str, str]] = set()
    size = 0
    for pair in pairs:
        here, there = places(pair.a, pair.b)
        read = {("a", p.tensor): a.bytes(p) for p in (here, pair.a.input)}
        read |= {("b", p.tensor): b.bytes(p) for p in (there, pair.b.input)}
        need = sum(n for t, n in read.items() if t not in held)
        if chunks[-1] and size + need > TAP_BUDGET:
            chunks.append([])
            held, size, need = set(), 0, sum(read.values())
        chunks[-1].append(pair)
        held.update(read)
        size += need
    return chunks


def _tapped(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """What the pairs read and make, of both files."""
    outputs = [places(p.a, p.b) for p in pairs]
    ours = [x.tensor for p, (here, _) in zip(pairs, outputs, strict=True) for x in (p.a.input, here)]
    theirs = [x.tensor for p, (_, there) in zip(pairs, outputs, strict=True) for x in (p.b.input, there)]
    return ours, theirs


def _look(pairs: Sequence[Pair], ours: Mapping[str, Array], theirs: Mapping[str, Array], seen: dict[int, Seen]) -> None:
    """Compare what pairs read and what they make of it on one clip."""
    for pair in pairs:
        here, there = places(pair.a, pair.b)
        output = _agree(ours, here, theirs, there, pair.kernels)
        read = _agree(ours, pair.a.input, theirs, pair.b.input, pair.channels)
        old = seen.get(pair.a.index)
        if old is None:
            seen[pair.a.index] = Seen(output, read)
        else:
            old.output, old.input = worse(old.output, output), worse(old.input, read)


def _agree(
    ours: Mapping[str, Array], here: Place, theirs: Mapping[str, Array], there: Place, order: Array
) -> Agreement:
    a, b = ours[here.tensor], theirs[there.tensor]
    if a.size == b.size:  # a file may keep items and positions on one axis
        batch = max(a.shape[0], b.shape[0])
    else:
        batch = min(a.shape[0] if here.axis else 1, b.shape[0] if there.axis else 1)
    one, two = rows_of(a, here.axis, batch), rows_of(b, there.axis, batch)
    if len(one) != len(order) or len(two) != len(order):  # numbered over something else: not comparable
        return Agreement(0.0, 1.0, 0.0, np.ones(len(order)), resized=True)
    return agreement(one, two if np.array_equal(order, np.arange(len(order))) else two[order])


def _weigh_relevance(
    pairs: Sequence[Pair], ours: Looked, theirs: Looked, seen: Mapping[int, Seen], size: tuple[int, int, int]
) -> None:
    """Compare relevance and tubes of all pairs on one clip."""
    for pair in pairs:
        mine, other = ours.relevance.get(pair.a.index), theirs.relevance.get(pair.b.index)
        if mine is None or other is None:
            continue
        other = other[pair.kernels]
        found = seen[pair.a.index]
        found.relevance = found.relevance or (mine, other)
        if (rank := spearman(mine, other)) is not None:
            found.ranks.append(rank)
        if (both := overlap(mine, other)) is not None:
            found.overlaps.append(both)
        tubes = ours.tubes.get(pair.a.name), theirs.tubes.get(pair.b.name)
        if tubes[0] is not None and tubes[1] is not None:
            found.tubes.append(tube_cosine(tubes[0], tubes[1], size))


# ---------------------------------------------------------------------------------------- public call


def compare(
    a: Model | str | os.PathLike[str],
    b: Model | str | os.PathLike[str],
    clips: Source | Sequence[Source],
    *,
    target: int | str | None = None,
    output: str | None = None,
    tolerance: float | None = None,
    theta: float = 0.6,
    depth: int | str = "all",
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    preprocess_b: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    tubes: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two files of one network on clips.

    Args:
        a: A model or its path.
        b: The other.
        clips: One clip or several (see `cfp_onnx.clips.load.load_clip`); arrays have the first model's layout.
        target: Class whose relevance is compared; the first model's top-1 class on the first clip by default.
        output: Output to compare; the first by default.
        tolerance: Largest difference, as part of the largest value, that counts as the same; by default it depends
            on the numbers that the files keep (`TOLERANCE`).
        theta: Threshold of chosen kernels.
        depth: Deepest level whose relevance and tubes are compared, or ``"all"``; outputs and weights are compared
            everywhere.
        layout: Axes of an input, where they are ambiguous.
        labels: Class names; the first model's metadata by default.
        preprocess: How footage becomes input; each model's metadata by default.
        preprocess_b: The same for the second model, where it differs.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        tubes: Whether tubes are compared.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if tolerance is not None and not 0.0 < tolerance < np.inf:
        raise UsageError(f"tolerance is {tolerance}, it must be above 0")
    if not 0.0 <= theta <= 1.0:
        raise UsageError(f"theta is {theta}, it must lie between 0 and 1")
    levels = deepest(depth)
    one, two = (m if isinstance(m, Model) else load(m) for m in (a, b))
    takers = Taker.of(one, preprocess), Taker.of(two, preprocess_b or preprocess)
    listed = _listed(clips)
    if not listed:
        raise UsageError("there is no clip to compare on; give at least one")
    run = _Run(
        (one, two), runtime.Device(device, threads), output, labels, levels, barriers=barriers, tubes=tubes,
        keep=len(listed) > 1,
    )  # fmt: skip
    for n, source in enumerate(listed):
        if progress is not None:
            progress("comparing", n, len(listed))
        run.clip(read_both(source, *takers, layout=layout), target)
    return run.finish(tolerance, theta)


def _listed(clips: Source | Sequence[Source]) -> list[Source]:
    if isinstance(clips, str | os.PathLike | np.ndarray | Mapping):
        return [clips]
    return list(clips)


class _Run:
    """Both files, and what the clips so far said."""

    def __init__(
        self, models: tuple[Model, Model], device: runtime.Device, output: str | None, labels: Sequence[str] | None,
        depth: int | None, *, barriers: bool, tubes: bool, keep: bool,
    ) -> None:  # fmt: skip
        self.models, self.device, self.output = models, device, output
        self.labels = labels if labels is not None else models[0].labels
        self.depth, self.barriers, self.tubes, self.keep = depth, barriers, tubes, keep
        self.index: int | None = None
        self.clips: list[dict[str, Any]] = []
        self.outputs: list[tuple[Array, Array]] = []
        self.seen: dict[int, Seen] = {}
        self.fed = True
        self._shapes: tuple[Any, ...] = ()
        self._sides: tuple[_Side, _Side] | None = None
        self._alignment: Alignment | None = None

    def sides(self, clips: tuple[Clip, Clip]) -> tuple[_Side, _Side]:
        """Engines for these clips; the old ones where the sizes are the same."""
        shapes = tuple(tuple(sorted((k, v.shape) for k, v in c.feeds.items())) for c in clips)
        if self._sides is None or shapes != self._shapes:
            a, b = (
                _Side.of(m, c, self.device, o, barriers=self.barriers, keep=self.keep)
                for m, c, o in zip(self.models, clips, (self.output, self._other_output()), strict=True)
            )
            _same_sizes(a, b)
            self._sides, self._shapes = (a, b), shapes
        return self._sides

    def _other_output(self) -> str | None:
        """The second file's output of the name asked for, or the one in its place."""
        ours, theirs = ([p.name for p in m.outputs] for m in self.models)
        if self.output is None or self.output in theirs or self.output not in ours:
            return self.output
        return theirs[min(ours.index(self.output), len(theirs) - 1)]

    def clip(self, clips: tuple[Clip, Clip], target: int | str | None) -> None:
        """Compare on one clip."""
        a, b = self.sides(clips)
        self.fed = self.fed and _fed_alike(a, b, clips)
        plain = a.engine.plain(clips[0].feeds), b.engine.plain(clips[1].feeds)
        if self.index is None:
            self.index = pick_class(a.engine, plain[0], target, self.labels)
        scores = a.engine.scores(plain[0][a.engine.output]), b.engine.scores(plain[1][b.engine.output])
        self.outputs.append(scores)
        pairs = self._aligned(a, b, clips).pairs
        first, *others = _chunks(a, b, pairs)
        tapped = _tapped(first)
        ours, theirs = (
            side.relevance(clip.feeds, self.index, self.depth, tensors, tubes=self.tubes)
            for side, clip, tensors in zip((a, b), clips, tapped, strict=True)
        )
        _look(first, ours.tensors, theirs.tensors, self.seen)
        for chunk in others:
            one, two = (s.fetch(t, c.feeds) for s, c, t in zip((a, b), clips, _tapped(chunk), strict=True))
            _look(chunk, one, two, self.seen)
        size = clip_size(a.engine.program.shapes[a.main], a.engine.axes[a.main])
        _weigh_relevance(pairs, ours, theirs, self.seen, size or (1, 1, 1))
        shape = list(clips[0].feeds[a.main].shape)
        self.clips.append({"file": clips[0].file, "sha256": clips[0].sha256, "shape": shape})

    def _aligned(self, a: _Side, b: _Side, clips: tuple[Clip, Clip]) -> Alignment:
        """Which layer is which; activations are looked at only where weights and names leave something open."""
        if self._alignment is None:
            found = align(a.network, b.network)
            if found.only_a or found.only_b or any(p.evidence == "position" for p in found.pairs):
                found = align(a.network, b.network, means=(a.means(clips[0].feeds), b.means(clips[1].feeds)))
            self._alignment = found
        return self._alignment

    def finish(self, tolerance: float | None, theta: float) -> Comparison:
        """The result."""
        if self._sides is None or self._alignment is None or self.index is None:
            raise RunError("nothing was compared")
        (a, b), alignment, index = self._sides, self._alignment, self.index
        judge = Judge.of(a.network, b.network, tolerance)
        limit = np.inf if judge.weights is None else judge.weights
        folded = [p for p in alignment.pairs if p.a.scale is not None and p.b.scale is not None]
        weighed = {p.a.index: weigh(p, limit) for p in folded}
        case = Case(a.network, b.network, alignment, self.seen, weighed, judge)
        outputs = _outputs(self.outputs, index)
        first = case.first() if self.fed else _OTHER_INPUT
        if first is None and outputs.difference > judge.outputs:
            first = _behind(a, b)
        names = self.labels or ()
        return Comparison(
            models=(_described(a, judge), _described(b, judge)), clips=tuple(self.clips),
            target={
                "output": a.engine.output, "index": index, "label": names[index] if index < len(names) else None,
                "depth": "all" if self.depth is None else self.depth,
            },
            tolerance={
                "outputs": judge.outputs, "weights": judge.weights, "given": tolerance is not None,
                "precision": judge.precision,
            },
            layers=results(case, theta), first=first, outputs=outputs,
            only_a=tuple(u.name for u in alignment.only_a), only_b=tuple(u.name for u in alignment.only_b),
            same=first is None, notes=_notes(a, b),
        )  # fmt: skip


_OTHER_INPUT = Parting(
    "input", None, None, (), None,
    "the two files' own preprocessing makes different inputs of the clip; give one with --preprocess",
)  # fmt: skip


def _behind(a: _Side, b: _Side) -> Parting:
    """Every layer agrees, the answers do not."""
    head = max(a.network.heads)
    one, two = (", ".join(s.network.behind) or "nothing" for s in (a, b))
    cause = "every layer agrees, but what follows the classifier does not"
    if one != two:
        cause = f"the classifier is followed by {one} in A and by {two} in B"
    return Parting("output", a.engine.topology.layers[head].name, None, (), None, cause)


def _described(side: _Side, judge: Judge) -> dict[str, Any]:
    precision = side.network.precision
    if precision == "float32" and judge.precision == "float16" and side.network.rounded:
        precision = "float16"
    file = side.model
    return {
        "file": str(file.path), "sha256": file.sha256, "producer": file.producer, "opset": file.opset,
        "precision": precision, "layers": len(side.network.units),
    }  # fmt: skip


def _notes(a: _Side, b: _Side) -> tuple[str, ...]:
    out = []
    for letter, side in (("A", a), ("B", b)):
        coverage = side.engine.coverage
        if not coverage.complete:
            out.append(f"{letter} could be followed in part only: {100 * coverage.channels:.1f} % of its channels")
        if others := len(side.model.outputs) - 1:
            out.append(f"{letter} has {others} more output{'s' * (others > 1)}, not compared")
    return tuple(out)


def _outputs(scores: Sequence[tuple[Array, Array]], index: int) -> Outputs:
    found = [agreement(x[None], y[None]) for x, y in scores]
    first = scores[0]
    return Outputs(
        cosine=min(f.cosine for f in found),
        difference=max(f.difference for f in found),
        max_abs=max(f.max_abs for f in found),
        same_top=all(int(x.argmax()) == int(y.argmax()) for x, y in scores),
        scores=(float(first[0][index]), float(first[1][index])),
    )


# ---------------------------------------------------------------------------------------------- inputs


def _fed_alike(a: _Side, b: _Side, clips: tuple[Clip, Clip]) -> bool:
    """Whether both get the same numbers."""
    for name, other in partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = (
            _channels_first(np.asarray(c.feeds[n], np.float32), s.engine.axes[n])
            for c, s, n in ((clips[0], a, name), (clips[1], b, other))
        )
        if one.shape != two.shape or agreement(one, two).difference > TOLERANCE["float32"]:
            return False
    return True


def _channels_first(value: Array, axis: int) -> Array:
    return rows_of(value, axis, 1) if value.ndim else value.reshape(1, 1)


def _same_sizes(a: _Side, b: _Side) -> None:
    """Refuses two models that do not take and answer the same.

    Raises:
        UsageError: If their inputs or their class counts differ.
    """
    for name, other in partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = _size_of(a, name), _size_of(b, other)
        if one != two:
            raise UsageError(
                f"{a.model.path} takes {name!r} with channels and sizes {by_sizes(one)}, {b.model.path} takes "
                f"{other!r} with {by_sizes(two)}; only networks with the same input can be compared"
            )
    ours, theirs = a.engine.classes()[0], b.engine.classes()[0]
    if ours != theirs:
        raise UsageError(
            f"{a.model.path} has {ours} classes and {b.model.path} has {theirs}; only networks with the same classes "
            "can be compared"
        )


def _size_of(side: _Side, name: str) -> tuple[int, ...]:
    """Channels, then the sizes of the other axes without the batch."""
    shape, axis = side.engine.program.shapes[name], side.engine.axes[name]
    return (*shape[axis : axis + 1], *(n for k, n in enumerate(shape) if k not in {0, axis}))


__all__ = ["compare"]
