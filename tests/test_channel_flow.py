"""Whole files under the runtime: what moves when one kernel's output is changed is what the topology says.

Every layer's output is fed from a recording, so each layer's input depends on layer outputs alone; then one kernel is
changed at a time. What moves must be among its wires and the declared side inputs, and each wire must move.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cfp_onnx import record
from cfp_onnx.explain import Engine
from cfp_onnx.model import load

DEMO = Path(__file__).resolve().parents[1] / "cfp_onnx" / "data" / "demo.onnx"
KERNELS = 3
SHIFTS = (30.0, -30.0, 300.0, -300.0)
Feeds = dict[str, NDArray[np.generic]]


class Cut:
    """The network between its layers: layer outputs in, layer inputs out."""

    def __init__(self, engine: Engine, feeds: Feeds) -> None:
        self.engine = engine
        proto = onnx.ModelProto()
        proto.CopyFrom(engine.graph.proto)
        self.parts = [p for layer in engine.topology.layers for p in layer.parts]
        inside = {n for p in self.parts for n in p.nodes}
        outputs = list(dict.fromkeys(p.output for p in self.parts))
        sources = list(dict.fromkeys(p.source for p in self.parts))
        given = {i.name for i in proto.graph.input}
        self.fed = [s for s in sources if s in given]
        self.sources = [s for s in sources if s not in given]
        everything = [n for n in [*outputs, *self.sources] if n not in given]
        recorded = self._run(proto, engine, dict.fromkeys(everything), feeds)
        kept = [n for n in proto.graph.node if n.name not in inside]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
        del proto.graph.output[:]
        used = {i for n in kept for i in n.input}
        self.feeds: Feeds = dict(feeds)
        for name in outputs:
            self.feeds[name] = recorded[name]
            if name in used:
                kind = onnx.helper.np_dtype_to_tensor_dtype(recorded[name].dtype)
                proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, recorded[name].shape))
        self.sources = [s for s in self.sources if s not in outputs]
        proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(s) for s in self.sources)
        stored = [t for t in proto.graph.initializer if t.name in used]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(stored)
        weights = {k: v for k, v in engine.graph.weights.items() if k in used}
        self.session = record.Graph(proto, weights).session(record.Device("cpu"), optimise=False)

    @staticmethod
    def _run(proto: onnx.ModelProto, engine: Engine, names: dict[str, None], feeds: Feeds) -> Feeds:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
        session = record.Graph(copy, engine.graph.weights).session(record.Device("cpu"), optimise=False)
        return dict(zip(names, record.run(session, list(names), feeds), strict=True))

    def inputs(self, feeds: Feeds) -> Feeds:
        """Every layer's input for these layer outputs."""
        names = {i.name for i in self.session.get_inputs()}
        found = record.run(self.session, self.sources, {k: v for k, v in feeds.items() if k in names})
        return {**dict(zip(self.sources, found, strict=True)), **feeds}


def _moved(cut: Cut, base: Feeds, tensor: str, axis: int, kernel: int) -> dict[tuple[int, int], bool]:
    """(layer, channel) that move under at least one of several large changes of one kernel."""
    moved: dict[tuple[int, int], bool] = {}
    for shift in SHIFTS:
        value = np.array(cut.feeds[tensor])
        view = np.moveaxis(value, axis, 0)
        kind = value.dtype
        if np.issubdtype(kind, np.integer):
            info = np.iinfo(kind)
            view[kernel] = np.clip(view[kernel].astype(np.int64) + int(shift), info.min, info.max).astype(kind)
        else:
            view[kernel] += kind.type(shift)
        after = cut.inputs({**cut.feeds, tensor: value})
        for layer in cut.engine.topology.layers:
            channel = 0
            for part in layer.parts:
                a, b = (np.moveaxis(x[part.source], part.in_axis, 0) for x in (base, after))
                differs = (a != b).reshape(len(a), -1).any(axis=1)
                for c in np.flatnonzero(differs):
                    moved[layer.index, channel + int(c)] = True
                channel += part.channels
    return moved


def check(path: Path, rng: np.random.Generator) -> None:
    """Perturb sampled kernels of every layer of a file."""
    model = load(path)
    feeds = record.random_feeds(model)
    engine = Engine(model, feeds)
    cut = Cut(engine, feeds)
    base = cut.inputs(cut.feeds)
    wires: dict[int, set[tuple[int, int]]] = {}
    for layer in engine.topology.layers:
        for _, labels, _ in engine.topology.wires(layer):
            for channel, row in enumerate(labels):
                for label in row[row >= 0]:
                    wires.setdefault(int(label), set()).add((layer.index, channel))
    side = {layer.index: {o.layer for o in engine.topology.side_inputs(layer)} for layer in engine.topology.layers}
    for layer in engine.topology.layers:
        offset = 0
        for part in layer.parts:
            if part.output in cut.feeds:
                for kernel in rng.choice(part.kernels, min(KERNELS, part.kernels), replace=False):
                    label = layer.first + offset + int(kernel)
                    moved = _moved(cut, base, part.output, part.out_axis, int(kernel))
                    expected = wires.get(label, set())
                    extra = {m for m in moved if m not in expected and layer.index not in side[m[0]]}
                    assert not extra, (path.name, layer.name, int(kernel), sorted(extra)[:5])
                    silent = {w for w in expected if w not in moved}
                    assert not silent, (path.name, layer.name, int(kernel), sorted(silent)[:5])
            offset += part.kernels


def test_demo_moves_as_the_topology_says(rng: np.random.Generator) -> None:
    check(DEMO, rng)


@pytest.mark.shared
def test_reference_models_move_as_the_topology_says(shared_dir: Path, rng: np.random.Generator) -> None:
    skip = {"var2d_ort_all.onnx"}
    files = sorted((shared_dir / "models").glob("*/*.onnx"))
    for path in files:
        if path.name not in skip:
            check(path, rng)
