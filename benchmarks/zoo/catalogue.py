"""What is in the zoo: trained networks as ordinary ONNX files, and clips as each of them takes them.

``python -m benchmarks.zoo.catalogue`` prints the table of the README.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.zoo import flat
from benchmarks.zoo.families import FAMILIES, Batch, Family
from benchmarks.zoo.half import restored

Array = NDArray[Any]
Shape = tuple[int, ...]

WEIGHTS: Final = Path(__file__).parent / "weights"
INDEX: Final = Path(__file__).parent / "index.json"
ALL: Final[dict[str, Family]] = FAMILIES | flat.FLAT
"""Families of clips, pictures and signals by name."""


@dataclass(frozen=True)
class Entry:
    """A trained network.

    Attributes:
        kind: How it is built, a key of ``benchmarks.zoo.networks.KINDS``.
        seed: Seed of its weights and clips.
        role: ``choose``, for choosing between settings, or ``table``, only for what is reported.
        families: Families that it tells the classes of.
        classes: The families' classes, one after the other; a label is an index into them.
        shape: Its input without batch and channels.
        parameters: Number of trained values.
        accuracy: Share of held-out clips that it gets right.
        seconds: Time of its training.
    """

    kind: str
    seed: int
    role: str
    families: tuple[str, ...]
    classes: tuple[str, ...]
    shape: Shape
    parameters: int
    accuracy: float
    seconds: int

    @property
    def path(self) -> Path:
        """The stored file, with weights in half precision."""
        return WEIGHTS / f"{self.kind}-{self.seed}.onnx"

    def write(self, folder: Path) -> Path:
        """Write the network as an ordinary float32 ONNX file, with input ``clip`` and output ``logits``.

        Args:
            folder: Where it goes.

        Returns:
            The file.
        """
        model = onnx.load(self.path)
        restored(model)
        path = folder / self.path.name
        onnx.save(model, path)
        return path

    def to_json(self) -> dict[str, Any]:
        """The entry as a row of the index."""
        return asdict(self)


def read_index() -> tuple[Entry, ...]:
    """Every entry of ``index.json``, in its order."""
    rows = json.loads(INDEX.read_text(encoding="utf-8")) if INDEX.exists() else []
    return tuple(Entry(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows)


def entries(*, role: str | None = None, kinds: Collection[str] | None = None) -> tuple[Entry, ...]:
    """The trained networks.

    Args:
        role: Only those for ``choose`` or for ``table``.
        kinds: Only those of these kinds.

    Raises:
        ValueError: If there is no such role or kind.
    """
    found = read_index()
    if role not in {None, *(e.role for e in found)}:
        raise ValueError(f"no role {role!r} in the zoo")
    if unknown := set(kinds or ()) - {e.kind for e in found}:
        raise ValueError(f"no kinds {sorted(unknown)} in the zoo")
    return tuple(e for e in found if role in {None, e.role} and (kinds is None or e.kind in kinds))


def classes_of(families: Collection[str]) -> tuple[str, ...]:
    """The families' classes, one after the other."""
    return tuple(name for family in families for name in ALL[family].classes)


def draw(entry: Entry, family: str, rng: np.random.Generator, count: int) -> Batch:
    """Draw clips of one of a network's families.

    Args:
        entry: The network.
        family: One of its families.
        rng: Source of every choice.
        count: Number of clips.

    Returns:
        Clips as the network takes them, with labels in the network's own classes, and masks.

    Raises:
        ValueError: If the network does not know the family.
    """
    if family not in entry.families:
        raise ValueError(f"{entry.kind}-{entry.seed} tells {' and '.join(entry.families)}, not {family!r}")
    batch = ALL[family].draw(rng, count, entry.shape)
    return Batch(batch.clips, batch.labels + _offset(entry.families, family), batch.masks)


def draw_mixed(families: tuple[str, ...], rng: np.random.Generator, count: int, shape: Shape) -> tuple[Array, Array]:
    """Clips of several families, all classes alike, in a random order, with labels in the classes of them all."""
    clips, labels = [], []
    drawn = rng.integers(len(classes_of(families)), size=count)
    for name in families:
        start = _offset(families, name)
        own = drawn[(drawn >= start) & (drawn < start + len(ALL[name].classes))]
        if len(own):
            clips.append(ALL[name].draw(rng, len(own), shape, labels=own - start).clips)
            labels.append(own)
    order = rng.permutation(count)
    return np.concatenate(clips)[order], np.concatenate(labels)[order]


def _offset(families: tuple[str, ...], name: str) -> int:
    return len(classes_of(families[: families.index(name)]))


def table() -> str:
    """One row for each kind, as Markdown."""
    lines = [
        "| kind | input | parameters | seed 0 (choose): families, accuracy | seed 1 (table): families, accuracy |",
        "|---|---|---|---|---|",
    ]
    kinds: dict[str, list[Entry]] = {}
    for entry in read_index():
        kinds.setdefault(entry.kind, []).append(entry)
    for kind, found in kinds.items():
        size = " x ".join(map(str, found[0].shape))
        cells = [f"{', '.join(e.families)}: {e.accuracy:.3f}" for e in found] + ["-"] * (2 - len(found))
        lines.append(f"| `{kind}` | {size} | {found[0].parameters} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
