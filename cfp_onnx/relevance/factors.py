"""Axes of a tensor as products of factors, so that kernels and groups stay axes however a tensor is reshaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Factor:
    """A factor of an axis.

    Attributes:
        size: Its length.
        kernel: Where it stands among the factors of the kernel axis, outermost first; None where it numbers no kernel.
    """

    size: int
    kernel: tuple[int, ...] | None = None

    def split(self, outer: int) -> tuple[Factor, Factor]:
        """The same as two factors, the outer one of the given length."""
        inner = self.size // outer
        if self.kernel is None:
            return Factor(outer), Factor(inner)
        return Factor(outer, (*self.kernel, 0)), Factor(inner, (*self.kernel, 1))


Axes = tuple[tuple[Factor, ...], ...]
"""Factors of each axis of a tensor, outermost first."""


def plain(shape: Sequence[int], axis: int) -> Axes:
    """Axes of a tensor whose kernels lie along one of them."""
    return tuple((Factor(n, (0,) if a == axis else None),) for a, n in enumerate(shape))


def flat(axes: Axes) -> tuple[Factor, ...]:
    """All factors, in the order of the elements."""
    return tuple(factor for axis in axes for factor in axis)


def sizes(axes: Axes) -> tuple[int, ...]:
    """Shape with one axis for each factor."""
    return tuple(factor.size for factor in flat(axes))


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Axes after a Reshape to a shape of as many elements; None where the shapes have no common factors."""
    rest = [f for f in flat(axes) if f.size != 1 or f.kernel is not None]
    out: list[tuple[Factor, ...]] = []
    for size in shape:
        taken, length = [], 1
        while rest and (length < size or rest[0].size == 1):
            factor = rest.pop(0)
            if size % (length * factor.size):
                need = size // length
                if size % length or factor.size % need:
                    return None
                factor, left = factor.split(need)
                rest.insert(0, left)
            taken.append(factor)
            length *= factor.size
        if length != size:
            return None
        out.append(tuple(taken) or (Factor(1),))
    return None if rest else tuple(out)


def resized(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Axes of a tensor of the same rank whose kernels lie as they did while other axes have other lengths."""
    out: list[tuple[Factor, ...]] = []
    for axis, size in zip(axes, shape, strict=True):
        length = 1
        for factor in axis:
            length *= factor.size
        if length != size and any(f.kernel is not None for f in axis):
            return None
        out.append(axis if length == size else (Factor(size),))
    return tuple(out)


def kernel_order(axes: Axes) -> list[int]:
    """Positions of the factors that number the kernels, the outermost first."""
    found = [(f.kernel, i) for i, f in enumerate(flat(axes)) if f.kernel is not None]
    return [i for _, i in sorted(found)]


__all__ = ["Axes", "Factor", "flat", "kernel_order", "plain", "reshaped", "resized", "sizes"]
