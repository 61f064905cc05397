"""One of the two files, ready to run: its tensors, the means of its kernels, their relevance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.matching.chains import Place
from cfp_onnx.matching.describe import network
from cfp_onnx.matching.units import Network
from cfp_onnx.model import Model
from cfp_onnx.pyramid.tube_collector import Collector
from cfp_onnx.pyramid.tubes import Tube
from cfp_onnx.runtime.probe import SEED, Probe, Values
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.load import Clip


@dataclass
class Side:
    """One of the two files, with what was made of it once."""

    model: Model
    engine: Engine
    network: Network
    taps: dict[tuple[str, ...], tuple[Any, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: Model, clip: Clip, device: runtime.Device, output: str | None, *, barriers: bool, keep: bool
    ) -> Side:
        """A file at a clip's input sizes; `keep` holds its sessions ready for further clips."""
        engine = Engine(model, clip.feeds, device=device, output=output, barriers=barriers, keep=keep)
        return cls(model, engine, network(engine.topology, engine.output, engine.target, engine.depths))

    @property
    def main(self) -> str:
        """The input that is the clip: the first with most axes."""
        shapes = self.engine.program.shapes
        return max((p.name for p in self.model.inputs), key=lambda name: len(shapes[name]))

    def bytes(self, place: Place) -> int:
        """Size of a tensor as float32."""
        return 4 * int(np.prod(self.engine.program.shapes[place.tensor], dtype=np.int64))

    def fetch(self, tensors: Iterable[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors of one forward pass, as float32."""
        made = self.made(tensors, feeds)
        session, names = self.taps.get(made) or self._tap(made)
        if self.engine.sessions.keep:
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


__all__ = ["Looked", "Side"]
