"""Operators that put elements in other places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import reshape_labels, to_rank
from cfp_onnx.graph.operators.registry import operator
from cfp_onnx.graph.operators.view import View
from cfp_onnx.model import Node
from cfp_onnx.values import Array


def moved(function: Callable[[Array, int], Array]) -> fx.Move:
    """A movement of the first input: `function(array, fill)` mirrors the operator."""
    return fx.Move((0,), lambda arrays, fill: [function(arrays[0], fill)])


@operator("Transpose")
def _transpose(node: Node, view: View) -> fx.Effect:
    perm = node.attributes.get("perm") or list(range(len(view.shape(node.input(0)))))[::-1]
    return moved(lambda a, _: np.transpose(a, perm))


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(node: Node, view: View) -> fx.Effect:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])
    return moved(lambda a, _: reshape_labels(a, old, new))


@operator("Expand")
def _expand(node: Node, view: View) -> fx.Effect:
    rank, new = len(view.shape(node.outputs[0])), view.shape(node.outputs[0])

    def apply(a: Array, _: int) -> Array:
        aligned = to_rank(a, rank)
        return np.broadcast_to(aligned, new) if is_full(a, view.shape(node.input(0))) else aligned

    return moved(apply)


def is_full(a: Array, shape: tuple[int, ...]) -> bool:
    """Whether an array has the whole shape of its tensor, so that axes of length 1 are axes of the tensor."""
    return a.shape == shape


@operator("Tile")
def _tile(node: Node, view: View) -> fx.Effect | None:
    repeats = view.constant(node.input(1))
    if repeats is None:
        return None
    old = view.shape(node.input(0))
    counts = [int(r) for r in repeats.reshape(-1)]

    def apply(a: Array, _: int) -> Array:
        return np.tile(
            a, [r if a.shape[i] > 1 or (old[i] == 1 and is_full(a, old)) else 1 for i, r in enumerate(counts)]
        )

    return moved(apply)


@operator("Concat", "com.microsoft::QLinearConcat")
def _concat(node: Node, view: View) -> fx.Effect:
    first, step = (2, 3) if node.op.endswith("QLinearConcat") else (0, 1)
    sources = tuple(range(first, len(node.inputs), step))
    rank = len(view.shape(node.outputs[0]))
    axis = int(node.attributes.get("axis", 1)) % rank
    sizes = [view.shape(node.inputs[i])[axis] for i in sources]

    def apply(arrays: Sequence[Array], _: int) -> list[Array]:
        same = all(a.shape == arrays[0].shape and np.array_equal(a, arrays[0]) for a in arrays)
        if same and arrays[0].shape[axis] == 1 and sum(sizes) > len(sizes):
            return [arrays[0]]
        others = [max(a.shape[d] for a in arrays) for d in range(rank)]
        full = [
            np.broadcast_to(a, [n if d == axis else others[d] for d in range(rank)])
            for a, n in zip(arrays, sizes, strict=True)
        ]
        return [np.concatenate(full, axis=axis)]

    return fx.Move(sources, apply)


@operator("Split")
def _split(node: Node, view: View) -> fx.Effect:
    axis = int(node.attributes.get("axis", 0)) % len(view.shape(node.input(0)))
    sizes = [view.shape(o)[axis] if o else 0 for o in node.outputs]
    edges = np.cumsum([0, *sizes])

    def apply(arrays: Sequence[Array], _: int) -> list[Array]:
        a = arrays[0]
        if a.shape[axis] == 1 and edges[-1] != 1:
            return [a for _ in sizes]
        return [np.take(a, np.arange(edges[i], edges[i + 1]), axis=axis) for i in range(len(sizes))]

    return fx.Move((0,), apply)


@operator("Slice")
def _slice(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    starts, ends = view.ints(node, "starts", 1), view.ints(node, "ends", 2)
    if starts is None or ends is None or view.depends(node, 3, 4):
        return None
    axes = view.ints(node, "axes", 3) or tuple(range(len(starts)))
    steps = view.ints(node, "steps", 4) or (1,) * len(starts)
    cuts = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = _clamped(start, end, step, shape[axis])

    def apply(a: Array, _: int) -> Array:
        return a[tuple(c if a.shape[i] > 1 or shape[i] == 1 else slice(None) for i, c in enumerate(cuts))]

    return moved(apply)


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    """ONNX slice bounds as a Python slice; a negative step may run past the front."""
    stop: int | None = end
    if step < 0 and end < -size:
        stop = None
    return slice(start, stop, step)


@operator("Gather")
def _gather(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None:
        return None
    shape = view.shape(node.input(0))
    axis = int(node.attributes.get("axis", 0)) % len(shape)

    def apply(a: Array, _: int) -> Array:
        if a.shape[axis] > 1 or shape[axis] == 1:
            return np.take(a, indices.astype(np.int64), axis=axis)
        one = np.zeros((1,) * indices.ndim, np.int64)
        return np.take(a, one, axis=axis)

    return moved(apply)


@operator("GatherElements", "GatherND")
def _gather_places(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None:
        return None
    shape = view.shape(node.input(0))
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    if node.op == "GatherND":
        return moved(
            lambda a, _: _picked(np.broadcast_to(a, shape), indices, int(node.attributes.get("batch_dims", 0)))
        )
    cut = tuple(slice(None) if a == axis else slice(n) for a, n in enumerate(indices.shape))
    return moved(lambda a, _: np.take_along_axis(np.broadcast_to(a, shape)[cut], indices.astype(np.int64), axis=axis))


def _picked(a: Array, indices: Array, batch: int) -> Array:
    """Elements, or slices, at places of each item of a batch (ONNX GatherND)."""
    if batch == 0:
        return np.asarray(a[tuple(np.moveaxis(indices, -1, 0))])
    items = zip(a.reshape(-1, *a.shape[batch:]), indices.reshape(-1, *indices.shape[batch:]), strict=True)
    found = np.stack([item[tuple(np.moveaxis(at, -1, 0))] for item, at in items])
    return found.reshape(*a.shape[:batch], *found.shape[1:])


@operator("ScatterND", "ScatterElements")
def _scatter(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None or str(node.attributes.get("reduction", "none")) != "none":
        return None
    shape, rows = view.shape(node.input(0)), view.shape(node.input(2))
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    moving = tuple(i for i in (0, 2) if not view.program.is_constant(node.input(i)))

    def apply(arrays: Sequence[Array], fill: int) -> list[Array]:
        given = dict(zip(moving, arrays, strict=True))
        data, updates = (np.broadcast_to(given.get(i, fill), s) for i, s in ((0, shape), (2, rows)))
        out = np.array(data, dtype=np.result_type(*arrays))
        if node.op == "ScatterND":
            out[tuple(np.moveaxis(indices, -1, 0))] = updates
        else:
            places: list[Array] = list(np.indices(indices.shape, sparse=True))
            places[axis] = indices
            out[tuple(places)] = updates
        return [out]

    return fx.Move(moving, apply)


@operator("Trilu")
def _triangle(node: Node, view: View) -> fx.Effect | None:
    if view.depends(node, 1):
        return None
    shape, offset = view.shape(node.input(0)), view.constant(node.input(1))
    k, upper = 0 if offset is None else int(offset.reshape(-1)[0]), bool(node.attributes.get("upper", 1))
    below = np.tri(shape[-2], shape[-1], k - 1 if upper else k, dtype=bool)
    kept = ~below if upper else below
    return moved(lambda a, fill: np.where(kept, np.broadcast_to(a, shape), np.asarray(fill, a.dtype)))


@operator("CenterCropPad")
def _centre(node: Node, view: View) -> fx.Effect:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])

    def apply(a: Array, fill: int) -> Array:
        full = is_full(a, old)
        for axis, (n, m) in enumerate(zip(old, new, strict=True)):
            if n == m or (a.shape[axis] == 1 and n > 1 and m < n):
                continue
            if m < n:
                a = np.take(a, np.arange((n - m) // 2, (n - m) // 2 + m), axis=axis)
            elif a.shape[axis] > 1 or full or n == 1:
                widths = [(0, 0)] * a.ndim
                widths[axis] = ((m - n) // 2, m - n - (m - n) // 2)
                a = np.pad(a, widths, constant_values=fill)
        return a

    return moved(apply)


@operator("ReverseSequence")
def _reverse(node: Node, view: View) -> fx.Effect | None:
    """The first steps of each sequence of a batch, the last first."""
    lengths = view.constant(node.input(1))
    if lengths is None:
        return None
    shape = view.shape(node.input(0))
    time, batch = (int(node.attributes.get(k, d)) for k, d in (("time_axis", 0), ("batch_axis", 1)))
    places = np.tile(np.arange(shape[time])[:, None], (1, shape[batch]))
    for row, length in enumerate(lengths.astype(int).tolist()):
        places[:length, row] = np.arange(length)[::-1]
    places = places if time < batch else places.T
    places = places.reshape([n if a in {time, batch} else 1 for a, n in enumerate(shape)])

    def apply(a: Array, _: int) -> Array:
        if a.shape[time] == 1:
            return a
        wide = [shape[batch] if i == batch else n for i, n in enumerate(a.shape)]
        return np.take_along_axis(np.broadcast_to(a, wide), places, axis=time)

    return moved(apply)


_PAD_MODES: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Pad")
def _pad(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    pads = view.ints(node, "pads", 1)
    if pads is None or view.depends(node, 3):
        return None
    axes = view.ints(node, "", 3) or tuple(range(len(shape)))
    before, after = [0] * len(shape), [0] * len(shape)
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    mode = node.attributes.get("mode", "constant")

    def apply(a: Array, fill: int) -> Array:
        cut = tuple(
            slice(max(0, -b), a.shape[i] - max(0, -e)) if a.shape[i] == shape[i] else slice(None)
            for i, (b, e) in enumerate(zip(before, after, strict=True))
        )
        full = is_full(a, shape)
        widths = [
            (max(0, b), max(0, e)) if a.shape[i] > 1 or (full and shape[i] == 1) else (0, 0)
            for i, (b, e) in enumerate(zip(before, after, strict=True))
        ]
        if mode == "constant":
            return np.pad(a[cut], widths, constant_values=fill)
        return np.pad(a[cut], widths, mode=_PAD_MODES[str(mode)])

    return moved(apply)


@operator("DepthToSpace", "SpaceToDepth")
def _depth_space(node: Node, view: View) -> fx.Effect:
    n, c, h, w = view.shape(node.input(0))
    b = int(node.attributes["blocksize"])
    if node.op == "SpaceToDepth":
        steps = ((n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4))
    elif node.attributes.get("mode", "DCR") == "DCR":
        steps = ((n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))
    else:
        steps = ((n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3))
    new = view.shape(node.outputs[0])
    middle = tuple(steps[0][i] for i in steps[1])

    def apply(a: Array, _: int) -> Array:
        cut = reshape_labels(a, (n, c, h, w), steps[0])
        return reshape_labels(np.transpose(cut, steps[1]), middle, new)

    return moved(apply)
