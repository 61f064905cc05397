"""The measurement: what removing each kernel does to every logit, and what each variant says of each kernel.

``measure`` is all that another script needs::

    measured = measure(subject, variants)
    rho = tables.summary([measured], "positional")["live"]

Removal is most of the cost and does not depend on the variants: with a ``cache`` folder it is done once for a network,
its clips and this code.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth import ablation as removal
from benchmarks.truth import held
from benchmarks.truth.ablation import Ablation, Feeds, contrasts, falls, judged
from benchmarks.truth.peers import peers
from benchmarks.truth.subjects import CLIP_SEED, Subject
from benchmarks.truth.variants import Asked, Layers, Variant, relevance
from cfp_onnx import model, runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import Feature
from cfp_onnx.graph.layers import KernelLayer

Array = NDArray[Any]

WAYS: Final = ("live", "held")


@dataclass(frozen=True)
class Layer:
    """A layer that is judged.

    Attributes:
        name: Its name.
        kernels: How many it has.
        depth: Longest path to the classifier.
        steers: Whether it only steers, so that nothing falls when it is removed and what it steers is held.
        tensor: Where its kernels are.
        axis: Their axis there.
    """

    name: str
    kernels: int
    depth: int
    steers: bool
    tensor: str = ""
    axis: int = 1


@dataclass(frozen=True)
class Removed:
    """Logits of a network's clips as they are and without each kernel.

    Attributes:
        layers: The layers judged, near the head first.
        logits: ``(clips, classes)``.
        without: ``live`` and ``held``: for each layer ``(clips, kernels, classes)``.
    """

    layers: tuple[Layer, ...]
    logits: Array
    without: dict[str, list[Array]]

    @property
    def indexes(self) -> list[int]:
        """The class explained of each clip: its top 1."""
        return [int(i) for i in self.logits.argmax(axis=1)]

    def falls(self, way: str, margin: str, layer: int) -> Array:
        """How far a margin of each clip falls without each kernel of a layer, ``(clips, kernels)``."""
        without, rows = self.without[way][layer], []
        for clip, (whole, index) in enumerate(zip(self.logits, self.indexes, strict=True)):
            rows.append(falls(whole, without[clip], contrasts(whole, index)[margin]))
        return np.stack(rows)


@dataclass(frozen=True)
class Measured:
    """One network's figures.

    Attributes:
        subject: The network.
        removed: What removal does.
        relevance: Name of a variant to, for each layer, ``(clips, kernels)``; without those whose rule does not
            pass the network.
        seconds: ``removal``, ``relevance`` and ``peers``, wall clock; removal is short where it came from the cache.
    """

    subject: Subject
    removed: Removed
    relevance: dict[str, list[Array]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> float | None:
        """Share of the clips whose top-1 class is what they show; None where they show none."""
        labels = [clip.label for clip in self.subject.clips]
        if None in labels:
            return None
        return float(np.mean([a == b for a, b in zip(labels, self.removed.indexes, strict=True)]))


def measure(
    subject: Subject,
    variants: Sequence[Variant],
    *,
    cache: Path | None = None,
    threads: int | None = 1,
    peers_python: Path | None = None,
) -> Measured:
    """Judge variants on a network.

    Args:
        subject: The network and its clips.
        variants: What is judged.
        cache: Folder where the results of removal are kept; none by default.
        threads: Of the runtime; None leaves it to it.
        peers_python: An interpreter with PyTorch, for others' methods; without it they are left out.
    """
    first = subject.clips[0].feeds
    engine = Engine(model.load(subject.path), first, device=runtime.Device("cpu", threads))
    ablation = Ablation(engine)
    found = judged(engine, ablation)
    layers = tuple(_layer(engine, ablation, *one) for one in found)
    file = None if cache is None else cache / f"{subject.name}-{_key(subject)}.npz"
    removed = _read(file, layers) if file is not None and file.exists() else None
    fresh = _Collected(layers)
    suited = [v for v in variants if v.passes(engine)]
    spoken: dict[str, list[list[Array]]] = {v.name: [] for v in suited}
    seconds = {"removal": 0.0, "relevance": 0.0}
    for number, clip in enumerate(subject.clips):
        start = time.monotonic()
        recorded = ablation.record([f.tensor for _, f in found], clip.feeds)
        logits = ablation.logits(recorded[engine.target])[0]
        if removed is None:
            fresh.take(logits, {way: _without(ablation, found, recorded, way) for way in WAYS})
        middle = time.monotonic()
        rng = np.random.default_rng([CLIP_SEED, number])
        asked = Asked(engine, found, clip.feeds, recorded, int(logits.argmax()), rng)
        for variant in suited:
            spoken[variant.name].append(relevance(variant, asked))
        seconds["removal"] += middle - start
        seconds["relevance"] += time.monotonic() - middle
    if removed is None:
        removed = fresh.done()
        if file is not None:
            _write(file, removed)
    found_by = {name: _by_layer(rows) for name, rows in spoken.items()}
    if peers_python is not None:
        start = time.monotonic()
        found_by |= peers(peers_python, engine, [c.feeds for c in subject.clips], removed.indexes, layers)
        seconds["peers"] = time.monotonic() - start
    return Measured(subject, removed, found_by, seconds)


@dataclass
class _Collected:
    layers: tuple[Layer, ...]
    logits: list[Array] = field(default_factory=list)
    without: dict[str, list[list[Array]]] = field(default_factory=lambda: {way: [] for way in WAYS})

    def take(self, logits: Array, without: Mapping[str, list[Array]]) -> None:
        self.logits.append(logits)
        for way, rows in without.items():
            self.without[way].append(rows)

    def done(self) -> Removed:
        without = {way: _by_layer(rows) for way, rows in self.without.items()}
        return Removed(self.layers, np.stack(self.logits), without)


def _by_layer(clips: Sequence[Sequence[Array]]) -> list[Array]:
    """Of each clip's layers, each layer's clips."""
    return [np.stack(rows) for rows in zip(*clips, strict=True)]


def _layer(engine: Engine, ablation: Ablation, layer: KernelLayer, feature: Feature) -> Layer:
    steers = not ablation.reaches(feature.tensor, live=False)
    depth = engine.depths[layer.index]
    return Layer(layer.name, layer.kernels, depth, steers, feature.tensor, feature.axis)


def _without(ablation: Ablation, layers: Layers, recorded: Feeds, way: str) -> list[Array]:
    """Logits without each kernel of each layer; where nothing held depends on it, held is live."""
    live = way == "live"
    return [ablation.removed(f, recorded, live=live or not ablation.differs(f.tensor)) for _, f in layers]


# ------------------------------------------------------------------------------------------------- keeping


def _key(subject: Subject) -> str:
    """What the results of removal depend on: the file, the clips, and how removal is done."""
    digest = hashlib.sha256(subject.path.read_bytes())
    for clip in subject.clips:
        for name, value in sorted(clip.feeds.items()):
            digest.update(name.encode() + value.tobytes())
    for code in (removal, held):
        digest.update(Path(str(code.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def _write(file: Path, removed: Removed) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{way}/{n}": rows for way in WAYS for n, rows in enumerate(removed.without[way])}
    layers = json.dumps([asdict(layer) for layer in removed.layers])
    np.savez_compressed(file, logits=removed.logits, layers=np.asarray(layers), **arrays)


def _read(file: Path, layers: tuple[Layer, ...]) -> Removed | None:
    """What was kept; None where other layers, or other places in them, are judged now."""
    with np.load(file) as kept:
        if tuple(Layer(**row) for row in json.loads(str(kept["layers"]))) != layers:
            return None
        without = {way: [kept[f"{way}/{n}"] for n in range(len(layers))] for way in WAYS}
        return Removed(layers, kept["logits"], without)
