"""Resizing: each output element is one input element, or a blend of some by fixed weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.interpolation import COORDINATES, Line, interpolation
from cfp_onnx.graph.operators.movement import is_full, moved
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@operator("Upsample", "Resize")
def _resize(node: Node, view: View) -> fx.Effect | None:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])
    scales = _scales(node, view, old, new)
    if scales is None:
        return None
    if str(node.attributes.get("mode", "nearest")) != "nearest":
        return _blend(node, view, old, new, scales)
    taken = [_nearest(node, view, *sizes) for sizes in zip(old, new, scales, strict=True)]
    if any(t is None for t in taken):
        return None
    changed = {i: t for i, t in enumerate(taken) if t is not None and not np.array_equal(t, np.arange(old[i]))}

    def apply(a: Array, _: int) -> Array:
        full = is_full(a, old)
        for axis, places in changed.items():
            if a.shape[axis] > 1 or full:
                a = np.take(a, places, axis=axis)
        return a

    return moved(apply)


def _blend(
    node: Node, view: View, old: tuple[int, ...], new: tuple[int, ...], scales: Sequence[float]
) -> fx.Effect | None:
    """Linear and cubic resizing: a fixed matrix for each axis whose length or scale changes."""
    axes = [i for i, s in enumerate(scales) if old[i] != new[i] or s != 1]
    line = _line(node, view)
    if line is None:
        return None
    found = {a: interpolation(old[a], new[a], scales[a], line) for a in axes}
    return fx.Blend(tuple(axes), found.__getitem__) if axes else fx.Identity()


def _line(node: Node, view: View) -> Line | None:
    """How a Resize interpolates; None for a form that is not followed."""
    given = node.attributes
    mode = str(given.get("mode", "linear"))
    old = node.op == "Upsample" or view.program.model.opset < 11
    coordinates = str(given.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"))
    coordinates = "asymmetric" if old else coordinates
    if given.get("antialias", 0) or coordinates not in COORDINATES or mode not in {"linear", "cubic", "bilinear"}:
        return None
    cubic = float(given.get("cubic_coeff_a", -0.75)) if mode == "cubic" else None
    return Line(coordinates, cubic, outside=not given.get("exclude_outside", 0))


def _scales(node: Node, view: View, old: tuple[int, ...], new: tuple[int, ...]) -> list[float] | None:
    """Factor of each axis: as given, else the ratio of the sizes; None where they depend on the model's input."""
    index = 2 if node.op == "Resize" and view.program.model.opset >= 11 else 1
    if view.depends(node, index, 3) or str(node.attributes.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        return None
    given = node.attributes.get("scales")
    found = view.constant(node.input(index)) if given is None else np.asarray(given)
    out = [b / a for a, b in zip(old, new, strict=True)]
    if found is not None and found.size:
        axes = node.attributes.get("axes") or range(len(old))
        for axis, scale in zip(axes, found.reshape(-1).tolist(), strict=True):
            out[axis % len(old)] = scale
    return out


def _nearest(node: Node, view: View, old: int, new: int, scale: float) -> Array | None:
    """Input place of each output place along one axis (ONNX Resize, mode nearest), in float32 as runtimes do."""
    if old == new and scale == 1:
        return np.arange(old)
    x, s = np.arange(new, dtype=np.float32), np.float32(scale)
    if node.op == "Upsample" or view.program.model.opset < 11:
        return np.floor(x / s).astype(np.int64).clip(0, old - 1) if scale >= 1 else None
    half = (x + np.float32(0.5)) / s - np.float32(0.5)
    at = {
        "half_pixel": half,
        "pytorch_half_pixel": half if new > 1 else x * 0,
        "asymmetric": x / s,
        "align_corners": x * np.float32((old - 1) / max(1, new - 1)),
    }.get(str(node.attributes.get("coordinate_transformation_mode", "half_pixel")))
    if at is None:
        return None
    places = {
        "round_prefer_floor": np.ceil(at - np.float32(0.5)),
        "round_prefer_ceil": np.floor(at + np.float32(0.5)),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[str(node.attributes.get("nearest_mode", "round_prefer_floor"))]
    return np.asarray(places.astype(np.int64).clip(0, old - 1))
