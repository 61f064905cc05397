"""A network's topology for other programs: JSON under the published schema, and GraphML."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import networkx as nx

from cfp_onnx.files.whole import write_text
from cfp_onnx.graph.layers import KernelLayer, Origin
from cfp_onnx.graph.topology import Coverage, Topology
from cfp_onnx.graph.tracing import Joint
from cfp_onnx.model import Model, Program
from cfp_onnx.pyramid.headers import CoverageHeader, ModelHeader

SCHEMA = "cfp-onnx/topology"
SCHEMA_VERSION = 1


class Analysed(Protocol):
    """A network that was analysed without a clip."""

    @property
    def file(self) -> Model:
        """The file as it was loaded."""

    @property
    def program(self) -> Program:
        """Its operators with every shape known."""

    @property
    def topology(self) -> Topology:
        """Layers, wires, branches, shortcuts, gates."""

    @property
    def output(self) -> str:
        """Name of the output that is explained."""

    @property
    def depths(self) -> Mapping[int, int]:
        """Layer index to its longest path to the output."""

    @property
    def coverage(self) -> Coverage:
        """How much of the network was traced."""

    def classes(self) -> tuple[int, int | None]:
        """Number of classes and their axis in the target."""


def topology_json(engine: Analysed) -> dict[str, Any]:
    """The network as JSON values; layers are referred to by name.

    A layer that the explained output does not depend on has depth None.
    """
    topology = engine.topology
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "model": ModelHeader.of(engine.file).to_json(),
        "output": engine.output,
        "coverage": CoverageHeader.of(engine.coverage).to_json(),
        "layers": [_layer(engine, layer) for layer in topology.layers],
        "wires": [
            {"layer": layer.name, "from": [_wire(engine, origin, via) for origin, via in readers]}
            for layer, readers in zip(topology.layers, topology.readers, strict=True)
        ],
        "branches": _joints(engine, topology.branches),
        "shortcuts": _joints(engine, topology.shortcuts),
        "gates": _joints(engine, topology.gates),
        "fibers": [
            {"layer": layer.name, "groups": layer.groups, "split": layer.split}
            for layer in topology.layers
            if layer.groups > 1
        ],
    }


def _layer(engine: Analysed, layer: KernelLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "weight": layer.weight,
        "nodes": list(layer.nodes),
        "kernels": layer.kernels,
        "channels": layer.channels,
        "groups": layer.groups,
        "kernel_shape": [int(k) for k in layer.kernel_shape],
        "depth": engine.depths.get(layer.index),
        "family": layer.family,
    }


def _wire(engine: Analysed, origin: Origin, via: str) -> dict[str, Any]:
    if origin.layer is None:
        return {"layer": None, "input": origin.tensor, "via": via}
    return {"layer": engine.topology.layers[origin.layer].name, "via": via}


def _joints(engine: Analysed, joints: Sequence[Joint]) -> list[dict[str, Any]]:
    names = [layer.name for layer in engine.topology.layers]
    return [
        {"node": joint.node, "kind": joint.kind, "paths": [[names[i] for i in path] for path in joint.paths]}
        for joint in joints
    ]


def write_graphml(engine: Analysed, path: str | os.PathLike[str]) -> Path:
    """Write the graph of layers as GraphML, atomically; characters that XML forbids are escaped.

    Raises:
        OutputError: If it cannot be written.
    """
    graph: nx.MultiDiGraph = nx.MultiDiGraph()
    for node, attributes in engine.topology.graph.nodes(data=True):
        graph.add_node(_xml(node), **{k: _attribute(v) for k, v in attributes.items()})
    for source, reader, attributes in engine.topology.graph.edges(data=True):
        graph.add_edge(_xml(source), _xml(reader), **{k: _attribute(v) for k, v in attributes.items()})
    return write_text(Path(path), "\n".join(nx.generate_graphml(graph)) + "\n")


def _attribute(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | float):
        return value
    return int(value) if hasattr(value, "__index__") else _xml(str(value))


def _xml(text: str) -> str:
    """Names as XML 1.0 can hold them; two different names stay different."""
    return "".join(c if _legal(c) else c.encode("unicode_escape").decode("ascii") for c in str(text))


def _legal(c: str) -> bool:
    return c != "\\" and (c.isprintable() or "\u00a0" <= c < "\ud800" or "\ue000" <= c < "\ufffe")


__all__ = ["Analysed", "topology_json", "write_graphml"]
