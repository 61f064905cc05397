"""A report's payload as it is embedded in the page: short, and fast to read for the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfp_onnx.naming import module_of
from cfp_onnx.report.page import finite, rounded


def compact(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as it is embedded: every layer's name once, links as columns, infinities and NaN as null.

    A hundred thousand links take 3 MB this way and are read in one go, and a long name is not repeated by each.
    Layers are referred to by their place in ``names``, and by null where a source is the model's input.
    """
    pyramid, topology = payload["pyramid"], payload.get("topology")
    names = _Names()
    for layer in [*pyramid["layers"], *(topology["layers"] if topology else ())]:
        names.place(layer["name"])
    out: dict[str, Any] = {
        "format": payload["format"],
        "pyramid": _compact_pyramid(pyramid, names),
        "topology": _compact_topology(topology, names) if topology else None,
        "colormap": payload["colormap"],
        "media": finite(payload["media"]),
        "tubes": _compact_tubes(payload["tubes"], names),
        "facts": finite(payload.get("facts", {})),
    }
    out["names"] = names.seen
    return out


class _Names:
    """Names in the order in which they came, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    @property
    def seen(self) -> list[str]:
        return list(self._places)

    def place(self, name: str | None) -> int | None:
        return None if name is None else self._places.setdefault(name, len(self._places))


def _compact_pyramid(pyramid: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    rest = {key: finite(pyramid[key]) for key in ("model", "input", "run", "target", "coverage")}
    return {
        **rest,
        "layers": [_compact_layer(layer, names) for layer in pyramid["layers"]],
        **_compact_answer(pyramid, names),
        "rather": [
            {
                "run": finite(other["run"]),
                "relevance": [[rounded(r) for r in layer["relevance"]] for layer in other["layers"]],
                **_compact_answer(other, names),
            }
            for other in pyramid.get("rather", ())
        ],
    }


def _compact_answer(pyramid: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    """What was chosen, and what feeds it."""
    return {
        "levels": [
            {
                "depth": level["depth"],
                "layer": [names.place(k["layer"]) for k in level["kernels"]],
                "kernel": [k["kernel"] for k in level["kernels"]],
            }
            for level in pyramid["levels"]
        ],
        "edges": _columns(pyramid["edges"], names),
    }


def _compact_layer(layer: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    rest = {key: value for key, value in layer.items() if key not in ("name", "relevance")}
    out: dict[str, Any] = {"layer": names.place(layer["name"]), **finite(rest)}
    if module := module_of(layer["name"], layer["weight"]):
        out["module"] = module
    if "relevance" in layer:
        out["relevance"] = [rounded(r) for r in layer["relevance"]]
    return out


def _columns(edges: Sequence[Mapping[str, Any]], names: _Names) -> dict[str, Any]:
    """Links as columns: edges say how many channels they have, channels how many sources."""
    channels = [channel for edge in edges for channel in edge["channels"]]
    sources = [source for channel in channels for source in channel["sources"]]
    vias = _Names()
    return {
        "layer": [names.place(edge["layer"]) for edge in edges],
        "kernel": [edge["kernel"] for edge in edges],
        "channels": [len(edge["channels"]) for edge in edges],
        "channel": [channel["channel"] for channel in channels],
        "weight": [rounded(channel["weight"]) for channel in channels],
        "sources": [len(channel["sources"]) for channel in channels],
        "from": [names.place(source["layer"]) for source in sources],
        "unit": [source["kernel"] for source in sources],
        "share": [rounded(source["share"]) for source in sources],
        "via": [vias.place(source.get("via", "chain")) for source in sources],
        "vias": vias.seen,
    }


def _compact_topology(topology: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    return {
        "output": topology.get("output"),
        "layers": [_compact_layer(layer, names) for layer in topology["layers"]],
        "wires": [
            {
                "layer": names.place(wire["layer"]),
                "from": [names.place(origin["layer"]) for origin in wire["from"]],
                "via": [origin["via"] for origin in wire["from"]],
            }
            for wire in topology["wires"]
        ],
        "joints": {
            key: [
                {
                    "node": joint["node"],
                    "kind": joint["kind"],
                    "paths": [[names.place(name) for name in path] for path in joint["paths"]],
                }
                for joint in topology[key]
            ]
            for key in ("branches", "shortcuts", "gates")
        },
        "fibers": [{**fiber, "layer": names.place(fiber["layer"])} for fiber in topology["fibers"]],
    }


def _compact_tubes(tubes: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    return {
        "notes": list(tubes["notes"]),
        "scales": finite(tubes["scales"]),
        "maps": [{**finite(tube), "layer": names.place(tube["layer"])} for tube in tubes["maps"]],
    }


__all__ = ["compact"]
