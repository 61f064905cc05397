"""The authors' single-layer back-step, faults included: documentation of what the project does not reproduce.

A literal port of the arithmetic described in the oracle's README, for `test_published_port.py` only:

* the kernel list may hold several branches; the activation is cut into consecutive slices as wide as the
  branches' inputs, also where the branches share one input, and children are numbered inside the slice;
* for grouped convolutions each weight is repeated in place over all channels, whatever the kernel's group;
* dividing by a negative sum turns the order round; a zero sum or equal products give NaN and no children;
* top-n compares (index, value) pairs with theta and so always raises TypeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class SizeError(RuntimeError):
    """Two vectors of different length are multiplied, as the reference's framework reports it."""

    def __init__(self, weights: int, activations: int) -> None:
        super().__init__(
            f"The size of tensor a ({weights}) must match the size of tensor b ({activations}) "
            "at non-singleton dimension 0"
        )


def backstep(
    kernels: Sequence[Array], activation: Array, index: int, theta: float, *, topn: int | None = None
) -> list[int]:
    """Children of output kernel ``index`` of a layer.

    Args:
        kernels: One (O, C, T, H, W) array per branch.
        activation: (N, C, T, H, W); only item 0 counts.
        index: Output kernel, counted over the branches.
        theta: Threshold on the min-max scaled contributions.
        topn: The reference's other way to choose; it never works.

    Raises:
        SizeError: The repeated weights and the activation's slice differ in length.
        TypeError: ``topn`` is given.
        IndexError: No branch holds ``index``.
    """
    pooled = activation[0].reshape(activation.shape[1], -1).mean(axis=1)
    weights = [k.reshape(*k.shape[:2], -1).mean(axis=2) for k in kernels]
    groups = pooled.size // sum(w.shape[1] for w in weights)
    branch, row = _branch(weights, index)
    start = sum(w.shape[1] for w in weights[:branch])
    width = weights[branch].shape[1]
    products = _product(
        _repeated(weights[branch][row], groups),
        pooled if len(kernels) == 1 else pooled[start : start + width],
    )
    return _chosen(products, theta, topn)


def _branch(weights: Sequence[Array], index: int) -> tuple[int, int]:
    for branch, w in enumerate(weights):
        if index < w.shape[0]:
            return branch, index
        index -= w.shape[0]
    raise IndexError(f"no branch holds kernel {index}")


def _repeated(weights: Array, groups: int) -> Array:
    return np.repeat(weights, groups) if groups > 1 else weights


def _product(weights: Array, activations: Array) -> Array:
    if weights.size != activations.size and 1 not in {weights.size, activations.size}:
        raise SizeError(weights.size, activations.size)
    return weights * activations


def _chosen(products: Array, theta: float, topn: int | None) -> list[int]:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = products / products.sum()
        scaled = (shares - shares.min()) / (shares.max() - shares.min())
    if topn is not None:
        pairs: list[Any] = sorted(enumerate(scaled.tolist()), key=lambda pair: pair[1])[-topn:]
        return [pair for pair in pairs if pair >= theta]
    return [j for j, value in enumerate(scaled) if value >= theta]
