"""What becomes of other people's files: does the file run, is it explained, and is the score the file's own?

``python -m benchmarks.wild FOLDER ...`` reads every ``.onnx`` file below the folders, each in a child process with a
time limit. A file is fed with seeded arrays of a size that it takes and run by plain onnxruntime; then it is inspected
and explained at every depth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import cfp_onnx as cfp
from cfp_onnx.errors import CfpError, LimitError
from cfp_onnx.text import first_line

Array = np.ndarray[Any, Any]

DENSE = ("Conv", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN", "Attention")
"""What an operator's name holds where it has weights."""

SIZES = ((16, 112), (8, 224), (16, 32), (1, 8), (16, 16))
"""Frames and pixels that are tried, in turn, where a file leaves its sizes open."""


@dataclass
class Outcome:
    """What became of one file.

    Attributes:
        file: Its path.
        outcome: explained, refused, crashed (an error that is not the package's own), time, killed, or why there was
            nothing to explain: not run, not fed.
        sentence: The error's text.
        layers: Whether an operator with weights is in the file.
        score: Score of the class; None where nothing was explained.
        equal: Whether plain onnxruntime gives that score.
        coverage: Share of channels traced, 0..1.
        relevant: Share of the layers below the classifier some kernel of which has relevance.
        plain: Seconds of a plain pass.
        ratio: Seconds of the explanation over those, reading included.
    """

    file: str
    outcome: str = "killed"
    sentence: str = ""
    layers: bool = False
    score: float | None = None
    equal: bool | None = None
    coverage: float | None = None
    relevant: float | None = None
    plain: float | None = None
    ratio: float | None = None


def has_layers(nodes: Sequence[onnx.NodeProto]) -> bool:
    """Whether an operator with weights stands in a graph or in one inside it."""
    inner = (a.g.node for n in nodes for a in n.attribute if a.HasField("g"))
    return any(part in node.op_type for node in nodes for part in DENSE) or any(has_layers(list(g)) for g in inner)


def feeds(session: onnxruntime.InferenceSession, size: tuple[int, int]) -> dict[str, Array]:
    """Seeded arrays for a session's inputs; every value is plausible as a number, a size, a position or a flag.

    Raises:
        NotFedError: If an input is no array of numbers.
    """
    rng = np.random.default_rng(0)
    return {port.name: _array(port, size, rng) for port in session.get_inputs()}


class NotFedError(Exception):
    """An input that takes no array of numbers."""


def _array(port: Any, size: tuple[int, int], rng: np.random.Generator) -> Array:
    kinds = {"float": "float32", "double": "float64"}
    name = port.type.removeprefix("tensor(").removesuffix(")")
    try:
        kind = np.dtype(kinds.get(name, name))
    except TypeError as error:
        raise NotFedError(f"input {port.name!r} takes {port.type}") from error
    shape = list(port.shape)
    rank, frames, side = len(shape), *size
    opens = [1 if i == 0 else 3 if i == 1 and rank > 3 and shape[-1] not in {1, 3} else side for i in range(rank)]
    if rank == 5:
        opens[1 if shape[-1] in {1, 3} or shape[2] in {1, 3} else 2] = frames
    shape = [d if isinstance(d, int) and d > 0 else opens[i] for i, d in enumerate(shape)]
    if kind.kind == "f":
        return np.asarray(rng.random(shape), kind)
    return np.asarray(rng.integers(0, 2, shape), kind)


def look(path: str) -> Iterator[Outcome]:
    """What is known of a file, again after each step, so that something is left when the process dies."""
    found = Outcome(path)
    yield found
    try:
        found.layers = has_layers(list(onnx.load(path, load_external_data=False).graph.node))
        ran = plain(path)
    except NotFedError as error:
        found.outcome, found.sentence = "not fed", str(error)
        yield found
        return
    except Exception as error:  # noqa: BLE001 - whatever the runtime says of the file
        found.outcome, found.sentence = "not run", first_line(error)
        yield found
        return
    given, outputs, found.plain = ran
    yield found
    begin = time.perf_counter()
    try:
        network = cfp.load(path)
        cfp.topology(network, input_shape={k: v.shape for k, v in given.items()})
        begin = time.perf_counter()
        pyramid = cfp.explain(path, given, depth="all", tubes=False, device="cpu")
    except CfpError as error:
        found.outcome = "limit" if isinstance(error, LimitError) else "refused"
        found.sentence = first_line(error).replace(path, "")
    except Exception as error:  # noqa: BLE001 - such an outcome is what is looked for
        found.outcome, found.sentence = "crashed", f"{type(error).__name__}: {first_line(error)}"
    else:
        found.outcome = "explained"
        found.score, found.coverage = pyramid.target.score, pyramid.coverage.channels
        target = pyramid.target
        found.equal = holds(outputs[target.output], target.index, target.score, placed=target.place is not None)
        below = [any(layer.relevance) for layer in pyramid.layers if layer.depth]
        found.relevant = float(np.mean(below)) if below else None
        found.ratio = (time.perf_counter() - begin) / found.plain
    yield found


def plain(path: str) -> tuple[dict[str, Array], dict[str, Array], float]:
    """What a file was fed, its outputs, and the seconds of a second pass.

    Raises:
        NotFedError: If an input takes no array of numbers.
        Exception: Of the runtime, when no size fits.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    failed: Exception | None = None
    for size in SIZES:
        given = feeds(session, size)
        try:
            session.run(names, given)
        except Exception as error:  # noqa: BLE001 - the next size may fit
            failed = failed or error
            continue
        begin = time.perf_counter()
        outputs = dict(zip(names, session.run(names, given), strict=True))
        return given, outputs, time.perf_counter() - begin
    raise failed or RuntimeError("no size was tried")


def holds(output: Any, index: int, score: float, *, placed: bool = False) -> bool:
    """Whether an output's first item holds a class's score: at that index, or as the mean over all but one axis.

    Args:
        output: The output; of whole numbers, which say which class it is, it holds the class itself.
        index: The class.
        score: Its score.
        placed: Whether it is the score at one place, wherever that is.
    """
    if isinstance(output, list):  # a map of scores for each item
        return bool(output) and holds(np.array(list(output[0].values())), index, score)
    if np.asarray(output).dtype.kind in "iub":
        return bool((np.asarray(output) == index).any()) or np.asarray(output).dtype.kind == "b"
    value = np.asarray(output, np.float64)
    near = 1e-4 * max(1.0, abs(score))
    if placed:
        rows = [np.take(value, index, axis) for axis in range(value.ndim) if index < value.shape[axis]]
        return any(bool((np.abs(row - score) <= near).any()) for row in rows)
    item = value[0] if value.ndim > 1 else value
    means = [np.moveaxis(item, axis, 0).reshape(item.shape[axis], -1).mean(1) for axis in range(item.ndim)]
    candidates = [value.reshape(-1), item.reshape(-1), item.mean(keepdims=True).reshape(-1), *means]
    return any(index < len(c) and abs(float(c[index]) - score) <= near for c in candidates)


def _serve(pipe: Connection) -> None:
    """The child: a path in, outcomes and then None out."""
    while (path := pipe.recv()) is not None:
        for found in look(path):
            pipe.send(asdict(found))
        pipe.send(None)


class Child:
    """A process that looks at files; it is replaced when a file ends it or takes too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def look(self, path: Path) -> Outcome:
        """What became of a file."""
        found: Mapping[str, Any] = asdict(Outcome(str(path)))
        self._pipe.send(str(path))
        until = time.monotonic() + self.seconds
        try:
            while self._pipe.poll(max(0.0, until - time.monotonic())):
                more = self._pipe.recv()
                if more is None:
                    return Outcome(**found)
                found = more
        except EOFError:
            outcome = "killed"
        else:
            outcome = "time"
        self.close()
        self._start()
        return Outcome(**found | {"outcome": outcome})

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def summary(outcomes: Sequence[Outcome]) -> str:
    """Counts of outcomes, and of what is wrong."""
    ran = [o for o in outcomes if o.outcome not in {"not run", "not fed"}]
    layered = [o for o in ran if o.layers]
    explained = [o for o in layered if o.outcome == "explained"]
    counts = ", ".join(f"{n} {name}" for name, n in Counter(o.outcome for o in outcomes).most_common())
    share = f"{len(explained)} of {len(layered)} that run and have layers are explained"
    if layered:
        share += f" ({100 * len(explained) / len(layered):.1f} %)"
    wrong = [o.file for o in outcomes if o.outcome == "explained" and not o.equal]
    lines = [f"{len(outcomes)} files: {counts}", share, f"{len(wrong)} scores that plain onnxruntime does not give"]
    return "\n".join([*lines, *(f"  {name}" for name in wrong)])


def line(found: Outcome) -> str:
    """One file in one line."""
    if found.outcome != "explained":
        return f"{found.outcome:10} {found.file}: {found.sentence}"
    share = f"coverage {100 * (found.coverage or 0):.0f} %"
    share += "" if found.relevant is None else f", {100 * found.relevant:.0f} % of layers have relevance"
    wrong = "" if found.equal else ", NOT THE FILE'S SCORE"
    return f"{found.outcome:10} {found.file}: {share}, score {found.score:.6g}{wrong}, {found.ratio:.0f} x plain"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sweep; 1 where an error was not the package's own or a score is not the file's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=120, help="most seconds for a file (120)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    paths = [p for f in options.folders for p in ([f] if f.is_file() else sorted(f.rglob("*.onnx")))]
    child, outcomes = Child(options.seconds), []
    try:
        for path in paths:
            outcomes.append(child.look(path))
            print(line(outcomes[-1]), flush=True)
    finally:
        child.close()
    print(summary(outcomes))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=1) + "\n", encoding="utf-8")
    bad = [o for o in outcomes if o.outcome == "crashed" or (o.outcome == "explained" and not o.equal)]
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
