"""How far pairs of layers agree on one clip: inputs, outputs, relevance, tubes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.comparison.judge import Seen, worse
from cfp_onnx.comparison.side import PassOutputs, Side
from cfp_onnx.matching.agreement import Agreement, agreement, overlap, rows_of, spearman, tube_cosine
from cfp_onnx.matching.pairs import Pair, places
from cfp_onnx.matching.paths import Place
from cfp_onnx.values import Array

TAP_BUDGET = 2**30
"""Bytes of activations of both files that are held at a time."""


def chunks_of(a: Side, b: Side, pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Pairs whose tensors together stay within `TAP_BUDGET`."""
    chunks: list[list[Pair]] = [[]]
    held: set[tuple[str, str]] = set()
    size = 0
    for pair in pairs:
        here, there = places(pair.a, pair.b)
        read = {("a", p.tensor): a.bytes(p) for p in (here, pair.a.input)}
        read |= {("b", p.tensor): b.bytes(p) for p in (there, pair.b.input)}
        need = sum(n for t, n in read.items() if t not in held)
        if chunks[-1] and size + need > TAP_BUDGET:
            chunks.append([])
            held, size, need = set(), 0, sum(read.values())
        chunks[-1].append(pair)
        held.update(read)
        size += need
    return chunks


def tensors_of(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """Names of the pairs' input and output tensors, in the first file and in the second."""
    outputs = [places(p.a, p.b) for p in pairs]
    ours = [x.tensor for p, (here, _) in zip(pairs, outputs, strict=True) for x in (p.a.input, here)]
    theirs = [x.tensor for p, (_, there) in zip(pairs, outputs, strict=True) for x in (p.b.input, there)]
    return ours, theirs


def compare_tensors(
    pairs: Sequence[Pair], ours: Mapping[str, Array], theirs: Mapping[str, Array], seen: dict[int, Seen]
) -> None:
    """Compare the inputs and outputs of pairs on one clip.

    Args:
        pairs: The pairs.
        ours: Tensors of the first file.
        theirs: Tensors of the second.
        seen: What the clips before showed; this one's is added.
    """
    for pair in pairs:
        here, there = places(pair.a, pair.b)
        output = _agree(ours, here, theirs, there, pair.kernels)
        read = _agree(ours, pair.a.input, theirs, pair.b.input, pair.channels)
        old = seen.get(pair.a.index)
        if old is None:
            seen[pair.a.index] = Seen(output, read)
        else:
            old.output, old.input = worse(old.output, output), worse(old.input, read)


def _agree(
    ours: Mapping[str, Array], here: Place, theirs: Mapping[str, Array], there: Place, order: Array
) -> Agreement:
    a, b = ours[here.tensor], theirs[there.tensor]
    if a.size == b.size:  # a file may keep items and positions on one axis
        batch = max(a.shape[0], b.shape[0])
    else:
        batch = min(a.shape[0] if here.axis else 1, b.shape[0] if there.axis else 1)
    one, two = rows_of(a, here.axis, batch), rows_of(b, there.axis, batch)
    if len(one) != len(order) or len(two) != len(order):  # kernels on another axis: not comparable
        return Agreement(0.0, 1.0, 0.0, np.ones(len(order)), resized=True)
    return agreement(one, two if np.array_equal(order, np.arange(len(order))) else two[order])


def compare_relevance(
    pairs: Sequence[Pair], ours: PassOutputs, theirs: PassOutputs, seen: Mapping[int, Seen], size: tuple[int, int, int]
) -> None:
    """Compare relevance and tubes of pairs on one clip.

    Args:
        pairs: The pairs.
        ours: Relevance and tubes of the first file.
        theirs: Those of the second.
        seen: What the clips before showed; this one's is added.
        size: Frames, height and width of the clip.
    """
    for pair in pairs:
        mine, other = ours.relevance.get(pair.a.index), theirs.relevance.get(pair.b.index)
        if mine is None or other is None:
            continue
        other = other[pair.kernels]
        found = seen[pair.a.index]
        found.relevance = found.relevance or (mine, other)
        if (rank := spearman(mine, other)) is not None:
            found.ranks.append(rank)
        if (both := overlap(mine, other)) is not None:
            found.overlaps.append(both)
        tubes = ours.tubes.get(pair.a.name), theirs.tubes.get(pair.b.name)
        if tubes[0] is not None and tubes[1] is not None:
            found.tubes.append(tube_cosine(tubes[0], tubes[1], size))


__all__ = ["TAP_BUDGET", "chunks_of", "compare_relevance", "compare_tensors", "tensors_of"]
