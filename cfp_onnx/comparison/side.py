"""One of the two files, ready to run: its tensors, the means of its kernels, their relevance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.matching.describe import network
from cfp_onnx.matching.paths import Place
from cfp_onnx.matching.units import NetworkUnits
from cfp_onnx.model import Model
from cfp_onnx.pyramid.tube_collector import TubeCollector
from cfp_onnx.pyramid.tubes import Tube
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.runtime.probe import SEED, Probe, Values
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip


@dataclass(frozen=True)
class PassOutputs:
    """What one pass of one file returned.

    Attributes:
        relevance: (kernels,) by layer index.
        tubes: Where that relevance lies, by layer name.
        tensors: What was tapped, as float32.
    """

    relevance: Mapping[int, Array]
    tubes: Mapping[str, Tube]
    tensors: Mapping[str, Array]


@dataclass
class Side:
    """One of the two files at one input size.

    Attributes:
        model: The file.
        engine: The network at that size.
        network: What is matched of it.
        taps: Sessions that return some tensors, and the names under which they do.
    """

    model: Model
    engine: Engine
    network: NetworkUnits
    taps: dict[tuple[str, ...], tuple[Any, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: Model, clip: Clip, device: runtime.Device, output: str | None, *, barriers: bool, keep: bool
    ) -> Side:
        """A file at a clip's input sizes; `keep` holds its sessions ready for further clips."""
        engine = Engine(model, clip.feeds, device=device, output=output, barriers=barriers, keep=keep)
        return cls(model, engine, network(engine.topology, engine.scored, engine.target, engine.depths))

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
    ) -> PassOutputs:
        """Relevance of every kernel and of every place, and some tensors of the same pass.

        Args:
            feeds: Arrays for all inputs.
            index: The class.
            depth: Deepest level whose relevance is taken; None for all.
            tensors: Names of the tensors.
            tubes: Whether the places are wanted.
        """
        engine = self.engine
        probe = engine.field_probe(
            "positional", depth, Wanted(places=tubes, taps=self.made(tensors, feeds)), hold=HOLDS
        )
        names = list(dict.fromkeys([*probe.relevance.values(), *probe.maps.values(), *probe.taps.values()]))
        fed = {**feeds, SEED: engine.classes_on(feeds, index).seed(index, "contrast")}
        found = dict(zip(names, runtime.run(probe.session, names, fed), strict=True))
        scored = {i: np.asarray(found[n], np.float64).reshape(-1) for i, n in probe.relevance.items()}
        taken = self.named(tensors, probe.taps, found, feeds)
        axis, collector = engine.axes[self.main], None
        if tubes and axis is not None:
            collector = TubeCollector.of(engine.topology, engine.depths, self.main, axis)
        if collector is None:
            return PassOutputs(scored, {}, taken)
        for i, name in probe.maps.items():
            collector.add_relevance(engine.topology.layers[i], probe.features[i], found[name])
        maps = collector.finish().of("relevance", "layer")
        return PassOutputs(scored, {t.layer: t for t in maps if t.layer is not None}, taken)

    def made(self, tensors: Iterable[str], feeds: Mapping[str, Array]) -> tuple[str, ...]:
        """Those of the tensors that a pass makes, each once: no inputs and no constants."""
        fixed = self.engine.program.is_constant
        return tuple(dict.fromkeys(t for t in tensors if t not in feeds and not fixed(t)))

    def named(
        self, tensors: Iterable[str], names: Mapping[str, str], found: Mapping[str, Array], feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Tensors by their own names, as float32.

        Args:
            tensors: Names of the tensors.
            names: Under which name the pass returned each of those that it makes.
            found: What the pass returned.
            feeds: Arrays for all inputs.
        """
        constant = self.engine.program.constant
        return {
            t: np.asarray(found[names[t]] if t in names else feeds[t] if t in feeds else constant(t), np.float32)
            for t in tensors
        }

    def _session(self, probe: Probe, outputs: Iterable[str]) -> Any:
        probe.outputs = list(dict.fromkeys(outputs))
        return self.engine.graph.with_probe(probe, keep_outputs=False).session(self.engine.device)


@dataclass
class Sides:
    """Both files at the sizes of the last clip.

    Attributes:
        models: The files.
        device: Where to run.
        output: Output of the first file to compare; the one with classes where None.
        barriers: Whether unknown operators on channel paths are passed over.
        keep: Whether sessions are held ready for further clips.
    """

    models: tuple[Model, Model]
    device: runtime.Device
    output: str | None
    barriers: bool
    keep: bool
    _shapes: tuple[Any, ...] = ()
    _clips: tuple[str, ...] = ()
    _made: tuple[Side, Side] | None = None

    def at(self, clips: tuple[Clip, Clip]) -> tuple[Side, Side]:
        """Both files ready for these clips; the same as before where the sizes are.

        Raises:
            CfpError: If one of the files cannot be analysed.
        """
        shapes = tuple(tuple(sorted((k, v.shape) for k, v in c.feeds.items())) for c in clips)
        looked_at = tuple(c.sha256 for c in clips)
        other = looked_at != self._clips and self._made and any(s.engine.model.by_clip for s in self._made)
        if self._made is None or shapes != self._shapes or other:
            one = self._side(0, clips[0], self.output)
            two = self._side(1, clips[1], self._other_output(one.engine.output))
            self._made, self._shapes, self._clips = (one, two), shapes, looked_at
        return self._made

    def _side(self, place: int, clip: Clip, output: str | None) -> Side:
        return Side.of(self.models[place], clip, self.device, output, barriers=self.barriers, keep=self.keep)

    def _other_output(self, output: str) -> str:
        """The second file's output of the same name, or the one in its place."""
        ours, theirs = ([p.name for p in m.outputs] for m in self.models)
        return output if output in theirs else theirs[min(ours.index(output), len(theirs) - 1)]


__all__ = ["PassOutputs", "Side", "Sides"]
