"""What a run over a data set costs, beside bare loops over the same clips; and how fast its rows are aggregated.

``python -m benchmarks.dataset MODEL.onnx`` writes seeded videos, runs them, and prints ratios of one machine at one
time: the run against a bare loop that decodes and asks for relevance, and against one that decodes and asks for scores
alone; memory of many clips against few; one worker against two. ``--rows N`` makes rows of N clips of the layers of
ResNet-50 and times the pyramid of a class.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from cfp_onnx.clips.manifest import Manifest, Row, write_manifest
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.datasets.call import PART, dataset, load_run
from cfp_onnx.datasets.rows import Done, Header, Layer, RunFolder
from cfp_onnx.datasets.work import Decoding, decode
from cfp_onnx.explanation.batch_relevance import BatchRelevance
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.model import Model, load

RESNET50 = (64, *(64, 64, 256, 256) * 3, *(128, 128, 512) * 4, *(256, 256, 1024) * 6, *(512, 512, 2048) * 3)
"""Kernels of about the layers of ResNet-50."""

CLASSES = 20


def videos(folder: Path, count: int, side: int = 128, frames: int = 32) -> Path:
    """Seeded videos and their manifest."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        writer = cv2.VideoWriter(str(folder / f"{n}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 24, (side, side))
        start = rng.integers(side // 2, size=2)
        for t in range(frames):
            frame = np.full((side, side, 3), 90, np.uint8)
            cv2.circle(frame, (int(start[0]) + t, int(start[1])), side // 8, (220, 200, 180), -1)
            writer.write(frame)
        writer.release()
        rows.append(Row(str(n), f"{n}.mp4", label=0, name="0"))
    return write_manifest(Manifest("list", str(folder), tuple(rows)), folder / "m.parquet")


def bare(model: Model, folder: Path, count: int, batch: int, *, relevance: bool) -> float:
    """Seconds of a loop without workers, parts or records."""
    decoding = Decoding(tuple(specs(model)), Preprocess.of_metadata(model.preprocess), None)
    rows = [Row(str(n), f"{n}.mp4", label=0) for n in range(count)]
    first = decode(decoding, str(folder / rows[0].path), rows[0]).feeds
    assert first is not None
    engine = Engine(model, first)
    asked = BatchRelevance(engine, batch=batch) if relevance else None
    begin = time.perf_counter()
    for start in range(0, count, batch):
        part = rows[start : start + batch]
        clips = [decode(decoding, str(folder / r.path), r).feeds or {} for r in part]
        if asked is not None:
            asked.run(clips, [0] * len(clips))
        else:
            for clip in clips:
                engine.plain(clip)
    return time.perf_counter() - begin


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def throughput(path: Path, count: int, batch: int) -> list[str]:
    """Ratios of a run to bare loops, and of two workers to one."""
    model = load(path)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = videos(folder, count)

        def whole(workers: int) -> float:
            shutil.rmtree(folder / "run", ignore_errors=True)
            return timed(lambda: dataset(model, manifest, folder / "run", workers=workers, batch=batch))

        start_up = timed(
            lambda: dataset(
                model, videos(Path(tempfile.mkdtemp(dir=folder)), 1), folder / "one", workers=1, batch=batch
            )
        )
        relevance = bare(model, folder, count, batch, relevance=True)
        plain = bare(model, folder, count, batch, relevance=False)
        one, two = whole(1) - start_up, whole(2) - start_up
        size = sum(p.stat().st_size for p in (folder / "run" / "parts").glob("*.parquet"))
        layers = len(load_run(folder / "run").header.layers)
        lines += [
            f"{count} clips, batch {batch}: bare decode + relevance {relevance:.1f} s, decode + scores {plain:.1f} s",
            f"run with 1 worker, without the start ({start_up:.1f} s): {one:.1f} s",
            f"throughput: {relevance / one:.2f} x the bare relevance loop, {plain / one:.2f} x the bare loop of scores",
            f"2 workers: {one / two:.2f} x the throughput of 1",
            f"{size / count / layers:.0f} bytes a clip and layer ({layers} layers)",
        ]
    return lines


def memory(path: Path, few: int, many: int) -> str:
    """Peak memory of a fresh process, with few and with many clips."""
    code = (
        "import sys, resource, cfp_onnx as cfp\n"
        "if __name__ == '__main__':\n"
        " cfp.dataset(sys.argv[1], sys.argv[2], sys.argv[3], workers=0, batch=4)\n"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)"
    )
    found = []
    for count in (few, many):
        with tempfile.TemporaryDirectory() as name:
            manifest = videos(Path(name), count, side=48, frames=16)
            done = subprocess.run(
                [sys.executable, "-c", code, str(path), str(manifest), f"{name}/run"], capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            found.append(float(done.stdout))
    return f"peak memory of {few} clips {found[0]:.0f} MB, of {many} clips {found[1]:.0f} MB: {found[1] / found[0]:.2f}"


def aggregated(count: int) -> list[str]:
    """Seconds for the pyramid of a class, from rows that were made up."""
    rng = np.random.default_rng(0)
    layers = tuple(Layer("logits", f"layer{n}", len(RESNET50) - n, k) for n, k in enumerate(RESNET50))
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(name)
        folder.begin(Header({"file": "resnet50", "sha256": "0"}, {}, {"logits": None}, layers, {"rows": count}))
        for start in range(0, count, PART):
            folder.write_part(
                [
                    Done(
                        f"{n:032x}", str(n), None, n % CLASSES, "label", n % CLASSES, n % CLASSES, 1.0, 1.0, "logits",
                        {i: rng.standard_normal(x.kernels, np.float32) for i, x in enumerate(layers)},
                        {i: rng.standard_normal(x.kernels, np.float32) for i, x in enumerate(layers)},
                    )
                    for n in range(start, min(start + PART, count))
                ]
            )  # fmt: skip
        size = sum(p.stat().st_size for p in folder.parts())
        one = timed(lambda: load_run(name).class_pyramid(3, against=4))
        every = timed(lambda: load_run(name).similarity(1))
    per = size / count / len(layers)
    return [
        f"{count} clips x {len(layers)} layers, {sum(RESNET50)} kernels: {per:.0f} bytes a clip and layer",
        f"a class against another: {one:.1f} s; similarity of {CLASSES} classes at one depth: {every:.1f} s",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--many", type=int, help="compare the memory of 10 clips with that of so many")
    parser.add_argument("--rows", type=int, help="aggregate made-up rows of so many clips")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    lines: list[str] = []
    if given.model is not None:
        lines += throughput(given.model, given.clips, given.batch)
        if given.many is not None:
            lines.append(memory(given.model, 10, given.many))
    if given.rows is not None:
        lines += aggregated(given.rows)
    print("\n".join(lines))
    if given.json is not None:
        given.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
