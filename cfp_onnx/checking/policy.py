"""How much may change before a check fails: a policy of limits for all layers, for some of them, for single classes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cfp_onnx.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """The policy's numbers for one layer: limits on its measures, each the mean of all clips.

    They say what may change; limits on time, memory and size are another thing.

    Attributes:
        max_drift: Largest part of the relevance that may lie on other kernels, 0..1.
        min_overlap: Least part of the strongest tenth of kernels that must stay, 0..1.
        min_rank: Least rank correlation of the kernels' relevance, -1..1.
        max_activity: Largest change of the kernels' mean activations, over their own size.
        max_weights: Largest change of the kernels' weights, over their own size.
    """

    max_drift: float = 0.15
    min_overlap: float = 0.6
    min_rank: float = 0.85
    max_activity: float = 0.15
    max_weights: float = 0.04

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = _RANGES[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise UsageError(
                    f"limit {name.replace('_', '-')} is {value!r}; it must be a number from {low:g} to {high:g}"
                )


MOST = 1e9
"""Largest limit on a measure that has no bound of its own; infinity is no JSON number."""

_RANGES = {
    "max_drift": (0.0, 1.0),
    "min_overlap": (0.0, 1.0),
    "min_rank": (-1.0, 1.0),
    "max_activity": (0.0, MOST),
    "max_weights": (0.0, MOST),
}
NAMES = tuple(f.name for f in fields(Limits))


@dataclass(frozen=True)
class Policy:
    """What may change between a baseline and a file.

    Attributes:
        general: For every layer and class.
        layers: Changes to them by a layer's name or its weights', or a pattern of it (``*`` and ``?``); later ones win.
        classes: Changes to them by label or index; they are judged on that class's clips alone.
        max_flips: Clips whose strongest class may be another one.
    """

    general: Limits = Limits()
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    max_flips: int = 0

    def __post_init__(self) -> None:
        if type(self.max_flips) is not int or self.max_flips < 0:
            raise UsageError(f"limit max-flips is {self.max_flips!r}; it must be a whole number of at least 0")
        for name, changes in self.classes.items():
            if "max_weights" in changes:
                raise UsageError(
                    f"limit max-weights of class {name!r} cannot be: weights are the same for every class; give it for "
                    "layers"
                )

    def of(self, *names: str) -> Limits:
        """Limits of a layer, by its names."""
        limits = self.general
        for pattern, changes in self.layers.items():
            if named(pattern, *names):
                limits = replace(limits, **changes)
        return limits

    def given(self, *, max_flips: int | None = None, **changes: float | None) -> Policy:
        """The same with some general limits replaced; None leaves one as it is."""
        some = {k: v for k, v in changes.items() if v is not None}
        flips = self.max_flips if max_flips is None else max_flips
        return replace(self, general=replace(self.general, **some), max_flips=flips)


def named(pattern: str, *names: str) -> bool:
    """Whether a pattern equals or matches one of some names."""
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


def read_policy(path: Path) -> Policy:
    """Limits from the table ``tool.cfp_onnx`` of a pyproject.toml, or from a TOML file of their own.

    Raises:
        UsageError: If the file cannot be read, or holds an unknown key or a value out of range.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read limits from {path}: {reason}") from error
    if path.name != "pyproject.toml":
        return _policy(value, str(path))
    tools = value.get("tool", {})
    if not isinstance(tools, Mapping):
        raise UsageError(f"{path}: 'tool' must be a table")
    return _policy(tools.get("cfp_onnx", {}), str(path))


def _policy(table: object, where: str) -> Policy:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: the limits must be a table")
    rest = dict(table)
    layers, classes = (_tables(rest.pop(key, {}), f"{where}: {key}") for key in ("layers", "classes"))
    flips = rest.pop("max-flips", 0)
    return Policy(Limits(**_changes(rest, where)), layers, classes, flips)


def _tables(value: object, where: str) -> dict[str, dict[str, float]]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table of tables")
    return {str(name): _changes(changes, f"{where}.{name}") for name, changes in value.items()}


def _changes(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table of limits")
    known = {name.replace("_", "-"): name for name in NAMES}
    for key in value:
        if key not in known:
            raise UsageError(f"{where}: limit {key!r} is unknown; use {', '.join(known)}")
    changes = {known[key]: limit for key, limit in value.items()}
    Limits(**changes)  # refuses what is out of range
    return changes


__all__ = ["NAMES", "Limits", "Policy", "named", "read_policy"]
