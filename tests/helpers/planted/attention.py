"""Circuits of attention: a query and a key that choose the token whose value carries the class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planted import styles
from planted.values import Array, Circuit, Plant, noise
from planted.writer import Feature, Style, Writer

WIDTH = 4
"""Kernels of queries, keys and values; of two heads, two each."""


def tokens_clip() -> Array:
    """Four colours: a mark at one place, something in every place, evidence at the mark, and the contrary elsewhere."""
    clip = noise((4, 2, 3, 4))
    clip[0, 0, 1, 1, 2] = 1
    clip[0, 1] += 0.9
    clip[0, 2, 1, 1, 2] = 1
    clip[0, 3] += 0.5
    clip[0, 3, 1, 1, 2] = 0
    return clip


def to_tokens(w: Writer, x: str) -> str:
    """Maps as tokens, (1, places, channels)."""
    count = int(np.prod(w.size))
    if w.style.layout == "last":
        return w.reshape(x, [1, count, -1])
    return w.add("Transpose", [w.reshape(x, [1, -1, count])], perm=[0, 2, 1])


def projections() -> dict[str, Array]:
    """Weights of queries, keys and values, (kernels, channels), for six channels.

    The first kernels of queries and keys meet at the mark; the first value is evidence less its contrary.
    """
    rng = np.random.default_rng(41)
    out = {n: rng.uniform(-0.05, 0.05, (WIDTH, 6)) for n in ("query", "key", "value")}
    out["query"][0] = out["key"][0] = out["value"][0] = 0
    out["query"][0, 1], out["key"][0, 0] = 3, 3
    out["value"][0, [2, 3]] = [3, -1]
    return out


def embedding() -> Array:
    """Six channels, (6, 4, 1, 1, 1): the four colours, and two mixtures."""
    out = np.zeros((6, 4, 1, 1, 1))
    out[range(4), range(4)] = 1
    out[4:, 1:] = 0.2
    return out


# How attention is written: tokens in, mixed values out, (1, tokens, WIDTH).


def projected(w: Writer, x: str) -> list[str]:
    """Queries, keys and values as three layers."""
    return [w.dense(name, x, weight) for name, weight in projections().items()]


def softmaxed(w: Writer, scores: str) -> str:
    """The weights of a mixture."""
    return w.add("Softmax", [scores], axis=-1)


def written_out(w: Writer, x: str) -> str:
    """Scores scaled behind their product."""
    q, k, v = projected(w, x)
    scores = w.add("MatMul", [q, w.add("Transpose", [k], perm=[0, 2, 1])])
    return w.add("MatMul", [softmaxed(w, w.add("Mul", [scores, w.constant(0.5)])), v])


def scaled_before(w: Writer, x: str) -> str:
    """Queries and keys scaled by the root each, and a mask that leaves all tokens in."""
    q, k, v = projected(w, x)
    root = w.constant(0.5**0.5)
    turned = w.add("Mul", [w.add("Transpose", [k], perm=[0, 2, 1]), root])
    scores = w.add("MatMul", [w.add("Mul", [q, root]), turned])
    count = int(np.prod(w.size))
    return w.add("MatMul", [softmaxed(w, w.add("Add", [scores, w.constant(np.zeros((count, count)))])), v])


def two_heads(w: Writer, x: str) -> str:
    """Heads as an axis of their own; the second has nothing to say."""
    count = int(np.prod(w.size))
    split = [w.reshape(y, [1, count, 2, 2]) for y in projected(w, x)]
    q, k, v = (
        w.add("Transpose", [y], perm=p) for y, p in zip(split, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scores = w.add("Div", [w.add("MatMul", [q, k]), w.constant(2.0)])
    y = w.add("Transpose", [w.add("MatMul", [softmaxed(w, scores), v])], perm=[0, 2, 1, 3])
    return w.reshape(y, [1, count, WIDTH])


def packed(w: Writer, x: str) -> str:
    """One layer for queries, keys and values, taken apart behind it."""
    y = w.dense("packed", x, np.concatenate(list(projections().values())))
    del w.features["packed"]
    for number, name in enumerate(projections()):
        w.features[name] = Feature(y, 2, 3, WIDTH, "packed", number * WIDTH, (2 - number) * WIDTH)
    q, k, v = (w.slice(y, 2, n * WIDTH, (n + 1) * WIDTH) for n in range(3))
    scores = w.add("MatMul", [w.add("Mul", [q, w.constant(0.5)]), w.add("Transpose", [k], perm=[0, 2, 1])])
    return w.add("MatMul", [softmaxed(w, scores), v])


def einsum(w: Writer, x: str) -> str:
    """Products as Einsum."""
    q, k, v = projected(w, x)
    scores = w.add("Mul", [w.add("Einsum", [q, k], equation="bqc,bkc->bqk"), w.constant(0.5)])
    return w.add("Einsum", [softmaxed(w, scores), v], equation="bqk,bkc->bqc")


def softmax_written_out(w: Writer, x: str) -> str:
    """Exponentials over their sum."""
    q, k, v = projected(w, x)
    scores = w.add("MatMul", [q, w.add("Transpose", [k], perm=[0, 2, 1])])
    powers = w.add("Exp", [w.add("Mul", [scores, w.constant(0.5)])])
    sums = w.with_axes("ReduceSum", powers, (2,), since=13, keepdims=1)
    return w.add("MatMul", [w.add("Div", [powers, sums]), v])


def attended(style: Style, write: Any, **changes: Any) -> Style:
    """A style whose attention is written in some way."""
    return replace(
        style, name=f"{style.name}, {write.__name__.replace('_', ' ')}", options={"attention": write}, **changes
    )


def classify_tokens(w: Writer, mean: str) -> str:
    """Classes of one vector, (1, WIDTH)."""
    weight = w.constant(w.grained([[2, 0.1, 0.1, 0.1], [0, 0.2, 0.1, 0], [0, 0, 0.1, 0.2]]))
    return w.add("Gemm", [mean, weight, w.constant(np.array([0.5, 0, 0]))], name="head", transB=1)


# Self-attention.


def self_attention(w: Writer, x: str) -> str:
    """All tokens look for the mark; what is there makes the class, the mean of all would speak against it."""
    tokens = to_tokens(w, w.layer("embed", x, embedding()))
    mixed = w.style.options["attention"](w, tokens)
    return classify_tokens(w, w.with_axes("ReduceMean", mixed, (1,), since=18, keepdims=0))


SELF_ATTENTION = Circuit(
    "attention",
    self_attention,
    tokens_clip,
    (
        attended(styles.CONVOLUTION, written_out),
        attended(styles.UNFOLDED, scaled_before),
        attended(styles.UNGROUPED, einsum),
        attended(styles.HALF, written_out),
        attended(styles.WRAPPED, softmax_written_out),
    ),
    (
        Plant("embed", (0, 1, 2), needs="attention"),
        Plant("query", (0,), needs="attention"),
        Plant("key", (0,), needs="attention"),
        Plant("value", (0,)),
    ),
)


# Non-local blocks: attention in convolutions.


def over_places(w: Writer, x: str) -> str:
    """Queries, keys and values as pointwise convolutions, channels in front of places, and a shortcut around."""
    count = int(np.prod(w.size))
    maps = w.layer("embed", x, embedding())
    q, k, v = (
        w.reshape(w.layer(n, maps, weight[..., None, None, None], rectified=False), [1, WIDTH, count])
        for n, weight in projections().items()
    )
    scores = w.add("MatMul", [w.add("Transpose", [q], perm=[0, 2, 1]), k])
    weights = softmaxed(w, w.add("Mul", [scores, w.constant(0.5)]))
    mixed = w.add("MatMul", [v, w.add("Transpose", [weights], perm=[0, 2, 1])])
    back = np.zeros((6, WIDTH, 1, 1, 1))
    back[4, 0] = 1
    joined = w.sum(w.layer("back", w.reshape(mixed, [1, WIDTH, *w.size]), back, rectified=False), maps)
    weight = np.full((3, 6), 0.02)
    weight[0, 4] = 2
    return w.classify(joined, weight, [0.5, 0, 0])


NON_LOCAL = Circuit(
    "a non-local block",
    over_places,
    tokens_clip,
    (styles.CONVOLUTION, styles.FUSED, styles.HALF, styles.FIBERS, styles.EIGHT_BITS),
    (
        Plant("embed", (0, 1, 2), needs="attention"),
        Plant("query", (0,), needs="attention"),
        Plant("key", (0,), needs="attention"),
        Plant("value", (0,)),
    ),
)


# A class token.


def token_in_front(w: Writer, tokens: str) -> str:
    """A learnt token before all others, which reads as something that is in every place."""
    token = np.zeros((1, 1, 6))
    token[0, 0, 1] = 1
    return w.add("Concat", [w.constant(token), tokens], axis=1)


def gathered(w: Writer, x: str) -> str:
    """The token by its number."""
    return w.add("Gather", [x, w.integers(0)], axis=1)


def sliced(w: Writer, x: str) -> str:
    """The token as a slice without its axis."""
    return w.with_axes("Squeeze", w.slice(x, 1, 0, 1), (1,), since=13)


def class_token(w: Writer, x: str) -> str:
    """The learnt token looks for the mark, and alone is classified."""
    tokens = token_in_front(w, to_tokens(w, w.layer("embed", x, embedding())))
    w.size = (1, 1, int(np.prod(w.size)) + 1)
    mixed = w.style.options["attention"](w, tokens)
    return classify_tokens(w, w.style.options["token"](w, mixed))


def tokened(style: Style, write: Any) -> Style:
    """A style whose class token is taken in some way."""
    return replace(style, name=f"{style.name}, {write.__name__}", options=style.options | {"token": write})


CLASS_TOKEN = Circuit(
    "a class token",
    class_token,
    tokens_clip,
    (
        tokened(attended(styles.CONVOLUTION, written_out), gathered),
        tokened(attended(styles.UNFOLDED, scaled_before), sliced),
        tokened(attended(styles.OPSET_9, two_heads, opset=11), sliced),
        tokened(attended(styles.FACTORISED, packed), gathered),
        tokened(attended(styles.WRAPPED, written_out), sliced),
    ),
    (
        Plant("embed", (0, 2), needs="attention"),
        Plant("query", (0,), needs="attention"),
        Plant("key", (0,), needs="attention"),
        Plant("value", (0,)),
    ),
)
