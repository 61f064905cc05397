"""Sampling at places of a grid as a product with a matrix, which says how much of each pixel each sample takes.

The matrix is what the operator itself makes of an image for each pixel that is 1 there and 0 elsewhere. Where it takes
its samples is held: a grid moves them by jumps and along the edges of an image, of which a slope says little.
"""

from __future__ import annotations

from math import prod

import numpy as np

from cfp_onnx.model.writer import NotExpandableError, Writer

LARGEST = 2**25
"""Most elements of such a matrix."""


def grid_sample(w: Writer) -> None:
    """ONNX `GridSample` (https://onnx.ai/onnx/operators/onnx__GridSample.html).

    Raises:
        NotExpandableError: If its grid does not depend on the input, or the matrix is too large.
    """
    batch, channels, *sizes = w.shape(0)
    places = w.shape(1)[1:-1]
    pixels, samples = prod(sizes), prod(places)
    if w.value(0) is not None:
        raise NotExpandableError("samples constants")
    if w.value(1) is not None:
        raise NotExpandableError("has a grid that is constant")
    if batch * pixels * max(pixels, samples) > LARGEST:
        raise NotExpandableError(f"takes {samples} samples of {pixels} pixels, more than can be followed")
    eye = np.broadcast_to(np.eye(pixels, dtype=w.dtype), (batch, pixels, pixels)).reshape(batch, pixels, *sizes)
    given = {k: v for k, v in w.node.attributes.items() if v is not None}
    shares = w.add("GridSample", [w.constant(np.ascontiguousarray(eye), "pixels"), w.tensor(1)], "shares", **given)
    matrix = w.reshape(shares, (batch, pixels, samples), "matrix")
    flat = w.reshape(w.tensor(0), (batch, channels, pixels), "flat")
    made = w.add("MatMul", [flat, matrix], "product")
    w.give(0, w.reshape(made, (batch, channels, *places), "sampled"))


__all__ = ["grid_sample"]
