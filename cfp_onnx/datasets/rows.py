"""A run's folder: what was asked for, whole parts with one row for each clip and layer, failures, and a lock.

RUN/run.json                settings, model, labels, layers
RUN/parts/<hash>.parquet    written under another name and renamed: a part is whole or not there
RUN/failures/<hash>.parquet clips that could not be explained, with the stage and the reason
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cfp_onnx.clips.manifest import Row, parquet
from cfp_onnx.errors import OutputError, UsageError
from cfp_onnx.files.strict_json import read_object
from cfp_onnx.files.whole import write_bytes, write_text
from cfp_onnx.values import Array

SCHEMA = "cfp-onnx/run"
VERSION = 1


@dataclass(frozen=True)
class Layer:
    """A layer whose kernels were ranked for one output.

    Attributes:
        output: The output.
        name: The layer's name.
        depth: Its longest path to the output.
        kernels: How many kernels it has.
    """

    output: str
    name: str
    depth: int
    kernels: int


@dataclass(frozen=True)
class Done:
    """One clip explained for one class of one output.

    Attributes:
        key: Of model, settings and clip; see `clip_key`.
        id: Of the manifest's row.
        group: Of the manifest's row.
        label: The clip's own class at that output; None where it has none.
        asked: Whether its ``label`` or the ``predicted`` class was explained.
        explained: The class.
        predicted: The class with the highest score.
        score: The score of the class that was explained.
        margin: Its logit less those that it was set against.
        output: The output.
        relevance: (kernels,) of each layer of `Header.layers` with that output, by its number there.
        activation: The same with mean activations.
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
    output: str
    relevance: Mapping[int, Array]
    activation: Mapping[int, Array]


@dataclass(frozen=True)
class Failure:
    """A clip that could not be explained.

    Attributes:
        key: As of `Done`.
        id: Of the manifest's row.
        stage: ``label``, ``read`` or ``run``.
        reason: Why, in words.
    """

    key: str
    id: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Header:
    """What a run was asked for.

    Attributes:
        model: ``file`` and ``sha256``.
        settings: Everything that its numbers depend on, and which clips were chosen.
        labels: For each output the names of its classes, where they are known.
        layers: The layers, of all outputs.
        manifest: ``dataset`` and number of ``rows``.
        versions: Of the programs.
    """

    model: Mapping[str, str]
    settings: Mapping[str, Any]
    labels: Mapping[str, Sequence[str] | None]
    layers: tuple[Layer, ...]
    manifest: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)


def clip_key(model: str, settings: Mapping[str, Any], row: Row) -> str:
    """What one clip's numbers depend on, as a hash: the model's, the settings, and the row but for its split."""
    told = {
        "model": model, "settings": dict(settings), "id": row.id, "path": row.path, "start": row.start,
        "stop": row.stop, "unit": row.unit, "label": row.label, "heads": dict(row.heads),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode("utf-8")).hexdigest()[:32]


class RunFolder:
    """A run's folder, for one writer at a time.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    # Reading.

    def header(self) -> Header:
        """What the run was asked for.

        Raises:
            UsageError: If the folder holds no run, or one of another version.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise UsageError(f"{self.path} holds no run (there is no run.json); make one with cfp-onnx dataset")
        value = read_object(file, "a run")
        if value.get("schema") != SCHEMA:
            raise UsageError(f"{file} is no run of cfp-onnx dataset")
        if value.get("schema_version") != VERSION:
            raise UsageError(
                f"{file} is of version {value.get('schema_version')}, and this program reads version {VERSION}; make "
                "the run again"
            )
        return Header(
            value["model"], value["settings"], value["labels"], tuple(Layer(**layer) for layer in value["layers"]),
            value["manifest"], value["versions"],
        )  # fmt: skip

    def parts(self) -> list[Path]:
        """The parts, in the order of their names."""
        return sorted((self.path / "parts").glob("*.parquet"))

    def done(self) -> set[str]:
        """Keys of all clips that are done."""
        _, pq = parquet()
        return {k for part in self.parts() for k in pq.read_table(part, columns=["key"])["key"].to_pylist()}

    def failures(self) -> list[Failure]:
        """The clips that could not be explained, by id; one that was done later is none."""
        _, pq = parquet()
        done = self.done()
        found: dict[str, Failure] = {}
        for part in sorted((self.path / "failures").glob("*.parquet")):
            for row in pq.read_table(part).to_pylist():
                if row["key"] not in done:
                    found[row["key"]] = Failure(**row)
        return sorted(found.values(), key=lambda f: f.id)

    # Writing.

    @contextlib.contextmanager
    def locked(self) -> Iterator[str | None]:
        """Keeps other writers out; gives a sentence where a lock of a process that is no more was taken over.

        Raises:
            UsageError: If another process writes here.
            OutputError: If the folder cannot be written to.
        """
        lock, said = self.path / "lock.json", None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
            while True:
                try:
                    handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                    break
                except FileExistsError:
                    said = self._left_behind(lock)
                    lock.unlink(missing_ok=True)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(mine)
        except OSError as error:
            raise OutputError(f"cannot write to {self.path}: {error.strerror or error}; choose another -o") from error
        try:
            for rest in self.path.glob("*/.cfp-*"):  # what a killed writer left
                rest.unlink(missing_ok=True)
            yield said
        finally:
            lock.unlink(missing_ok=True)

    def _left_behind(self, lock: Path) -> str:
        """A sentence on a lock whose writer is no more.

        Raises:
            UsageError: If it may still be there.
        """
        try:
            value = json.loads(lock.read_text("utf-8"))
            host, pid = str(value["host"]), int(value["pid"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError):
            host, pid = "", 0
        if host == socket.gethostname() and not _lives(pid):
            return f"the run was cut off before (process {pid}); it goes on"
        where = f"process {pid} on {host}" if host else "another process"
        raise UsageError(
            f"{self.path} is being written by {where}; wait for it, or remove {lock.name} if it is no more"
        )

    def begin(self, header: Header) -> None:
        """Writes what the run is asked for, or holds it to what stands there.

        Raises:
            UsageError: If the folder holds a run of another model or other settings.
            OutputError: If it cannot be written to.
        """
        if (self.path / "run.json").exists():
            before = self.header()
            different = _differences(before, header)
            if different:
                raise UsageError(f"{self.path} holds another run: {'; '.join(different)}; choose another -o")
            return
        if self.parts():
            raise UsageError(f"{self.path} has parts of a run but no run.json; choose another -o")
        value = {"schema": SCHEMA, "schema_version": VERSION, **asdict(header)}
        write_text(self.path / "run.json", json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def write_part(self, rows: Sequence[Done]) -> Path:
        """Writes a part; rows of one layer lie together, so that a layer can be read alone."""
        pa, pq = parquet()
        columns: dict[str, list[Any]] = {name: [] for name in _KINDS}
        starts = []
        layers = sorted({(row.output, i) for row in rows for i in row.relevance}, key=lambda x: x[1])
        for output, layer in layers:
            starts.append(len(columns["key"]))
            for row in rows:
                if row.output != output or layer not in row.relevance:
                    continue
                for name in _PLAIN:
                    columns[name].append(getattr(row, name))
                columns["layer"].append(layer)
                columns["relevance"].append(np.asarray(row.relevance[layer], np.float32))
                activation = row.activation.get(layer)
                columns["activation"].append(None if activation is None else np.asarray(activation, np.float32))
        table = pa.table({name: pa.array(values, _KINDS[name](pa)) for name, values in columns.items()})
        buffer = io.BytesIO()
        dictionary = [n for n in _PLAIN if n not in {"score", "margin"}]
        with pq.ParquetWriter(buffer, table.schema, compression="zstd", use_dictionary=dictionary) as writer:
            for start, end in zip(starts, [*starts[1:], len(columns["key"])], strict=True):
                writer.write_table(table.slice(start, end - start))
        return self._put("parts", [row.key for row in rows], buffer.getvalue())

    def write_failures(self, failures: Sequence[Failure]) -> Path:
        """Writes what could not be explained."""
        pa, pq = parquet()
        names = ("key", "id", "stage", "reason")
        table = pa.table({n: pa.array([getattr(f, n) for f in failures], pa.string()) for n in names})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return self._put("failures", [f.key for f in failures], buffer.getvalue())

    def _put(self, folder: str, keys: Sequence[str], data: bytes) -> Path:
        name = hashlib.sha256("".join(keys).encode("ascii")).hexdigest()[:32]
        return write_bytes(self.path / folder / f"{name}.parquet", data)


_PLAIN = ("key", "id", "group", "label", "asked", "explained", "predicted", "score", "margin", "output")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("key", "id", "group", "asked", "output"), lambda pa: pa.string()),
    **dict.fromkeys(("label", "explained", "predicted", "layer"), lambda pa: pa.int32()),
    **dict.fromkeys(("score", "margin"), lambda pa: pa.float64()),
    **dict.fromkeys(("relevance", "activation"), lambda pa: pa.list_(pa.float32())),
}


def _lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _differences(before: Header, now: Header) -> list[str]:
    """What two runs differ in, in words."""
    found = []
    if before.model["sha256"] != now.model["sha256"]:
        found.append(f"its model is {before.model['file']} with other bytes than {now.model['file']}")
    for name in sorted({*before.settings, *now.settings}):
        one, two = before.settings.get(name), now.settings.get(name)
        if json.dumps(one, sort_keys=True) != json.dumps(two, sort_keys=True):
            found.append(f"{name} was {_short(one)} and is {_short(two)} now")
    return found


def _short(value: object) -> str:
    return json.dumps(value)[:80]


__all__ = ["Done", "Failure", "Header", "Layer", "RunFolder", "clip_key"]
