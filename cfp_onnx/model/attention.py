"""Fused attention as queries, keys, weights and values: four operators that differ in how these come in.

ONNX `Attention` (https://onnx.ai/onnx/operators/onnx__Attention.html) and onnxruntime's own `MultiHeadAttention`,
`Attention` and `GroupQueryAttention` (its ContribOperators.md). All are, for each head,
softmax(scale * Q K^T + what is added) V.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

FILTER = -10000.0
"""What onnxruntime's attentions add to a masked score by default."""

CACHE = "a cache of past keys and values"

Side = tuple[ir.Value, tuple[int, ...]]
"""Queries, keys or values, and their shape (batch, heads, positions, size)."""


@dataclass
class Heads:
    """Queries, keys and values, each (batch, heads, positions, features of a head).

    Attributes:
        queries: The queries.
        keys: The keys.
        values: The values.
        groups: Heads of queries that share one of keys and values.
        added: Constant that is added to the scores; broadcasts against (batch, heads, queries, keys).
        biases: Tensors that are added to the scores.
        allowed: Tensor that says which scores count, where that depends on the model's input.
        empty: Whether rows of scores that are all masked give 0 instead of a mean.
    """

    queries: ir.Value
    keys: ir.Value
    values: ir.Value
    batch: int
    lengths: tuple[int, int]
    kv_heads: int
    groups: int
    size: int
    value_size: int
    added: Array = field(default_factory=lambda: np.zeros((1, 1)))
    biases: list[ir.Value] = field(default_factory=list)
    allowed: ir.Value | None = None
    empty: bool = False


def attention(w: Writer) -> None:
    """ONNX `Attention`.

    Raises:
        NotExpandableError: If it has a cache, or gives its scores.
    """
    w.refuse((4, CACHE), (5, CACHE), (6, "lengths of padded sequences"))
    if w.attribute("left_window_size", -1) >= 0 or w.attribute("right_window_size", -1) >= 0:
        raise NotExpandableError("has a window")
    if w.reads(3):
        raise NotExpandableError("gives its scores as an output")
    flat = len(w.shape(0)) == 3
    heads = [int(w.attribute(k, 0)) for k in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    if flat and not all(heads):
        raise NotExpandableError("has flat inputs and no number of heads")
    sides: list[Side] = []
    for index, (count, part) in enumerate(zip(heads, "qkv", strict=True)):
        shape = w.shape(index)
        if flat:
            shape = (shape[0], count, shape[1], shape[2] // count)
            sides.append((_to_heads(w, w.tensor(index), shape, part), shape))
        else:
            sides.append((w.tensor(index), shape))
    found = _heads(*sides)
    _mask_of_attention(w, found)
    for index, side in ((1, 1), (2, 2)):
        if w.reads(index):
            w.give(index, w.add("Identity", [sides[side][0]], f"present/{'qkv'[side]}"))
    out = _attend(w, found, w.attribute("scale", 0.0), w.attribute("softcap", 0.0))
    w.give(0, _joined(w, found, out) if flat else out)


def multi_head_attention(w: Writer) -> None:
    """`MultiHeadAttention` of onnxruntime.

    Raises:
        NotExpandableError: If it has a cache, gives its scores, or has a mask of another form.
    """
    w.refuse((6, CACHE), (7, CACHE), (8, CACHE), (9, CACHE))
    if w.reads(3):
        raise NotExpandableError("gives its scores as an output")
    count = int(w.attribute("num_heads", 0))
    found = _heads(*_sides(w, count))
    _contrib_mask(w, found, 4)
    _causal(w, found, on=bool(w.attribute("unidirectional", 0)))
    if w.has(5):
        found.biases.append(w.tensor(5))
    for index, made, part in ((1, found.keys, "k"), (2, found.values, "v")):
        if w.reads(index):
            w.give(index, w.add("Identity", [made], f"present/{part}"))
    w.give(0, _joined(w, found, _attend(w, found, w.attribute("scale", 0.0))))


def weighted_attention(w: Writer) -> None:
    """`Attention` of onnxruntime, which has the dense layers of queries, keys and values inside.

    Raises:
        NotExpandableError: If it has a cache or rotations, its weights are no constants, or its mask has another form.
    """
    w.refuse((4, CACHE), (6, CACHE))
    if w.reads(1):
        raise NotExpandableError("gives its keys and values as an output")
    if w.attribute("do_rotary", 0):
        raise NotExpandableError("rotates its queries and keys")
    if w.value(1) is None or (w.has(2) and w.value(2) is None):
        raise NotExpandableError("has weights that depend on the model's input")
    batch, length = w.shape(0)[:2]
    count, total = int(w.attribute("num_heads", 0)), w.shape(1)[1]
    sizes = [int(n) for n in w.node.attributes.get("qkv_hidden_sizes") or (total // 3,) * 3]
    sides: list[Side] = []
    start = 0
    for part, size in zip("qkv", sizes, strict=True):
        weights = w.slice(w.tensor(1), 1, start, start + size, f"{part}/weights")
        made = w.add("MatMul", [w.tensor(0), weights], part)
        if w.has(2):
            bias = w.slice(w.tensor(2), 0, start, start + size, f"{part}/bias")
            made = w.add("Add", [made, bias], f"{part}/shifted")
        shape = (batch, count, length, size // count)
        sides.append((_to_heads(w, made, shape, part), shape))
        start += size
    found = _heads(*sides)
    _contrib_mask(w, found, 3)
    _causal(w, found, on=bool(w.attribute("unidirectional", 0)))
    if w.has(5):
        found.biases.append(w.tensor(5))
    w.give(0, _joined(w, found, _attend(w, found, w.attribute("scale", 0.0))))


def group_query_attention(w: Writer) -> None:
    """`GroupQueryAttention` of onnxruntime over whole sequences.

    Raises:
        NotExpandableError: If it has a cache, rotations, a window, a sink, or norms inside.
    """
    for index in (3, 4):
        if w.has(index) and 0 not in w.shape(index):
            raise NotExpandableError(f"has {CACHE}")
    w.refuse((11, "a sink of attention"), (12, "a quantised cache"), (13, "a quantised cache"), (14, "norms inside"),
             (15, "norms inside"))  # fmt: skip
    for name, neutral, what in (
        ("do_rotary", 0, "rotates its queries and keys"), ("smooth_softmax", 0, "has a smoothed softmax"),
        ("local_window_size", -1, "has a window"), ("qk_output", 0, "gives its scores as an output"),
    ):  # fmt: skip
        if w.attribute(name, neutral) not in {neutral, -1}:
            raise NotExpandableError(what)
    batch, length = w.shape(0)[:2]
    lengths = w.value(5)
    if lengths is None or not (np.asarray(lengths).reshape(-1) == length - 1).all():
        raise NotExpandableError("has sequences that do not fill its input")
    found = _heads(*_grouped_sides(w, batch, length))
    _causal(w, found, on=bool(w.attribute("causal", 1)))
    if w.has(10):
        found.biases.append(w.tensor(10))
    for index, made, part in ((1, found.keys, "k"), (2, found.values, "v")):
        if w.reads(index):
            w.give(index, w.add("Identity", [made], f"present/{part}"))
    w.give(0, _joined(w, found, _attend(w, found, w.attribute("scale", 0.0), w.attribute("softcap", 0.0))))


# ------------------------------------------------------------------------------------- queries, keys, values


def _heads(queries: Side, keys: Side, values: Side) -> Heads:
    (q, q_shape), (k, k_shape), (v, v_shape) = queries, keys, values
    if q_shape[1] % k_shape[1]:
        raise NotExpandableError(f"has {q_shape[1]} heads of queries and {k_shape[1]} of keys")
    return Heads(
        q, k, v, q_shape[0], (q_shape[2], k_shape[2]), k_shape[1], q_shape[1] // k_shape[1], q_shape[3], v_shape[3]
    )


def _to_heads(w: Writer, tensor: ir.Value, shape: tuple[int, ...], part: str) -> ir.Value:
    """(batch, positions, heads * size) as (batch, heads, positions, size)."""
    batch, heads, length, size = shape
    apart = w.reshape(tensor, (batch, length, heads, size), f"{part}/apart")
    return w.add("Transpose", [apart], f"{part}/heads", perm=[0, 2, 1, 3])


def _sides(w: Writer, heads: int) -> list[Side]:
    """Queries, keys and values of a `MultiHeadAttention`; keys and values may have their heads apart."""
    hidden = w.shape(0)[2]
    biases = _biases(w, hidden)
    sides: list[Side] = []
    for index, part in enumerate("qkv"):
        shape = w.shape(index)
        if len(shape) == 4:
            sides.append((w.tensor(index), shape))
            continue
        whole = (shape[0], heads, shape[1], shape[2] // heads)
        sides.append((_to_heads(w, _shifted(w, w.tensor(index), biases, part), whole, part), whole))
    return sides


def _biases(w: Writer, hidden: int) -> dict[str, ir.Value]:
    if not w.has(3):
        return {}
    ends = (0, hidden, 2 * hidden, w.shape(3)[0])
    return {p: w.slice(w.tensor(3), 0, ends[i], ends[i + 1], f"{p}/bias") for i, p in enumerate("qkv")}


def _shifted(w: Writer, tensor: ir.Value, biases: dict[str, ir.Value], part: str) -> ir.Value:
    return w.add("Add", [tensor, biases[part]], f"{part}/shifted") if biases else tensor


def _grouped_sides(w: Writer, batch: int, length: int) -> list[Side]:
    counts = [int(w.attribute(k, 0)) for k in ("num_heads", "kv_num_heads", "kv_num_heads")]
    packed = not w.has(1)
    size = w.shape(0)[2] // (sum(counts) if packed else counts[0])
    sides: list[Side] = []
    start = 0
    for index, (count, part) in enumerate(zip(counts, "qkv", strict=True)):
        tensor = w.tensor(0 if packed else index)
        if packed:
            tensor = w.slice(tensor, 2, start, start + count * size, f"{part}/packed")
        start += count * size
        shape = (batch, count, length, size)
        sides.append((_to_heads(w, tensor, shape, part), shape))
    return sides


# ------------------------------------------------------------------------------------- masks


def _lowest(w: Writer) -> float:
    """A number that makes a weight 0 and may still be added to."""
    return float(np.finfo(w.dtype).min) / 4


def _causal(w: Writer, heads: Heads, *, on: bool) -> None:
    if on:
        q, k = heads.lengths
        later = np.arange(k)[None, :] > np.arange(q)[:, None]
        heads.added = heads.added + np.where(later, _lowest(w), 0.0)


def _mask_of_attention(w: Writer, heads: Heads) -> None:
    """Mask and causality of ONNX `Attention`; rows without any key give 0."""
    places = np.arange(heads.lengths[0])[:, None], np.arange(heads.lengths[1])[None, :]
    allowed = np.ones(heads.lengths, bool)
    if w.attribute("is_causal", 0):
        allowed &= places[1] <= places[0]
    if w.has(3):
        if w.shape(3)[-1] not in {1, heads.lengths[1]}:
            raise NotExpandableError("has a mask that is shorter than its keys")
        mask = w.value(3)
        if mask is not None and mask.dtype == bool:
            allowed = allowed & mask
        elif mask is not None:
            allowed = allowed & ~np.isneginf(mask)
            heads.added = heads.added + np.where(np.isneginf(mask), 0.0, mask)
        elif w.program.dtypes.get(w.node.input(3)) == "bool":
            heads.allowed = w.tensor(3)
        else:
            heads.biases.append(w.tensor(3))
    heads.empty = heads.allowed is not None or not allowed.any(axis=-1).all()
    heads.added = heads.added + np.where(allowed, 0.0, _lowest(w))


def _contrib_mask(w: Writer, heads: Heads, index: int) -> None:
    """Mask of `MultiHeadAttention` and its like: (batch) lengths, or 1 for each key, or query and key, that counts."""
    if not w.has(index):
        return
    shape, (q, k) = w.shape(index), heads.lengths
    forms = {(heads.batch, k): (heads.batch, 1, 1, k), (heads.batch, q, k): (heads.batch, 1, q, k)}
    low, mask = w.attribute("mask_filter_value", FILTER), w.value(index)
    if shape == (heads.batch,) and mask is not None:
        keep = np.arange(k)[None, None, None, :] < mask[:, None, None, None]
    elif shape in forms and mask is not None:
        keep = mask.reshape(forms[shape]) > 0
    elif shape in forms:
        kept = w.add("Cast", [w.tensor(index)], "mask/kept", to=ir.DataType.BOOL)
        bias = w.add("Where", [kept, w.number(0.0, "mask/none"), w.number(low, "mask/low")], "mask/bias")
        heads.biases.append(w.reshape(bias, forms[shape], "mask"))
        return
    else:
        raise NotExpandableError(
            f"has a mask of shape {shape}" + (" that depends on the model's input" if mask is None else "")
        )
    heads.added = heads.added + np.where(keep, 0.0, low)


# ------------------------------------------------------------------------------------- the attention itself


def _attend(w: Writer, heads: Heads, scale: float, softcap: float = 0.0) -> ir.Value:
    """The mixed values, (batch, heads, queries, size of a value)."""
    keys, values = (_repeated(w, heads, t, n, p) for t, n, p in (
        (heads.keys, heads.size, "k"), (heads.values, heads.value_size, "v"),
    ))  # fmt: skip
    turned = w.add("Transpose", [keys], "k/turned", perm=[0, 1, 3, 2])
    scores = w.add("MatMul", [heads.queries, turned], "scores")
    scores = w.add("Mul", [scores, w.number(scale or heads.size**-0.5, "scale")], "scaled")
    if softcap:
        cap = w.number(softcap, "cap")
        capped = w.add("Tanh", [w.add("Div", [scores, cap], "fraction")], "squashed")
        scores = w.add("Mul", [capped, cap], "capped")
    for bias in heads.biases:
        scores = w.add("Add", [scores, bias], "biased")
    if heads.added.any():
        scores = w.add("Add", [scores, w.number(heads.added, "added")], "masked")
    if heads.allowed is not None:
        scores = w.add("Where", [heads.allowed, scores, w.number(_lowest(w), "low")], "chosen")
    weights = w.add("Softmax", [scores], "weights", axis=-1)
    if heads.empty:
        weights = _emptied(w, heads, weights)
    return w.add("MatMul", [weights, values], "mixed")


def _emptied(w: Writer, heads: Heads, weights: ir.Value) -> ir.Value:
    """Weights of 0 where the mask allows no key."""
    if heads.allowed is not None:
        weights = w.add("Where", [heads.allowed, weights, w.number(0.0, "none")], "allowed")
    alive = (heads.added > _lowest(w) / 2).astype(np.float64)
    return weights if alive.all() else w.add("Mul", [weights, w.number(alive, "alive")], "kept")


def _repeated(w: Writer, heads: Heads, tensor: ir.Value, size: int, part: str) -> ir.Value:
    """Keys or values once for each head of queries."""
    if heads.groups == 1:
        return tensor
    length, count = heads.lengths[1], heads.kv_heads
    single = w.reshape(tensor, (heads.batch, count, 1, length, size), f"{part}/single")
    wide = np.array((heads.batch, count, heads.groups, length, size), np.int64)
    repeated = w.add("Expand", [single, w.constant(wide, f"{part}/times")], f"{part}/repeated")
    return w.reshape(repeated, (heads.batch, count * heads.groups, length, size), f"{part}/shared")


def _joined(w: Writer, heads: Heads, mixed: ir.Value) -> ir.Value:
    """(batch, heads, positions, size) as (batch, positions, heads * size)."""
    back = w.add("Transpose", [mixed], "back", perm=[0, 2, 1, 3])
    width = heads.kv_heads * heads.groups * heads.value_size
    return w.reshape(back, (heads.batch, heads.lengths[0], width), "joined")


__all__ = ["attention", "group_query_attention", "multi_head_attention", "weighted_attention"]
