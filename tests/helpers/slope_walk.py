"""The walk of `positional` with every live norm by its slope, so that relevance is a derivative; and derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import twin

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import Feature
from cfp_onnx.relevance.positional import Positional
from cfp_onnx.relevance.rules import RULES, FieldWalk
from cfp_onnx.runtime.probe import SEED

Array = npt.NDArray[Any]

STEP = 1e-5

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


def margin(scores: Array, index: int) -> float:
    """A class against the mean of the others."""
    flat = np.asarray(scores, np.float64).reshape(-1)
    return float(flat[index] - np.delete(flat, index).mean())


def slopes(
    model: onnx.ModelProto, feeds: Mapping[str, Array], feature: Feature, index: int, *, step: float = STEP
) -> Array:
    """How the margin of ``y`` follows the factor of each kernel's map, around 1, in float64."""
    value = twin.evaluate(model, feeds)[feature.tensor]
    found = []
    for kernel in range(value.shape[feature.axis]):
        sides = []
        for sign in (1, -1):
            changed = value.copy()
            np.moveaxis(changed, feature.axis, 0)[kernel] *= 1 + sign * step
            sides.append(margin(twin.evaluate(model, feeds, held={feature.tensor: changed})["y"], index))
        found.append((sides[0] - sides[1]) / (2 * step))
    return np.array(found)
