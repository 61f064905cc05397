"""The result: kernels chosen per depth with their links and tubes; it is asked, converted, shown and saved."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import NO_TUBE, Tubes, silent_at
from cfp_onnx.pyramid.values import Alternative, Edge, Kernel, LayerResult, levels_json
from cfp_onnx.text import listed, plain_text
from cfp_onnx.values import Array, Progress

if TYPE_CHECKING:
    from cfp_onnx.pyramid.drawings import Drawing

SCHEMA = "cfp-onnx/pyramid"
SCHEMA_VERSION = 2
READABLE = (1, 2)
"""Versions that are read; in the first no relevance is null."""


@dataclass(frozen=True, repr=False)
class Pyramid:
    """A class feature pyramid.

    Attributes:
        model: Which model it was.
        input: What the model was fed.
        run: How the pyramid was computed, and what the run reported.
        target: The class, and what the model itself answers.
        coverage: How much of the network was traced.
        layers: Layers walked, in execution order.
        levels: Depth to the kernels chosen there, strongest first within a layer.
        edges: Expanded kernels.
        rather: What else the class was set against, each with a walk of its own.
        tubes: Saliency tubes, where they were asked for.
        media: The clip as people see it.
        topology: The whole network, as in ``inspect --json``.
        facts: Versions, time of day and times taken.
    """

    model: ModelHeader
    input: InputHeader
    run: RunHeader
    target: TargetHeader
    coverage: CoverageHeader
    layers: tuple[LayerResult, ...]
    levels: Mapping[int, tuple[Kernel, ...]]
    edges: tuple[Edge, ...]
    rather: tuple[Alternative, ...] = ()
    tubes: Tubes | None = field(default=None, compare=False)
    media: Media | None = field(default=None, compare=False)
    topology: Mapping[str, Any] | None = field(default=None, compare=False)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    # ----------------------------------------------------------------------------------------- asking

    def layer(self, name: str) -> LayerResult:
        """The layer of that name.

        Raises:
            KeyError: If it was not walked.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r} was walked; layers are: {listed([x.name for x in self.layers], 20)}")

    def kernels(self, depth: int | None = None) -> tuple[Kernel, ...]:
        """Chosen kernels (layer, kernel, relevance) of a depth, or of all depths from the class down.

        They are in the order of the layers, the strongest of a layer first; a depth that was not walked has none.
        """
        if depth is not None:
            return self.levels.get(depth, ())
        return tuple(k for d in sorted(self.levels) for k in self.levels[d])

    def rather_than(self, against: str | int) -> Pyramid:
        """The same explanation with the class set against something else, of which a walk was made too.

        Relevance, chosen kernels and links are those of that walk; the present ones stand in `rather` in its place.
        Tubes stay as they are: the class's own does not depend on it, and kernels chosen only there may have none.

        Args:
            against: As it was asked for: ``mean``, ``rivals``, ``best`` or a class.

        Raises:
            KeyError: If no such walk was made.
        """
        names = [a.run.against for a in self.rather]
        if str(against) not in names:
            there = ", ".join(map(str, names)) or "none"
            raise KeyError(f"no walk against {str(against)!r} was made; others that were: {there}")
        place = names.index(str(against))
        own = Alternative(self.run, {x.name: x.relevance for x in self.layers}, self.levels, self.edges)
        other = self.rather[place]
        return replace(
            self, run=other.run, levels=other.levels, edges=other.edges,
            layers=tuple(replace(x, relevance=other.relevance[x.name]) for x in self.layers),
            rather=(*self.rather[:place], own, *self.rather[place + 1 :]),
        )  # fmt: skip

    def tube(self, layer: str, kernel: int | None = None, *, kind: str | None = None) -> Array:
        """A saliency tube at the clip's size.

        Args:
            layer: Layer name.
            kernel: Kernel; None for the class's relevance in the whole layer.
            kind: ``activation`` (of a kernel, the default), ``relevance``, or ``evidence``: where in the clip that lies
                which a whole layer holds for the class, and against it below 0.

        Returns:
            (T, H, W) float32; T is 1 for pictures, T and H are 1 for one-dimensional data.

        Raises:
            KeyError: If it was not recorded.
        """
        found, media = self._recorded()
        kind = kind or ("relevance" if kernel is None else "activation")
        self.layer(layer)
        mine = {t.kernel: t for t in found.items if t.kind == kind and t.layer == layer}
        if kernel not in mine:
            what = f"layer {layer!r}" if kernel is None else f"kernel {kernel} of {layer!r}"
            there = ", ".join(str(k) for k in sorted(k for k in mine if k is not None))
            hint = f"kernels recorded there: {there}" if there else f"none of its kernels has one{_HINT.get(kind, '')}"
            raise KeyError(f"no {kind} tube of {what} was recorded; {hint}")
        return mine[kernel].at(media.size)

    def class_tube(self, depth: int | None = None, *, signed: bool = False) -> Array:
        """Where in the clip the evidence for the class lies, against its rivals; or where a depth holds it.

        A depth's own map shows where its layers hold what speaks for the class. Below the first layers receptive
        fields and attention have mixed places, so it is no statement about the clip (docs/method.md, tubes).

        Args:
            depth: A depth for its own map, per clip pixel; None for the class's tube over the clip, whose largest
                absolute value is 1.
            signed: Whether what speaks against the class is there too, below 0.

        Returns:
            (T, H, W) float32; T is 1 for pictures, T and H are 1 for one-dimensional data.

        Raises:
            KeyError: If it was not recorded, or the depth does not say where.
        """
        found, media = self._recorded()
        if depth is None:
            own = found.of("evidence", "class")
            if not own:
                raise KeyError(next((n for n in found.notes if n.startswith(NO_TUBE)), NO_TUBE))
            values = own[0].at(media.size)
            return values if signed else np.maximum(values, 0)
        mine = {t.depth: t for t in found.of("relevance", "depth")}
        if depth not in mine:
            there = ", ".join(str(d) for d in sorted(mine)) or "none"
            reason = silent_at(found.notes, depth) or f"no class tube of depth {depth} was recorded"
            raise KeyError(f"{reason}; depths recorded: {there}")
        values = mine[depth].at(media.size)
        return values if signed else np.maximum(values, 0)

    def _recorded(self) -> tuple[Tubes, Media]:
        if self.tubes is None or self.media is None:
            raise KeyError("no tubes were recorded: explain with tubes=True, on a model whose input has space or time")
        return self.tubes, self.media

    # ------------------------------------------------------------------------------------- converting

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "model": self.model.to_json(),
            "input": self.input.to_json(),
            "run": self.run.to_json(),
            "target": self.target.to_json(),
            "coverage": self.coverage.to_json(),
            "layers": [x.to_json() for x in self.layers],
            "levels": levels_json(self.levels),
            "edges": [e.to_json() for e in self.edges],
            **({"rather": [a.to_json() for a in self.rather]} if self.rather else {}),
        }

    def to_networkx(self) -> nx.MultiDiGraph:
        """Chosen kernels and what feeds them as a directed graph; edges point with the data.

        Nodes are (layer, kernel), and (None, channel) for channels of the model's input, with attributes ``relevance``
        and ``depth`` where they are known and ``chosen``. Edges carry ``weight``, ``channel``, ``share`` and ``via``;
        a kernel that feeds another through several channels or paths has as many edges.
        """
        graph: nx.MultiDiGraph = nx.MultiDiGraph()
        known = {x.name: x for x in self.layers}
        chosen = {(k.layer, k.kernel) for k in self.kernels()}

        def add(layer: str | None, kernel: int) -> tuple[str | None, int]:
            node = (layer, kernel)
            found = known.get(layer or "")
            place = {} if found is None else {"depth": found.depth, "relevance": found.relevance[kernel]}
            graph.add_node(node, chosen=node in chosen, **place)
            return node

        for layer, kernel, _ in self.kernels():
            add(layer, kernel)
        for edge in self.edges:
            reader = add(edge.layer, edge.kernel)
            for link in edge.channels:
                for source in link.sources:
                    graph.add_edge(
                        add(source.layer, source.kernel), reader,
                        weight=link.weight, channel=link.channel, share=source.share, via=source.via,
                    )  # fmt: skip
        return graph

    def to_frame(self) -> Any:
        """Every kernel of every layer walked as a pandas table: layer, op, depth, kernel, relevance, share, chosen.

        ``share`` is the relevance over that of the layer's strongest kernel; both are NaN where nothing is known.

        Raises:
            UsageError: If pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise UsageError("to_frame needs pandas; type: pip install pandas")
        import pandas as pd

        chosen = {(k.layer, k.kernel) for k in self.kernels()}
        columns: dict[str, list[Any]] = {
            k: [] for k in ("layer", "op", "depth", "kernel", "relevance", "share", "chosen")
        }
        for layer in self.layers:
            top = max(layer.relevance, default=0.0) if layer.known else math.nan
            for kernel, relevance in enumerate(layer.relevance):
                share = 0.0 if top <= 0 else relevance / top
                row = (layer.name, layer.op, layer.depth, kernel, relevance, share, (layer.name, kernel) in chosen)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
        return pd.DataFrame(columns)

    # ---------------------------------------------------------------------------------------- showing

    def __repr__(self) -> str:
        label = "" if self.target.label is None else f" {self.target.label!r}"
        return (
            f"<Pyramid of class {self.target.index}{label}: rule {self.run.rule}, {len(self.layers)} layers, "
            f"{len(self.levels)} depths, {len(self.kernels())} chosen kernels>"
        )

    def __str__(self) -> str:
        from cfp_onnx.pyramid.text import pyramid_tree

        return plain_text(pyramid_tree(self, notes=() if self.tubes is None else self.tubes.notes))

    def _repr_html_(self) -> str:
        """For notebooks: the answer, the class's tubes, and the strongest kernels of each depth."""
        from cfp_onnx.pyramid.notebook import notebook_html

        return notebook_html(self, self.tubes, self.media)

    # ----------------------------------------------------------------------------------------- saving

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        drawings: Sequence[Drawing] | None = None,
        animation: str = "mp4",
        progress: Progress | None = None,
    ) -> Path:
        """Write ``report.html``, ``pyramid.json``, ``tubes.npz`` and pictures of tubes into a folder.

        Args:
            folder: Made where it is missing.
            drawings: Which tubes become pictures; by default those of the class and of the strongest kernel at up to
                four depths.
            animation: ``mp4``, ``gif`` or ``none``.
            progress: Called before each tube that is drawn.

        Returns:
            The report.

        Raises:
            OutputError: If a file cannot be written; each file is whole or not there.
            UsageError: If tubes are asked for that were not recorded.
        """
        from cfp_onnx.pyramid.folder import write_folder

        written = write_folder(
            Path(folder), self.to_json(), topology=self.topology, tubes=self.tubes, media=self.media, facts=self.facts,
            drawings=drawings, animation=animation, progress=progress,
        )  # fmt: skip
        return written[0]


_HINT = {
    "relevance": " (explain with kernel_relevance=True)",
    "evidence": "; a layer has one where evidence that says where comes through it (explain with layer_evidence=True)",
}


__all__ = ["READABLE", "SCHEMA", "SCHEMA_VERSION", "Pyramid"]
