"""A discrete Fourier transform as the product with a matrix that it is."""

from __future__ import annotations

import numpy as np

from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

LARGEST = 2**25
"""Most elements of such a matrix."""


def transform(w: Writer) -> None:
    """ONNX `DFT` (https://onnx.ai/onnx/operators/onnx__DFT.html).

    Raises:
        NotExpandableError: If its length or axis depends on the model's input, or the matrix is too large.
    """
    if any(w.has(i) and w.value(i) is None for i in (1, 2)):
        raise NotExpandableError("has a length or an axis that depends on the model's input")
    shape, out = w.shape(0), w.out_shape(0)
    rank = len(shape)
    given = w.value(2)
    old = w.program.model.opset < 20
    axis = int(w.attribute("axis", 1)) if old else -2 if given is None else int(given.reshape(-1)[0])
    axis %= rank
    size, made = (shape[axis], shape[-1]), (out[axis], out[-1])
    if int(np.prod(size)) * int(np.prod(made)) > LARGEST:
        raise NotExpandableError(f"transforms {size[0]} numbers, more than can be followed")
    matrix = _matrix(w, size, made)
    perm = [*(a for a in range(rank - 1) if a != axis), axis, rank - 1]
    others = [shape[a] for a in perm[:-2]]
    turned = w.add("Transpose", [w.tensor(0)], "turned", perm=perm)
    flat = w.reshape(turned, [*others, size[0] * size[1]], "flat")
    found = w.reshape(w.fixed(flat, matrix, "transform"), [*others, *made], "parts")
    w.give(0, w.add("Transpose", [found], "back", perm=np.argsort(perm).tolist()))


def _matrix(w: Writer, size: tuple[int, int], made: tuple[int, int]) -> Array:
    """What each number of the input (real and imaginary parts, if it has them) gives to each of the output."""
    count, parts = size
    units = np.array([1, 1j][:parts])
    basis = (np.eye(count)[:, None, :] * units[None, :, None]).reshape(count * parts, count)
    inverse, half = bool(w.attribute("inverse", 0)), bool(w.attribute("onesided", 0))
    given = w.value(1)
    length = (made[0] if inverse else count) if given is None else int(given.reshape(-1)[0])
    if inverse:
        found = np.fft.irfft(basis, length) if half else np.fft.ifft(basis, length)
    else:
        found = np.fft.fft(basis, length)
        found = found[:, : length // 2 + 1] if half else found
    if found.shape[1] != made[0]:
        raise NotExpandableError(f"makes {made[0]} numbers of {count} in a form that is not understood")
    both = np.stack([found.real, found.imag][: made[1]], -1)
    return np.asarray(both.reshape(count * parts, -1))


__all__ = ["transform"]
