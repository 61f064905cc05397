"""What a norm's output loses when a kernel's addend is taken out of its input, exactly instead of by the slope.

With d the centred input, n = d / sigma, h = g * weight / sigma less its mean over the set of N elements, and
l = mean(h * n), a kernel whose addend of the input is a has, over its own part of the set and b = a / sigma,

    sigma'^2 / sigma^2 = 1 - (2 sum(b n) - sum(b^2)) / N - (sum(b) / N)^2
    drop - slope = (1 - sigma / sigma') (N l sigma - sum(a h)) + l sigma sum(b n)

where the last term of sigma' is there only if a mean is taken off (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from cfp_onnx.graph.features import Feature
from cfp_onnx.relevance import factors
from cfp_onnx.relevance.addends import Addends
from cfp_onnx.relevance.factors import Axes
from cfp_onnx.relevance.field_walk import Walk, total
from cfp_onnx.relevance.norms import Slope
from cfp_onnx.runtime.probe import Probe

SUMS = 4
"""How many sums of a trunk lie at most between a kernel and a norm that is taken exactly."""

LEAST = 1e-6
"""Least share of the variance that is taken to be left; without a kernel that is the whole set it is the epsilon."""


class ExactNorms:
    """Adds to the relevance of kernels what the slopes of norms leave out.

    Args:
        walk: The walk that it serves.
        sums: How many sums may lie between a kernel and a norm.
    """

    def __init__(self, walk: Walk, sums: int = SUMS) -> None:
        self._walk = walk
        self._sums = sums
        self._passed: list[tuple[str, Callable[[], Slope]]] = []
        self._rows: dict[tuple[int, Axes], _Rows] = {}

    def note(self, tensor: str, slope: Callable[[], Slope]) -> None:
        """Remember a norm that the walk passes.

        Args:
            tensor: Its input; where the file takes the mean off in a step of its own, what it is taken off.
            slope: Makes what its field is made of.
        """
        self._passed.append((tensor, cache(slope)))

    def correction(self, feature: Feature) -> str | None:
        """What is added to the relevance of the kernels judged at a tensor, (kernels,); None for nothing."""
        if not self._passed:
            return None
        addends = Addends(self._walk, feature, self._sums)
        alike: dict[tuple[Axes, str, tuple[int, ...]], list[_Rows]] = {}
        for place, (tensor, slope) in enumerate(self._passed):
            if tensor in addends.axes:
                parts = slope()
                axes = factors.reshaped(addends.axes[tensor], parts.found.view)
                if axes is not None:
                    rows = self._at(place, parts, axes)
                    alike.setdefault((axes, addends.name(tensor), rows.part), []).append(rows)
        names = [self._summed(addend, rows, axes) for (axes, addend, _), rows in alike.items()]
        return total(self._walk.probe, names) if names else None

    def _summed(self, addend: str, norms: Sequence[_Rows], axes: Axes) -> str:
        """Drop less slope of some norms that read one addend, summed over all but the kernels, (kernels,)."""
        probe, sizes, kernels = self._walk.probe, factors.sizes(axes), factors.kernel_order(axes)
        a = norms[0].full(addend)
        value = total(probe, [rows.bent(a) for rows in norms])
        if norms[0].lone:
            pulled = total(probe, [rows.shared.pulled for rows in norms])
            value = probe.add("Add", [value, probe.add("Mul", [a, pulled])])
        others = [i for i in range(len(sizes)) if i not in kernels]
        value = probe.reduce("ReduceSum", value, others, keep=False)
        order = list(np.argsort(np.argsort(kernels)))
        if order != sorted(order):
            value = probe.add("Transpose", [value], perm=[int(i) for i in order])
        return probe.reshape(value, (-1,))

    def _at(self, place: int, slope: Slope, axes: Axes) -> _Rows:
        """A norm's statistics for kernels that lie along some axes; made once."""
        if (place, axes) not in self._rows:
            self._rows[place, axes] = _Rows(self._walk.probe, slope, axes)
        return self._rows[place, axes]


@dataclass(frozen=True)
class _Shared:
    """What all kernels of a norm share, with n its normed input and l as above.

    Attributes:
        lean: 2 n / (N sigma).
        pulled: l n.
        square: (1 / N - 1 / N^2) / sigma^2.
        whole: N l sigma.
    """

    lean: str
    pulled: str
    square: str
    whole: str


class _Rows:
    """A norm's recorded statistics with an axis for each factor of its input."""

    def __init__(self, probe: Probe, slope: Slope, axes: Axes) -> None:
        found = slope.found
        sizes = factors.sizes(axes)
        inside = [a in found.axes for a, axis in enumerate(axes) for _ in axis]
        kernels = factors.kernel_order(axes)
        self._probe = probe
        self._sizes = sizes
        self._reshape = sizes != found.view
        self._small = tuple(1 if i else n for i, n in zip(inside, sizes, strict=True))
        self.part = tuple(a for a, i in enumerate(inside) if i and a not in kernels)
        self._count = float(np.prod([n for i, n in zip(inside, sizes, strict=True) if i]))
        self.lone = all(sizes[a] == 1 for a in self.part)
        self._centred = slope.centred
        self._normed, self._h = self.full(found.normed), self.full(slope.h)
        self._deviation, self._along = self._set(found.deviation), self._set(slope.along)

    def full(self, name: str) -> str:
        """A tensor of the input's size."""
        return self._probe.reshape(name, self._sizes) if self._reshape else name

    def _set(self, name: str) -> str:
        return self._probe.reshape(name, self._small) if self._reshape else name

    def bent(self, a: str) -> str:
        """Drop less slope for each kernel and set; without what `_Shared.pulled` adds where a kernel is alone in it."""
        return self._of_elements(a) if self.lone else self._of_parts(a)

    def _of_elements(self, a: str) -> str:
        """The same where each kernel has one element of a set; everything is of the input's size."""
        probe, shared = self._probe, self.shared
        curved = probe.add("Sub", [probe.add("Mul", [a, shared.square]), shared.lean])
        left = probe.add("Add", [probe.number(1.0), probe.add("Mul", [a, curved])])
        rest = probe.add("Sub", [shared.whole, probe.add("Mul", [a, self._h])])
        return probe.add("Mul", [self._shrunk(left), rest])

    @cached_property
    def shared(self) -> _Shared:
        """What all kernels share, where each has one element of a set."""
        probe, count, sigma = self._probe, self._count, self._deviation
        own = probe.number(1 / count - (1 / count**2 if self._centred else 0.0))
        return _Shared(
            lean=probe.add("Div", [self._normed, probe.add("Mul", [sigma, probe.number(count / 2)])]),
            pulled=probe.add("Mul", [self._normed, self._along]),
            square=probe.add("Div", [own, probe.add("Mul", [sigma, sigma])]),
            whole=probe.add("Mul", [probe.add("Mul", [self._along, sigma]), probe.number(count)]),
        )

    def _of_parts(self, a: str) -> str:
        """The same where each kernel has several elements of a set, which are summed first."""
        probe, count = self._probe, self._count
        pull = probe.add("Mul", [self._along, self._deviation])
        shares = probe.add("Div", [a, self._deviation])
        bn = self._summed(probe.add("Mul", [shares, self._normed]))
        bb = self._summed(probe.add("Mul", [shares, shares]))
        ah = self._summed(probe.add("Mul", [a, self._h]))
        gone = probe.add("Sub", [probe.add("Add", [bn, bn]), bb])
        left = probe.add("Sub", [probe.number(1.0), probe.add("Mul", [gone, probe.number(1 / count)])])
        if self._centred:
            mean = probe.add("Mul", [self._summed(shares), probe.number(1 / count)])
            left = probe.add("Sub", [left, probe.add("Mul", [mean, mean])])
        rest = probe.add("Sub", [probe.add("Mul", [pull, probe.number(count)]), ah])
        bent = probe.add("Mul", [self._shrunk(left), rest])
        return probe.add("Add", [bent, probe.add("Mul", [pull, bn])])

    def _shrunk(self, left: str) -> str:
        """1 - sigma / sigma', of the share of the variance that is left."""
        probe = self._probe
        ratio = probe.add("Reciprocal", [probe.add("Sqrt", [probe.add("Max", [left, probe.number(LEAST)])])])
        return probe.add("Sub", [probe.number(1.0), ratio])

    def _summed(self, name: str) -> str:
        """Sum over each kernel's part of each set."""
        return self._probe.reduce("ReduceSum", name, self.part, keep=True)


__all__ = ["LEAST", "SUMS", "ExactNorms"]
