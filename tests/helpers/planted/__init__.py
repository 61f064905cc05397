"""Networks whose answer is known by construction, each in several of ONNX's spellings."""

from __future__ import annotations

from planted import attention, decoys, gates, motion, norms, paths, places
from planted.values import Circuit
from planted.writer import Style

CIRCUITS: tuple[Circuit, ...] = tuple(
    value
    for module in (motion, places, decoys, paths, gates, norms, attention)
    for value in vars(module).values()
    if isinstance(value, Circuit)
)
"""The circuits."""

CASES: tuple[tuple[Circuit, Style], ...] = tuple((c, s) for c in CIRCUITS for s in c.styles)
"""Every circuit in each of its spellings."""

__all__ = ["CASES", "CIRCUITS"]
