"""Seeded inputs of plausible size, for looking at a model without a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.errors import RunError
from cfp_onnx.model import Model, input_shape
from cfp_onnx.runtime.device import Device
from cfp_onnx.runtime.model_graph import Graph
from cfp_onnx.runtime.session import run
from cfp_onnx.text import shape_text
from cfp_onnx.values import Array


def random_feeds(model: Model, given: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    """Seeded arrays of plausible size for every input, for looking at a model without a clip.

    Symbolic sizes become 1 (batch) and common clip sizes; the first that the model runs with is taken.

    Raises:
        UsageError: If a given shape contradicts the file.
        RunError: If no size fits; the message asks for one.
    """
    shapes = input_shape(model, given or {})
    error: RunError | None = None
    plain = Graph.of(model).session(Device("cpu"), optimise=False)
    for clip in ((16, 112), (8, 56), (16, 224), (32, 224), (8, 64)):
        feeds = {p.name: _random(_fill(shapes[p.name], clip), p.dtype) for p in model.inputs}
        try:
            run(plain, [model.outputs[0].name], feeds)
        except RunError as failed:
            error = error or failed
            if all(None not in s for s in shapes.values()):
                raise
            continue
        return feeds
    names = ", ".join(f"{k}={shape_text(s)}" for k, s in shapes.items())
    raise RunError(
        f"no common input size fits {model.path} ({names}); give --input-shape NAME=1,3,16,112,112: {error}"
    ) from error


def _fill(shape: Sequence[int | None], clip: tuple[int, int]) -> tuple[int, ...]:
    frames, size = clip
    out = [1 if i == 0 and d is None else d for i, d in enumerate(shape)]
    if len(out) == 5 and out[1] is None and out[4] not in {1, 3}:
        out[1] = 3
    if len(out) == 4 and out[1] is None and out[3] not in {1, 3}:
        out[1] = 3
    holes = [i for i, d in enumerate(out) if d is None]
    for i in holes:
        temporal = len(out) == 5 and i == (1 if out[4] in {1, 3} or out[2] in {1, 3} else 2)
        out[i] = frames if temporal else size
    return tuple(int(d or 1) for d in out)


def _random(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(0)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


__all__ = ["random_feeds"]
