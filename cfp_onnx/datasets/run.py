"""A run that was read: its clips, and what the clips of a class have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx.clips.manifest import parquet
from cfp_onnx.datasets.aggregate import (
    THETA,
    KernelStatistics,
    correlations,
    enough,
    ordered,
    shares,
    standard_error,
    statistics,
)  # fmt: skip
from cfp_onnx.datasets.result import ClassLayer, ClassPyramid, Contrast, Excited, Similarity
from cfp_onnx.datasets.rows import Failure, Header, Layer, RunFolder
from cfp_onnx.errors import UsageError
from cfp_onnx.values import Array

if TYPE_CHECKING:
    import pandas as pd

MOST = 5
"""Clips that are named for each kernel."""


@dataclass(frozen=True)
class ClipRow:
    """One clip of a run at one output, without its numbers.

    Attributes:
        key: Of model, settings and clip.
        id: Of the manifest's row.
        group: What it shares with others.
        label: Its own class; None where it has none.
        asked: ``label`` or ``predicted``.
        explained: The class that was explained.
        predicted: The class with the highest score.
        score: Of the class that was explained.
        margin: Of the class that was explained.
    """

    key: str
    id: str
    group: str | None
    label: int | None
    asked: str
    explained: int
    predicted: int
    score: float
    margin: float


@dataclass(frozen=True)
class Run:
    """A run over a data set.

    Attributes:
        header: What was asked for.
        folders: Its folders; parts of one run that were made apart count as one.
    """

    header: Header
    folders: tuple[RunFolder, ...]
    _cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, *paths: Path) -> Run:
        """Reads what a run was asked for.

        Raises:
            UsageError: If a folder holds no run, or they are of different models or settings.
        """
        folders = tuple(RunFolder(p) for p in paths)
        headers = [f.header() for f in folders]
        for folder, header in zip(folders, headers, strict=True):
            if (header.model["sha256"], header.layers) != (headers[0].model["sha256"], headers[0].layers):
                raise UsageError(f"{folder.path} is a run of another model than {folders[0].path}")
        return cls(headers[0], folders)

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """Clips that could not be explained."""
        return tuple(f for folder in self.folders for f in folder.failures())

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of all clips that were explained."""
        return frozenset(k for folder in self.folders for k in folder.done())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that were explained."""
        return tuple(dict.fromkeys(layer.output for layer in self.header.layers))

    def clips(self, output: str | None = None) -> tuple[ClipRow, ...]:
        """The clips at an output (the first by default), by key."""
        name = self._output(output)
        layer = next(n for n, one in enumerate(self.header.layers) if one.output == name)
        return self._table(layer)[0]

    def values(self, layer: int) -> tuple[tuple[ClipRow, ...], Array, Array | None]:
        """The clips of a layer by key, with their relevance and mean activation, (clips, kernels) float32.

        Args:
            layer: Its number in `Header.layers`.
        """
        return self._table(layer)

    def _table(self, layer: int) -> tuple[tuple[ClipRow, ...], Array, Array | None]:
        if self._cache.get("layer") != layer:
            self._cache.clear()
            self._cache.update(layer=layer, table=self._read(layer))
        found: tuple[tuple[ClipRow, ...], Array, Array | None] = self._cache["table"]
        return found

    def _read(self, layer: int) -> tuple[tuple[ClipRow, ...], Array, Array | None]:
        pa, _ = parquet()
        kernels = self.header.layers[layer].kernels
        tables = list(self._groups(layer))
        table = pa.concat_tables(tables) if tables else None
        if table is None or not len(table):
            return (), np.zeros((0, kernels), np.float32), None
        plain = table.select(list(ClipRow.__dataclass_fields__)).to_pylist()
        seen: dict[tuple[str, str], int] = {}
        for n, row in enumerate(plain):  # a part that was copied counts once
            seen.setdefault((row["key"], row["asked"]), n)
        order = [seen[k] for k in sorted(seen)]
        rows = tuple(ClipRow(**plain[n]) for n in order)
        relevance = _matrix(table["relevance"], len(plain), kernels)[order]
        active = table["activation"]
        activation = None if active.null_count else _matrix(active, len(plain), kernels)[order]
        return rows, relevance, activation

    def _groups(self, layer: int) -> Iterator[Any]:
        """The rows of a layer, part by part; other layers are not read."""
        _, pq = parquet()
        for part, metadata, groups in self._index.get(layer, ()):
            with pq.ParquetFile(part, metadata=metadata) as file:
                found = file.read_row_groups(groups)
            yield found.filter(pq_equal(found["layer"], layer))

    @cached_property
    def _index(self) -> dict[int, list[tuple[Path, Any, list[int]]]]:
        """For each layer the parts that hold it, what they say of themselves, and which of their groups of rows."""
        _, pq = parquet()
        found: dict[int, list[tuple[Path, Any, list[int]]]] = {}
        for part in (p for folder in self.folders for p in folder.parts()):
            metadata = pq.read_metadata(part)
            paths = [metadata.schema.column(n).path for n in range(metadata.num_columns)]
            column, mine = paths.index("layer"), dict[int, list[int]]()
            for n in range(metadata.num_row_groups):
                told = metadata.row_group(n).column(column).statistics
                for layer in range(len(self.header.layers)) if told is None else range(told.min, told.max + 1):
                    mine.setdefault(layer, []).append(n)
            for layer, groups in mine.items():
                found.setdefault(layer, []).append((part, metadata, groups))
        return found

    # What clips have in common.

    def class_number(self, name: str | int, output: str | None = None) -> int:
        """A class's number, from its name or number.

        Raises:
            UsageError: If there is no such class.
        """
        names = self.header.labels.get(self._output(output))
        text = str(name)
        if names is not None and text in names:
            return list(names).index(text)
        if names is not None and [n.lower() for n in names].count(text.lower()) == 1:
            return [n.lower() for n in names].index(text.lower())
        if text.isdigit() and (names is None or int(text) < len(names)):
            return int(text)
        raise UsageError(f"the run has no class {text!r}" + ("; give its number" if names is None else ""))

    def class_name(self, number: int, output: str | None = None) -> str:
        """A class's name; its number where it has none."""
        names = self.header.labels.get(self._output(output))
        return str(number) if names is None or number >= len(names) else names[number]

    def class_pyramid(
        self,
        name: str | int,
        *,
        against: str | int | None = None,
        output: str | None = None,
        clips: str = "all",
        theta: float = THETA,
    ) -> ClassPyramid:
        """What the clips of a class have in common, depth by depth.

        Args:
            name: The class.
            against: Another class that it is held against.
            output: The output; the first by default.
            clips: ``all`` that were explained for the class, or only those answered ``correct`` or ``wrong``.
            theta: Share from which a kernel is chosen.

        Raises:
            UsageError: If there is no such class, or it has no clips.
        """
        place = self._output(output)
        number = self.class_number(name, place)
        other = None if against is None else self.class_number(against, place)
        if other == number:
            raise UsageError(f"class {name!r} cannot be held against itself; name another")
        rows = self.clips(place)
        mine = _chosen(rows, number, clips)
        theirs = [] if other is None else _chosen(rows, other, clips)
        if not mine or (other is not None and not theirs):
            missing = self.class_name(number if not mine else int(other or 0), place)
            which = "" if clips == "all" else f" {clips}"
            raise UsageError(f"the run has no{which} clips of the class {missing!r}")
        layers = tuple(
            self._layer(n, layer, mine, theirs, theta)
            for n, layer in enumerate(self.header.layers)
            if layer.output == place
        )
        answers: dict[str, int] = {}
        for n in mine:
            answer = self.class_name(rows[n].predicted, place)
            answers[answer] = answers.get(answer, 0) + 1
        return ClassPyramid(
            model=str(self.header.model["file"]), output=place, name=self.class_name(number, place), index=number,
            against=None if other is None else self.class_name(other, place), clips=len(mine),
            groups=len({rows[n].group for n in mine if rows[n].group is not None}),
            correct=sum(rows[n].predicted == number for n in mine),
            predicted=dict(sorted(answers.items(), key=lambda x: (-x[1], x[0]))),
            layers=tuple(sorted(layers, key=lambda x: x.depth)),
        )  # fmt: skip

    def _layer(self, number: int, layer: Layer, mine: Sequence[int], theirs: Sequence[int], theta: float) -> ClassLayer:
        rows, relevance, activation = self.values(number)
        own = relevance[mine]
        groups = [rows[n].group for n in mine]
        found = statistics(own, None if activation is None else activation[mine], groups, theta)
        share = shares(own)
        contrast = None
        if theirs:
            contrast = _contrast(share, groups, shares(relevance[theirs]), [rows[n].group for n in theirs])
        ids = [rows[n].id for n in mine]
        return ClassLayer(
            layer.name, layer.depth, found, contrast, _excited(own, ids),
            None if activation is None else _excited(activation[mine], ids), enough(share),
        )  # fmt: skip

    def unused(self, *, output: str | None = None, theta: float = THETA) -> dict[str, tuple[int, ...]]:
        """Kernels that are chosen in no clip of any class, by layer."""
        place = self._output(output)
        found = {}
        for n, layer in enumerate(self.header.layers):
            if layer.output == place:
                _, relevance, _ = self.values(n)
                positive = np.maximum(relevance, 0.0)
                top = positive.max(axis=1, keepdims=True, initial=0.0)
                used = ((positive >= theta * top) & (positive > 0)).any(axis=0)
                found[layer.name] = tuple(int(k) for k in np.flatnonzero(~used))
        return found

    def similarity(self, depth: int, *, output: str | None = None) -> Similarity:
        """How alike classes are at a depth: Spearman's rho of their mean shares over the kernels there.

        Args:
            depth: The depth.
            output: The output; the first by default.

        Raises:
            UsageError: If there is no such depth, or fewer than two classes have clips.
        """
        place = self._output(output)
        rows = self.clips(place)
        classes = sorted({r.explained for r in rows})
        if len(classes) < 2:
            raise UsageError("the run has clips of one class only; similarity needs two")
        numbers = [n for n, x in enumerate(self.header.layers) if x.output == place and x.depth == depth]
        if not numbers:
            depths = sorted({x.depth for x in self.header.layers if x.output == place})
            raise UsageError(f"the run has no depth {depth}; it has {depths[0]} to {depths[-1]}")
        means = []
        for n in numbers:
            rows, relevance, _ = self.values(n)
            share = shares(relevance)
            means.append(
                np.stack([share[[k for k, r in enumerate(rows) if r.explained == c]].mean(axis=0) for c in classes])
            )
        value = correlations(np.concatenate(means, axis=1))
        order = ordered(value)
        names = tuple(self.class_name(classes[n], place) for n in order)
        return Similarity(depth, names, value[np.ix_(order, order)])

    def by_group(self, name: str | int, layer: str, *, output: str | None = None) -> dict[str, KernelStatistics]:
        """Statistics of one layer for each group of a class's clips, so that one that carries the class is seen.

        Args:
            name: The class.
            layer: The layer's name.
            output: The output; the first by default.

        Raises:
            UsageError: If there is no such class or layer.
        """
        place = self._output(output)
        number = self.class_number(name, place)
        which = [n for n, x in enumerate(self.header.layers) if x.output == place and x.name == layer]
        if not which:
            raise UsageError(f"the run has no layer {layer!r}")
        rows, relevance, activation = self.values(which[0])
        mine = _chosen(rows, number, "all")
        found = {}
        for group in sorted({str(rows[n].group) for n in mine if rows[n].group is not None}):
            part = [n for n in mine if rows[n].group == group]
            found[group] = statistics(
                relevance[part], None if activation is None else activation[part], [None] * len(part)
            )
        return found

    def to_frame(self, *, output: str | None = None, theta: float = THETA) -> pd.DataFrame:
        """One row for each class, layer and kernel, as a pandas table.

        Args:
            output: The output; the first by default.
            theta: Share from which a kernel is chosen.
        """
        import pandas as pd

        place = self._output(output)
        classes = sorted({r.explained for r in self.clips(place)})
        frames = []
        for n, layer in enumerate(self.header.layers):
            if layer.output != place:
                continue
            rows, relevance, activation = self.values(n)
            for number in classes:
                mine = _chosen(rows, number, "all")
                one = statistics(
                    relevance[mine],
                    None if activation is None else activation[mine],
                    [rows[k].group for k in mine],
                    theta,
                )
                told = {
                    "class": self.class_name(number, place), "layer": layer.name, "depth": layer.depth,
                    "kernel": np.arange(layer.kernels), "clips": one.clips, "mean": one.mean, "spread": one.spread,
                    "share": one.share, "low": one.low, "high": one.high, "frequency": one.frequency,
                    "agreement": one.agreement,
                }  # fmt: skip
                frames.append(pd.DataFrame(told))
        return pd.concat(frames, ignore_index=True)

    def _output(self, output: str | None) -> str:
        if output is None:
            return self.outputs[0]
        if output not in self.outputs:
            raise UsageError(f"the run has no output {output!r}; it has {', '.join(self.outputs)}")
        return output


def pq_equal(column: Any, value: int) -> Any:
    """Which of a column's values equal one."""
    import pyarrow.compute as pc

    return pc.equal(column, value)


def _matrix(column: Any, clips: int, kernels: int) -> Array:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(clips, kernels)


def _chosen(rows: Sequence[ClipRow], number: int, clips: str) -> list[int]:
    """Places of the clips that were explained for a class."""
    if clips not in {"all", "correct", "wrong"}:
        raise UsageError(f"clips {clips!r} is unknown; choose one of all, correct, wrong")
    mine = [n for n, row in enumerate(rows) if row.explained == number]
    if clips == "all":
        return mine
    return [n for n in mine if (rows[n].predicted == rows[n].label) == (clips == "correct")]


def _contrast(own: Array, groups: Sequence[str | None], other: Array, others: Sequence[str | None]) -> Contrast:
    difference = own.mean(axis=0) - other.mean(axis=0)
    error = np.sqrt(standard_error(own, groups) ** 2 + standard_error(other, others) ** 2)
    return Contrast(difference, error)


def _excited(values: Array, ids: Sequence[str]) -> Excited:
    order = np.argsort(-values, axis=0, kind="stable")[:MOST]
    return Excited(tuple(tuple(ids[n] for n in column) for column in order.T))


def merged(*runs: Run) -> Run:
    """Several runs of one model and question as one."""
    first = runs[0]
    return replace(first, folders=tuple(f for run in runs for f in run.folders))


def described(run: Run) -> Mapping[str, Any]:
    """A few words on a run."""
    return {"clips": len(run.keys), "failures": len(run.failures), "outputs": run.outputs}


__all__ = ["ClipRow", "Run", "described", "merged"]
