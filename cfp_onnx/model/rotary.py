"""Rotary embeddings as slices, products and sums: pairs of features turned by an angle of their position.

ONNX `RotaryEmbedding` (https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) and onnxruntime's own (its
ContribOperators.md), which differ in the order of their inputs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.writer import NotExpandableError, Writer


def rotary(w: Writer) -> None:
    """ONNX `RotaryEmbedding`."""
    _rotary(w, cosines=1, sines=2, places=3)


def contrib_rotary(w: Writer) -> None:
    """`RotaryEmbedding` of onnxruntime.

    Raises:
        NotExpandableError: If its batch is packed, or its positions begin where the model's input says.
    """
    if w.attribute("is_packed_batching", 0) or w.attribute("scale", 1.0) != 1.0:
        raise NotExpandableError("has a packed batch or a scale")
    _rotary(w, cosines=2, sines=3, places=1)


def _rotary(w: Writer, *, cosines: int, sines: int, places: int) -> None:
    shape, flat = w.shape(0), len(w.shape(0)) == 3
    heads = int(w.attribute("num_heads", 0))
    size = int(w.attribute("rotary_embedding_dim", 0))
    if flat:
        heads = heads or shape[2] // (2 * w.shape(cosines)[-1])
        batch, length, width = shape[0], shape[1], shape[2] // heads
        x = w.reshape(w.tensor(0), (batch, length, heads, width), "split")
        x = w.add("Transpose", [x], "heads", perm=[0, 2, 1, 3])
    else:
        (batch, heads, length, width), x = shape, w.tensor(0)
    size = size or width
    full = (batch, heads, length)
    turned = w.slice(x, 3, 0, size, "turned") if size < width else x
    pair = [_member(w, turned, full, size // 2, k) for k in (0, 1)]
    cos, sin = (_angles(w, i, places, batch, length, part) for i, part in ((cosines, "cos"), (sines, "sin")))
    real = w.add("Sub", [_times(w, pair[0], cos, "cos/0"), _times(w, pair[1], sin, "sin/1")], "real")
    other = w.add("Add", [_times(w, pair[0], sin, "sin/0"), _times(w, pair[1], cos, "cos/1")], "imaginary")
    pieces = [_joined(w, [real, other], full, size)]
    if size < width:
        pieces.append(w.slice(x, 3, size, width, "kept"))
    out = w.add("Concat", pieces, "joined", axis=3) if len(pieces) > 1 else pieces[0]
    if flat:
        out = w.reshape(w.add("Transpose", [out], "positions", perm=[0, 2, 1, 3]), shape, "flat")
    w.give(0, out)


def _interleaved(w: Writer) -> bool:
    return bool(w.attribute("interleaved", 0))


def _member(w: Writer, x: ir.Value, full: tuple[int, ...], half: int, k: int) -> ir.Value:
    """The first or second features of all pairs."""
    if not _interleaved(w):
        return w.slice(x, 3, k * half, (k + 1) * half, f"half/{k}")
    apart = w.reshape(x, (*full, half, 2), f"pairs/{k}")
    return w.reshape(w.slice(apart, 4, k, k + 1, f"member/{k}"), (*full, half), f"half/{k}")


def _joined(w: Writer, pair: list[ir.Value], full: tuple[int, ...], size: int) -> ir.Value:
    if not _interleaved(w):
        return w.add("Concat", pair, "halves", axis=3)
    apart = [w.reshape(x, (*full, size // 2, 1), f"apart/{k}") for k, x in enumerate(pair)]
    return w.reshape(w.add("Concat", apart, "pairs", axis=4), (*full, size), "together")


def _times(w: Writer, x: ir.Value, angles: ir.Value, part: str) -> ir.Value:
    return w.add("Mul", [x, angles], part)


def _angles(w: Writer, index: int, places: int, batch: int, length: int, part: str) -> ir.Value:
    """Cosines or sines of each position, (batch or 1, 1, positions, pairs)."""
    half = w.shape(index)[-1]
    if not w.has(places):
        return w.reshape(w.tensor(index), (batch, 1, length, half), part)
    if w.shape(places) == (1,) and (batch, length) != (1, 1):
        first = w.value(places)
        if first is None:
            raise NotExpandableError("has positions that begin where the model's input says")
        at = w.constant(np.arange(length, dtype=np.int64)[None] + int(first.reshape(-1)[0]), f"{part}/places")
        return w.reshape(w.add("Gather", [w.tensor(index), at], f"{part}/rows", axis=0), (1, 1, length, half), part)
    rows = w.add("Gather", [w.tensor(index), w.tensor(places)], f"{part}/rows", axis=0)
    return w.reshape(rows, (batch, 1, length, half), part)


__all__ = ["contrib_rotary", "rotary"]
