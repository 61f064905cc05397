"""What moves when one kernel's output is changed, held against what the topology says.

Each layer's output is a recorded value that is changed one kernel at a time, and only what lies between it and the
inputs of other layers is run again. What moves must be among the kernel's wires and the declared side inputs, and each
wire must move under at least one of several large changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.parts import Part

KERNELS = 3


SHIFTS = (30.0, -30.0, 300.0, -300.0)
"""Added to a kernel's output, in units of the largest number nearby; in steps where it holds integers."""


NOISE = 30.0
"""Deviation of the noise that is added as well: a constant is invisible behind a normalisation that centres."""


Array = NDArray[np.generic]


Feeds = dict[str, Array]


@dataclass(frozen=True)
class Way:
    """What lies between one layer's output and the inputs of the layers that it reaches.

    Attributes:
        tensor: The layer's output.
        nodes: The nodes in between, other layers' excepted.
        sources: Inputs of layers that depend on it.
        held: Other tensors that these nodes read.
    """

    tensor: str
    nodes: tuple[onnx.NodeProto, ...]
    sources: tuple[str, ...]
    held: tuple[str, ...]


class Between:
    """The network between its layers.

    Args:
        engine: The model at one input size.
        feeds: Its inputs.
        outputs: Layers' outputs that will be changed.
    """

    def __init__(self, engine: Engine, feeds: Feeds, outputs: Collection[str]) -> None:
        self.engine = engine
        self.proto = engine.graph.proto
        self.parts = [(layer, p) for layer in engine.topology.layers for p in layer.parts]
        inside = {n for _, p in self.parts for n in p.nodes}
        self.nodes = [n for n in self.proto.graph.node if n.name not in inside]
        self.stored = {t.name for t in self.proto.graph.initializer}
        self.ways = {name: self._way(name) for name in outputs}
        needed = dict.fromkeys(n for w in self.ways.values() for n in (w.tensor, *w.held) if n not in feeds)
        copy = onnx.ModelProto()
        copy.CopyFrom(self.proto)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in needed)
        session = runtime.Graph(copy, engine.graph.weights).session(runtime.Device("cpu"), optimise=False)
        self.values: Feeds = {**feeds, **dict(zip(needed, runtime.run(session, list(needed), feeds), strict=True))}

    def _way(self, tensor: str) -> Way:
        reached, behind = {tensor}, []
        for node in self.nodes:
            if reached.intersection(node.input):
                reached.update(o for o in node.output if o)
                behind.append(node)
        sources = tuple(dict.fromkeys(p.source for _, p in self.parts if p.source in reached and p.source != tensor))
        needed, kept = set(sources), []
        for node in reversed(behind):
            if needed.intersection(node.output):
                needed.update(i for i in node.input if i in reached)
                kept.append(node)
        held = dict.fromkeys(i for n in kept for i in n.input if i and i not in reached and i not in self.stored)
        return Way(tensor, tuple(reversed(kept)), sources, tuple(held))

    def session(self, way: Way) -> Any:
        """What runs a way; None where nothing lies on it."""
        if not way.sources:
            return None
        used = {i for n in way.nodes for i in n.input}
        graph = onnx.helper.make_graph(
            way.nodes,
            "way",
            [_described(n, self.values[n]) for n in (way.tensor, *way.held) if n in used],
            [onnx.helper.make_empty_tensor_value_info(s) for s in way.sources],
            [t for t in self.proto.graph.initializer if t.name in used],
        )
        proto = onnx.helper.make_model(graph, opset_imports=self.proto.opset_import, ir_version=self.proto.ir_version)
        weights = {k: v for k, v in self.engine.graph.weights.items() if k in used}
        return runtime.Graph(proto, weights).session(runtime.Device("cpu"), optimise=False)

    def moved(self, part: Part, kernels: Sequence[int], rng: np.random.Generator) -> Iterator[set[tuple[int, int]]]:
        """For each of some kernels: (layer, channel) that move under at least one of several large changes."""
        if not kernels:
            return
        way = self.ways[part.output]
        session = self.session(way)
        held = {n: self.values[n] for n in way.held}

        def inputs(value: Array) -> Feeds:
            found = {} if session is None else runtime.run(session, way.sources, {**held, way.tensor: value})
            return {way.tensor: value, **dict(zip(way.sources, found, strict=True))}

        value = self.values[way.tensor]
        base = inputs(value)
        largest = max(_largest(a) for a in [*held.values(), *base.values()])
        for kernel in kernels:
            found: set[tuple[int, int]] = set()
            for changed in changes(value, part.out_axis, kernel, largest, rng):
                found |= self._differing(base, inputs(changed))
            yield found

    def _differing(self, base: Feeds, after: Feeds) -> set[tuple[int, int]]:
        found = set()
        offset: dict[int, int] = {}
        for layer, part in self.parts:
            start = offset.setdefault(layer.index, 0)
            offset[layer.index] += part.channels
            if part.source in base:
                a, b = (np.moveaxis(x[part.source], part.in_axis, 0) for x in (base, after))
                moves = [not np.array_equal(p, q, equal_nan=p.dtype.kind == "f") for p, q in zip(a, b, strict=True)]
                found.update((layer.index, start + int(c)) for c in np.flatnonzero(moves))
        return found


def _described(name: str, value: Array) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _largest(value: Array) -> float:
    """Largest magnitude of a tensor of real numbers, at least 1."""
    if not np.issubdtype(value.dtype, np.floating):
        return 1.0
    finite = value[np.isfinite(value)]
    return max(1.0, float(np.abs(finite).max(initial=0)))


def changes(value: Array, axis: int, kernel: int, largest: float, rng: np.random.Generator) -> Iterator[Array]:
    """Large changes of one kernel's output."""
    kind = value.dtype
    place = tuple(kernel if a == axis else slice(None) for a in range(value.ndim))
    shifts = [*SHIFTS, NOISE * rng.standard_normal(value[place].shape)]
    for shift in shifts:
        copy = np.array(value)
        if np.issubdtype(kind, np.integer):
            info = np.iinfo(kind)
            copy[place] = np.clip(copy[place].astype(np.int64) + np.asarray(shift, np.int64), info.min, info.max)
        else:
            copy[place] += (np.asarray(shift) * largest).astype(kind)
        yield copy


def check(
    engine: Engine, feeds: Feeds, rng: np.random.Generator, *, kernels: int = KERNELS, parts: int | None = None
) -> tuple[int, int]:
    """Change sampled kernels of every weighted operation, or of so many of them.

    Returns:
        Kernels changed, and wires that were seen to move.
    """
    topology = engine.topology
    outputs = [p.output for layer in topology.layers for p in layer.parts]
    count = len(outputs) if parts is None else min(parts, len(outputs))
    picked = set(rng.choice(outputs, count, replace=False).tolist())
    between = Between(engine, feeds, picked)
    side = {layer.index: {o.layer for o in topology.side_inputs(layer)} for layer in topology.layers}
    changed = wires = 0
    for layer in topology.layers:
        first = layer.first
        for part in layer.parts:
            some = min(kernels, part.kernels) if part.output in picked else 0
            chosen = rng.choice(part.kernels, some, replace=False).tolist()
            for kernel, moved in zip(chosen, between.moved(part, chosen, rng), strict=True):
                expected = wired(engine, first + kernel)
                where = (engine.file.path.name, layer.name, part.output, kernel)
                extra = {m for m in moved - expected if layer.index not in side[m[0]]}
                assert not extra, (*where, "moves without a wire", sorted(extra)[:5])
                assert not expected - moved, (*where, "wires that do not move", sorted(expected - moved)[:5])
                changed, wires = changed + 1, wires + len(expected)
            first += part.kernels
    return changed, wires


def wired(engine: Engine, label: int) -> set[tuple[int, int]]:
    """(layer, channel) that a kernel reaches, as the topology says."""
    return {
        (layer.index, int(c))
        for layer in engine.topology.layers
        for _, labels, _ in engine.topology.wires(layer)
        for c in np.flatnonzero((labels == label).any(axis=1))
    }
