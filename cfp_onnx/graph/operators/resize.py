"""Nearest neighbour resizing: each output element is one input element."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.operators.movement import is_full, moved
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node
from cfp_onnx.values import Array


@operator("Upsample", "Resize")
def _resize(node: Node, view: View) -> fx.Effect | None:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])
    scales = _scales(node, view, old, new)
    if str(node.attributes.get("mode", "nearest")) != "nearest" or scales is None:
        return None
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
