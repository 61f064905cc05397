"""The result: kernels chosen per depth with their links and tubes; it prints, draws, saves and loads itself."""

from __future__ import annotations

import html
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy.typing as npt

from cfp_onnx.errors import UsageError
from cfp_onnx.results import Edge, Kernel, LayerResult, Link, LinkSource, Progress
from cfp_onnx.tubes import Media, Tubes

if TYPE_CHECKING:
    from cfp_onnx.saving import Drawing

Array = npt.NDArray[Any]

SCHEMA = "cfp-onnx/pyramid"
SCHEMA_VERSION = 1

PRINTED_WIDTH = 100
"""Columns of a pyramid that is turned into text."""


@dataclass(frozen=True)
class Pyramid:
    """A class feature pyramid.

    Attributes:
        model: file, sha256, producer, opset.
        input: file, sha256, shape, layout.
        run: rule, class_step, theta, top_k, depth, provider, onnxruntime, output_difference, undefined ...
        target: output, index, label, score, top.
        coverage: channels, layers, operators_unknown.
        layers: Layers walked, in execution order.
        levels: Depth to the kernels chosen there, strongest first within a layer.
        edges: Expanded kernels.
        tubes: Saliency tubes, where they were asked for.
        media: What a person sees of the clip.
        topology: The whole network, as in ``inspect --json``.
        facts: Versions, time of day and times taken.
    """

    model: Mapping[str, Any]
    input: Mapping[str, Any]
    run: Mapping[str, Any]
    target: Mapping[str, Any]
    coverage: Mapping[str, Any]
    layers: tuple[LayerResult, ...]
    levels: Mapping[int, tuple[Kernel, ...]]
    edges: tuple[Edge, ...]
    tubes: Tubes | None = field(default=None, compare=False, repr=False)
    media: Media | None = field(default=None, compare=False, repr=False)
    topology: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    # ----------------------------------------------------------------------------------------- asking

    def layer(self, name: str) -> LayerResult:
        """The layer of that name.

        Raises:
            KeyError: If it was not walked.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r} was walked; layers are: {', '.join(x.name for x in self.layers)}")

    def kernels(self, depth: int | None = None) -> tuple[Kernel, ...]:
        """Chosen kernels (layer, kernel, relevance) of a depth, or of all depths from the class down."""
        if depth is not None:
            return self.levels.get(depth, ())
        return tuple(k for d in sorted(self.levels) for k in self.levels[d])

    def tube(self, layer: str, kernel: int | None = None, *, kind: str | None = None) -> Array:
        """A saliency tube at the clip's size.

        Args:
            layer: Layer name.
            kernel: Kernel; None for the class's relevance in the whole layer.
            kind: ``activation`` (of a kernel, the default) or ``relevance``.

        Returns:
            (T, H, W) float32; T is 1 for pictures, T and H are 1 for one-dimensional data.

        Raises:
            KeyError: If it was not recorded.
        """
        found, media = self._recorded()
        kind = kind or ("relevance" if kernel is None else "activation")
        return found.find(kind, layer=layer, kernel=kernel).at(media.size)

    def class_tube(self, depth: int) -> Array:
        """Where the evidence for the class lies at a depth (rule `zplus`), (T, H, W) float32 per clip pixel.

        Raises:
            KeyError: If it was not recorded.
        """
        found, media = self._recorded()
        return found.find("relevance", depth=depth).at(media.size)

    def _recorded(self) -> tuple[Tubes, Media]:
        if self.tubes is None or self.media is None:
            raise KeyError("no tubes were recorded; explain with tubes=True")
        return self.tubes, self.media

    # ------------------------------------------------------------------------------------- converting

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "model": dict(self.model),
            "input": dict(self.input),
            "run": dict(self.run),
            "target": dict(self.target),
            "coverage": dict(self.coverage),
            "layers": [
                {
                    "name": x.name, "op": x.op, "weight": x.weight, "nodes": list(x.nodes),
                    "kernels": x.kernels, "channels": x.channels, "groups": x.groups,
                    "kernel_shape": list(x.kernel_shape), "family": x.family, "depth": x.depth,
                    "relevance": list(x.relevance),
                }
                for x in self.layers
            ],
            "levels": [
                {"depth": d, "kernels": [{"layer": n, "kernel": k, "relevance": r} for n, k, r in self.levels[d]]}
                for d in sorted(self.levels)
            ],
            "edges": [
                {
                    "layer": e.layer,
                    "kernel": e.kernel,
                    "channels": [
                        {
                            "channel": c.channel,
                            "weight": c.weight,
                            "sources": [
                                {"layer": s.layer, "kernel": s.kernel, "share": s.share, "via": s.via}
                                for s in c.sources
                            ],
                        }
                        for c in e.channels
                    ],
                }
                for e in self.edges
            ],
        }  # fmt: skip

    def to_networkx(self) -> nx.DiGraph:
        """Chosen kernels and what feeds them as a directed graph; edges point with the data.

        Nodes are (layer, kernel), and (None, channel) for channels of the model's input, with attributes ``relevance``
        and ``depth`` where they are known and ``chosen``. Edges carry ``weight``, ``channel``, ``share`` and ``via``.
        """
        graph: nx.DiGraph = nx.DiGraph()
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

        ``share`` is the relevance over that of the layer's strongest kernel.

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
            top = max(layer.relevance, default=0.0)
            for kernel, relevance in enumerate(layer.relevance):
                share = relevance / top if top > 0 else 0.0
                row = (layer.name, layer.op, layer.depth, kernel, relevance, share, (layer.name, kernel) in chosen)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
        return pd.DataFrame(columns)

    # ---------------------------------------------------------------------------------------- showing

    def __str__(self) -> str:
        from rich.console import Console

        from cfp_onnx.tree import pyramid_tree

        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a stream that keeps nothing
            console = Console(file=nowhere, width=PRINTED_WIDTH, record=True, color_system=None)
            console.print(pyramid_tree(self))
            return console.export_text().rstrip()

    def _repr_html_(self) -> str:
        """A small picture for notebooks: the answer, the class's tubes, the strongest kernels of each depth."""
        target, rows = self.target, []
        name = target["index"] if target["label"] is None else f"{target['index']} {target['label']}"
        for depth in sorted(self.levels):
            strongest = sorted(self.levels[depth], key=lambda k: -k.relevance)[:5]
            words = ", ".join(html.escape(f"{k.layer}:{k.kernel}") for k in strongest) or "none"
            more = len(self.levels[depth]) - len(strongest)
            tail = f" and {more} more" if more > 0 else ""
            rows.append(f"<tr><th scope='row'>{depth}</th><td style='text-align:left'>{words}{tail}</td></tr>")
        picture = self._picture()
        shown = "" if picture is None else f"<img alt='class tubes by depth' style='max-width:100%' src='{picture}'>"
        answer = f"score {target['score']:.4g}, rule {html.escape(str(self.run['rule']))}"
        return (
            f"<div><b>class {html.escape(str(name))}</b>, {answer}<br>"
            f"{shown}<table><tr><th>depth</th><th style='text-align:left'>strongest kernels</th></tr>"
            f"{''.join(rows)}</table></div>"
        )

    def _picture(self) -> str | None:
        """The class's tubes of at most four depths as a data address."""
        from cfp_onnx.saving import overview_address

        if self.tubes is None or self.media is None:
            return None
        return overview_address(self.tubes, self.media, self.target)

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
            progress: Told how far the drawing is.

        Returns:
            The report.

        Raises:
            OutputError: If a file cannot be written; each file is whole or not there.
            UsageError: If tubes are asked for that were not recorded.
        """
        from cfp_onnx import saving

        written = saving.save(
            Path(folder), self.to_json(), topology=self.topology, tubes=self.tubes, media=self.media, facts=self.facts,
            drawings=drawings, animation=animation, progress=progress,
        )  # fmt: skip
        return written[0]


def load_pyramid(path: str | os.PathLike[str]) -> Pyramid:
    """A pyramid that was saved: its JSON, and its tubes where they lie beside it.

    Args:
        path: ``pyramid.json`` or its folder.

    Raises:
        UsageError: If it cannot be read, or is no pyramid of this schema.
    """
    from cfp_onnx.saving import TUBES_FILE, read_tubes

    file = Path(path)
    file = file / "pyramid.json" if file.is_dir() else file
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read a pyramid from {file}: {error}") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or value.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{file} is no pyramid ({SCHEMA}, version {SCHEMA_VERSION}) of this program")
    beside = file.with_name(TUBES_FILE)
    tubes, media = read_tubes(beside) if beside.is_file() else (None, None)
    try:
        return _from_json(value, tubes, media)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file} is not a whole pyramid: {type(error).__name__} {error}") from error


def _from_json(value: Mapping[str, Any], tubes: Tubes | None, media: Media | None) -> Pyramid:
    layers = tuple(
        LayerResult(
            name=x["name"], op=x["op"], weight=x["weight"], nodes=tuple(x["nodes"]), kernels=int(x["kernels"]),
            channels=int(x["channels"]), groups=int(x["groups"]), kernel_shape=tuple(x["kernel_shape"]),
            family=x["family"], depth=int(x["depth"]), relevance=tuple(float(r) for r in x["relevance"]),
        )
        for x in value["layers"]
    )  # fmt: skip
    levels = {
        int(level["depth"]): tuple(
            Kernel(k["layer"], int(k["kernel"]), float(k["relevance"])) for k in level["kernels"]
        )
        for level in value["levels"]
    }
    edges = tuple(Edge(e["layer"], int(e["kernel"]), _links(e["channels"])) for e in value["edges"])
    parts = {k: dict(value[k]) for k in ("model", "input", "run", "target", "coverage")}
    return Pyramid(**parts, layers=layers, levels=levels, edges=edges, tubes=tubes, media=media)


def _kernel(value: Mapping[str, Any]) -> Kernel:
    return Kernel(value["layer"], int(value["kernel"]), float(value["relevance"]))


def _links(channels: Iterable[Mapping[str, Any]]) -> tuple[Link, ...]:
    return tuple(
        Link(
            int(c["channel"]),
            float(c["weight"]),
            tuple(LinkSource(s["layer"], int(s["kernel"]), float(s["share"]), s["via"]) for s in c["sources"]),
        )
        for c in channels
    )


__all__ = ["Pyramid", "load_pyramid"]
