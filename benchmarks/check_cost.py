"""What a check costs: ``python -m benchmarks.check_cost MODEL.onnx ...``.

On one clip, against an explanation of the same clip, both from the file on disk to the result (limit 1.3). On several
clips, what each further clip takes, against a plain forward pass (limit 1.15). Passes of either kind come in pairs, of
which the second counts; the kinds alternate. Given is the median of the rounds' ratios, and that of the plain passes
before and after, which a quiet machine has at 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.checking.baseline_file import load_baseline
from cfp_onnx.checking.fingerprint import Recorder

ONE: Final = 1.3
EACH: Final = 1.15


@dataclass(frozen=True)
class Cost:
    """Figures of one file.

    Attributes:
        name: The file.
        explain: Seconds of an explanation of one clip, from the file on disk.
        check: Seconds of a check on it.
        one: Median ratio of the two.
        plain: Milliseconds of a plain forward pass.
        each: Median ratio of a further clip to a plain pass.
        control: Median ratio of two plain passes.
        megabytes: Size of a baseline of twenty clips at all depths.
    """

    name: str
    explain: float
    check: float
    one: float
    plain: float
    each: float
    control: float
    megabytes: float


def seconds(call: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def second_of(call: Callable[[], Any]) -> float:
    """Time of the second of two calls: in the first, threads of the session before still spin."""
    call()
    return seconds(call)


def measure(path: Path, *, rounds: int, pairs: int, depth: str) -> Cost:
    """Measure one file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = cfp.load(path)
        feeds = runtime.random_feeds(model)
        clips = [folder / f"clip{n}.npy" for n in range(20)]
        for n, clip in enumerate(clips):
            array = next(iter(feeds.values()))
            np.save(clip, np.random.default_rng(n).standard_normal(array.shape).astype(array.dtype))
        made = folder / "baseline.json"
        cfp.baseline(path, clips[0], depth=depth, relative_to=folder).save(made)
        explained, checked = [], []
        for n in range(rounds):
            calls = [
                (explained, lambda: cfp.explain(cfp.load(path), clips[0], depth=depth)),
                (checked, lambda: cfp.check(cfp.load(path), made)),
            ]
            for into, call in calls if n % 2 == 0 else calls[::-1]:
                into.append(seconds(call))
        recorder = Recorder(model, feeds, depth=None if depth == "all" else int(depth))
        index = load_baseline(made).clips[0].index
        plain, each, control = [], [], []
        for n in range(pairs + 1):
            first = second_of(lambda: recorder.engine.plain(feeds))
            look = second_of(lambda: recorder.look(feeds, index))
            last = second_of(lambda: recorder.engine.plain(feeds))
            if n:  # the first round warms up
                plain.append(first)
                each.append(2 * look / (first + last))
                control.append(last / first)
        large = folder / "large.json"
        cfp.baseline(path, clips, depth="all", relative_to=folder).save(large)
        size = large.stat().st_size / 1e6
    return Cost(
        path.name, statistics.median(explained), statistics.median(checked),
        statistics.median(c / e for c, e in zip(checked, explained, strict=True)), 1e3 * statistics.median(plain),
        statistics.median(each), statistics.median(control), size,
    )  # fmt: skip


def main() -> None:
    """Measure the files and print a row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_cost", description=main.__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--rounds", type=int, default=5, help="explanations and checks (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=15, help="passes (default: %(default)s)")
    parser.add_argument("--depth", default="3", metavar="D|all", help="deepest level (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures as JSON")
    options = parser.parse_args()
    costs = [measure(m, rounds=options.rounds, pairs=options.pairs, depth=options.depth) for m in options.models]
    heads = "network | explain s | check s | ratio | plain ms | each further clip | control | 20 clips, all depths"
    print(f"| {heads} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for c in costs:
        print(
            f"| {c.name} | {c.explain:.1f} | {c.check:.1f} | {c.one:.2f} | {c.plain:.0f} | {c.each:.2f} | "
            f"{c.control:.2f} | {c.megabytes:.1f} MB |"
        )
    print(f"\nLimits: ratio {ONE}, each further clip {EACH}.")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(c) for c in costs], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
