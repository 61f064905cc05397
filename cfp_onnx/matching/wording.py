"""How a difference between two layers is worded: kernels, sizes, windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfp_onnx.graph.parts import Geometry
from cfp_onnx.values import Array

NAMED = 8
"""Most kernels that a sentence or a list names."""


@dataclass(frozen=True)
class Finding:
    """Something that differs: a sentence, and the kernels it is about (none where it is about all)."""

    text: str
    kernels: tuple[int, ...] = ()


def explain_window(one: Geometry, two: Geometry, sides: tuple[str, str] = ("in A", "in B")) -> list[Finding]:
    """What differs in strides, dilations and padding; windows of different rank are not compared.

    Args:
        one: The first file's.
        two: The second's.
        sides: What the two are called in the sentences.
    """
    a, b = sides
    if len(one.kernel) != len(two.kernel):
        return []
    found = []
    for word in ("strides", "dilations"):
        here, there = getattr(one, word), getattr(two, word)
        if here != there:
            found.append(Finding(f"{word} differ: {by_sizes(here)} {a}, {by_sizes(there)} {b}"))
    if (one.begins, one.ends) != (two.begins, two.ends):
        here, there = (_pads(g.begins, g.ends) for g in (one, two))
        lopsided = [g.begins != g.ends for g in (one, two)]
        hint = " (SAME against symmetric)" if lopsided[0] != lopsided[1] else ""
        found.append(Finding(f"padding differs: {here} {a}, {there} {b}{hint}"))
    return found


def by_sizes(values: Sequence[int]) -> str:
    """Sizes as people write them: 1x3x3."""
    return "x".join(map(str, values))


def _pads(begins: Sequence[int], ends: Sequence[int]) -> str:
    return " ".join(f"{b}+{e}" for b, e in zip(begins, ends, strict=True)) or "none"


def kernels_named(which: Array) -> str:
    """Kernels by number; of many the first ones and how many follow."""
    listed = [str(int(k)) for k in which[:NAMED]]
    if len(listed) == 1:
        return f"kernel {listed[0]}"
    if which.size > NAMED:
        return f"kernels {', '.join(listed)} and {which.size - NAMED} more"
    return f"kernels {', '.join(listed[:-1])} and {listed[-1]}"


def some(which: Array, of: int) -> str:
    """Kernels in words, or how many they are."""
    if which.size == of > 1:
        return f"all {of} kernels"
    return kernels_named(which) if which.size <= NAMED else f"{which.size} of {of} kernels"


def few(which: Array) -> tuple[int, ...]:
    """Kernels to name; none where there are too many."""
    return tuple(int(k) for k in which) if which.size <= NAMED else ()


__all__ = ["NAMED", "Finding", "by_sizes", "explain_window", "few", "kernels_named", "some"]
