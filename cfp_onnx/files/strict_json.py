"""Reading JSON that comes from elsewhere: every key known and once, every number finite, every type exact."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from cfp_onnx.errors import UsageError
from cfp_onnx.values import Array

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of the largest file that is read."""


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        what: What it should be, for sentences.

    Raises:
        UsageError: If it cannot be read, is too large, or is not an object of unique keys and finite numbers.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path} is over {LARGEST >> 20} MB, too large for {what}; make it with fewer clips")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not {what}: {_short(error)}; it is damaged or was cut off, make it anew"
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not {what}: it holds no JSON object")
    return value


def _short(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"key {key[:60]!r} stands there twice")
        out[key] = value
    return out


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class Reader:
    """An object whose keys are taken one by one; what is left over is refused.

    Args:
        value: The object.
        where: Its place in the file, for sentences.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be an object, not {_kind(value)}")
        self._left = dict(value)
        self.where = where

    def take(self, key: str) -> Any:
        """The value of a key, whatever it is."""
        if key not in self._left:
            raise UsageError(f"{self.where} has no key {key!r}")
        return self._left.pop(key)

    def done(self) -> None:
        """Refuses keys that nobody asked for."""
        if self._left:
            raise UsageError(f"{self.where} has the unknown key {str(next(iter(self._left)))[:60]!r}")

    def wrong(self, key: str, value: object, wanted: str) -> UsageError:
        """The error for a value of another kind than wanted."""
        return UsageError(f"{self.where}: {key!r} is {_kind(value)}, it must be {wanted}")

    def text(self, key: str) -> str:
        """A string."""
        value = self.take(key)
        if not isinstance(value, str):
            raise self.wrong(key, value, "text")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def whole(self, key: str, least: int = 0) -> int:
        """A whole number."""
        value = self.take(key)
        if type(value) is not int or value < least:
            raise self.wrong(key, value, f"a whole number of at least {least}")
        return value

    def number(self, key: str, least: float = -math.inf) -> float:
        """A finite number."""
        value = self.take(key)
        if type(value) not in {int, float} or not math.isfinite(value) or not value >= least:
            raise self.wrong(key, value, "a finite number" + (f" of at least {least:g}" if least > -math.inf else ""))
        return float(value)

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """What a reader of this object gives, or None for null."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return read(key)

    def items(self, key: str) -> list[Any]:
        """A list."""
        value = self.take(key)
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list")
        return value

    def inner(self, key: str) -> Reader:
        """An object inside."""
        return Reader(self.take(key), f"{self.where}: {key!r}")

    def wholes(self, key: str, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.items(key)
        if any(type(v) is not int or v < least for v in values):
            raise self.wrong(key, values, f"a list of whole numbers of at least {least}")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key)
        if not all(isinstance(v, str) for v in values):
            raise self.wrong(key, values, "a list of texts")
        return tuple(values)

    def array(self, key: str, shape: tuple[int, ...]) -> Array:
        """Numbers as `packed` wrote them."""
        return unpacked(self.take(key), shape, f"{self.where}: {key!r}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return f"{type(value).__name__} {str(value)[:40]!r}"


def packed(values: Array) -> str:
    """Numbers as text: each as float16 of the largest, which stands in front as float32; base64."""
    flat = np.asarray(values, np.float64).reshape(-1)
    scale = np.float32(np.abs(flat).max(initial=0.0))
    part = flat / float(scale) if scale > 0 else np.zeros(flat.size)
    data = np.asarray([scale], "<f4").tobytes() + part.astype("<f2").tobytes()
    return base64.b64encode(data).decode("ascii")


def unpacked(text: object, shape: tuple[int, ...], where: str) -> Array:
    """Numbers from text.

    Args:
        text: What `packed` wrote.
        shape: Their sizes.
        where: Their place, for sentences.

    Returns:
        float64 of that shape.

    Raises:
        UsageError: If it is no such text, of another length, or holds NaN or infinity.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if not isinstance(text, str):
        raise UsageError(f"{where} must be numbers in base64, not {_kind(text)}")
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
    """What is left of numbers once they were packed."""
    array = np.asarray(values)
    return unpacked(packed(array), array.shape, "")


__all__ = ["Reader", "packed", "read_object", "rounded", "unpacked"]
