"""Where in the clip each element of a tensor looks: the receptive-field centres of the network's own geometry.

Like labels (`cfp_onnx.graph.topology`), coordinates flow through the graph: for each spatial axis of an input a tensor
carries one array that broadcasts against it and has length 1 on every axis along which the coordinate does not vary.
A convolution or pool moves them by stride, padding and the middle of its window, a movement moves them with the
elements, so crops, pads, transposed layouts, flattened maps and tokens come out exact with no special case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import to_rank
from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

Coordinates = tuple[Array, ...]

PICTURES = 4
"""Axes of an input of pictures."""

DIGITS = 6
"""Decimals to which two coordinates are the same."""


def spatial_axes(rank: int, channel_axis: int, *, frames_first: bool = False) -> tuple[int, ...]:
    """Axes of an input that are neither its batch (the first) nor its channels: time, height, width in this order.

    Args:
        rank: Axes of the input.
        channel_axis: Its channel axis.
        frames_first: Whether the first axis holds frames in place of a batch.
    """
    return tuple(a for a in range(0 if frames_first else 1, rank) if a != channel_axis)


def frames_first(shape: Sequence[int], answers: Sequence[int]) -> bool:
    """Whether frames of one clip lie along the first axis of pictures: there are several, and one answer for all.

    Args:
        shape: Of the input.
        answers: Shape of the target.
    """
    return len(shape) == PICTURES and shape[0] > 1 and not (answers and answers[0] == shape[0])


def positions(
    topology: Topology, name: str, channel_axis: int, *, frames_first: bool = False
) -> dict[str, Coordinates]:
    """Coordinates of every tensor that depends on an input.

    Args:
        topology: The network.
        name: The input.
        channel_axis: Its channel axis.
        frames_first: Whether the first axis holds frames in place of a batch.

    Returns:
        Tensor to one float64 array per spatial axis of the input, in pixels of that axis (the centre of pixel i is i);
        NaN where an element looks at no place of its own (constants).
    """
    shape = topology.program.shapes[name]
    start = []
    for axis in spatial_axes(len(shape), channel_axis, frames_first=frames_first):
        view = [1] * len(shape)
        view[axis] = shape[axis]
        start.append(np.arange(shape[axis], dtype=np.float64).reshape(view))
    found: dict[str, Coordinates] = {name: tuple(start)}
    ends = {p.node.name: p for layer in topology.layers for p in layer.parts}
    inside = {n for p in ends.values() for n in p.nodes if n != p.node.name}
    for node in topology.program.nodes:
        part = ends.get(node.name)
        if part is not None:
            if part.source in found:
                moved = tuple(_through_part(topology, part, a) for a in found[part.source])
                found[part.output] = moved
                found.setdefault(node.outputs[0], moved)
        elif node.name not in inside and node.name in topology.effects:
            results = _through(topology, node, topology.effects[node.name], found)
            found.update({o: moved for o, moved in zip(node.outputs, results, strict=False) if o})
    return found


def _through(topology: Topology, node: Node, effect: fx.Effect, found: Mapping[str, Coordinates]) -> list[Coordinates]:
    rank = len(topology.program.shapes.get(node.outputs[0], ()))
    shapes = topology.program.shapes
    match effect:
        case fx.Move(sources):
            return _moved(topology.program, node, effect, [found.get(node.inputs[i]) for i in sources])
        case fx.Sum(sources) | fx.Select(sources):
            known = [found[node.inputs[i]] for i in sources if node.inputs[i] in found]
            return [_finest([_aligned(c, rank) for c in known])] if known else []
        case fx.Pool(geometry=geometry, source=source):
            arrays = found.get(node.inputs[source])
            sizes, out = shapes.get(node.inputs[source], ()), shapes.get(node.outputs[0], ())
            axes = range(2, len(sizes))
            return [] if arrays is None else [tuple(_windows(a, geometry, axes, sizes, out) for a in arrays)]
        case fx.Blend(source=source):
            arrays = found.get(node.inputs[source])
            return [] if arrays is None else [tuple(_blended(a, effect, shapes[node.inputs[source]]) for a in arrays)]
        case fx.Reduce(axes=axes, source=source):
            arrays = found.get(node.inputs[source])
            keep = rank == len(shapes.get(node.inputs[source], ()))
            return [] if arrays is None else [tuple(_mean(a, axes, keep=keep) for a in arrays)]
        case fx.Gate(value=source) | fx.Mix(value=source):
            arrays = found.get(node.inputs[source])
            return [] if arrays is None else [_fitting(_aligned(arrays, rank), shapes[node.outputs[0]])]
        case (
            fx.Identity(source=source)
            | fx.Quantise(source=source)
            | fx.Activation(source=source)
            | fx.Affine(source=source)
            | fx.Normalise(source=source)
        ):
            arrays = found.get(node.inputs[source])
            return [] if arrays is None else [_aligned(arrays, rank)]
        case fx.Product() | fx.Linear() | fx.Held() | fx.Barrier():
            return []  # no channels, or nothing known of them: such a tensor looks at no place
        case fx.Layer():
            return []  # the parts of layers are taken by `_through_part`
        case _:
            assert_never(effect)


def _aligned(arrays: Coordinates, rank: int) -> Coordinates:
    return tuple(to_rank(a, rank) for a in arrays)


def _fitting(arrays: Coordinates, shape: tuple[int, ...]) -> Coordinates:
    """Arrays that broadcast against a shape; an axis of another length keeps only its middle."""
    out = []
    for a in arrays:
        wrong = tuple(i for i, (n, m) in enumerate(zip(a.shape, shape, strict=True)) if n not in {1, m})
        out.append(_mean(a, wrong, keep=True))
    return tuple(out)


def _finest(candidates: Sequence[Coordinates]) -> Coordinates:
    """Per axis the addend that tells positions apart; one that was pooled and broadcast does not."""
    return tuple(max(arrays, key=lambda a: a.size) for arrays in zip(*candidates, strict=True))


def _mean(a: Array, axes: Sequence[int], *, keep: bool) -> Array:
    known = np.isfinite(a)
    counts = known.sum(axis=tuple(axes), keepdims=keep)
    total = np.where(known, a, 0.0).sum(axis=tuple(axes), keepdims=keep)
    return np.asarray(np.divide(total, counts, out=np.full(np.shape(total), np.nan), where=counts > 0))


def _moved(program: Program, node: Node, effect: fx.Move, sources: Sequence[Coordinates | None]) -> list[Coordinates]:
    """Coordinates moved with the elements; what stands beside them without any, such as a class token, has no place.

    Zeros that are put beside them are padding, which lies where the line goes on.
    """
    bare = [node.inputs[i] for i, c in zip(effect.sources, sources, strict=True) if c is None]
    padded = all(program.is_constant(name) and not np.any(program.constant(name)) for name in bare)
    count = max((len(c) for c in sources if c is not None), default=0)
    per_axis: list[list[Array]] = []
    nowhere: Any = np.nan
    for k in range(count):
        arrays = [
            np.full((1,) * len(_shape(program, node.inputs[i])), np.nan) if c is None else c[k]
            for i, c in zip(effect.sources, sources, strict=True)
        ]
        moved = [_compact(np.asarray(a, np.float64)) for a in effect.apply(arrays, nowhere)]
        per_axis.append([_continued(a) for a in moved] if padded else moved)
    return [tuple(arrays[i] for arrays in per_axis) for i in range(len(node.outputs))] if per_axis else []


def _shape(program: Program, name: str) -> tuple[int, ...]:
    found = program.shapes.get(name)
    return found if found is not None else program.constant(name).shape


def _compact(a: Array) -> Array:
    """Length 1 on every axis along which nothing varies; flattening and cutting again leaves such axes."""
    for axis in range(a.ndim):
        first = np.take(a, [0], axis=axis)
        if a.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, a.shape), a, equal_nan=True):
            a = first
    return a


def _continued(a: Array) -> Array:
    """Coordinates of padding, where a coordinate varies along one axis alone: the line goes on."""
    axes = [i for i, n in enumerate(a.shape) if n > 1]
    if len(axes) != 1 or np.isfinite(a).all():
        return a
    line = a.reshape(-1)
    known = np.flatnonzero(np.isfinite(line))
    if known.size < 2:
        return np.where(np.isfinite(a), a, line[known[0]] if known.size else np.nan)
    steps = np.unique(np.round(np.diff(line[known]) / np.diff(known), DIGITS))
    if len(steps) != 1:
        return a
    return np.asarray(line[known[0]] + (np.arange(line.size) - known[0]) * steps[0]).reshape(a.shape)


# ------------------------------------------------------------------------------------------------ layers


def _through_part(topology: Topology, part: Part, a: Array) -> Array:
    shapes = topology.program.shapes
    sizes, out = shapes[part.source], shapes[part.output]
    a = _mean(to_rank(a, len(sizes)), (part.in_axis,), keep=True)
    if part.kind == RECURRENT:
        return _over_steps(np.moveaxis(a, 0, 1), out[1])
    if part.kind == "dense":
        if len(out) != len(sizes):
            a = _mean(a, tuple(range(a.ndim)), keep=True).reshape((1,) * len(out))
        elif part.in_axis != part.out_axis:
            a = np.moveaxis(a, part.in_axis, part.out_axis)
        return _fitting((a,), out)[0]
    axes = [i for i in range(1, len(sizes)) if i != part.in_axis]
    if part.kind == "deconv":
        return _spread(a, part.geometry, axes, sizes, out)
    return _windows(a, part.geometry, axes, sizes, out)


def _over_steps(a: Array, length: int) -> Array:
    """Coordinate of each step; the last cells of an LSTM, behind the steps, look at no place of their own."""
    if a.shape[1] in {1, length}:
        return a
    return np.concatenate([a, np.full((a.shape[0], length - a.shape[1], *a.shape[2:]), np.nan)], axis=1)


def _windows(a: Array, geometry: Geometry, axes: Sequence[int], sizes: Sequence[int], out: Sequence[int]) -> Array:
    """Coordinate at the middle of each window."""
    for k, axis in enumerate(axes):
        if a.shape[axis] == 1 and (sizes[axis] > 1 or out[axis] == 1):
            continue
        middle = (geometry.kernel[k] - 1) * geometry.dilations[k] / 2 - geometry.begins[k]
        a = _at(a, axis, np.arange(out[axis]) * geometry.strides[k] + middle)
    return a


def _blended(a: Array, effect: fx.Blend, sizes: Sequence[int]) -> Array:
    """Coordinate of each blend: the mean of those that it is made of, by the size of their weights."""
    for axis in effect.axes:
        if a.shape[axis] == sizes[axis] > 1:
            weights = np.abs(effect.matrix(axis)).astype(np.float64)
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
            a = np.moveaxis(np.tensordot(weights, a, (1, axis)), 0, axis)
    return a


def _spread(a: Array, geometry: Geometry, axes: Sequence[int], sizes: Sequence[int], out: Sequence[int]) -> Array:
    """Coordinate of each output of a transposed convolution: where the middle of its window came from."""
    for k, axis in enumerate(axes):
        if a.shape[axis] == 1 and (sizes[axis] > 1 or out[axis] == 1):
            continue
        middle = (geometry.kernel[k] - 1) * geometry.dilations[k] / 2 - geometry.begins[k]
        a = _at(a, axis, np.asarray((np.arange(out[axis]) - middle) / geometry.strides[k]))
    return a


def _at(a: Array, axis: int, index: Array) -> Array:
    """Coordinates at fractional places along an axis; beyond its ends the line goes on."""
    n = a.shape[axis]
    if n == 1:
        return np.repeat(a, len(index), axis=axis) if len(index) > 1 else a
    low = np.clip(np.floor(index), 0, n - 2).astype(np.int64)
    share = (index - low).reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    left, right = np.take(a, low, axis=axis), np.take(a, low + 1, axis=axis)
    return np.asarray(left + share * (right - left))


# ------------------------------------------------------------------------------------------------- grids


@dataclass(frozen=True)
class Grid:
    """The places of a layer's map: a regular grid in clip coordinates, and where in it each element lies.

    Attributes:
        centres: Per axis of the input the coordinates of the grid, rising; one entry where the layer does not tell
            places apart along that axis.
        index: For each element of the tensor without batch and kernel axis its place in the grid, -1 for none. Where
            frames were laid along the batch axis, that axis is kept.
    """

    centres: tuple[Array, ...]
    index: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the grid."""
        return tuple(len(c) for c in self.centres)

    def mean(self, values: Array) -> Array:
        """Values of elements as a map; elements at one place are averaged.

        Args:
            values: (..., *axes of `index`).

        Returns:
            (..., *grid).
        """
        return self._gather(values, mean=True)

    def total(self, values: Array) -> Array:
        """The same with elements at one place added up."""
        return self._gather(values, mean=False)

    def _gather(self, values: Array, *, mean: bool) -> Array:
        rank = self.index.ndim
        lead = values.shape[: values.ndim - rank]
        rows = values.reshape(int(np.prod(lead, dtype=np.int64)), -1)
        flat = self.index.reshape(-1)
        places = int(np.prod(self.shape))
        if flat.size == places and np.array_equal(flat, np.arange(places)):
            return rows.reshape(*lead, *self.shape)
        kept = flat >= 0
        out: Array = np.stack([np.bincount(flat[kept], weights=row[kept], minlength=places) for row in rows])
        if mean:
            out = out / np.maximum(np.bincount(flat[kept], minlength=places), 1)
        return out.astype(values.dtype).reshape(*lead, *self.shape)


def grid_of(coordinates: Coordinates, shape: tuple[int, ...], kernel_axis: int) -> Grid:
    """The grid on which a tensor's kernels are drawn.

    Args:
        coordinates: The tensor's coordinates.
        shape: Its shape, batch first.
        kernel_axis: Axis of its kernels.
    """
    aligned = [to_rank(coordinate, len(shape)) for coordinate in coordinates]
    taken = {kernel_axis} if any(a.shape[0] > 1 for a in aligned) else {0, kernel_axis}
    rest = tuple(n for axis, n in enumerate(shape) if axis not in taken)
    centres: list[Array] = []
    index: Array = np.zeros((1,) * len(rest), np.int64)
    nowhere: Array = np.zeros((1,) * len(rest), bool)
    for coordinate in aligned:
        mean = _mean(coordinate, tuple(taken), keep=True)
        places = np.round(mean.reshape([n for axis, n in enumerate(mean.shape) if axis not in taken]), DIGITS)
        known = np.isfinite(places)
        unique, inverse = np.unique(places[known], return_inverse=True)
        place: Array = np.zeros(places.shape, np.int64)
        place[known] = inverse.reshape(-1)
        centres.append(np.asarray(unique if unique.size else np.zeros(1)))
        index = index * max(1, unique.size) + place
        nowhere = nowhere | ~known
    return Grid(tuple(centres), np.array(np.broadcast_to(np.where(nowhere, -1, index), rest)))


__all__ = ["Grid", "frames_first", "grid_of", "positions", "spatial_axes"]
