"""Is the relevance true? Rank agreement of every rule with the real ablation of single kernels.

``python -m benchmarks.truth`` sets the map of one kernel to zero, runs the rest of the network again and
notes how far the class margin (the class's logit less the mean of the others) falls, for every kernel of
every layer. Spearman's rho between a rule's relevance and that fall, tensor by tensor, is the rule's truth
(docs/method.md). "Frozen" holds the gates of squeeze-and-excitation blocks at their recorded values; "live"
recomputes them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.demo_model import DEMO, MEAN, STD
from benchmarks.motion.clips import FRAMES, SIZE, TEST_SEED, make_clip
from cfp_onnx import model, runtime
from cfp_onnx.errors import CfpError, RunError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.topology import shared_states
from cfp_onnx.relevance import pooled_walk
from cfp_onnx.relevance.rules import rule_named
from cfp_onnx.relevance.values import Settings

Array = NDArray[Any]
Feeds = Mapping[str, Array]
Figures = Callable[["Row"], Sequence[float]]

RULES: Final = ("random", "pooled", "published", "mean", "active", "positional")
NAMES: Final = {"pooled": "pooled activation only"}
PARTS: Final = ("near head", "middle", "deep")
CHUNK: Final = 16


# ------------------------------------------------------------------------------------------------- figures


def ranks(values: Array) -> NDArray[np.float64]:
    """Ranks from 0, ties take their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - counts + last - 1) / 2
    return mean[inverse.reshape(-1)]


def spearman(one: Array, other: Array) -> float:
    """Spearman's rank correlation; 0 where either says nothing because all its values are equal."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else 0.0


def best(values: Array, share: float) -> set[int]:
    """The largest values' indexes: the given share of them, at least one."""
    count = max(1, math.ceil(share * len(values) - 1e-9))
    return set(np.argsort(-np.asarray(values, np.float64), kind="stable")[:count].tolist())


@dataclass(frozen=True)
class Agreement:
    """How well one vector of relevance agrees with the truth.

    Attributes:
        rho: Spearman's rank correlation.
        overlap: Share of the true top 10 % that are in the rule's top 10 %.
        recall: Share of the true top 10 % that are in the rule's top 20 %.
    """

    rho: float
    overlap: float
    recall: float


def agreement(values: Array, truth: Array) -> Agreement:
    """Compare the relevance of a tensor's kernels, (kernels,), with their ablation."""
    top = best(truth, 0.1)
    found = (len(top & best(values, share)) / len(top) for share in (0.1, 0.2))
    return Agreement(spearman(values, truth), *found)


# ------------------------------------------------------------------------------------------------ ablation


def margins(target: Array, index: int, axis: int | None, count: int) -> NDArray[np.float64]:
    """Class logit less the mean of the others, (batch,); positions are averaged first."""
    value = np.asarray(target, np.float64)
    if axis is not None and axis > 0:
        value = np.moveaxis(value, axis, 1)
    logits = value.reshape(value.shape[0] if axis != 0 else 1, count, -1).mean(axis=2)
    others = (logits.sum(axis=1) - logits[:, index]) / max(1, count - 1)
    return np.asarray(logits[:, index] - others)


@dataclass(frozen=True)
class Suffix:
    """What runs after a tensor.

    Attributes:
        tensor: Where the network is cut.
        session: Session from the cut to the target.
        boundary: Other tensors it reads, held at their recorded values.
        batched: Whether several ablations may go through in one batch.
    """

    tensor: str
    session: Any
    boundary: tuple[str, ...]
    batched: bool

    def __call__(self, target: str, maps: Array, recorded: Feeds) -> Array:
        """Value of the target for the tensor's maps: (batch, ...), or (batch, 1, ...) where not batched."""
        held = {n: np.repeat(recorded[n], len(maps), axis=0) if self.batched else recorded[n] for n in self.boundary}
        if self.batched:
            return np.asarray(runtime.run(self.session, [target], {**held, self.tensor: maps})[0])
        rows = [runtime.run(self.session, [target], {**held, self.tensor: one})[0] for one in maps]
        return np.concatenate(rows)


class Ablation:
    """Zero-ablation of single kernels of an engine's network.

    Args:
        engine: The network under test; only its graph and the places of its gates are read.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.target = engine.target
        self.count, self.axis = engine.classes()
        self.whole = runtime.Graph.of(engine.model)
        self.nodes = list(self.whole.proto.graph.node)
        self.producers = {o: n for n in self.nodes for o in n.output if o}
        self.gates = frozenset(
            node.inputs[effect.gate]
            for node in engine.program.nodes
            if isinstance(effect := engine.topology.effects.get(node.name), fx.Gate) and not effect.own
        )
        self._cuts: dict[tuple[str, bool], Suffix] = {}
        self._checked: set[tuple[str, bool]] = set()
        self._recorder: Any = None

    def suffix(self, tensor: str, *, live: bool) -> Suffix:
        """The network after a tensor, made once."""
        key = (tensor, live)
        if key not in self._cuts:
            same = live and not self.gates_follow(tensor)
            self._cuts[key] = self.suffix(tensor, live=False) if same else self._cut(tensor, live=live)
        return self._cuts[key]

    def gates_follow(self, tensor: str) -> bool:
        """Whether a gate depends on a tensor, so that frozen and live differ."""
        return bool(self.gates & self._changed(tensor, ()))

    def _changed(self, tensor: str, held: Collection[str]) -> set[str]:
        found = {tensor}
        for node in self.nodes:
            if any(i in found for i in node.input):
                found.update(o for o in node.output if o and o not in held)
        return found - {tensor}

    def _cut(self, tensor: str, *, live: bool) -> Suffix:
        changed = self._changed(tensor, () if live else self.gates)
        keep, boundary = self._needed(tensor, changed)
        sizes = self.engine.program.shapes
        ports = [
            helper.make_tensor_value_info(n, self._kind(n), [None, *sizes[n][1:]] if sizes[n] else [])
            for n in (tensor, *boundary)
        ]
        graph = helper.make_graph(
            [n for n in self.nodes if id(n) in keep],
            "suffix",
            ports,
            [helper.make_empty_tensor_value_info(self.target)],
        )
        read = {i for n in graph.node for i in n.input}
        graph.initializer.extend(t for t in self.whole.proto.graph.initializer if t.name in read)
        proto = onnx.ModelProto()
        proto.CopyFrom(self.whole.proto)
        proto.graph.CopyFrom(graph)
        weights = {k: v for k, v in self.whole.weights.items() if k in read}
        session = runtime.Graph(proto, weights).session(self.engine.device)
        return Suffix(tensor, session, tuple(boundary), batched=all(sizes[n] for n in (tensor, *boundary)))

    def _needed(self, tensor: str, changed: Collection[str]) -> tuple[set[int], list[str]]:
        """Nodes (by identity) between the tensor and the target, and the tensors that enter from outside."""
        keep: set[int] = set()
        boundary: dict[str, None] = {}
        stack, seen = [self.target], {tensor}
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            constant = self.engine.program.is_constant(name)
            if name not in changed and not constant:
                boundary[name] = None
            elif name in self.producers:
                keep.add(id(self.producers[name]))
                stack.extend(i for i in self.producers[name].input if i)
        return keep, list(boundary)

    def _kind(self, name: str) -> int:
        dtype = self.engine.program.dtypes.get(name, "float32")
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))) or TensorProto.FLOAT

    def record(self, tensors: Sequence[str], feeds: Feeds) -> dict[str, Array]:
        """Values of tensors, of all that their suffixes hold, and of the target."""
        cuts = [self.suffix(t, live=live) for t in tensors for live in (False, True)]
        names = dict.fromkeys([self.target, *tensors, *(b for c in cuts for b in c.boundary)])
        wanted = [n for n in names if n not in feeds]
        if self._recorder is None:
            proto = onnx.ModelProto()
            proto.CopyFrom(self.engine.graph.proto)
            del proto.graph.output[:]
            proto.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in wanted)
            self._recorder = runtime.Graph(proto, self.engine.graph.weights).session(self.engine.device)
        recorded = {**feeds, **dict(zip(wanted, runtime.run(self._recorder, wanted, feeds), strict=True))}
        for key, cut in self._cuts.items():
            if key not in self._checked:
                self._cuts[key] = self._check(cut, recorded)
                self._checked.add(key)
        return recorded

    def _check(self, cut: Suffix, recorded: Feeds) -> Suffix:
        """Make sure that the uncut output comes back; go one by one where the batch size is built in."""
        truth, value = recorded[self.target], recorded[cut.tensor]
        if cut.batched:
            try:
                twice = cut(self.target, np.repeat(value, 2, axis=0), recorded)
            except RunError:
                twice = np.empty(0)
            if twice.shape == (2 * len(truth), *truth.shape[1:]) and _close(twice, np.repeat(truth, 2, axis=0)):
                return cut
            cut = replace(cut, batched=False)
        if not _close(cut(self.target, value[None], recorded), truth):
            raise RunError(f"the network after {cut.tensor!r} does not reproduce the recorded {self.target!r}")
        return cut

    def falls(self, feature: Feature, index: int, recorded: Feeds, *, live: bool) -> NDArray[np.float64]:
        """How far the margin falls when each kernel's map is set to zero, (kernels,)."""
        cut = self.suffix(feature.tensor, live=live)
        value = recorded[feature.tensor]
        kernels = value.shape[feature.axis]
        out = np.empty(kernels)
        whole = margins(recorded[self.target], index, self.axis, self.count)[0]
        for start in range(0, kernels, CHUNK):
            rows = range(start, min(start + CHUNK, kernels))
            maps = np.repeat(value[None], len(rows), axis=0)
            for row, kernel in enumerate(rows):
                np.moveaxis(maps[row], feature.axis, 0)[kernel] = 0
            maps = maps.reshape(-1, *value.shape[1:]) if cut.batched else maps
            out[rows.start : rows.stop] = whole - margins(
                cut(self.target, maps, recorded), index, self.axis, self.count
            )
        return out


# --------------------------------------------------------------------------------------------------- rules


def judged(engine: Engine) -> list[tuple[KernelLayer, Feature]]:
    """Layers below the classifier that relevance can reach under frozen gates, near the head first."""
    reached = engine.field_probe("positional", None).relevance
    layers = sorted((d, i) for i, d in engine.depths.items() if d > 0 and i in reached)
    return [
        (layer, feature_of(engine.topology, layer, engine.target))
        for layer in (engine.topology.layers[i] for _, i in layers)
    ]


def pooled_relevance(engine: Engine, feeds: Feeds, index: int, rule: str) -> dict[int, Array]:
    """Relevance of every kernel by a rule in NumPy, all kernels expanded."""
    settings = Settings(0.0, None, None, rule_named(rule).default_step, index)
    statistics, results = engine.statistics(feeds, rule, None)
    if rule == "published":

        def means(layer: KernelLayer) -> Array:
            return np.concatenate([statistics.channel_means(p, results) for p in layer.parts])

        return pooled_walk.published(engine.topology, engine.depths, means, settings).relevance

    def taps(layer: KernelLayer) -> list[Array]:
        return [statistics.tap_means(p, results) for p in layer.parts]

    added = {t: results[o] for t, o in statistics.addends.items()}
    states = shared_states(engine.topology, engine.axes, added.get) if added else engine.topology.states
    return pooled_walk.mean_rule(engine.topology, engine.depths, taps, settings, states).relevance


def rule_values(
    engine: Engine,
    features: Sequence[tuple[KernelLayer, Feature]],
    recorded: Feeds,
    *,
    feeds: Feeds,
    index: int,
    rng: np.random.Generator,
) -> dict[str, dict[int, Array]]:
    """For each rule the relevance of each layer's kernels."""
    out: dict[str, dict[int, Array]] = {"random": {}, "pooled": {}}
    for layer, feature in features:
        value = recorded[feature.tensor]
        axes = tuple(a for a in range(value.ndim) if a != feature.axis)
        out["random"][layer.index] = rng.random(value.shape[feature.axis])
        out["pooled"][layer.index] = value.mean(axis=axes, dtype=np.float64)
    for rule in ("published", "mean"):
        out[rule] = pooled_relevance(engine, feeds, index, rule)
    for rule in ("active", "positional"):
        out[rule] = dict(engine.relevance(feeds, index, rule=rule))
    return out


# ------------------------------------------------------------------------------------------------- running


@dataclass
class Row:
    """One rule on one tensor, a figure for each clip.

    Attributes:
        frozen: Agreement with the gates held.
        live: Rho with the gates recomputed.
    """

    frozen: list[Agreement] = field(default_factory=list)
    live: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Truth:
    """All rows, by rule and layer.

    Attributes:
        model: The file.
        clips: Number of clips.
        first_seed: Seed of the first clip; None for random arrays.
        correct: Share of clips whose top-1 class is the motion shown.
        layers: Layer names, near the head first, with kernels and depth.
        rows: (rule, layer name) to its figures.
        seconds: Wall-clock time.
    """

    model: str
    clips: int
    first_seed: int | None
    correct: float | None
    layers: list[tuple[str, int, int]]
    rows: dict[tuple[str, str], Row]
    seconds: float

    def parts(self) -> list[list[str]]:
        """Names of the layers near the head, in the middle and deep: thirds in the order of depth."""
        names = [name for name, _, _ in self.layers]
        return [list(part) for part in np.array_split(names, len(PARTS))]

    def mean(self, rule: str, what: Figures, layers: Collection[str] | None = None) -> float:
        """Mean over tensors and clips."""
        names = [n for n, _, _ in self.layers if layers is None or n in layers]
        values = [v for n in names for v in what(self.rows[rule, n])]
        return float(np.mean(values)) if values else float("nan")

    def summary(self, rule: str) -> dict[str, float]:
        """The columns of the table."""
        rho = {"rho": self.mean(rule, _rho)}
        rho |= {part: self.mean(rule, _rho, names) for part, names in zip(PARTS, self.parts(), strict=True)}
        rho["top-10 % overlap"] = self.mean(rule, lambda r: [a.overlap for a in r.frozen])
        rho["recall at 20 %"] = self.mean(rule, lambda r: [a.recall for a in r.frozen])
        rho["rho live"] = self.mean(rule, lambda r: r.live)
        deep = self.parts()[-1]
        rho["deep top-10 %"] = self.mean(rule, lambda r: [a.overlap for a in r.frozen], deep)
        return rho


def _close(one: Array, other: Array) -> bool:
    scale = float(np.abs(other).max(initial=0.0)) or 1.0
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) <= 1e-4 * scale)


def _rho(row: Row) -> list[float]:
    return [a.rho for a in row.frozen]


def clips(engine_model: model.Model, count: int, first_seed: int) -> Iterator[tuple[dict[str, Array], int | None]]:
    """Feeds and, for motion clips, the label; random arrays where the model does not take motion clips."""
    port = engine_model.inputs[0]
    motion = len(engine_model.inputs) == 1 and tuple(port.shape or ())[1:] == (3, FRAMES, SIZE, SIZE)
    plain = None if motion else runtime.random_feeds(engine_model)
    for seed in range(first_seed, first_seed + count):
        if plain is not None:
            rng = np.random.default_rng(seed)
            yield {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in plain.items()}, None
            continue
        clip = make_clip(seed)
        array = (clip.frames.astype(np.float32) / 255 - MEAN) / STD
        yield {port.name: np.ascontiguousarray(array.transpose(3, 0, 1, 2)[None])}, clip.label


def measure(path: Path, *, count: int, first_seed: int, threads: int | None = None) -> Truth:
    """Judge all rules on some clips of one model."""
    start = time.monotonic()
    loaded = model.load(path)
    rows: dict[tuple[str, str], Row] = {}
    engine = ablation = None
    features: list[tuple[KernelLayer, Feature]] = []
    hits: list[bool] = []
    for number, (feeds, label) in enumerate(clips(loaded, count, first_seed)):
        if engine is None or ablation is None:
            engine = Engine(loaded, feeds, device=runtime.Device("cpu", threads))
            ablation, features = Ablation(engine), judged(engine)
            rows = {(rule, layer.name): Row() for rule in RULES for layer, _ in features}
        recorded = ablation.record([f.tensor for _, f in features], feeds)
        index = int(np.argmax(engine.scores(recorded[engine.target])))
        hits += [index == label] if label is not None else []
        rng = np.random.default_rng([first_seed, number])
        values = rule_values(engine, features, recorded, feeds=feeds, index=index, rng=rng)
        for layer, feature in features:
            frozen = ablation.falls(feature, index, recorded, live=False)
            follow = ablation.gates_follow(feature.tensor)
            live = ablation.falls(feature, index, recorded, live=True) if follow else frozen
            for rule in RULES:
                relevance = values[rule][layer.index]
                rows[rule, layer.name].frozen.append(agreement(relevance, frozen))
                rows[rule, layer.name].live.append(spearman(relevance, live))
    depths = engine.depths if engine is not None else {}
    return Truth(
        model=path.name,
        clips=count,
        first_seed=first_seed,
        correct=float(np.mean(hits)) if hits else None,
        layers=[(layer.name, layer.kernels, depths[layer.index]) for layer, _ in features],
        rows=rows,
        seconds=time.monotonic() - start,
    )


def markdown(truth: Truth) -> str:
    """The table of docs/method.md, and one line on what was measured."""
    kernels = sum(k for _, k, _ in truth.layers)
    right = "" if truth.correct is None else f", top-1 right on {truth.correct:.0%}"
    head = ["rule", "rho, gates frozen", "near head / middle / deep", "top-10 % overlap", "recall at 20 %"]
    size = f"{len(truth.layers)} tensors, {kernels} kernels, {truth.clips} clips from seed {truth.first_seed}"
    lines = [f"{truth.model}: {size}{right}; {truth.seconds:.0f} s.", ""]
    lines += [f"| {' | '.join([*head, 'rho, gates live'])} |", "|---" * (len(head) + 1) + "|"]
    for rule in RULES:
        s = truth.summary(rule)
        thirds = " / ".join(f"{s[p]:.2f}" for p in PARTS)
        lines.append(
            f"| {NAMES.get(rule, rule)} | {s['rho']:.2f} | {thirds} | {s['top-10 % overlap']:.2f} | "
            f"{s['recall at 20 %']:.2f} | {s['rho live']:.2f} |"
        )
    return "\n".join(lines)


def by_layer(truth: Truth) -> str:
    """Mean rho of every rule on every tensor, near the head first."""
    head = " | ".join(RULES[1:])
    lines = [f"| layer | depth | kernels | {head} |", "|---" * (3 + len(RULES[1:])) + "|"]
    for name, kernels, depth in truth.layers:
        cells = " | ".join(f"{truth.mean(rule, _rho, {name}):.2f}" for rule in RULES[1:])
        lines.append(f"| {name} | {depth} | {kernels} | {cells} |")
    return "\n".join(lines)


def as_json(truth: Truth) -> dict[str, Any]:
    """Everything, clip by clip."""
    return {
        "model": truth.model,
        "clips": truth.clips,
        "first_seed": truth.first_seed,
        "correct": truth.correct,
        "seconds": truth.seconds,
        "layers": [{"name": n, "kernels": k, "depth": d} for n, k, d in truth.layers],
        "parts": dict(zip(PARTS, truth.parts(), strict=True)),
        "rules": {rule: truth.summary(rule) for rule in RULES},
        "rows": [{"rule": rule, "layer": layer, **asdict(row)} for (rule, layer), row in truth.rows.items()],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=TEST_SEED, help="training stays below %(default)s")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layers", action="store_true", help="print rho layer by layer too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    try:
        truth = measure(given.model, count=given.clips, first_seed=given.first_seed, threads=given.threads)
    except CfpError as error:
        parser.exit(1, f"{error}\n")
    text = markdown(truth) + (f"\n\n{by_layer(truth)}" if given.layers else "")
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(truth), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
