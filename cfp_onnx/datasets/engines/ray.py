"""The engine on Ray Data: the same stages in actors, on one machine or many.

Each actor holds one session, decodes and explains its clips, and writes parts of its own into the run's folder, which
all nodes must see. Errors are caught clip by clip, so that no block is lost to one of them; a task whose worker died is
done again, and what it wrote twice counts once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cfp_onnx import runtime
from cfp_onnx.clips.manifest import Row, parquet
from cfp_onnx.datasets.rows import Layer, RunFolder
from cfp_onnx.datasets.work import Decoding, Explaining, Question, decode
from cfp_onnx.errors import UsageError
from cfp_onnx.model import load
from cfp_onnx.values import Array, Progress

TODO = "todo.parquet"
"""The rows that are left, in the run's folder; each node reads its own from it."""


class Actor:
    """One session that explains the clips handed to it, as Ray Data calls it.

    Args:
        folder: The run's folder.
        model: Path of the model.
        question: What is asked of every clip.
        decoding: How clips are read.
        device: Where to run.
        barriers: Whether unknown operators are passed over and recorded.
        batch: Most clips of one pass.
        layers: The layers of the run, in the order of their numbers.
    """

    def __init__(
        self,
        folder: str,
        model: str,
        question: Question,
        decoding: Decoding,
        device: runtime.Device,
        *,
        barriers: bool,
        batch: int,
        layers: tuple[Layer, ...],
    ) -> None:
        self._folder = RunFolder(folder)
        self._decoding = decoding
        self._work = Explaining(load(model), question, device, barriers, batch, layers=layers)

    def __call__(self, rows: Mapping[str, Array]) -> dict[str, list[Any]]:
        """Decodes, explains and writes some clips; their keys, and how many could not be explained."""
        keys = [str(k) for k in rows["key"]]
        clips = [
            (key, decode(self._decoding, str(place), row_of(str(text))))
            for key, place, text in zip(keys, rows["place"], rows["row"], strict=True)
        ]
        done, failed = self._work.explain(clips)
        if done:
            self._folder.write_part(done)
        if failed:
            self._folder.write_failures(failed)
        return {"key": keys, "failed": [key in {f.key for f in failed} for key in keys]}


def row_of(text: str) -> Row:
    """A row from its JSON."""
    return Row(**json.loads(text))


def run(
    folder: RunFolder,
    work: Explaining,
    decoding: Decoding,
    todo: Sequence[tuple[str, Row]],
    keys: Mapping[str, str],
    *,
    workers: int,
    gpus: float,
    layers: tuple[Layer, ...],
    before: int,
    progress: Progress,
) -> None:
    """Explains the clips that are left.

    Args:
        folder: The run's folder.
        work: The network, and what is asked.
        decoding: How clips are read.
        todo: Where the clips lie, with their rows.
        keys: Key of each row, by its id.
        workers: Actors.
        gpus: GPUs of each actor, or a part of one.
        layers: The layers of the run.
        before: Clips that were done before.
        progress: Told how far the work is.

    Raises:
        UsageError: If Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("engine ray needs Ray Data; install cfp-onnx with the extra [ray]") from error
    pa, pq = parquet()
    path = folder.path.resolve() / TODO
    pq.write_table(
        pa.table(
            {
                "key": [keys[row.id] for _, row in todo],
                "place": [place for place, _ in todo],
                "row": [json.dumps({**asdict(row), "heads": dict(row.heads)}) for _, row in todo],
            }
        ),
        path,
    )
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    finished = 0
    made = ray.data.read_parquet(str(path), override_num_blocks=max(1, min(len(todo), 4 * workers))).map_batches(
        Actor,
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=work.batch,
        num_gpus=gpus or None,
        fn_constructor_args=(
            str(folder.path.resolve()), str(Path(work.model.path).resolve()), work.question, decoding, work.device,
        ),
        fn_constructor_kwargs={"barriers": work.barriers, "batch": work.batch, "layers": layers},
        max_restarts=-1,
        max_task_retries=-1,
    )  # fmt: skip
    for batch in made.iter_batches(batch_size=None):
        finished += len(batch["key"])
        progress("explaining", before + finished, before + len(todo))
    path.unlink(missing_ok=True)


__all__ = ["TODO", "Actor", "row_of", "run"]
