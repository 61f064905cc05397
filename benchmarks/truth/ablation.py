"""Removal of single kernels: a kernel's feature is set to zero and the rest of the network runs again.

One run gives the logits of every class, so every margin comes from the same run. ``live`` recomputes everything;
``held`` keeps gates, attention weights and the deviations of norms at their recorded values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.truth.held import write_out
from cfp_onnx import runtime
from cfp_onnx.errors import RunError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.layers import KernelLayer

Array = NDArray[Any]
Feeds = Mapping[str, Array]

ELEMENTS: Final = 1 << 20
"""Elements of the maps that go through in one batch."""
MOST: Final = 64
"""Kernels in one batch."""
FEWEST: Final = 3
"""Kernels of a layer that is judged; an order of two says little."""
NOISE: Final = 2e-6
"""A change below this share of the largest logit is float32's rounding, and none."""


def class_logits(target: Array, axis: int | None, count: int) -> NDArray[np.float64]:
    """Logits of each item of a batch, (batch, classes); positions are averaged."""
    value = np.asarray(target, np.float64)
    if axis is not None and axis > 0:
        value = np.moveaxis(value, axis, 1)
    return value.reshape(value.shape[0] if axis != 0 else 1, count, -1).mean(axis=2)


def contrasts(logits: Array, index: int) -> dict[str, NDArray[np.float64]]:
    """Weights of the logits in each margin, (classes,): the class less what it is held against.

    Args:
        logits: Logits of the clip as it is, (classes,); who is the best other and how much each rival counts is
            decided there, and stays.
        index: The class.

    Returns:
        ``mean`` of the others, the ``best`` other, the ``rivals`` weighted by the softmax of their logits.
    """
    others = np.delete(np.arange(len(logits)), index)
    found = {}
    for name in ("mean", "best", "rivals"):
        weights = np.zeros(len(logits))
        weights[index] = 1.0
        if name == "mean" and len(others):
            weights[others] = -1 / len(others)
        elif name == "best" and len(others):
            weights[others[np.argmax(logits[others])]] = -1
        elif len(others):
            odds = np.exp(logits[others] - logits[others].max())
            weights[others] = -odds / odds.sum()
        found[name] = weights
    return found


def falls(whole: Array, removed: Array, weights: Array) -> NDArray[np.float64]:
    """How far a margin falls when each kernel is removed, (kernels,).

    Args:
        whole: Logits of the clip as it is, (classes,).
        removed: Logits without each kernel, (kernels, classes).
        weights: The margin's, (classes,), as `contrasts` gives them.
    """
    fall = (whole - removed) @ weights
    return np.where(np.abs(fall) <= NOISE * np.abs(whole).max(initial=0.0), 0.0, fall)


@dataclass(frozen=True)
class Suffix:
    """What runs after a tensor.

    Attributes:
        tensor: Where the network is cut.
        session: Session from the cut to the target; None where the tensor does not reach the target.
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
        engine: The network under test; only its graph, and what gates what, are read.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.target = engine.target
        self.count, self.axis = engine.classes()
        self.whole = runtime.Graph.of(engine.model)
        self.nodes = list(self.whole.proto.graph.node)
        self.written = write_out(self.whole.proto.graph, engine.topology, engine.model.opset)
        self.held = self.written.held
        self._cuts: dict[tuple[str, bool], Suffix] = {}
        self._checked: set[tuple[str, bool]] = set()
        self._recorder: Any = None

    # What follows from what.

    def differs(self, tensor: str) -> bool:
        """Whether something that is held depends on a tensor, so that held and live differ."""
        return tensor in self.held or bool(self.held & self._changed(tensor, (), live=False))

    def reaches(self, tensor: str, *, live: bool) -> bool:
        """Whether the target depends on a tensor; one that only steers does not, where what it steers is held."""
        return self.target in self._changed(tensor, () if live else self.held, live=live)

    def _list(self, *, live: bool) -> list[onnx.NodeProto]:
        return self.nodes if live else self.written.nodes

    def _changed(self, tensor: str, held: Collection[str], *, live: bool) -> set[str]:
        if tensor in held:
            return set()
        found = {tensor}
        for node in self._list(live=live):
            if any(i in found for i in node.input):
                found.update(o for o in node.output if o and o not in held)
        return found - {tensor}

    # Cutting.

    def suffix(self, tensor: str, *, live: bool) -> Suffix:
        """The network after a tensor, made once."""
        key = (tensor, live)
        if key not in self._cuts:
            same = not live and not self.differs(tensor)
            self._cuts[key] = self.suffix(tensor, live=True) if same else self._cut(tensor, live=live)
        return self._cuts[key]

    def _cut(self, tensor: str, *, live: bool) -> Suffix:
        changed = self._changed(tensor, () if live else self.held, live=live)
        if self.target not in changed:
            return Suffix(tensor, None, (), batched=True)
        nodes = self._list(live=live)
        keep, boundary = self._needed(tensor, changed, nodes)
        ports = [helper.make_tensor_value_info(n, self._kind(n), self._free(n)) for n in (tensor, *boundary)]
        graph = helper.make_graph(
            [n for n in nodes if id(n) in keep], "suffix", ports, [helper.make_empty_tensor_value_info(self.target)]
        )
        read = {i for n in graph.node for i in n.input}
        own = [*self.whole.proto.graph.initializer, *self.written.constants]
        graph.initializer.extend(t for t in own if t.name in read)
        proto = helper.make_model(
            graph, opset_imports=self.whole.proto.opset_import, ir_version=self.whole.proto.ir_version
        )
        weights = {k: v for k, v in self.whole.weights.items() if k in read}
        session = runtime.Graph(proto, weights).session(self.engine.device)
        return Suffix(tensor, session, tuple(boundary), batched=all(self._free(n) for n in (tensor, *boundary)))

    def _free(self, name: str) -> list[int | None]:
        """A tensor's shape with any number of items; nothing for a number."""
        if name in self.written.ranks:
            return [None] * self.written.ranks[name]
        shape = self.engine.program.shapes[name]
        return [None, *shape[1:]] if shape else []

    def _needed(
        self, tensor: str, changed: Collection[str], nodes: Sequence[onnx.NodeProto]
    ) -> tuple[set[int], list[str]]:
        """Nodes (by identity) between the tensor and the target, and the tensors that enter from outside."""
        producers = {o: n for n in nodes for o in n.output if o}
        keep: set[int] = set()
        boundary: dict[str, None] = {}
        stack, seen = [self.target], {tensor}
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            constant = name in self.written.fixed or self.engine.program.is_constant(name)
            if name not in changed and not constant:
                boundary[name] = None
            elif name in producers:
                keep.add(id(producers[name]))
                stack.extend(i for i in producers[name].input if i)
        return keep, list(boundary)

    def _kind(self, name: str) -> int:
        dtype = self.engine.program.dtypes.get(name, "float32")
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))) or TensorProto.FLOAT

    # Running.

    def record(self, tensors: Sequence[str], feeds: Feeds) -> dict[str, Array]:
        """Values of tensors, of all that their suffixes hold, and of the target.

        Raises:
            RunError: If a suffix does not give back the recorded target.
        """
        cuts = [self.suffix(t, live=live) for t in tensors for live in (False, True)]
        names = dict.fromkeys([self.target, *tensors, *(b for c in cuts for b in c.boundary)])
        wanted = [n for n in names if n not in feeds]
        if self._recorder is None:
            self._recorder = self._recording(wanted)
        recorded = {**feeds, **dict(zip(wanted, runtime.run(self._recorder, wanted, feeds), strict=True))}
        for key, cut in self._cuts.items():
            if key not in self._checked and cut.session is not None:
                self._cuts[key] = self._check(cut, recorded)
            self._checked.add(key)
        return recorded

    def _recording(self, wanted: Sequence[str]) -> Any:
        """Session of the whole network, norms written out, that returns the tensors wanted."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.engine.graph.proto)
        for part in (proto.graph.node, proto.graph.output):
            del part[:]
        proto.graph.node.extend(self.written.nodes)
        proto.graph.initializer.extend(self.written.constants)
        proto.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in wanted)
        return runtime.Graph(proto, self.engine.graph.weights).session(self.engine.device)

    def _check(self, cut: Suffix, recorded: Feeds) -> Suffix:
        """Make sure that the uncut output comes back; go one by one where items of a batch are not independent."""
        truth, value = recorded[self.target], recorded[cut.tensor]
        if cut.batched:
            try:
                both = cut(self.target, np.concatenate([value, np.zeros_like(value), value]), recorded)
            except RunError:
                both = np.empty(0)
            if len(both) == 3 * len(truth) and all(_close(both[n * len(truth) :][: len(truth)], truth) for n in (0, 2)):
                return cut
            cut = replace(cut, batched=False)
        if not _close(cut(self.target, value[None], recorded), truth):
            raise RunError(f"the network after {cut.tensor!r} does not reproduce the recorded {self.target!r}")
        return cut

    def logits(self, value: Array) -> NDArray[np.float64]:
        """Logits of each item of a target, (batch, classes)."""
        return class_logits(value, self.axis, self.count)

    def removed(self, feature: Feature, recorded: Feeds, *, live: bool) -> NDArray[np.float64]:
        """Logits without each kernel of a layer, (kernels, classes).

        Raises:
            RunError: If one is not finite, as where a norm divides by 0.
        """
        cut = self.suffix(feature.tensor, live=live)
        value = recorded[feature.tensor]
        kernels = value.shape[feature.axis]
        if cut.session is None:
            return np.repeat(self.logits(recorded[self.target])[:1], kernels, axis=0)
        chunk = max(1, min(MOST, ELEMENTS // value.size)) if cut.batched else kernels
        rows = []
        for start in range(0, kernels, chunk):
            taken = range(start, min(start + chunk, kernels))
            maps = np.repeat(value[None], len(taken), axis=0)
            for row, kernel in enumerate(taken):
                np.moveaxis(maps[row], feature.axis, 0)[kernel] = 0
            maps = maps.reshape(-1, *value.shape[1:]) if cut.batched else maps
            rows.append(self.logits(cut(self.target, maps, recorded)))
        found = np.concatenate(rows)
        if not np.isfinite(found).all():
            raise RunError(f"without some kernel of {feature.tensor!r} the network gives NaN or infinity")
        return found


def judged(engine: Engine, ablation: Ablation) -> list[tuple[KernelLayer, Feature]]:
    """Layers below the classifier whose removal can change the target, near the head first."""
    order = sorted((d, i) for i, d in engine.depths.items() if d > 0)
    layers = [engine.topology.layers[i] for _, i in order]
    found = [(layer, feature_of(engine.topology, layer, engine.target)) for layer in layers if layer.kernels >= FEWEST]
    return [(layer, feature) for layer, feature in found if ablation.reaches(feature.tensor, live=True)]


def _close(one: Array, other: Array) -> bool:
    scale = float(np.abs(other).max(initial=0.0)) or 1.0
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) <= 1e-4 * scale)
