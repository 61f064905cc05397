"""The walk of `positional` with every live norm by its slope, so that relevance is a derivative throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.relevance.positional import Positional
from cfp_onnx.relevance.rules import RULES, FieldWalk
from cfp_onnx.runtime.probe import SEED

Array = npt.NDArray[Any]

SLOPES = replace(
    RULES["positional"], walk=FieldWalk(lambda walk, hold: Positional(walk, hold=hold, sums=None, whole=True))
)


def relevance(
    engine: Engine, feeds: Mapping[str, Array], index: int, *, step: str = "contrast", hold: Sequence[str] = ()
) -> dict[int, Array]:
    """Relevance of every kernel of every layer for a class; an engine serves this or the rule itself, not both."""
    probe = engine.sessions.field(SLOPES, None, hold=hold)
    results = runtime.run(probe.session, list(probe.relevance.values()), {**feeds, SEED: engine.seed(index, step)})
    return dict(zip(probe.relevance, results, strict=True))
