"""Numbers as short text inside JSON: half precision, base64."""

from __future__ import annotations

import base64
import binascii
import math

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.text import described
from cfp_onnx.values import Array


def packed(values: Array) -> str:
    """Numbers as text: the largest size as float32, then each number over it as float16; base64.

    Args:
        values: Numbers of any shape.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    scale = np.float32(np.abs(flat).max(initial=0.0))
    part = flat / float(scale) if scale > 0 else np.zeros(flat.size)
    data = np.asarray([scale], "<f4").tobytes() + part.astype("<f2").tobytes()
    return base64.b64encode(data).decode("ascii")


def unpacked(text: object, shape: tuple[int, ...], where: str) -> Array:
    """Numbers from text.

    Args:
        text: What `packed` wrote.
        shape: Their shape.
        where: Their place in the file, for error messages.

    Returns:
        float64 of that shape.

    Raises:
        UsageError: If it is no such text, of another length, or holds NaN or infinity.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if not isinstance(text, str):
        raise UsageError(f"{where} must be numbers in base64, not {described(text)}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"{where} is no base64: {error}") from error
    if len(data) != 4 + 2 * count:
        raise UsageError(f"{where} holds {max(0, len(data) - 4) // 2} numbers, it must hold {count}")
    scale = float(np.frombuffer(data[:4], "<f4")[0])
    part = np.frombuffer(data[4:], "<f2").astype(np.float64)
    if not (scale >= 0 and math.isfinite(scale) and np.isfinite(part).all()):
        raise UsageError(f"{where} holds NaN, infinity or a negative scale")
    return (part * scale).reshape(shape)


def rounded(values: Array) -> Array:
    """Numbers as they come back after they were packed."""
    array = np.asarray(values)
    return unpacked(packed(array), array.shape, "")


__all__ = ["packed", "rounded", "unpacked"]
