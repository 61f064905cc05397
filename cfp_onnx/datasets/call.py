"""The public verbs: a data set through a network, and what such a run holds."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.clips.manifest import Manifest, Row, read_manifest
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.datasets.engines import local
from cfp_onnx.datasets.rows import Done, Failure, Header, RunFolder, clip_key
from cfp_onnx.datasets.run import Run
from cfp_onnx.datasets.work import TARGETS, Decoded, Decoding, Explaining, Question, decode, place_of
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.explanation.options import ClipOptions, RunOptions, WalkOptions
from cfp_onnx.model import Model, load
from cfp_onnx.relevance.rules import DEFAULT
from cfp_onnx.values import Progress, silent
from cfp_onnx.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINES = ("local", "ray")

PART = 256
"""Most clips of one part."""

SECONDS = 60.0
"""Longest time between two parts: what a kill can lose."""


@dataclass(frozen=True)
class Ran:
    """What a call did.

    Attributes:
        run: The run as it is now.
        explained: Clips explained by this call.
        before: Clips that were done before.
        failures: Clips that could not be explained, of all calls.
        left_out: Rows of the manifest that have a problem, and were not run.
        note: Something to say, such as that a run was cut off before.
    """

    run: Run
    explained: int
    before: int
    failures: tuple[Failure, ...]
    left_out: int
    note: str | None = None


def dataset(
    model: Model | str | os.PathLike[str],
    manifest: Manifest | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    classes: Sequence[str | int] | None = None,
    clips_per_class: int | None = None,
    seed: int = 0,
    target: str = "label",
    outputs: Sequence[str] = (),
    rule: str = DEFAULT,
    class_step: str | None = None,
    against: str | int | None = None,
    hold: Sequence[str] | None = None,
    order: int = 1,
    depth: int | str = "all",
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    engine: str = "local",
    workers: int | None = None,
    gpus: float = 0.0,
    batch: int = 8,
    retry_failed: bool = False,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    progress: Progress | None = None,
) -> Ran:
    """The relevance of every kernel for every clip of a data set, as rows on disk.

    A run may be killed at any moment and called again: what is done is kept, and nothing is done twice.

    Args:
        model: A model or its path.
        manifest: A manifest or its path (`cfp_onnx.manifest`).
        output: Folder of the run.
        classes: Classes whose clips are taken, by name or number; all by default.
        clips_per_class: Most clips of each class, drawn by `seed`; all by default.
        seed: Which clips are drawn.
        target: Which class of a clip is explained: its ``label``, the ``predicted``, or ``both``. A clip without a
            label is explained for what is predicted.
        outputs: Outputs to explain in one pass, each with the labels of the task of its name; by default the one with
            classes.
        rule: Name of a field rule.
        class_step: ``contrast`` or ``contribution``; the rule's own by default.
        against: What the class is set against: ``rivals`` (default), ``mean``, ``best`` or a class.
        hold: What keeps its recorded value; what the rule holds by default.
        order: 1 or 2.
        depth: Deepest level, or ``"all"``.
        layout: Axes of the input; read off the model by default.
        labels: Class names; the manifest's, else the model's, by default.
        preprocess: How footage becomes input; the model's metadata by default.
        engine: ``local``, or ``ray`` for Ray Data on one machine or many (the extra ``[ray]``); then paths of clips,
            model and run must be seen by all nodes.
        workers: Processes that decode ahead; half the cores by default, 0 for none. On Ray the actors, each of which
            decodes and explains.
        gpus: GPUs of each actor on Ray, or a part of one.
        batch: Most clips of one pass, where the graph allows.
        retry_failed: Whether clips that failed before are tried again.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do. A clip that fails does not end the
            run; it is recorded with its reason.
    """
    if target not in TARGETS:
        raise UsageError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    walk = WalkOptions(rule, class_step, 0.0, None, depth, hold, against, order).settings()
    loaded = model if isinstance(model, Model) else load(model)
    table = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    reading = ClipOptions(layout, labels, preprocess)
    pre = preprocess if preprocess is not None else Preprocess.of_metadata(loaded.preprocess)
    settings: dict[str, Any] = {
        "rule": rule, "class_step": walk.class_step, "against": walk.against, "hold": list(walk.hold),
        "order": walk.order, "depth": walk.depth, "outputs": list(outputs), "target": target,
        "preprocess": pre.to_json(), "layout": layout,
    }  # fmt: skip
    chosen = chosen_rows(table, classes, clips_per_class, seed)
    if not chosen:
        raise UsageError(
            f"no clip of the manifest is left to run; {len(table.rows) - len(table.usable)} have a problem"
        )
    keys = {row.id: clip_key(loaded.sha256, settings, row) for row in chosen}
    selection = {"classes": None if classes is None else [str(c) for c in classes], "clips_per_class": clips_per_class}
    folder = RunFolder(output)
    question = Question(rule, walk.class_step, walk.against, walk.hold, walk.order, walk.depth, tuple(outputs), target)
    work = Explaining(loaded, question, RunOptions(device, threads, barriers).where(), barriers, max(1, batch))
    decoding = Decoding(tuple(specs(loaded)), pre, layout or pre.layout)
    names = labels if labels is not None else table.labels or reading.class_names(loaded)
    with folder.locked() as note:
        done = folder.done()
        failed = {f.key for f in folder.failures()}
        skip = done if retry_failed else done | failed
        todo = [(place_of(table, row), row) for row in chosen if keys[row.id] not in skip]
        before = len({keys[row.id] for row in chosen} & done)
        first = _first(decoding, todo, table, chosen)
        if first is None or first.feeds is None:
            if not done:
                reason = "" if first is None else f"; of {first.row.id}: {first.reason}"
                raise UsageError(f"no clip of the manifest could be read{reason}")
        else:
            layers = work.begin(first.feeds)
            wide = work.relevance(first.feeds)
            heads = {o: table.head_labels.get(o) if len(wide.outputs) > 1 else names for o in wide.outputs}
            for (one, told), count in zip(heads.items(), wide.counts, strict=True):
                if told is not None and len(told) != count:
                    raise UsageError(
                        f"output {one!r} of {loaded.path} has {count} classes and there are {len(told)} names of "
                        "classes; give the names of this network with --labels"
                    )
            folder.begin(
                Header(
                    {"file": loaded.path.name, "sha256": loaded.sha256},
                    {**settings, **selection, "seed": seed if clips_per_class is not None else None},
                    {o: None if n is None else list(n) for o, n in heads.items()},
                    layers,
                    {"dataset": table.dataset, "rows": len(table.rows)},
                    {"cfp_onnx": __version__, "onnxruntime": runtime.import_onnxruntime().__version__},
                )
            )
            count = _default_workers() if workers is None else workers
            tell = progress or silent
            if engine == "ray" and todo:
                from cfp_onnx.datasets.engines import ray

                ray.run(
                    folder, work, decoding, todo, keys, workers=max(1, count), gpus=gpus, layers=layers, before=before,
                    progress=tell,
                )  # fmt: skip
            else:
                _go(folder, work, decoding, todo, keys, count, before, tell)
        run = Run.open(folder.path)
    return Ran(run, len(run.keys) - before, before, run.failures, len(table.rows) - len(table.usable), note or None)


def _first(
    decoding: Decoding, todo: Sequence[tuple[str, Row]], table: Manifest, chosen: Sequence[Row]
) -> Decoded | None:
    """A clip that can be read, for the sizes of the network; the last that could not if none can."""
    found = None
    for place, row in todo or [(place_of(table, r), r) for r in chosen[:1]]:
        found = decode(decoding, place, row)
        if found.feeds is not None:
            break
    return found


def _default_workers() -> int:
    return max(1, (os.cpu_count() or 2) // 2)


def _go(
    folder: RunFolder,
    work: Explaining,
    decoding: Decoding,
    todo: Sequence[tuple[str, Row]],
    keys: Mapping[str, str],
    workers: int,
    before: int,
    progress: Progress,
) -> None:
    """Decodes, explains and writes, part after part."""
    rows: list[Done] = []
    failures: list[Failure] = []
    waiting: list[tuple[str, Decoded]] = []
    finished, last = 0, time.monotonic()

    def flush() -> None:
        nonlocal rows, failures, last
        if rows:
            folder.write_part(rows)
        if failures:
            folder.write_failures(failures)
        rows, failures, last = [], [], time.monotonic()

    def explain() -> None:
        nonlocal waiting, finished
        done, failed = work.explain(waiting)
        rows.extend(done)
        failures.extend(failed)
        finished += len(waiting)
        waiting = []
        progress("explaining", before + finished, before + len(todo))

    for clip in local.decoded(decoding, todo, workers):
        waiting.append((keys[clip.row.id], clip))
        if len(waiting) >= work.batch:
            explain()
        if len({r.key for r in rows}) + len(failures) >= PART or time.monotonic() - last > SECONDS:
            flush()
    if waiting:
        explain()
    flush()


def chosen_rows(
    manifest: Manifest, classes: Sequence[str | int] | None, clips_per_class: int | None, seed: int
) -> list[Row]:
    """The rows that are run, in the manifest's order.

    Raises:
        UsageError: If a class has no clips, or fewer than one clip of each is asked for.
    """
    rows = list(manifest.usable)
    if clips_per_class is not None and clips_per_class < 1:
        raise UsageError(f"clips-per-class is {clips_per_class}, it must be at least 1")
    if classes is not None:
        wanted = set()
        for name in classes:
            mine = {r.label for r in rows if str(name) in {r.name, str(r.label)}}
            if not mine:
                raise UsageError(f"no clip of the manifest has the class {str(name)!r}")
            wanted |= mine
        rows = [r for r in rows if r.label in wanted]
    if clips_per_class is None:
        return rows
    rng = np.random.default_rng(seed)
    kept: set[str] = set()
    for label in sorted({-1 if r.label is None else r.label for r in rows}):
        mine_rows = [r for r in rows if (-1 if r.label is None else r.label) == label]
        kept |= {mine_rows[i].id for i in rng.permutation(len(mine_rows))[:clips_per_class]}
    return [r for r in rows if r.id in kept]


def load_run(*folders: str | os.PathLike[str]) -> Run:
    """A run, or several parts of one that were made apart.

    Args:
        folders: Their folders.

    Raises:
        UsageError: If one holds no run, or they are of different models or settings.
    """
    return Run.open(*(Path(f) for f in folders))


__all__ = ["Ran", "chosen_rows", "dataset", "load_run"]
