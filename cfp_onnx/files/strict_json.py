"""Reading JSON that comes from elsewhere: every key once, every number finite, every value of the type asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cfp_onnx.errors import UsageError
from cfp_onnx.files.packed_numbers import unpacked
from cfp_onnx.files.whole import named
from cfp_onnx.text import described
from cfp_onnx.values import Array

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of the largest file that is read."""


def read_object(path: Path, what: str, *, smaller: str = "make a smaller one") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        what: What it should be, for error messages: ``a baseline``.
        smaller: What to do about a file that is too large, for error messages.

    Raises:
        UsageError: If it cannot be read, is too large, or is not an object of unique keys and finite numbers.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {what} from {named(path)}: {reason}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{named(path)} is over {LARGEST >> 20} MB, too large for {what}; {smaller}")
    try:
        value = parse(data.decode("utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{named(path)} is not {what}: {str(error)[:200]}; it is damaged or was cut off, make it anew"
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f"{named(path)} is not {what}: it holds no JSON object")
    return value


def parse(text: str) -> Any:
    """The values of a JSON text.

    Raises:
        ValueError: If it is not JSON, a key is there twice, a number is not finite, or it is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:60]!r} is there twice")
    return out


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class Reader:
    """A JSON object whose keys are taken one by one, each as the type that is wanted.

    Args:
        value: The object.
        where: Its place in the file, for error messages.

    Raises:
        UsageError: From every method, if the key is missing or its value is of another type.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be an object, not {described(value)}")
        self._left = dict(value)
        self.where = where

    def take(self, key: str) -> Any:
        """The value of a key, of any type."""
        if key not in self._left:
            raise UsageError(f"{self.where} has no key {key!r}")
        return self._left.pop(key)

    def done(self) -> None:
        """Refuses keys that were not taken."""
        if self._left:
            raise UsageError(f"{self.where} has the unknown key {str(next(iter(self._left)))[:60]!r}")

    def rest(self) -> dict[str, Any]:
        """Keys that were not taken, with their values; for objects in which unknown keys are allowed."""
        left, self._left = self._left, {}
        return left

    def wrong(self, key: str, value: object, wanted: str) -> UsageError:
        """The error for a value of another type than wanted."""
        return UsageError(f"{self.where}: {key!r} is {described(value)}, it must be {wanted}")

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
        return float(self.number_as_written(key, least))

    def number_as_written(self, key: str, least: float = -math.inf) -> float:
        """A finite number; an `int` where it is written without a point, so that it is written back the same."""
        value = self.take(key)
        if not _is_number(value) or not value >= least:
            raise self.wrong(key, value, "a finite number" + (f" of at least {least:g}" if least > -math.inf else ""))
        return value  # type: ignore[no-any-return]

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """What a method of this reader gives, or None for null."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return read(key)

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """What a method of this reader gives, or None where the key is missing."""
        return read(key) if key in self._left else None

    def items(self, key: str) -> list[Any]:
        """A list."""
        value = self.take(key)
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list")
        return value

    def inner(self, key: str) -> Reader:
        """An object inside."""
        return Reader(self.take(key), f"{self.where}: {key!r}")

    def objects(self, key: str) -> list[Reader]:
        """A list of objects."""
        return [Reader(value, f"{self.where}: {key} {i}") for i, value in enumerate(self.items(key))]

    def wholes(self, key: str, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.items(key)
        if any(type(v) is not int or v < least for v in values):
            raise self.wrong(key, values, f"a list of whole numbers of at least {least}")
        return tuple(values)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.items(key)
        if not all(map(_is_number, values)):
            raise self.wrong(key, next(v for v in values if not _is_number(v)), "a list of finite numbers")
        return tuple(map(float, values))

    def numbers_or_nan(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers, NaN for each null."""
        values = self.items(key)
        if not all(v is None or _is_number(v) for v in values):
            wrong = next(v for v in values if not (v is None or _is_number(v)))
            raise self.wrong(key, wrong, "a list of finite numbers and nulls")
        return tuple(math.nan if v is None else float(v) for v in values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key)
        if not all(isinstance(v, str) for v in values):
            raise self.wrong(key, values, "a list of texts")
        return tuple(values)

    def array(self, key: str, shape: tuple[int, ...]) -> Array:
        """Numbers as `packed` wrote them."""
        return unpacked(self.take(key), shape, f"{self.where}: {key!r}")


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold: not true or false, not infinite, not of 400 digits."""
    if type(value) is int:
        return -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER
    return type(value) is float and math.isfinite(value)


_LARGEST_NUMBER = int(sys.float_info.max)

__all__ = ["LARGEST", "Reader", "parse", "read_object"]
