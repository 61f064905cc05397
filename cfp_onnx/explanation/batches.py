"""Whether the first axis of an input is a batch: items that the network treats apart, each with its own answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import CfpError
from cfp_onnx.model import Model, load
from cfp_onnx.values import Array

CLOSE = 1e-3
"""Largest difference, as part of the largest value, that counts as the same answer."""

ROUNDED = 0.1
"""The same where a network rounds a whole batch by one scale, so that each item moves the others a little."""


def separate_items(model: Model, name: str) -> Callable[[tuple[int, ...]], bool]:
    """What tells of an input's whole shape whether its first axis is a batch; each shape is tried once."""
    return _SeparateItems(model, name)


class _SeparateItems:
    """The same as an object that may go to another process, which reads the file again if it has to try."""

    def __init__(self, model: Model, name: str) -> None:
        self._model: Model | None = model
        self._path, self._name = model.path, name
        self._told: dict[tuple[int, ...], bool] = {}

    def __call__(self, shape: tuple[int, ...]) -> bool:
        if shape[0] == 1:
            return True
        if shape not in self._told:
            self._model = self._model or load(self._path)
            self._told[shape] = _are_separate(self._model, self._name, shape)
        return self._told[shape]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}


def _are_separate(model: Model, name: str, shape: tuple[int, ...]) -> bool:
    """Runs the file on seeded numbers, on the same with the items turned round, and on the first item alone.

    A batch is what turns the outputs round when it is turned round, and whose first item answers the same without the
    others: rows of an image, steps of a signal and frames of a clip do neither, steps of a causal network only one.
    """
    items = shape[0]
    rounded = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.graph)
    try:
        feeds = runtime.random_feeds(model, _shapes(model, name, shape))
        turned = [k for k, v in feeds.items() if v.ndim and v.shape[0] == items]
        fixed = {p.name: bool(p.shape and p.shape[0] == items) for p in model.inputs}
        session = runtime.plain_session(model, runtime.Device("cpu"))

        def answers(inputs: Mapping[str, Array]) -> list[Array]:
            return [np.asarray(y) for y in runtime.run(session, [p.name for p in model.outputs], inputs)]

        whole = answers(feeds)
        rolled = answers({k: np.roll(v, 1, axis=0) if k in turned else v for k, v in feeds.items()})
        axes = [_turned_along(a, b, items) for a, b in zip(whole, rolled, strict=True)]
        if None in axes:
            return False
        first = {k: np.repeat(v[:1], items if fixed[k] else 1, axis=0) if k in turned else v for k, v in feeds.items()}
        found = zip(whole, answers(first), axes, strict=True)
        apart = ROUNDED if rounded else CLOSE
        return all(axis is not None and _close(a.take([0], axis), b.take([0], axis), apart) for a, b, axis in found)
    except CfpError:  # it does not run at this size, or not on one item: then the array is fed as it is
        return False


def _shapes(model: Model, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape that is asked about, and the same number of items where other inputs leave theirs open."""
    found = {name: shape}
    for port in model.inputs:
        sizes = port.shape
        if port.name != name and sizes and sizes[0] is None and None not in sizes[1:]:
            found[port.name] = (shape[0], *(size or 1 for size in sizes[1:]))
    return found


def _turned_along(whole: Array, rolled: Array, items: int) -> int | None:
    """The axis along which an output was turned round when the items were; None for none."""
    axes = (axis for axis, size in enumerate(whole.shape) if size == items)
    return next((axis for axis in axes if _close(np.roll(whole, 1, axis), rolled)), None)


def _close(a: Array, b: Array, apart: float = CLOSE) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.abs(a).max(initial=0.0))
    return bool(np.isfinite(a).all() and np.isfinite(b).all() and np.abs(a - b).max(initial=0.0) <= apart * scale)


__all__ = ["CLOSE", "separate_items"]
