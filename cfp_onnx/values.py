"""Types that every stage shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
"""A NumPy array of any type and shape; docstrings say which."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many of its steps are done, and of how many."""


class Header(Mapping[str, Any]):
    """Fields of a frozen dataclass that can be read by name too, as the keys of a JSON object.

    A dataclass with this base is declared with ``eq=False``, so that it equals any mapping of the same items.
    """

    def __getitem__(self, key: str) -> Any:
        if key not in self.__dict__:
            raise KeyError(key)
        return self.__dict__[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)


def plain(value: object) -> Any:
    """A value as JSON has it: dataclasses and mappings become objects, sequences become lists.

    Args:
        value: Made of dataclasses, mappings, tuples, lists, and what JSON has itself.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


__all__ = ["Array", "Header", "Progress", "plain"]
