"""Array, Header and Progress: types that every package uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
"""A NumPy array of any type and shape; docstrings say which."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its steps are done, and how many there are."""


def silent(_what: str, _done: int, _of: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class Header(Mapping[str, Any]):
    """A frozen dataclass that is read by attribute, or by key as a mapping of its published JSON.

    ``run.rule`` and ``run["rule"]`` are the same; where the attribute is a tuple, the key gives a list, as in JSON.
    A field with the default None is left out of the JSON while it is None.

    A dataclass with this base is declared with ``eq=False``, so that it equals any mapping of the same items.
    """

    def to_json(self) -> dict[str, Any]:
        """The published values, in the order of the fields."""
        own = [(f, getattr(self, f.name)) for f in fields(self)]
        return {f.name: plain(value) for f, value in own if value is not None or f.default is not None}

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())


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


__all__ = ["Array", "Header", "Progress", "plain", "silent"]
