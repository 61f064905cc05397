"""Elements that are added at constant places: a scatter that adds, and the patches that `Col2Im` puts together.

What is added up at the places is a fixed product of what is given; where no place is met twice it is a movement, and a
sum.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node
from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

LARGEST = 2**25
"""Most elements of such a matrix."""


def is_added_scatter(program: Program, node: Node) -> bool:
    """Whether a node adds elements at constant places."""
    added = str(node.attributes.get("reduction", "none")) == "add"
    return added and node.op in {"ScatterElements", "ScatterND"} and program.is_constant(node.input(1))


def scatter_add(w: Writer) -> None:
    """`ScatterElements` and `ScatterND` that add (https://onnx.ai/onnx/operators/onnx__ScatterElements.html).

    Raises:
        NotExpandableError: If several elements meet at a place, and not along one axis as a whole.
    """
    places = w.value(1)
    if places is None:
        raise NotExpandableError("adds at places that depend on the model's input")
    shape, axis = w.shape(0), int(w.attribute("axis", 0)) % len(w.shape(0))
    elements = w.node.op == "ScatterElements"
    flat = _elements(places, shape, axis) if elements else _slices(places, shape)
    if len(np.unique(flat)) == flat.size:
        given = {"axis": axis} if elements else {}
        nothing = w.number(np.zeros(shape), "zeros")
        made = w.add(w.node.op, [nothing, w.tensor(1), w.tensor(2)], "placed", **given)
    else:
        line = _line(places, shape, axis) if elements else _rows(places)
        made = _along(w, line, axis if elements else 0)
    w.give(0, w.add("Add", [w.tensor(0), made], "sum"))


def _elements(places: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Number of the element that each update is added to."""
    index: list[Array] = list(np.indices(places.shape))
    index[axis] = places % shape[axis]
    return np.ravel_multi_index(tuple(index), shape).reshape(-1)


def _slices(places: Array, shape: tuple[int, ...]) -> Array:
    """Number of the slice that each row of updates is added to."""
    deep = places.shape[-1]
    rows = places.reshape(-1, deep).astype(np.int64) % np.array(shape[:deep])
    return np.asarray(np.ravel_multi_index(tuple(rows.T), shape[:deep]))


def _line(places: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Places along an axis, of elements that all lines of it have alike."""
    first = np.moveaxis(places, axis, 0).reshape(places.shape[axis], -1)
    others = [n for a, n in enumerate(shape) if a != axis]
    if [n for a, n in enumerate(places.shape) if a != axis] != others or (first != first[:, :1]).any():
        raise NotExpandableError("adds several elements at a place, each line of the axis at others")
    line: Array = first[:, 0] % shape[axis]
    return line


def _rows(places: Array) -> Array:
    if places.shape[-1] != 1:
        raise NotExpandableError("adds several slices at a place that has more than one index")
    return places.reshape(-1)


def _along(w: Writer, line: Array, axis: int) -> ir.Value:
    """What is added along one axis: updates in other places, several of them in one."""
    size, others = w.shape(0)[axis], [n for a, n in enumerate(w.shape(0)) if a != axis]
    if size * len(line) > LARGEST:
        raise NotExpandableError(f"adds {len(line)} slices at {size} places, more than can be followed")
    matrix = np.zeros((len(line), size))
    matrix[np.arange(len(line)), line % size] = 1
    rank = len(others) + 1
    rows = w.reshape(w.tensor(2), [len(line), *others], "rows") if w.node.op == "ScatterND" else w.tensor(2)
    perm = [*(a for a in range(rank) if a != axis), axis]
    turned = w.add("Transpose", [rows], "turned", perm=perm)
    made = w.fixed(turned, matrix, "added")
    return w.add("Transpose", [made], "back", perm=np.argsort(perm).tolist())


def col2im(w: Writer) -> None:
    """ONNX `Col2Im` (https://onnx.ai/onnx/operators/onnx__Col2Im.html).

    Raises:
        NotExpandableError: If its sizes depend on the model's input, or the matrix is too large.
    """
    image, block = w.value(1), w.value(2)
    if image is None or block is None:
        raise NotExpandableError("has sizes that depend on the model's input")
    sizes, taps = [int(n) for n in image], [int(n) for n in block]
    rank = len(sizes)
    strides, dilations = (_given(w, name, [1] * rank) for name in ("strides", "dilations"))
    pads = _given(w, "pads", [0] * 2 * rank)
    batch, rows, columns = w.shape(0)
    channels = rows // prod(taps)
    if prod(taps) * columns * prod(sizes) > LARGEST:
        raise NotExpandableError(f"puts {columns} patches into {prod(sizes)} pixels, more than can be followed")
    lines = []
    for a in range(rank):
        steps = (sizes[a] + pads[a] + pads[a + rank] - dilations[a] * (taps[a] - 1) - 1) // strides[a] + 1
        at = np.arange(taps[a])[:, None] * dilations[a] + np.arange(steps)[None] * strides[a] - pads[a]
        lines.append((at[:, :, None] == np.arange(sizes[a])).astype(np.float32))  # (taps, steps, pixels)
    matrix = lines[0]
    for line in lines[1:]:
        matrix = np.einsum("kab,lcd->klacbd", matrix, line)
        matrix = matrix.reshape(matrix.shape[0] * matrix.shape[1], matrix.shape[2] * matrix.shape[3], -1)
    flat = w.reshape(w.tensor(0), [batch, channels, prod(taps) * columns], "flat")
    made = w.fixed(flat, matrix.reshape(prod(taps) * columns, -1), "placed")
    w.give(0, w.reshape(made, [batch, channels, *sizes], "image"))


def _given(w: Writer, name: str, default: list[int]) -> list[int]:
    return [int(n) for n in w.numbers(name)] or default


__all__ = ["col2im", "is_added_scatter", "scatter_add"]
