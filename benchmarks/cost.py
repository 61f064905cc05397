"""What an explanation with tubes and report costs, from the command to the page, against a plain forward pass.

``python -m benchmarks.cost MODEL.onnx ...`` separates what happens once (reading, topology, sessions), the work itself
(the plain pass, relevance, links and tubes, repeated on warm sessions in alternation with plain passes) and the writing
of files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.clips.clip import Clip
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.explanation.options import AGAINST
from cfp_onnx.model import Model, load
from cfp_onnx.relevance.values import Settings


@dataclass(frozen=True)
class Cost:
    """Figures of one file; seconds, and ratios to a plain pass.

    Attributes:
        name: The file.
        plain: Median of a plain forward pass.
        control: Median ratio of two plain passes next to each other.
        work: Median ratio of a whole explanation on warm sessions.
        quartiles: Of that ratio.
        import_: Importing the package and its parts in a fresh process.
        read: Reading the model and the clip.
        engine: Topology, observed shapes.
        sessions: What the first explanation takes more than a warm one: building probes and sessions.
        writing: Report, JSON, arrays and pictures.
        report: The page and the JSON alone.
    """

    name: str
    plain: float
    control: float
    work: float
    quartiles: tuple[float, float]
    import_: float
    read: float
    engine: float
    sessions: float
    writing: float
    report: float


def clip_for(model: Model, clip: Path | None) -> Clip:
    """A clip for a model: the file, or seeded random arrays."""
    preprocess = Preprocess.of_metadata(model.preprocess)
    if clip is not None:
        return load_clip(clip, specs(model), preprocess=preprocess)
    feeds = runtime.random_feeds(model)
    return load_clip(feeds if len(feeds) > 1 else next(iter(feeds.values())), specs(model), preprocess=preprocess)


def measure(path: Path, clip: Path | None, *, depth: int | None, pairs: int) -> Cost:
    """Measure one file."""
    start = time.perf_counter()
    model = load(path)
    footage = clip_for(model, clip)
    read = time.perf_counter()
    engine = Engine(model, footage.feeds)
    built = time.perf_counter()
    plain = engine.plain(footage.feeds)
    index = int(np.argmax(engine.scores(plain[engine.output])))
    settings = Settings(theta=0.6, top_k=None, depth=depth, class_step="contrast", index=index, against=AGAINST)

    def explain() -> float:
        begin = time.perf_counter()
        engine.pyramid(footage, settings, rule="positional", labels=None)
        return time.perf_counter() - begin

    def forward() -> float:
        begin = time.perf_counter()
        engine.plain(footage.feeds)
        return time.perf_counter() - begin

    first = explain()
    forward()
    ratios, controls, passes, works = [], [], [], []
    for _ in range(pairs):
        a, work, b = forward(), explain(), forward()
        passes += [a, b]
        works.append(work)
        ratios.append(work / ((a + b) / 2))
        controls.append(b / a)
    pyramid = engine.pyramid(footage, settings, rule="positional", labels=None)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        pyramid.save(Path(folder) / "page", drawings=[])
        page = time.perf_counter()
        pyramid.save(Path(folder) / "all")
        done = time.perf_counter()
    low, _, high = statistics.quantiles(ratios, n=4)
    return Cost(
        name=path.name, plain=statistics.median(passes), control=statistics.median(controls),
        work=statistics.median(ratios), quartiles=(low, high), import_=_import_seconds(), read=read - start,
        engine=built - read, sessions=first - statistics.median(works), writing=done - page, report=page - begin,
    )  # fmt: skip


def _import_seconds() -> float:
    modules = "cfp_onnx.explanation.call, cfp_onnx.clips.load, cfp_onnx.pyramid.folder, onnxruntime"
    code = f"import time; t = time.perf_counter(); import {modules}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(time.perf_counter() - t)"], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def markdown(costs: Sequence[Cost]) -> str:
    """A table with one row per file."""
    names = (
        "network", "plain ms", "control", "whole explanation / plain", "import s", "read s", "topology s",
        "sessions s", "page s", "page and pictures s",
    )  # fmt: skip
    rows = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for c in costs:
        low, high = c.quartiles
        seconds = (c.import_, c.read, c.engine, c.sessions, c.report, c.writing)
        cells = (c.name, f"{1e3 * c.plain:.0f}", f"{c.control:.2f}", f"{c.work:.2f} ({low:.2f}-{high:.2f})")
        rows.append("| " + " | ".join([*cells, *(f"{s:.2f}" for s in seconds)]) + " |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--clip", type=Path, help="a clip for all files; seeded random arrays without it")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    costs = [measure(m, options.clip, depth=options.depth, pairs=options.pairs) for m in options.models]
    print(markdown(costs))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(c) for c in costs], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
